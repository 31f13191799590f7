"""Graph of neighbouring Gaussians over several ranks: rows, copies of others' rows, and CPU time of each.

    torchrun --nproc-per-node 4 scripts/bench_graph_parts.py [--gaussians 400000] [--points garden.npz] [--latents 32]

Builds the default graph and diffuses features five times, as the lift does, on the CPU. Gaussians are a ball (the worst
case, as scenes are surfaces) or the points `means3d` of a file, and every rank gets a random part of them. Prints the
largest figures of any rank: Gaussians that are at home on it, its halo beside them, the same in the units of the model
of predict_scaling.py (halo = 2 sides x this x Gaussians^(2/3)), and CPU seconds.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from bench_memory import make_scene

from gsdff.config.smoothing import GraphConfig
from gsdff.gaussians import Gaussians
from gsdff.ranks import joined
from gsdff.smoothing import diffuse
from gsdff.training.graph_file import build_smoothing_graph
from gsdff.training.initialise import gaussians_from_points


def make_part(points: torch.Tensor, rank: int, world_size: int, latents: int) -> tuple[Gaussians, torch.Tensor]:
    """Gaussians of a random part of the points, with features that vary smoothly in space."""
    own = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))][rank::world_size].clone()
    colors = torch.full((len(own), 3), 128, dtype=torch.uint8)
    gaussians = gaussians_from_points(own, colors, 0, len(own))
    gaussians.is_part = world_size > 1
    waves = torch.randn(3, latents, generator=torch.Generator().manual_seed(1))
    return gaussians, (own @ waves).sin()


def main() -> None:
    """Prints a line of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaussians", type=int, default=400_000)
    parser.add_argument("--points", type=Path, help="file with points `means3d`, .npz")
    parser.add_argument("--latents", type=int, default=32)
    args = parser.parse_args()
    options = GraphConfig()
    with joined("cpu") as ranks:
        if args.points is None:
            points = make_scene(args.gaussians, 8, 8, 1).points
        else:
            points = torch.from_numpy(np.load(args.points)["means3d"]).float()
        gaussians, features = make_part(points, ranks.rank, ranks.world_size, args.latents)
        start = time.process_time()
        graph = build_smoothing_graph(gaussians, features, options)
        built = time.process_time()
        diffuse(features, graph, options.steps)
        done = time.process_time()
        halo = 0 if graph.spread.halo is None else sum(graph.spread.halo.num_came)
        figures = (len(graph.ids), halo, built - start, done - built)
        home, halo, building, diffusing = (max(column) for column in zip(*ranks.gather(figures), strict=True))
        sides = min(2, ranks.world_size - 1)
        if ranks.is_first:
            unit = halo / max(1, sides) / len(points) ** (2 / 3)
            print("| Gaussians | ranks | at home | halo | in units | built, CPU s | diffused, CPU s |")
            print("| --- " * 7 + "|")
            print(
                f"| {len(points):,} | {ranks.world_size} | {home:,} | {halo:,} | {unit:.2f} | {building:.1f} "
                f"| {diffusing:.1f} |"
            )


if __name__ == "__main__":
    main()
