"""
Configs of others that name files on servers: nothing leaves the cache, and nothing bad stays in it.
"""

import pytest
import torch
from detectron2.config import get_cfg
from torch import nn

from d2_saliency.checkpoint.weights import WeightsError, load_weights
from d2_saliency.engine.config_files import ConfigError, merge_yaml
from tests.cli.conftest import tool  # noqa: F401
from tests.conftest import ROOT
from tests.file_server import files
from tests.robustness.test_hostile_files import FAST, Mark

LEADS_OUT = [
    *(
        "/../../.bash_profile",
        "/a/../../../.bash_profile",
        "/%2e%2e/%2e%2e/.bash_profile",
        "/.%2e/x.pth",
    ),
    *(
        "/%252e%252e/x.pth",
        "/%25252e%25252e/x.pth",
        "/..%2f..%2fx.pth",
        "/..%5c..%5cx.pth",
        "/..%255cx.pth",
    ),
    *(
        "/..\\..\\x.pth",
        "//etc/x.pth",
        "/%2fetc/x.pth",
        "/a//x.pth",
        "/..",
        "/a/",
        "/x%00.pth",
        "/x%0a.pth",
    ),
]


@pytest.fixture
def model():
    return nn.Linear(2, 1)


@pytest.fixture
def good(model, tmp_path):
    """Content of a checkpoint of the model."""
    torch.save(model.state_dict(), tmp_path / "good.pth")
    content = (tmp_path / "good.pth").read_bytes()
    (tmp_path / "good.pth").unlink()
    return content


class TestWeights:
    @pytest.mark.parametrize("path", LEADS_OUT, ids=ascii)
    def test_paths_that_lead_out(self, file_server, download_cache, tmp_path, model, good, path):
        file_server.default = good
        with pytest.raises(WeightsError, match="cannot be fetched") as error:
            load_weights(model, file_server.url + path)
        assert str(
            error.value
        ).isprintable() and "name the file with --opts MODEL.WEIGHTS FILE" in str(error.value)
        assert file_server.requests == [] and files(tmp_path) == set()

    def test_good_ones_are_fetched_once(self, file_server, download_cache, model, good):
        file_server.default = good
        load_weights(model, f"{file_server.url}/x.pth")
        file_server.shutdown()
        load_weights(model, f"{file_server.url}/x.pth")
        assert file_server.requests == ["/x.pth"] and len(files(download_cache)) == 1

    def test_damaged_ones_are_fetched_again(self, file_server, download_cache, model, good):
        file_server.default = good[:-100]
        with pytest.raises(WeightsError, match="are damaged.*the same command fetches them again"):
            load_weights(model, f"{file_server.url}/x.pth")
        assert files(download_cache) == set()
        file_server.default = good
        load_weights(model, f"{file_server.url}/x.pth")

    def test_code_does_not_stay(self, file_server, download_cache, model, tmp_path):
        torch.save(
            {"model": model.state_dict(), "epoch": Mark(tmp_path / "mark")}, tmp_path / "x.pth"
        )
        file_server.default = (tmp_path / "x.pth").read_bytes()
        with pytest.raises(WeightsError, match="hold a Python object"):
            load_weights(model, f"{file_server.url}/x.pth")
        assert files(download_cache) == set() and not (tmp_path / "mark").exists()

    def test_those_of_another_model_stay(self, file_server, download_cache, good):
        file_server.default = good
        with pytest.raises(WeightsError, match="do not fit this model"):
            load_weights(nn.Linear(3, 1), f"{file_server.url}/x.pth")
        assert len(files(download_cache)) == 1

    def test_local_files_stay_whatever_they_are(self, model, tmp_path):
        (tmp_path / "x.pth").write_bytes(b"damaged")
        with pytest.raises(WeightsError, match="are damaged"):
            load_weights(model, str(tmp_path / "x.pth"))
        assert files(tmp_path) == {"x.pth"}


