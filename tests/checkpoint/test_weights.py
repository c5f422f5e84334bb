import pytest
import torch
from torch import nn

from d2_saliency.checkpoint.weights import WeightsError, find_weights, load_weights


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


class TestFind:
    def test_beside_the_config_or_above_it(self, tmp_path):
        (tmp_path / "w").mkdir()
        (tmp_path / "w" / "x.pth").touch()
        assert find_weights("w/x.pth", str(tmp_path / "configs" / "a" / "c.yaml")) == str(
            tmp_path / "w" / "x.pth"
        )

    def test_addresses_and_none_are_left_alone(self):
        assert find_weights("detectron2://x.pkl") == "detectron2://x.pkl" and find_weights("") == ""

    def test_missing(self):
        with pytest.raises(
            WeightsError, match=r"The weights 'no.pth' do not exist. .* --opts MODEL.WEIGHTS FILE"
        ):
            find_weights("no.pth", "c.yaml")


class TestLoad:
    def check(self, model, path, reason):
        with pytest.raises(WeightsError, match=reason) as error:
            load_weights(model, str(path))
        message = str(error.value)
        assert "\n" not in message and repr(str(path)) in message

    def test_loads(self, model, tmp_path):
        torch.save(
            {"model": {k: torch.full_like(v, 7) for k, v in model.state_dict().items()}},
            tmp_path / "x.pth",
        )
        load_weights(model, str(tmp_path / "x.pth"))
        assert all((p == 7).all() for p in model.parameters())

    def test_missing_and_misshapen_tensors(self, model, tmp_path):
        torch.save(
            {"model": {"0.weight": torch.zeros(3, 2), "0.bias": torch.zeros(4)}}, tmp_path / "x.pth"
        )
        self.check(
            model, tmp_path / "x.pth", "lack 2 and have another shape for 1 of its 4 tensors"
        )

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
    def test_not_finite(self, tmp_path, value):
        for name in ("0.bias", "1.running_var"):
            model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
            wrong = {**model.state_dict(), name: torch.tensor([1.0, float(value), 1.0])}
            torch.save({"model": wrong}, tmp_path / "x.pth")
            reason = f"have NaN or infinity in '{name}', 1 of its 3 values.* --opts MODEL.WEIGHTS"
            self.check(model, tmp_path / "x.pth", reason)

    def test_infinity_is_at_home_in_masks(self, tmp_path):
        model = nn.Linear(2, 3)
        model.register_buffer("mask", torch.full((2, 2), -torch.inf))
        torch.save({"model": model.state_dict()}, tmp_path / "x.pth")
        load_weights(model, str(tmp_path / "x.pth"))

    @pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02garbage"])
    def test_no_checkpoint(self, model, tmp_path, content):
        (tmp_path / "x.pth").write_bytes(content)
        self.check(model, tmp_path / "x.pth", "damaged, no checkpoint, or hold more than tensors")

    def test_half_a_checkpoint(self, model, tmp_path):
        torch.save({"model": model.state_dict()}, tmp_path / "x.pth")
        content = (tmp_path / "x.pth").read_bytes()
        (tmp_path / "x.pth").write_bytes(content[: len(content) // 2])
        self.check(model, tmp_path / "x.pth", "download them again")
