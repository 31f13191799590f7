"""Speed of the feature pass: text queries, feature pictures, the gradients of stage 2, beside the same for colours.

    python scripts/bench_query.py [--device cuda] [--gaussians 1000000] [--width 1920] [--height 1080] [--out FILE.json]

Seeded Gaussians with K features each, seen by one camera. A query is LERF's relevancy of one text against four
negatives for every pixel, from Gaussians to scores. On a card each way of blending features is timed
(`GSDFF_FEATURE_PASS`), and the last column is how far its result is from that of features which gsplat has blended,
relative to the largest. `scripts/predict_speed.py` predicts these figures; its scene has as many Gaussians in a tile.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import argparse
import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from bench_rasterizer import SOLID, machine, now, print_table, spread
from bench_scenes import synthetic
from torch import Tensor
from tqdm import tqdm

from gsdff.cameras import Camera
from gsdff.cli import run_door
from gsdff.device import choose_device
from gsdff.field.relevancy import lerf_relevancy
from gsdff.gaussians import Gaussians
from gsdff.render import render_features, render_rgb, render_scores
from gsdff.render.feature_pass import VARIABLE, choose_feature_pass
from gsdff.render.splats import PixelQuery
from gsdff.training.lift import FeatureTarget, lift_features

NUM_NEGATIVES = 4
SCALE = 1.5
"""Size of the Gaussians in pixels, with which a tile lists about as many as in a captured scene."""


@dataclass(frozen=True)
class Bench:
    """Gaussians, a camera and a query, all on the device measured."""

    gaussians: Gaussians
    camera: Camera
    texts: Tensor
    """Unit vectors [1 + NUM_NEGATIVES, K], the positive first."""
    cotangent: Tensor
    """[H, W, K] for backward passes, and the teacher's map for the lift."""

    def score_in_one_pass(self) -> Tensor:
        """Relevancy of every pixel, without a feature picture."""
        scored = render_scores(self.gaussians, self.camera, PixelQuery(self.texts, 1, "lerf", 0.1))
        assert scored is not None, "offered only where it can be done"
        return scored.scores

    @torch.no_grad()
    def score_features(self) -> Tensor:
        """Relevancy of every pixel of a feature picture."""
        basis = torch.eye(self.texts.shape[1], device=self.texts.device)
        latents = render_features(self.gaussians, self.camera).image
        return lerf_relevancy(latents, self.texts[:1], self.texts[1:], basis, temperature=0.1)

    @torch.no_grad()
    def features(self) -> Tensor:
        """A feature picture."""
        return render_features(self.gaussians, self.camera).image

    def feature_gradients(self) -> Tensor:
        """A feature picture and the gradients of the features: what stage 2 adds to a step of stage 1."""
        leaf = self.gaussians.features.detach().requires_grad_()  # pyright: ignore[reportOptionalMemberAccess]
        image = render_features(self.gaussians, self.camera, features=leaf).image
        (gradient,) = torch.autograd.grad(image, leaf, self.cotangent)
        return gradient

    def lift(self) -> Tensor:
        """Features lifted from one view."""

        def render(features: Tensor, target: FeatureTarget) -> Tensor:
            return render_features(self.gaussians, target.camera, features=features).image

        target = FeatureTarget(self.camera, self.cotangent, torch.ones_like(self.cotangent[..., 0]))
        return lift_features(render, [target], len(self.gaussians)).features

    @torch.no_grad()
    def colours(self) -> Tensor:
        """A picture."""
        return render_rgb(self.gaussians, self.camera).image

    def colour_gradients(self) -> Tensor:
        """A picture and the gradients of everything in it: rendering in a step of stage 1, without loss and Adam."""
        leaves = self.gaussians.map(lambda tensor: tensor.detach().requires_grad_())
        image = render_rgb(leaves, self.camera, absgrad=True).image
        tensors = [leaves.means, leaves.quats, leaves.log_scales, leaves.logit_opacities, leaves.sh0, leaves.shN]
        gradients = torch.autograd.grad(image, tensors, self.cotangent[..., :3])
        return gradients[0]


