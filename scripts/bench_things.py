"""Benchmark of joining masks into things: time and peak memory by the numbers of views and of Gaussians.

    python scripts/bench_things.py [--sizes 63,100000 150,300000 300,1000000]

Every row is a process of its own. Scenes are random: boxes in a room, covered with small Gaussians, seen by cameras
inside it at 480x360; masks are exact, with ids that differ between views. Reported for the three steps (weights of
Gaussians in masks, joining, memberships) are seconds of the processor and of the clock; the largest memory of the
process, and how much of it was there before; and the boxes that are found, which shows that the work was done.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import tyro
from jaxtyping import Float, Int64
from study_tools import markdown_table
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.cli import run_door
from gsdff.gaussians import Gaussians
from gsdff.render import render_features
from gsdff.things import JoinOptions, MaskWeights, ViewMasks, assign_things, collect_weights, join_masks

BOXES = 47
"""Things of a scene, besides the room around them."""
WIDTH, HEIGHT = 480, 360

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """Measures the joining of masks for several sizes of scene."""

    sizes: tuple[str, ...] = ("63,100000", "150,300000", "300,1000000")
    """Views and Gaussians of each row, with a comma between."""
    rendered: int | None = None
    """Views that are rendered, by default all. The others repeat their weights, and the seconds of the weights are
    scaled up to all views: for machines that have no hour for the largest size."""
    alone: bool = False
    """Measure the first size in this process, and print it as JSON."""


def make_scene(num: int, generator: torch.Generator) -> tuple[Gaussians, Int64[Tensor, "N"]]:
    """Gaussians on the surfaces of boxes in a room two wide, and the box of each; 0 is the room."""
    sides = 0.08 + 0.2 * torch.rand(BOXES, 3, generator=generator)
    centres = (torch.rand(BOXES, 3, generator=generator) - 0.5) * torch.tensor([1.7, 1.2, 1.7])
    sides, centres = (
        torch.cat([room, boxes])
        for room, boxes in ((torch.tensor([[2.4, 1.8, 2.4]]), sides), (torch.zeros(1, 3), centres))
    )
    areas = (sides.prod(1, keepdim=True) / sides).sum(1)
    ids = torch.multinomial(areas, num, replacement=True, generator=generator)
    faces = torch.multinomial((1 / sides)[ids], 1, generator=generator)  # opposite sides by their areas
    places = torch.rand(num, 3, generator=generator) - 0.5
    ends = (torch.rand(num, 1, generator=generator) < 0.5).float() - 0.5
    places.scatter_(1, faces, ends)
    scale = 0.6 * math.sqrt(2 * float(areas.sum()) / num)  # of the distance between neighbours
    scales = torch.full((num, 3), scale).scatter_(1, faces, 0.1 * scale)
    gaussians = Gaussians(
        means=centres[ids] + places * sides[ids],
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(num, 1),
        log_scales=scales.log(),
        logit_opacities=torch.full((num,), 3.0),
        sh0=torch.zeros(num, 1, 3),
        shN=torch.zeros(num, 0, 3),
    )
    return gaussians, ids


def make_camera(index: int, count: int) -> Camera:
    """A camera near the walls that looks at the middle."""
    angle, height = 2.399963 * index, 1.2 * ((index + 0.5) / count - 0.5)  # by the golden angle
    position = torch.tensor([1.05 * math.cos(angle), height, 1.05 * math.sin(angle)])
    forward = -position / position.norm()
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), forward)
    right = right / right.norm()
    R = torch.stack([right, torch.linalg.cross(forward, right), forward])
    viewmat = torch.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = R, -R @ position
    K = torch.tensor([[0.7 * WIDTH, 0, WIDTH / 2], [0, 0.7 * WIDTH, HEIGHT / 2], [0, 0, 1]])
    return Camera(viewmat, K, WIDTH, HEIGHT)


@torch.no_grad()
def draw_masks(gaussians: Gaussians, ids: Int64[Tensor, "N"], camera: Camera, generator: torch.Generator) -> ViewMasks:
    """Exact masks of a view, by the box that shows most, with ids in random order."""
    shown = torch.nn.functional.one_hot(ids, BOXES + 1).float()
    names = torch.randperm(BOXES + 1, generator=generator) + 1
    return ViewMasks(camera, [names[render_features(gaussians, camera, features=shown).image.argmax(-1)].int()])


def clock(work: Callable[[], T]) -> tuple[T, list[float]]:
    """The result, and seconds of the processor and of the clock."""
    start, began = time.process_time(), time.perf_counter()
    result = work()
    return result, [time.process_time() - start, time.perf_counter() - began]


def peak_mib() -> float:
    """Largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def repeat(weights: MaskWeights, num_views: int) -> MaskWeights:
    """The weights of as many views, by going over them again; copies, so that memory is that of as many."""
    layers = [weights.layers[index % weights.num_views] for index in range(num_views)]
    copies = [
        replace(layer, view=view, rows=layer.rows.clone(), masks=layer.masks.clone(), weights=layer.weights.clone())
        for view, layer in enumerate(layers)
    ]
    return MaskWeights(weights.num_gaussians, num_views, copies)


