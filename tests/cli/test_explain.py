"""
d2-saliency explain as a person uses it: whole commands, run from another folder than the
repository.
"""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from d2_saliency.engine.explainer import DefaultExplainer
from d2_saliency.results.maps_file import load_maps
from d2_saliency.results.reader import load_results
from tests.conftest import ROOT

NATIVE_SIZE = ("--opts", "INPUT.MIN_SIZE_TEST", "0")
FAST = ("--method", "Gradient", "--max-instances", "1")
SCENE = ROOT / "demo" / "images" / "planted_0007.png"


@pytest.fixture
def scene():
    return Image.open(SCENE).convert("RGB")


@pytest.fixture
def calls(monkeypatch):
    """
    Sizes of the images that are explained; what is in ``calls.errors`` by position is raised
    instead.
    """
    log = SimpleNamespace(sizes=[], errors={})
    original = DefaultExplainer.__call__

    def explain(self, image):
        log.sizes.append(image.shape[:2])
        if len(log.sizes) - 1 in log.errors:
            raise log.errors[len(log.sizes) - 1]
        return original(self, image)

    monkeypatch.setattr(DefaultExplainer, "__call__", explain)
    return log


class TestPhotos:
    def test_every_kind_of_photo_gives_the_detection_of_its_plain_twin(self, tool, scene):
        exif = Image.Exif()
        exif[274] = (
            6  # "turn a quarter clockwise": what is stored is the scene turned the other way
        )
        scene.save("a.png")
        scene.transpose(Image.ROTATE_90).save("b_turned.png", exif=exif)
        scene.convert("RGBA").save("c_rgba.png")
        scene.convert("L").save("d_grey.png")
        Image.fromarray(np.asarray(scene.convert("L")).astype(np.uint16) * 257).save(
            "e_16_bits.png"
        )
        run = tool("--input", "*.png", "--output", "out", *FAST)
        assert run.status == 0 and run.errors == [] and run.out.endswith("Report: out/index.html\n")
        boxes = {
            d["image"]: (d["box"], d["score"], d["class_name"]) for d in run.results["detections"]
        }
        assert (
            boxes["a"] == boxes["b_turned"] == boxes["c_rgba"]
            and boxes["d_grey"] == boxes["e_16_bits"]
        )
        assert boxes["a"] != boxes["d_grey"]

    def test_files_and_the_stock_detection(self, tool, scene, stock_detector):
        scene.save("a.png")
        run = tool("--input", "a.png", "--output", "out", *FAST, *NATIVE_SIZE)
        image = torch.from_numpy(np.asarray(scene)[:, :, ::-1].copy()).permute(2, 0, 1).float()
        with torch.no_grad():
            stock = stock_detector("faster_rcnn_planted")([{"image": image}])[0]["instances"]
        (record,) = run.results["detections"]
        assert (
            record["box"] == stock.pred_boxes.tensor[0].tolist()
            and record["score"] == stock.scores[0].item()
        )
        names = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
        assert names == {
            "index.html",
            "results.json",
            "errors.json",
            "maps/Gradient/a.npz",
            "records/Gradient/a.json",
            "report/data/a.js",
            "report/pictures/a.jpg",
            "report/thumbnails/a.jpg",
            f"a/Gradient/0_{record['class_name']}.png",
        }
        maps = load_maps(run.folder / "maps" / "Gradient" / "a.npz").pred_saliency
        assert maps.peaks[0].tolist() == record["peaks"] and min(record["peaks"]) > 0

    def test_panels_of_the_first_images_alone(self, tool, scene):
        scene.save("a.png")
        scene.save("b.png")
        run = tool(
            "--input", "a.png", "b.png", "--output", "out", "--panels", "1", *FAST, *NATIVE_SIZE
        )
        assert run.status == 0 and len(run.results["detections"]) == 2
        assert [p.parts[-3] for p in run.folder.glob("*/Gradient/*.png")] == ["a"]

    def test_a_photo_of_12_million_pixels(self, tool, scene):
        small = scene.resize((280, 210))
        small.save("small.png")
        small.resize((4000, 3000), Image.NEAREST).save("big.jpg", quality=95)
        size = ("--opts", "INPUT.MIN_SIZE_TEST", "210", "INPUT.MAX_SIZE_TEST", "320")
        run = tool("--input", "small.png", "big.jpg", "--output", "out", *FAST, *size)
        small, big = (np.array(d["box"]) for d in run.results["detections"])
        assert np.abs(big * 210 / 3000 - small).max() < 4 and run.status == 0

    def test_images_of_one_line(self, tool):
        for name, size in (("dot", (1, 1)), ("wide", (5000, 1)), ("tall", (1, 5000))):
            Image.new("RGB", size, "gray").save(f"{name}.png")
        run = tool("--input", "*.png", "--output", "out", *FAST, *NATIVE_SIZE)
        assert (
            run.status == 0 and len(run.results["images"]) == 3 and run.results["detections"] == []
        )
        stock_size = (
            "--opts",
            "INPUT.MIN_SIZE_TEST",
            "800",
            "INPUT.MAX_SIZE_TEST",
            "1333",
            "MODEL.WEIGHTS",
            "",
        )
        run = tool("--input", "wide.png", "--output", "out", *FAST, *stock_size)
        assert run.status == 1 and "5000x1 pixels cannot be resized" in run.errors[0]["error"]


