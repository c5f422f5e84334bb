"""The parts of the benchmark: each measures, makes its plots, and returns its text as Markdown."""

import argparse
import statistics
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, Tuple

from . import cams, d_rise, data_set, gradients, profile
from .detector import NUM_DETECTIONS, Bench, build_bench, build_mosaic, detect
from .gradients import STOCK
from .measure import (
    Measure,
    Seconds,
    in_new_process,
    interleaved,
    number,
    peak_memory,
    ratio_table,
    ratios,
)
from .plots import Curves, plot

ROOT = Path(__file__).resolve().parents[2]
SMALL, LARGE = (480, 640), (800, 1067)
PUBLISHED = "ODAM's published way, five outputs"
NUM_IMAGES = 6  # of the run over a data set
WEIGHED = ("GradCAM", "SSGradCAMPlusPlus", "ODAM", PUBLISHED)  # peak memory takes a process each


def has_peers(*modules: str) -> bool:
    return all(find_spec(module) for module in modules)


def missing(*modules: str) -> str:
    gone = [module for module in modules if not find_spec(module)]
    return (
        f"\nNot compared, as {', '.join(gone)} is missing: pip install -e '.[peers]'\n"
        if gone
        else ""
    )


def cam_rows(bench: Bench, num_detections: int) -> Dict[str, Measure]:
    rows = {STOCK: gradients.stock(bench)}
    rows.update({name: cams.our_cam(bench, name, num_detections) for name in cams.METHODS})
    if has_peers("captum", "pytorch_grad_cam"):
        from . import peers

        rows[PUBLISHED] = peers.odam_way(bench, num_detections)
        rows["pytorch-grad-cam, class only"] = peers.grad_cam(bench, num_detections, 1)
        rows["pytorch-grad-cam, five outputs"] = peers.grad_cam(bench, num_detections, 5)
    return rows


def cam_section(args: argparse.Namespace) -> str:
    """CAM maps of 50 detections."""
    bench = build_bench(args.device, SMALL)
    text = ""
    if has_peers("captum", "pytorch_grad_cam"):
        odam = ", ".join(f"{name} {rho:.4f}" for name, rho in cams.odam_agreement(bench).items())
        agreement = cams.grad_cam_agreement(bench)
        text = f"Agreement (Spearman): Grad-CAM with pytorch-grad-cam {agreement:.4f}; ODAM with "
        text += f"the published way {odam}.\n\n"
    seconds = interleaved(cam_rows(bench, NUM_DETECTIONS), args.repeats)
    weighed = () if args.no_memory else [name for name in WEIGHED if name in seconds]
    memory = {name: in_new_process(cam_memory, name, args.device) for name in weighed}
    return text + ratio_table(seconds, STOCK, memory) + "\n" + missing("captum", "pytorch_grad_cam")


def cam_memory(name: str, device: str) -> float:
    """MB that the call of a row adds to the peak of stock inference; for a process of its own."""
    rows = cam_rows(build_bench(device, SMALL), NUM_DETECTIONS)
    for _ in range(3):
        rows[STOCK]()
    before = peak_memory(device)
    rows[name]()
    return peak_memory(device) - before


def gradient_rows(bench: Bench, num_detections: int, large: bool = False) -> Dict[str, Measure]:
    """Add the ways for small objects on a large image, and leave out the slowest one."""
    rows = {STOCK: gradients.stock(bench)}
    for name, options in gradients.FAST.items():
        if not (large and options is gradients.PLAIN):
            rows[name] = gradients.od_smoothgrad(bench, num_detections, **options)
    for name, options in gradients.WINDOWED.items() if large else ():
        rows[name] = gradients.windowed(bench, num_detections, **options)
    rows["floor: 20 forwards, 1,000 backwards of the stock backbone"] = gradients.floor(
        bench, num_detections, False
    )
    rows["floor, batch norms folded"] = gradients.floor(bench, num_detections)
    if has_peers("captum", "pytorch_grad_cam"):
        from . import peers

        rows["captum Saliency (no noise), five outputs"] = peers.captum_saliency(
            bench, num_detections
        )
        rows["captum NoiseTunnel, n = 20, five outputs"] = peers.captum_noise_tunnel(
            bench, num_detections
        )
        rows["plain autograd (no noise), five outputs"] = peers.plain_autograd(
            bench, num_detections
        )
    return rows