def make_bench(count: int, width: int, height: int, dim: int, device: torch.device) -> Bench:
    """The same for the same numbers on every machine."""
    scene = synthetic("query", count, width, height, 3, SOLID, SCALE)
    generator = torch.Generator().manual_seed(1)

    def unit(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, generator=generator), dim=-1)

    opacities = scene.opacities.clamp(1e-3, 1 - 1e-3)
    gaussians = Gaussians(
        scene.means, scene.quats, scene.scales.log(), opacities.logit(), scene.colors[:, None],
        0.1 * torch.randn(count, 15, 3, generator=generator), features=unit(count, dim),
    )  # fmt: skip
    camera = Camera(scene.viewmats[0], scene.Ks[0], width, height).to(device)
    texts, cotangent = unit(1 + NUM_NEGATIVES, dim), unit(height, width, dim)
    return Bench(gaussians.to(device), camera, texts.to(device), cotangent.to(device))


@contextmanager
def blending(way: str):
    """Within the block, features are blended in this way."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = way
    try:
        yield
    finally:
        os.environ.pop(VARIABLE) if before is None else os.environ.update({VARIABLE: before})


def list_ways(device: torch.device) -> list[str]:
    """Ways of blending features that this machine has, gsplat's first; the CPU's one way is called cpu."""
    if device.type == "cpu":
        return ["cpu"]
    ways = []
    for way in ("gsplat", "float32", "half"):
        with blending(way):
            if choose_feature_pass() == way:
                ways.append(way)
    return ways


def list_work(bench: Bench, ways: list[str]) -> list[tuple[str, str, Callable[[], Tensor]]]:
    """Names of what is measured, ways of blending, and calls."""
    work: list[tuple[str, str, Callable[[], Tensor]]] = []
    for way in ways:
        if way in ("half", "float32"):
            work.append(("query, scored in the pass", way, bench.score_in_one_pass))
        work += [
            ("query, features written first", way, bench.score_features),
            ("features", way, bench.features),
            ("features, forward and backward", way, bench.feature_gradients),
            ("lift of a view", way, bench.lift),
        ]
    work += [("colours", ways[0], bench.colours), ("colours, forward and backward", ways[0], bench.colour_gradients)]
    return work


def time_call(call: Callable[[], Tensor], device: str, repeats: int) -> tuple[Tensor, list[float]]:
    """Result of a call, and milliseconds of its repetitions after two to warm up."""
    result, times = call(), []
    for _ in range(max(repeats, 2) + 1):  # a spread needs two
        start = now(device)
        call()
        times.append(1e3 * (now(device) - start))
    return result, times[1:]


def main() -> None:
    """Measures, and prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device to measure on")
    parser.add_argument("--gaussians", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--dim", type=int, default=32, help="features of a Gaussian, K")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    device = choose_device(args.device)
    bench = make_bench(args.gaussians, args.width, args.height, args.dim, device)
    references: dict[str, Tensor] = {}
    rows, seconds = [], {}
    # gsplat first: its results are what the others are compared with
    ways = list_ways(device)
    for name, way, call in tqdm(list_work(bench, ways), desc="feature pass"):
        with blending("half" if way == "cpu" else way):
            result, times = time_call(call, device.type, args.repeats)
        reference = references.setdefault(name.replace("scored in the pass", "features written first"), result)
        middle = median(times)
        seconds[name, way] = middle
        rows.append(
            {
                "what": name,
                "by": way,
                "ms": middle,
                "per_second": 1e3 / middle,
                "spread_percent": 100 * spread(times) / middle,
                "difference": float((result - reference).abs().max() / reference.abs().max().clamp_min(1e-30)),
            }
        )
    first, best = ways[0], ways[-1]
    summary = {
        "gaussians": args.gaussians,
        "size": f"{args.width}x{args.height}",
        "features": args.dim,
        "features_to_colours": seconds["features, forward and backward", best]
        / seconds["colours, forward and backward", first],
        "lift_of_300_views_s": 0.3 * seconds["lift of a view", best],
    }
    for row in rows:
        print(
            f"{row['what']:32s} {row['by']:8s} {row['ms']:9.2f} ms  {row['per_second']:8.1f} /s  "
            f"spread {row['spread_percent']:3.0f} %  difference {row['difference']:.1e}"
        )
    print_table([summary])
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"machine": machine(device.type), **summary, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    run_door(main)