class TestDetections:
    def test_none(self, tool):
        run = tool("--input", SCENE, "--output", "out", "--score-thresh", "1")
        assert (
            run.status == 0 and run.results["detections"] == [] and len(run.results["images"]) == 1
        )

    def test_clipped_at_the_border(self, tool, scene):
        scene.save("a.png")
        x0, y0, x1, y1 = tool("--input", "a.png", "--output", "out", *FAST).results["detections"][
            0
        ]["box"]
        scene.crop((int(0.9 * x0 + 0.1 * x1), int(0.9 * y0 + 0.1 * y1), *scene.size)).save("a.png")
        run = tool(
            "--input", "a.png", "--output", "out", "--method", "Gradient", "--score-thresh", "0.05"
        )
        clipped = [d for d in run.results["detections"] if d["box"][0] == d["box"][1] == 0]
        assert clipped and all(
            min(d["peaks"]) > 0 for d in clipped
        )  # the unclipped coordinates are explained

    def test_never_found_again(self, tool):
        noise = (
            "MODEL.SALIENCY_HEAD.SMOOTHGRAD.SIGMA",
            "5.0",
            "MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES",
            "2",
        )
        run = tool("--input", SCENE, "--output", "out", "--max-instances", "1", "--opts", *noise)
        (record,) = run.results["detections"]
        assert record["num_matched"] == 0 and min(record["peaks"]) > 0
        assert record["flags"] == ["never found again under noise: map of the clean image"]
        assert "never found again" in (run.folder / "report/data/planted_0007.js").read_text()

    def test_seed(self, tool):
        few = ("--max-instances", "1", "--opts", "MODEL.SALIENCY_HEAD.SMOOTHGRAD.NUM_SAMPLES", "2")
        runs = [
            tool("--input", SCENE, "--output", "out", "--seed", s, *few).results["detections"]
            for s in (3, 4, 3)
        ]
        assert runs[0] == runs[2] != runs[1]


