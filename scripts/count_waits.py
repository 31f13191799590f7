"""Counts host waits, launches and bytes of a training step and of a query, on the pretended card of the tests.

    python scripts/count_waits.py --name "this version" [--out docs/benchmarks/waits.json]

Adds a column of that name to the JSON, and writes the table of all columns as Markdown beside it. Another version is
counted by its own checkout first on PYTHONPATH. A launch is an operation of torch's or a kernel; bytes are those that
go between host and card.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import tyro

from gsdff.config.options import FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.config.smoothing import BilateralFilterConfig, GraphConfig, MaskConfig, SegmentFilterConfig, SmoothingConfig
from gsdff.field.relevancy import relevancy
from gsdff.io.runs import RunFolder
from gsdff.scene import Scene
from gsdff.training.initialise import initial_gaussians
from gsdff.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
WIDTH, HEIGHT = 480, 270
"""Size of the photos; waits and launches do not depend on it."""
PICTURE = (1080, 1920)
"""Size of the queried picture."""
CHANNELS, LATENTS = 48, 32
STAGE1 = Stage1Config(steps=24, sh_degree=3, refine_start=4, refine_every=100, refine_stop=12)
SMOOTHING = {
    "default": SmoothingConfig(),
    "masks, filtered targets": SmoothingConfig(sam=SegmentFilterConfig("target")),
    "masks, mean of each segment": SmoothingConfig(sam=SegmentFilterConfig("render")),
    "bilateral": SmoothingConfig(bilateral=BilateralFilterConfig("render", window=5)),
    "graph": SmoothingConfig(graph=GraphConfig("consistency")),
    "masks, filtered targets, without room on the card": SmoothingConfig(sam=SegmentFilterConfig("target")),
}
INTRODUCTION = """# What a step costs around its kernels

Host waits, launches and bytes per training step, counted, not timed: on the card that the tests pretend
(`tests/pretended`), with photos of 480x270, K = 32 and all views seen once. A host that waits cannot hand the card its
next work. The wait that is left is gsplat's, for the number of intersections of Gaussians and tiles, by which it
allocates. Waits and launches do not depend on the size of the photos. Written by `python scripts/count_waits.py`.

"""


@dataclass(frozen=True)
class Counted:
    """Means per step."""

    waits: float
    launches: float
    bytes_up: float
    bytes_down: float


@dataclass(frozen=True)
class Args:
    """Counts on the pretended card."""

    name: str
    """Name of the column."""
    out: Path = ROOT / "docs" / "benchmarks" / "waits.json"
    """JSON with the columns of all versions."""


def count(card: Any, act: Callable[[], object], times: int = 1) -> Counted:
    """Means of some repetitions."""
    card.clear()
    for _ in range(times):
        act()
    bytes_up, bytes_down = (sum(counter.values()) / times for counter in (card.bytes_up, card.bytes_down))
    return Counted(card.num_waits / times, card.num_launches / times, bytes_up, bytes_down)


def large_scene() -> Scene:
    """The tests' tiny scene with larger photos, four of them to be learned."""
    from tiny_scene import tiny_scene

    scene = tiny_scene()
    scale = torch.tensor([WIDTH / scene.views[0].camera.width, HEIGHT / scene.views[0].camera.height, 1.0])
    photo = torch.full((HEIGHT, WIDTH, 3), 100, dtype=torch.uint8)
    views = [
        replace(
            view, image=photo, camera=replace(view.camera, K=view.camera.K * scale[:, None], width=WIDTH, height=HEIGHT)
        )
        for view in scene.views[:5]
    ]
    return replace(scene, views=views)


@contextmanager
def fused_loss(card: Any) -> Iterator[None]:
    """The image loss in its four kernels, if this version has them; the CPU's kernel computes what they would."""
    try:
        from gsdff.losses import cuda, photometric
    except ImportError:
        yield
        return
    from pretended.device import CardTensor, inner

    from gsdff.losses.cpu import measure

    def stand_in(image: torch.Tensor, target: torch.Tensor, ssim_weight: float) -> tuple[torch.Tensor, ...]:
        *means, gradient = measure(inner(image), inner(target), ssim_weight)
        card.launches["gsdff/losses/cuda.py"] += 6  # four kernels, a sum and a quotient
        return tuple(CardTensor(torch.as_tensor(value, dtype=torch.float32)) for value in (*means, gradient))

    with mock.patch.object(photometric, "_runs_triton", lambda: True), mock.patch.object(cuda, "measure", stand_in):
        yield


def count_training(card: Any, folder: Path) -> Iterator[tuple[str, Counted]]:
    """Steps of both stages."""
    scene, maps = large_scene(), folder / "maps"
    maps.mkdir()
    for view in scene.views:
        np.save(maps / f"{view.stem}.npy", np.random.default_rng(0).normal(size=(CHANNELS, 34, 60)).astype(np.float32))
    for name, smoothing in SMOOTHING.items():
        config = TrainConfig(
            teacher=TeacherConfig("precomputed", maps), features=FeatureConfig(LATENTS), stage1=STAGE1,
            stage2=Stage2Config(steps=8), smoothing=smoothing, masks=MaskConfig("felzenszwalb", source="photo"),
        )  # fmt: skip
        trainer = Trainer(config, scene, torch.device("cuda"), initial_gaussians(config, scene))
        if name.endswith("without room on the card"):
            trainer.data.room = 0
        if name == "default":
            for _ in range(4):
                trainer.advance()
            yield "stage 1, while gradients are summed for refinement", count(card, trainer.advance, 4)
            trainer.step = STAGE1.refine_stop
            yield "stage 1, later", count(card, trainer.advance, 4)
        trainer.step = STAGE1.steps
        run = RunFolder(folder / name)
        run.path.mkdir()
        trainer.start_stage2(run)
        for _ in range(16 if name != "default" else 4):  # all strips of all views, where filtered maps are read
            trainer.advance()
        yield f"stage 2, {name}", count(card, trainer.advance, 4)


def count_query(card: Any) -> Iterator[tuple[str, Counted]]:
    """Relevancy of a whole picture."""
    latents, B = torch.ones(*PICTURE, LATENTS, device="cuda"), torch.eye(LATENTS, device="cuda")
    texts = torch.ones(5, LATENTS, device="cuda")
    yield "relevancy of a 1080p picture, 4 negatives", count(card, lambda: relevancy(latents, texts[:1], texts[1:], B))


def write_table(columns: dict[str, dict[str, dict[str, float]]]) -> str:
    """Waits, launches and megabytes up, of every version beside one another."""
    names = list(columns)
    lines = ["| what | " + " | ".join(f"waits, {name} | launches | MB up" for name in names) + " |"]
    lines.append("|---" * (1 + 3 * len(names)) + "|")
    for row in columns[names[-1]]:
        cells = []
        for name in names:
            found = columns[name].get(row)
            cells += ["", "", ""] if found is None else [
                f"{found['waits']:g}", f"{found['launches']:.0f}", f"{found['bytes_up'] / 1e6:.1f}"
            ]  # fmt: skip
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    from pretended.card import pretended_card

    with tempfile.TemporaryDirectory() as folder, pretended_card() as card, fused_loss(card):
        rows = dict(count_query(card)) | dict(count_training(card, Path(folder)))
    columns = json.loads(args.out.read_text()) if args.out.exists() else {}
    columns[args.name] = {row: asdict(counted) for row, counted in rows.items()}
    args.out.write_text(json.dumps(columns, indent=1) + "\n")
    table = write_table(columns)
    args.out.with_suffix(".md").write_text(INTRODUCTION + table)
    print(table)


if __name__ == "__main__":
    main()