class TestBases:
    @pytest.fixture(
        params=["direct", "listed", "base of a base", "below an address", "other folder"]
    )
    def config(self, request, file_server, download_cache, tmp_path, monkeypatch):
        """Function: address -> path of a config that has it for its _BASE_, somehow."""
        file_server.default = b"SEED: 7\nVERSION: 2\n"
        monkeypatch.chdir(tmp_path)

        def write(address):
            if request.param == "base of a base":
                (tmp_path / "base.yaml").write_text(f"_BASE_: {address!r}\n")
                address = "base.yaml"
            elif request.param == "below an address":
                file_server.answers["/first.yaml"] = f"_BASE_: {address!r}\n".encode()
                address = f"{file_server.url}/first.yaml"
            listed = [address, address] if request.param == "listed" else address
            path = "a/x.yaml" if request.param == "other folder" else "x.yaml"
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(f"_BASE_: {listed!r}\n")
            (tmp_path / "a" / "base.yaml").parent.mkdir(exist_ok=True)
            return path

        return write

    @pytest.mark.parametrize("path", [p for p in LEADS_OUT if not p.startswith("/x%")], ids=ascii)
    def test_paths_that_lead_out(self, file_server, download_cache, tmp_path, config, path):
        path = config(file_server.url + path)
        before = files(tmp_path)
        with pytest.raises(ConfigError, match="cannot be fetched") as error:
            merge_yaml(get_cfg(), path, trusted=True)
        assert str(error.value).isprintable() and f"The config '{path}' needs 'http" in str(
            error.value
        )
        assert set(file_server.requests) <= {"/first.yaml"} and files(tmp_path) == before

    def test_trust_is_needed(self, file_server, download_cache, tmp_path, config):
        path = config(f"{file_server.url}/y.yaml")
        before = files(tmp_path)
        with pytest.raises(
            ConfigError, match=f"The config '{path}' .*fetched from a server.*--trust-config"
        ):
            merge_yaml(get_cfg(), path, trusted=False)
        assert file_server.requests == [] and files(tmp_path) == before
        cfg = get_cfg()
        merge_yaml(cfg, path, trusted=True)
        assert cfg.SEED == 7 and "/y.yaml" in file_server.requests
        file_server.shutdown()
        merge_yaml(get_cfg(), path, trusted=True)

    @pytest.mark.parametrize(
        "content",
        [b"A: [1", b"\xff", b"MODEL: {NOPE: 1}\nVERSION: 2", b"text", b"<html>\n<b>login</b>", b""],
    )
    def test_what_cannot_be_used_is_fetched_again(
        self, file_server, download_cache, config, content
    ):
        file_server.answers["/y.yaml"] = content
        path = config(f"{file_server.url}/y.yaml")
        with pytest.raises(ConfigError):
            merge_yaml(get_cfg(), path, trusted=True)
        assert files(download_cache) == set()
        file_server.answers["/y.yaml"] = b"SEED: 8\nVERSION: 2"
        cfg = get_cfg()
        merge_yaml(cfg, path, trusted=True)
        assert cfg.SEED == 8