class TestSeveralMethods:
    def test_the_same_detections_with_each(self, tool):
        run = tool(
            "--input",
            SCENE,
            "--output",
            "out",
            "--method",
            "Gradient",
            "ODAM",
            "Gradient",
            *FAST[2:],
        )
        first, second = run.results["detections"]
        assert (first["method"], second["method"]) == ("Gradient", "ODAM") and first[
            "box"
        ] == second["box"]
        shapes = [
            load_maps(run.folder / d["maps"]).pred_saliency.maps[0].shape
            for d in self.detections(run)
        ]
        assert shapes[0][-1] > shapes[1][-1]  # pixels; cells of a feature level

    def detections(self, run):
        return load_results(run.folder)["detections"]

    def test_only_the_new_method_is_computed(self, tool, calls):
        command = ("--input", SCENE, "--output", "out", "--max-instances", "1", "--method")
        alone = tool(*command, "ODAM").results["detections"]
        both = tool(*command, "ODAM", "Gradient").results["detections"]
        assert len(calls.sizes) == 2 and both[0] == alone[0] and both[1]["method"] == "Gradient"

    def test_a_method_that_does_not_fit_the_model_costs_its_maps_only(self, tool):
        run = tool(
            "--input", SCENE, "--output", "out", "--max-instances", "1", "--method", "CAM", "ODAM"
        )
        assert run.status == 1 and [d["method"] for d in run.results["detections"]] == ["ODAM"]
        assert run.errors[0]["methods"] == ["CAM"]


class TestFailures:
    def test_bad_images_among_good_ones(self, tool, scene):
        scene.save("good.jpg")
        with open("good.jpg", "rb") as file, open("half.jpg", "wb") as half:
            half.write(file.read(4000))
        with open("notes.txt", "w") as file:
            file.write("no image")
        run = tool(
            "--input", "missing.jpg", "half.jpg", "notes.txt", "good.jpg", "--output", "out", *FAST
        )
        assert run.status == 1 and [image["name"] for image in run.results["images"]] == ["good"]
        assert {e["name"]: e["error"].split("'")[2].strip()[:12] for e in run.errors} == {
            "missing": "does not exi",
            "half": "is damaged o",
            "notes": "is not an im",
        }
        assert (
            "Traceback" not in run.out + run.err
            and "3 of 4 images failed: see out/errors.json" in run.err
        )

    def test_out_of_memory_and_bugs_of_a_model_cost_one_image(self, tool, scene, calls):
        for name in "abc":
            scene.save(f"{name}.png")
        calls.errors[0] = RuntimeError(
            "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate\nmemory"
        )
        calls.errors[1] = KeyError("nope")
        run = tool("--input", "*.png", "--output", "out", *FAST)
        assert run.status == 1 and [image["name"] for image in run.results["images"]] == ["c"]
        assert run.errors[0]["error"].startswith("Out of memory: make the image smaller")
        assert run.errors[1]["error"] == "KeyError: 'nope'"

    @pytest.mark.parametrize(
        "args, message",
        [
            (["--input", "nope.jpg"], "'nope.jpg' does not exist: check the path."),
            (
                ["--input", "nope.jpg", "no.png"],
                "None of the 2 input files exists, 'nope.jpg' for one",
            ),
            (["--input", "*.webp"], "No image matches '*.webp': check the pattern."),
            (["--input", "empty"], "Folder 'empty' has no images directly inside"),
            (
                ["--input", "text.jpg"],
                "'text.jpg' is not an image that can be read: save it as JPEG or PNG.",
            ),
            (
                ["--input", "text.jpg", "nope.jpg"],
                "None of the 2 images can be read. The first: 'text.jpg' is not",
            ),
            (
                ["--output", "text.jpg/out"],
                "Cannot write to 'text.jpg/out' (Not a directory): choose another output",
            ),
            (["--method", "GradCamel"], "There is no saliency method 'GradCamel'; choose one of "),
            (["--opts", "MODEL.NOPE", "1"], "--opts: Non-existent key: MODEL.NOPE."),
            (["--opts", "MODEL.WEIGHTS"], "--opts takes pairs of KEY VALUE, got 1 words"),
            (
                ["--opts", "MODEL.WEIGHTS", "no.pth"],
                "The weights 'no.pth' do not exist. Name a checkpoint with --opts",
            ),
            (
                ["--opts", "MODEL.WEIGHTS", "text.jpg"],
                "The weights 'text.jpg' are damaged, no checkpoint, or",
            ),
            (
                ["--opts", "MODEL.WEIGHTS", str(ROOT / "demo/weights/retinanet_planted.pth")],
                "do not fit this model: they lack",
            ),
            (
                ["--opts", "MODEL.META_ARCHITECTURE", "Nope"],
                "KeyError: \"No object named 'Nope' found",
            ),
            (
                ["--opts", "MODEL.PIXEL_STD", "[1.0, 0.0, 1.0]"],
                "MODEL.PIXEL_STD is [1.0, 0.0, 1.0]; it is a finite number for each channel, above",
            ),
            (["--opts", "MODEL.PIXEL_MEAN", "[1e999, 0.0, 0.0]"], "MODEL.PIXEL_MEAN is [inf, 0.0"),
            (
                ["--opts", "MODEL.SALIENCY_HEAD.TARGET_CLASS", "80"],
                "MODEL.SALIENCY_HEAD.TARGET_CLASS: There is no class 80: the model has the classes",
            ),
            (
                ["--target-box", "1,1,9,9", "--target-class", "80"],
                "There is no class 80: the model has the classes 0 to ",
            ),
            (["--opts", "MODEL.DEVICE", "gpu"], "No model can be built from the config"),
            (
                ["--config-file", "nope.yaml"],
                "There is no config 'nope.yaml', neither as a file nor in",
            ),
            (["--config-file", "text.jpg"], "The config 'text.jpg' does not fit"),
            (
                ["--config-file", "COCO-Detection/fcos_R_50_FPN_1x.py", "--opts", "model.x=1"],
                "has no key 'model.x'",
            ),
        ],
    )
    def test_one_line_that_says_what_to_do(self, tool, tmp_path, args, message):
        (tmp_path / "empty").mkdir()
        (tmp_path / "text.jpg").write_text("hello")
        inputs = [] if "--input" in args else ["--input", SCENE]
        run = tool(*inputs, *([] if "--output" in args else ["--output", "out"]), *args)
        assert (
            run.status == 2 and message in run.err and run.err.startswith("d2-saliency explain: ")
        )
        assert run.err.count("\n") == 1 and not run.folder.exists()

    @pytest.mark.parametrize(
        "args", [("--score-thresh", "nan"), ("--max-instances", "-1"), ("--seed", 2**64)]
    )
    def test_numbers_out_of_range(self, tool, args):
        run = tool("--input", SCENE, "--output", "out", *args)
        assert run.status == 2 and f"argument {args[0]}: invalid" in run.err


