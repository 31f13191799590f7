"""Peak memory of real training steps: many Gaussians, large images.

    python scripts/bench_memory.py [--device cpu] [--gaussians 200000] [--width 800] [--height 600] [--out FILE.json]

Trains a synthetic scene through the ordinary `Trainer` (all attributes, degree 3, densification's bookkeeping, Adam)
and prints the peak resident memory of the process, its resident memory after the imports, the peak memory of the card
if it trains on one, the median step of the second half, and the mean loss of the first and last pass over the views.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from bench_rasterizer import now, peak_mib

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import Stage1Config, TeacherConfig, TrainConfig
from gsdff.device import choose_device
from gsdff.scene import Scene, View
from gsdff.training.initialise import initial_gaussians
from gsdff.training.trainer import Trainer


def make_scene(num_gaussians: int, width: int, height: int, num_views: int = 9) -> Scene:
    """A ball of points in front of a row of cameras, whose photos are smooth noise."""
    generator = torch.Generator().manual_seed(0)
    focal = 0.9 * width
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    views = []
    for index in range(num_views):
        viewmat = torch.eye(4)
        viewmat[0, 3], viewmat[2, 3] = 0.1 * (index - num_views / 2), 3.0
        small = torch.rand(1, 3, 12, 16, generator=generator)
        photo = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
        image = (photo[0].permute(1, 2, 0) * 255).byte().contiguous()
        views.append(View(f"{index:03d}.png", Camera(viewmat, K, width, height), image))
    directions = torch.nn.functional.normalize(torch.randn(num_gaussians, 3, generator=generator), dim=-1)
    points = directions * torch.rand(num_gaussians, 1, generator=generator) ** (1 / 3) * 1.6
    colors = (torch.rand(num_gaussians, 3, generator=generator) * 255).byte()
    return Scene(Path("synthetic"), views, points, colors, WorldFrame())


def main() -> None:
    """Trains, and prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device to train on")
    parser.add_argument("--gaussians", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--height", type=int, default=600)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    imported, device = peak_mib("cpu"), choose_device(args.device)
    scene = make_scene(args.gaussians, args.width, args.height)
    # all bands at once, and no refinement: the number of Gaussians stays the same
    stage1 = Stage1Config(steps=args.steps, sh_interval=1, refine_start=args.steps, max_gaussians=args.gaussians)
    config = TrainConfig(stage1=stage1, teacher=TeacherConfig(name="none"))
    trainer = Trainer(config, scene, device, initial_gaussians(config, scene))
    losses, clock = [], [now(device.type)]
    for _ in range(args.steps):
        losses.append(float(trainer.advance()["loss"].detach()))
        clock.append(now(device.type))
    times = [1e3 * (end - start) for start, end in pairwise(clock)]
    views = len(scene.train_ids)
    first, last = sum(losses[:views]) / views, sum(losses[-views:]) / views
    figures = {
        "device": device.type,
        "gaussians": len(trainer.gaussians),
        "size": f"{args.width}x{args.height}",
        "steps": args.steps,
        "peak_mib": round(peak_mib("cpu")),
        "card_peak_mib": round(peak_mib("cuda")) if device.type == "cuda" else None,
        "step_ms": round(median(times[args.steps // 2 :]), 2),
        "after_imports_mib": round(imported),
        "first_loss": round(first, 4),
        "last_loss": round(last, 4),
    }
    for key, value in figures.items():
        print(f"{key:18s} {value}")
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n")
    if last >= first:
        sys.exit("the loss did not fall: these were no real training steps")


if __name__ == "__main__":
    main()