def measure(num_views: int, num_gaussians: int, num_rendered: int) -> dict[str, object]:
    """One row."""
    generator = torch.Generator().manual_seed(0)
    gaussians, ids = make_scene(num_gaussians, generator)
    cameras = [make_camera(index, num_rendered) for index in range(num_rendered)]
    drawn = [draw_masks(gaussians, ids, camera, generator) for camera in cameras]
    before = peak_mib()

    def render(values: Float[Tensor, "N D"], camera: Camera) -> Float[Tensor, "H W D"]:
        return render_features(gaussians, camera, features=values).image

    def views() -> Iterator[ViewMasks]:
        yield from drawn

    weights, collecting = clock(lambda: collect_weights(render, views(), num_gaussians))
    if num_rendered < num_views:
        weights = repeat(weights, num_views)
        collecting = [seconds * num_views / num_rendered for seconds in collecting]
    joined, joining = clock(lambda: join_masks(weights, gaussians.means, JoinOptions()))
    things, assigning = clock(lambda: assign_things(weights, joined))
    seen = things.instance_ids > 0
    table = torch.zeros(BOXES + 1, len(things) + 1)
    table.index_put_((ids[seen], things.instance_ids[seen].long()), torch.ones(1), accumulate=True)
    union = table.sum(1, keepdim=True) + table.sum(0) - table
    shown = table.sum(1) > 0
    found = ((table / union.clamp_min(1)).amax(1) >= 0.5)[shown]
    return {
        "views": num_views,
        "rendered": num_rendered,
        "gaussians": num_gaussians,
        "weights": collecting,
        "join": joining,
        "members": assigning,
        "peak": peak_mib(),
        "before": before,
        "entries": sum(len(layer.rows) for layer in weights.layers),
        "found": f"{int(found.sum())} of {int(shown.sum())}",
    }


def main() -> None:
    """Prints a table."""
    options = tyro.cli(Options, description=Options.__doc__)
    if options.alone:
        views, gaussians = map(int, options.sizes[0].split(","))
        print(json.dumps(measure(views, gaussians, min(views, options.rendered or views))))
        return
    rows = []
    for size in options.sizes:
        command = [sys.executable, __file__, "--alone", "--sizes", size]
        command += [] if options.rendered is None else ["--rendered", str(options.rendered)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(result, file=sys.stderr, flush=True)
        steps = [f"{result[step][0]:.0f} / {result[step][1]:.0f}" for step in ("weights", "join", "members")]
        memory = f"{result['peak']:,.0f} ({result['before']:,.0f})"
        entries = f"{result['entries'] / 1e6:.1f}"
        views, gaussians = f"{result['views']} ({result['rendered']})", f"{result['gaussians']:,}"
        rows.append([views, gaussians, entries, *steps, memory, result["found"]])
    header = ["views (rendered)", "Gaussians", "entries, millions", "weights", "joining", "memberships"]
    header += ["peak, MiB (before)", "found"]
    print(f"Seconds of the processor / of the clock, {torch.get_num_threads()} threads\n")
    print(markdown_table(header, rows))


if __name__ == "__main__":
    run_door(main)