class TestRelativeBases:
    """A _BASE_ without a server, in a file from a server, is on the same server."""

    @pytest.fixture
    def start(self, file_server, download_cache, tmp_path):
        def write(base, at="/a/b/first.yaml"):
            file_server.answers[at] = f"_BASE_: {base!r}\n".encode()
            (tmp_path / "x.yaml").write_text(f"_BASE_: {file_server.url}{at}\n")
            return str(tmp_path / "x.yaml")

        return write

    @pytest.mark.parametrize(
        "base, at",
        [("y.yaml", "/a/b/y.yaml"), ("../y.yaml", "/a/y.yaml"), ("../../y.yaml", "/y.yaml")],
    )
    def test_on_the_same_server(self, file_server, start, base, at):
        file_server.answers[at] = b"SEED: 7\nVERSION: 2"
        cfg = get_cfg()
        merge_yaml(cfg, start(base), trusted=True)
        assert cfg.SEED == 7 and file_server.requests == ["/a/b/first.yaml", at]

    @pytest.mark.parametrize(
        "base",
        [
            "../../../y.yaml",
            "../../../../../.bash_profile",
            "%2e%2e/y.yaml",
            "..%2fy.yaml",
            "..\\y.yaml",
            "c/../../../../y",
        ],
    )
    def test_paths_that_lead_out(self, file_server, download_cache, tmp_path, start, base):
        file_server.default = b"SEED: 7\nVERSION: 2"
        path = start(base)
        with pytest.raises(ConfigError, match="cannot be fetched"):
            merge_yaml(get_cfg(), path, trusted=True)
        assert file_server.requests == ["/a/b/first.yaml"] and files(tmp_path) == {"x.yaml"}

    def test_a_circle(self, download_cache, start):
        with pytest.raises(ConfigError, match="leads back to itself"):
            merge_yaml(get_cfg(), start("first.yaml"), trusted=True)
        assert files(download_cache) == set()

    def test_too_large(self, file_server, download_cache, start):
        file_server.answers["/a/b/y.yaml"] = b"#" * (10 * 10**6 + 1)
        with pytest.raises(ConfigError, match="more than 1 MB"):
            merge_yaml(get_cfg(), start("y.yaml"), trusted=True)
        assert files(download_cache) == set()


class TestCommand:
    DEMO = ROOT / "configs" / "demo" / "faster_rcnn_planted.yaml"

    def fails(self, run, *words):
        assert (
            run.status == 2 and run.err.count("\n") == 1 and all(word in run.err for word in words)
        )

    def test_weights(self, tool, file_server, download_cache, tmp_path):  # noqa: F811
        file_server.default = b"evil"
        run = tool(
            *FAST,
            "--config-file",
            self.DEMO,
            "--opts",
            "MODEL.WEIGHTS",
            f"{file_server.url}/../../.bash_profile",
        )
        self.fails(run, "d2-saliency explain: The weights 'http", "cannot be fetched")
        assert file_server.requests == [] and files(tmp_path) == set()

    def test_limits(self, tool, file_server, download_cache, tmp_path):  # noqa: F811
        file_server.default = b"x" * (10**6 + 1)
        weights = ("MODEL.WEIGHTS", f"{file_server.url}/x.pth")
        key = "MODEL.SALIENCY_HEAD.DOWNLOAD.MAX_MB"
        run = tool(*FAST, "--config-file", self.DEMO, "--opts", *weights, key, "1")
        self.fails(run, "more than 1 MB", "MODEL.SALIENCY_HEAD.DOWNLOAD.MAX_MB")
        assert files(tmp_path) == set()

    def test_a_config_does_not_lift_its_own_limits(
        self,
        tool,  # noqa: F811
        file_server,
        download_cache,
        tmp_path,
    ):
        text = "MODEL: {SALIENCY_HEAD: {DOWNLOAD: {MAX_MB: 4000000}}}"
        (tmp_path / "x.yaml").write_text(f"_BASE_: {self.DEMO}\n{text}\n")
        self.fails(
            tool(*FAST, "--config-file", "x.yaml"),
            "'x.yaml'",
            "DOWNLOAD",
            "--opts",
            "--trust-config",
        )

    def test_bases(self, tool, file_server, download_cache, tmp_path):  # noqa: F811
        file_server.default = f"_BASE_: {self.DEMO}\n".encode()
        (tmp_path / "x.yaml").write_text(f"_BASE_: {file_server.url}/y.yaml\n")
        weights = ROOT / "demo" / "weights" / "faster_rcnn_planted.pth"
        command = (*FAST, "--config-file", "x.yaml")
        self.fails(
            tool(*command, "--opts", "MODEL.WEIGHTS", weights),
            "fetched from a server",
            "--trust-config",
        )
        assert file_server.requests == []
        run = tool(*command, "--trust-config", "--opts", "MODEL.WEIGHTS", weights)
        assert run.status == 0 and len(run.results["detections"]) == 1