class TestProcesses:
    def test_one_of_several_is_refused(self, tool, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        run = tool("--input", SCENE, "--output", "out", *FAST)
        assert run.status == 2 and "Images are explained by one process: leave out" in run.err
        assert not run.folder.exists()

    @pytest.mark.parametrize("option", ["--num-gpus", "--num-machines"])
    def test_gpus_and_machines_of_the_tool(self, option):
        tool = [sys.executable, str(ROOT / "tools/explain_net.py"), "--input", str(SCENE)]
        run = subprocess.run([*tool, option, "99"], capture_output=True, text=True)
        assert run.returncode == 2 and "Images are explained by one process" in run.stderr


class TestResume:
    def test_nothing_finished_is_computed_again(self, tool, scene, calls):
        for i, name in enumerate("abc"):
            scene.crop((0, 0, 200 + i, 200)).save(f"{name}.png")
        command = ("--input", "*.png", "--output", "out", *FAST)
        calls.errors[1] = KeyboardInterrupt()
        stopped = tool(*command)
        assert stopped.status == 130 and "give the same command again" in stopped.err
        assert tool(*command).status == 0 and calls.sizes == [
            (200, 200),
            (200, 201),
            (200, 201),
            (200, 202),
        ]
        again = tool(*command, "--opts", "MODEL.DEVICE", "cuda", "OUTPUT_DIR", "elsewhere")
        assert (
            len(calls.sizes) == 4
            and len(again.results["images"]) == 3
            and "3 of 3 images were done" in again.out
        )
        tool(*command, "--class-target", "logit")
        assert len(calls.sizes) == 7