def gradient_section(args: argparse.Namespace) -> str:
    """ODSmoothGrad of 10 detections x 5 outputs, n = 20."""
    text = ""
    for size in (SMALL, LARGE):
        bench = build_bench(args.device, size)
        text += f"\n### {size[0]} x {size[1]}\n\n"
        if size == SMALL:
            exact = {
                name: options
                for name, options in gradients.FAST.items()
                if options is not gradients.PLAIN
            }
            loss = gradients.loss_of_fast_ways(bench, exact, 2, num_samples=2, match="index")
            text += f"{noise_tunnel_agreement(bench)}{loss}\n\n"
        rows = gradient_rows(bench, 10, size == LARGE)
        text += speed_table(
            interleaved(rows, min(args.repeats, 2) if size == SMALL else 1, warm_up=False)
        )
    return text + missing("captum", "pytorch_grad_cam")


def speed_table(seconds: Seconds) -> str:
    text, peer = ratio_table(seconds, STOCK) + "\n", "captum NoiseTunnel, n = 20, five outputs"
    for name in (name for name in seconds if name.startswith("ODSmoothGrad") and peer in seconds):
        times = [1 / r for r in ratios(seconds, name, peer)]
        text += f"\n{name}: {number(statistics.median(times))} x faster than captum's NoiseTunnel "
        text += f"({number(min(times))} .. {number(max(times))})."
    return text + "\n"


def small_section(args: argparse.Namespace) -> str:
    """ODSmoothGrad of small objects in a large image, by a trained model."""
    bench = build_mosaic(args.device, ROOT)
    area = bench.inputs["image"][0].numel()
    shares = [
        f"{100 * float(a) / area:.1f} %"
        for a in detect(bench.stock, bench.inputs)[0]["instances"][:3].pred_boxes.area()
    ]
    size = " x ".join(map(str, bench.inputs["image"].shape[1:]))
    text = f"Image of {size}, objects of {', '.join(shares)} of it.\n\n"
    text += (
        gradients.loss_of_fast_ways(
            bench, {"ODSmoothGrad": {}, **gradients.WINDOWED}, 3, num_samples=4
        )
        + "\n\n"
    )
    rows = {STOCK: gradients.stock(bench), "ODSmoothGrad": gradients.od_smoothgrad(bench, 3)}
    rows.update(
        {
            name: gradients.windowed(bench, 3, 3, **options)
            for name, options in gradients.WINDOWED.items()
        }
    )
    if has_peers("captum", "pytorch_grad_cam"):
        from . import peers

        rows["captum NoiseTunnel, n = 20, five outputs"] = peers.captum_noise_tunnel(bench, 3)
    return (
        text
        + speed_table(interleaved(rows, args.repeats, warm_up=False))
        + missing("captum", "pytorch_grad_cam")
    )


def noise_tunnel_agreement(bench: Bench) -> str:
    """
    One line: the rank correlation of our map and captum's, of the same noise, for the best
    detection's class.
    """
    if not has_peers("captum", "pytorch_grad_cam"):
        return ""
    from .agreement import od_smoothgrad_agreement

    return (
        f"Agreement (Spearman) with captum's NoiseTunnel: {od_smoothgrad_agreement(bench):.4f}.\n\n"
    )


def d_rise_section(args: argparse.Namespace) -> str:
    """D-RISE."""
    modules = "xaitk_saliency", "smqtk_detection"
    scene = d_rise.build_scene(ROOT, args.device)
    rows = d_rise.rows(scene, args.num_masks, has_peers(*modules))
    seconds = interleaved(rows, args.repeats)
    height, width = scene.shown.shape[:2]
    text = f"{len(scene.found)} detections, {args.num_masks} masks of {height} x {width} "
    text += "pixels; seconds for a mask.\n\n"
    if has_peers(*modules):
        agreement = d_rise.map_agreement(scene)
        text += f"Agreement (Spearman) of class maps from the same masks: {agreement:.4f}.\n\n"
        text += ratio_table(seconds, "xaitk-saliency") + "\n\n"
    text += ratio_table(seconds, "stock forward, batches of 4") + "\n"
    for num_masks in () if args.no_memory else (500, 2000):
        memory = in_new_process(d_rise.extra_memory, num_masks)
        text += f"\nPeak memory with {num_masks} masks: + {memory:.0f} MB"
    return text + "\n" + missing(*modules)


