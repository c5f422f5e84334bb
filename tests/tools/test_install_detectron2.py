"""
tools/install_detectron2.py and the recipe of the pure-Python build. Nothing here uses the network.
"""

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
PROJECTS = ("PointRend/point_rend", "DeepLab/deeplab", "Panoptic-DeepLab/panoptic_deeplab")


@pytest.fixture
def script(monkeypatch):
    """The module tools/install_detectron2.py; tools/ is not a package."""
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location(
        "install_detectron2", TOOLS / "install_detectron2.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def recipe(script):
    return sys.modules["detectron2_pure"]


@pytest.fixture
def source(recipe, tmp_path):
    """
    A tiny tree laid out as the sdist: every file of the recipe says what its patches look for, no
    more.
    """
    root = tmp_path / "source"
    for name, old, _ in recipe.PATCHES:
        path = root / "detectron2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((path.read_text() if path.exists() else "") + old)
    for project in PROJECTS:
        (root / "projects" / project).mkdir(parents=True)
        (root / "projects" / project / "__init__.py").write_text("")
    (root / "detectron2" / "model_zoo" / "base.yaml").write_text("VERSION: 2\n")
    (root / "detectron2" / "unused.cpp").write_text("")
    (root / "LICENSE").write_text("Apache License\n")
    return root


@pytest.fixture
def environment(script, monkeypatch):
    """
    What the script sees instead of the real environment: its state, and what pip was asked to do.
    """

    class Environment:
        def __init__(self):
            self.version, self.error, self.outdated, self.pip_calls = (
                "",
                "No module named 'detectron2'",
                False,
                [],
            )

        def pip(self, *args):
            self.pip_calls.append(args)
            self.version, self.error = ("", "gone") if args[0] == "uninstall" else ("installed", "")

    env = Environment()
    monkeypatch.setattr(script, "find_detectron2", lambda: (env.version, env.error))
    monkeypatch.setattr(script, "is_outdated", lambda: env.outdated)
    monkeypatch.setattr(script, "pure_wheel", lambda cache: Path("pure.whl"))
    monkeypatch.setattr(script, "cache_dir", lambda: None)
    monkeypatch.setattr(script, "pip", env.pip)
    return env


class TestWhatIsInstalled:
    def test_missing_gets_the_pure_build(self, script, environment):
        script.ensure_detectron2("")
        assert environment.pip_calls == [("install", "--quiet", "pure.whl")]

    def test_detectron2_variable_goes_to_pip(self, script, environment):
        script.ensure_detectron2("git+https://example.org/detectron2.git")
        # Official sources import pkg_resources, which setuptools 81 removed, in model_zoo.
        assert environment.pip_calls[0] == ("install", "--quiet", "setuptools<81", "wheel")
        # Without build isolation, because the official setup.py imports torch.
        assert environment.pip_calls[-1] == (
            "install",
            "--no-build-isolation",
            "git+https://example.org/detectron2.git",
        )

    @pytest.mark.parametrize("wanted", ["", "other.whl"])
    @pytest.mark.parametrize("version", ["0.6", "0.6+cu113"])
    def test_users_own_is_left_alone(self, script, environment, version, wanted):
        environment.version, environment.error = version, ""
        script.ensure_detectron2(wanted)
        assert environment.pip_calls == []

    def test_up_to_date_pure_build_stays(self, script, recipe, environment):
        environment.version, environment.error = recipe.VERSION, ""
        script.ensure_detectron2("")
        assert environment.pip_calls == []

    def test_outdated_pure_build_is_replaced(self, script, recipe, environment):
        environment.version, environment.error, environment.outdated = recipe.VERSION, "", True
        script.ensure_detectron2("")
        assert [call[0] for call in environment.pip_calls] == ["uninstall", "install"]

    def test_pure_build_gives_way_to_the_variable(self, script, recipe, environment):
        environment.version, environment.error = recipe.VERSION, ""
        script.ensure_detectron2("official.whl")
        assert environment.pip_calls[0][0] == "uninstall"
        assert environment.pip_calls[-1][-1] == "official.whl"

    def test_broken_one_of_the_user_is_not_touched(self, script, environment):
        environment.version, environment.error = "0.6+cu113", "ImportError: undefined symbol"
        with pytest.raises(script.SetupError, match="undefined symbol"):
            script.ensure_detectron2("")
        assert environment.pip_calls == []

    def test_real_process_with_a_detectron2_on_the_path(self, tmp_path):
        package = tmp_path / "detectron2"
        package.mkdir()
        (package / "__init__.py").write_text('__version__ = "9.9"')
        (package / "_C.py").write_text('def get_compiler_version(): return "GCC 99"')
        (tmp_path / "torch.py").write_text("")
        (tmp_path / "pip.py").write_text("raise SystemExit('pip must not run')")
        env = {**os.environ, "PYTHONPATH": str(tmp_path), "DETECTRON2": ""}
        command = [sys.executable, str(TOOLS / "install_detectron2.py")]
        for _ in range(2):
            result = subprocess.run(command, capture_output=True, text=True, env=env)
            assert result.returncode == 0, result.stderr
            assert result.stdout == f"Detectron2 9.9, compiler: GCC 99, in {package}\n"

    def test_failure_is_one_message_and_a_status(self, script, monkeypatch, capsys):
        def fail(wanted):
            raise script.SetupError("no network")

        monkeypatch.setattr(script, "ensure_detectron2", fail)
        monkeypatch.setattr(sys, "argv", ["install_detectron2.py"])
        assert script.main() == 1
        assert capsys.readouterr().err == "install_detectron2: no network\n"


class TestDownload:
    def test_tampered_sdist_is_refused_and_removed(self, script, tmp_path):
        cached = tmp_path / "pb1-detectron2-0.6.tar.gz"
        cached.write_bytes(b"tampered")
        with pytest.raises(script.SetupError, match="sha256"):
            script.fetch_sdist(tmp_path)
        assert not cached.exists()

    def test_tampered_download_does_not_reach_the_cache(self, script, tmp_path, monkeypatch):
        monkeypatch.setattr(script, "download", lambda path: path.write_bytes(b"tampered"))
        with pytest.raises(script.SetupError, match="sha256"):
            script.fetch_sdist(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_no_network_says_what_to_do(self, script, tmp_path, monkeypatch):
        def fail(*args):
            raise script.SetupError("pip failed")

        monkeypatch.setattr(script, "pip", fail)
        with pytest.raises(script.SetupError, match="pip failed(.|\n)*set DETECTRON2"):
            script.fetch_sdist(tmp_path)

    def test_settings_of_pip(self, script, monkeypatch):
        answer = ":env:.cert='/env.pem'\nglobal.cert='/file.pem'\nglobal.index-url='https://a.example/simple'"
        monkeypatch.setattr(script, "ask_pip", lambda *args: answer)
        assert script.pip_settings() == {
            "cert": "/env.pem",
            "index-url": "https://a.example/simple",
        }


class TestPureBuild:
    def test_wheel_from_a_cached_sdist(self, script, recipe, source, tmp_path, monkeypatch):
        cache = tmp_path / "cache"
        cache.mkdir()
        with tarfile.open(cache / "pb1-detectron2-0.6.tar.gz", "w:gz") as archive:
            archive.add(source, "pb1-detectron2-0.6")
        monkeypatch.setattr(script, "verify", lambda path: None)
        wheel = script.pure_wheel(cache)
        first = wheel.read_bytes()
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
            assert archive.read("detectron2/__init__.py").decode() == '__version__ = "0.6+pure"'
            assert b"Requires-Dist: fvcore" in archive.read(
                "detectron2-0.6+pure.dist-info/METADATA"
            )
            record = archive.read("detectron2-0.6+pure.dist-info/RECORD").decode().splitlines()
        assert {row.split(",")[0] for row in record} == names
        assert {"detectron2/_C.py", "detectron2/model_zoo/base.yaml"} <= names
        assert "detectron2/projects/point_rend/__init__.py" in names
        assert "detectron2/unused.cpp" not in names

        monkeypatch.setattr(
            script, "fetch_sdist", lambda cache: pytest.fail("the cached wheel must do")
        )
        assert script.pure_wheel(cache) == wheel
        wheel.unlink()
        monkeypatch.undo()
        recipe.write_wheel(
            recipe.make_package(source, tmp_path / "detectron2"), source / "LICENSE", wheel
        )
        assert wheel.read_bytes() == first

    def test_every_patch_is_applied(self, recipe, source, tmp_path):
        package = recipe.make_package(source, tmp_path / "detectron2")
        for name, _, new in recipe.PATCHES:
            assert new in (package / name).read_text()

    def test_every_patch_must_match(self, recipe, source, tmp_path):
        for i, (name, old, _) in enumerate(recipe.PATCHES):
            path = source / "detectron2" / name
            before = path.read_text()
            path.write_text(before.replace(old, ""))
            with pytest.raises(recipe.SetupError, match=name):
                recipe.make_package(source, tmp_path / str(i))
            path.write_text(before)

    def test_missing_file_stops_the_build(self, recipe, source, tmp_path):
        (source / "detectron2" / "layers" / "nms.py").unlink()
        with pytest.raises(recipe.SetupError, match="layers/nms.py"):
            recipe.make_package(source, tmp_path / "detectron2")

    def test_digest_follows_the_recipe(self, recipe, monkeypatch):
        before = recipe.recipe_digest()
        monkeypatch.setattr(recipe, "PATCHES", recipe.PATCHES[1:])
        assert recipe.recipe_digest() != before


class TestStub:
    @pytest.fixture
    def stub(self, recipe, tmp_path):
        (tmp_path / "stub.py").write_text(recipe.STUB)
        spec = importlib.util.spec_from_file_location("stub", tmp_path / "stub.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_questions_are_answered(self, stub):
        assert "pure-Python" in stub.get_compiler_version()
        assert "pure-Python" in stub.get_cuda_version()
        assert stub.has_cuda() is False

    def test_operator_names_itself_and_the_way_out(self, stub):
        operator = (
            stub.deform_conv_forward
        )  # looking it up is what Detectron2 does at import: no error
        with pytest.raises(RuntimeError, match="deform_conv_forward.*official build"):
            operator(1, x=2)

    def test_dunder_names_are_missing(self, stub):
        assert not hasattr(stub, "__path__")
        with pytest.raises(AttributeError):
            getattr(stub, "__wrapped__")  # noqa: B009