def profile_section(args: argparse.Namespace) -> str:
    """Kinds of operators in stock inference, ODAM and one noise pass of ODSmoothGrad."""
    bench = build_bench(args.device, SMALL)
    jobs = {
        "stock inference": bench.stock,
        "ODAM, 50 detections": bench.ours("ODAM"),
        "ODSmoothGrad, 5 detections, one noise pass": bench.ours("ODSmoothGrad", 5, num_samples=1),
    }
    return profile.table(
        {name: lambda model=model: detect(model, bench.inputs) for name, model in jobs.items()}
    )


def data_set_section(args: argparse.Namespace) -> str:
    """A run over many images."""
    bench = build_bench(args.device, SMALL)
    lines = [
        "| method | detections | panels | explain / stock | rest of the run / stock | overhead |",
        "|---" * 6 + "|",
    ]
    for method, num_detections, panels in (
        ("ODAM", 5, True),
        ("ODAM", 5, False),
        ("ODAM", 20, False),
    ):
        s = data_set.overhead(
            bench, method, NUM_IMAGES, num_detections, NUM_IMAGES if panels else 0
        )
        rest = s["whole"] - s["explain"]
        explain, stock = s["explain"], s["stock"]
        shares = f"{explain / stock:.2f} | {rest / stock:.2f} | {100 * rest / explain:.0f} %"
        lines.append(
            f"| {method} | {num_detections} | {'all' if panels else '--panels 0'} | {shares} |"
        )
    rates = {n: data_set.images_per_second(ROOT, n, 14) for n in (1, 2)}
    plot(
        args.output / "processes.png",
        {"--eval-only": rates},
        "processes, one thread each",
        "images / s",
        log=False,
    )
    ratio = rates[2] / rates[1]
    text = f"Two processes: {ratio:.2f} x the images per second of one ({rates[1]:.2f} / s)."
    return "\n".join(lines) + f"\n\n{text}\n"


def scaling_section(args: argparse.Namespace) -> str:
    """Cost against the number of detections and the size of the image."""
    curves, bench = {}, build_bench(args.device, SMALL)
    shown = (STOCK, "ODAM", PUBLISHED, "ODSmoothGrad", "captum NoiseTunnel, n = 20, five outputs")
    for n in (1, 5, NUM_DETECTIONS):
        rows = {**cam_rows(bench, n), **(gradient_rows(bench, n) if n < NUM_DETECTIONS else {})}
        _add_point(curves, n, {name: row for name, row in rows.items() if name in shown})
    plot(
        args.output / "detections.png",
        curves,
        "explained detections, five maps each",
        "x one stock inference",
    )
    sizes: Curves = {}
    for size in ((240, 320), SMALL, LARGE):
        bench = build_bench(args.device, size)
        rows = {
            STOCK: gradients.stock(bench),
            "ODAM, 10 detections": cams.our_cam(bench, "ODAM", 10),
        }
        rows["ODSmoothGrad, 1 detection"] = gradients.od_smoothgrad(bench, 1)
        rows["ODSmoothGrad, 1 detection, WINDOW auto, AUTOCAST"] = gradients.windowed(
            bench, 1, 1, window="auto", autocast=True
        )
        for name, (value,) in interleaved(rows, 1, warm_up=False).items():
            sizes.setdefault(name, {})[size[0]] = value
    plot(args.output / "image_size.png", sizes, "short edge of the image, pixels", "seconds")
    return "Plots: detections.png, image_size.png.\n"


def _add_point(curves: Curves, x: float, rows: Dict[str, Measure]) -> None:
    seconds = interleaved(rows, 1, warm_up=False) if rows else {}
    for name in seconds:
        curves.setdefault(name, {})[x] = ratios(seconds, name, STOCK)[0]


SECTIONS: Dict[str, Tuple[str, object]] = {
    "cam": ("CAM maps of 50 detections x 5 outputs", cam_section),
    "gradients": (
        "Gradients to pixels: ODSmoothGrad of 10 detections x 5 outputs, n = 20",
        gradient_section,
    ),
    "small_objects": (
        "Gradients to pixels: 3 small objects in a large image, a trained model",
        small_section,
    ),
    "d_rise": ("D-RISE", d_rise_section),
    "profile": ("Where the time goes", profile_section),
    "data_set": ("A run over a data set", data_set_section),
    "scaling": ("Cost against detections and image size", scaling_section),
}
