"""A scene for a viewer, with known results of queries and everything that a run may keep of its photos."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from tiny_answers import write_asked_run
from tiny_run import TinyRun, open_field
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.field.query import Query
from gsdff.field.search import prepare
from gsdff.io.runs import RunFolder
from gsdff.viewer.shared_scene import SharedScene, open_shared_scene
from gsdff.viewer.visible_scene import VisibleScene

NAMES = ("chair", "lamp", "wall")
"""Words of the tiny scenes."""


@dataclass(frozen=True)
class TinyViewer:
    """A run and the scene that a viewer opens of it."""

    run: TinyRun
    shared: SharedScene


def write_tiny_viewer(root: Path, generator: torch.Generator) -> TinyViewer:
    """`write_asked_run` with teacher maps and masks of its training views."""
    run = write_asked_run(root, generator)
    shared = open_shared_scene(open_field(run.folder))
    (run.folder / "features").mkdir()
    index = {"fingerprint": shared.field.require_features().fingerprint}
    (run.folder / "features" / "index.json").write_text(json.dumps(index))
    RunFolder(run.folder).masks.mkdir()
    for i in shared.field.scene.train_ids:
        view = shared.views[i]
        latents = torch.randn(11, 15, 3, generator=generator)
        latents[0] = 0  # the teacher has no feature there
        for folder in (run.folder / "features", RunFolder(run.folder).masks):
            (folder / view.key).parent.mkdir(exist_ok=True)
        np.save(run.folder / "features" / f"{view.key}.npy", latents.half().numpy())
        labels = np.zeros((22, 30), np.uint16)
        labels[5:, :12], labels[5:, 12:] = 1, 2
        Image.fromarray(labels).save(RunFolder(run.folder).masks / f"{view.key}.png")
    return TinyViewer(run, shared)


def see(
    shared: SharedScene,
    query: Query | None = None,
    *,
    classes: tuple[str, ...] = (),
    marked: Bool[Tensor, "N"] | None = None,
    hidden: Bool[Tensor, "N"] | None = None,
) -> VisibleScene:
    """What is drawn for a question about a scene, with some Gaussians marked and some left out; by default none."""
    nothing = torch.zeros(len(shared.gaussians), dtype=torch.bool, device=shared.device)
    ids = (nothing if hidden is None else hidden).logical_not().nonzero()[:, 0]
    gaussians = shared.gaussians.to_working_frame(shared.frame).map(lambda tensor: tensor[ids])
    return VisibleScene(
        gaussians,
        (nothing if marked is None else marked)[ids],
        None if query is None else prepare(shared.field, query),
        prepare(shared.field, Query(classes=classes)) if classes else None,
        ids=ids,
    )


def look_at(shared: SharedScene, width: int = 40, height: int = 30) -> Camera:
    """Camera of a training photo, in a window of another shape."""
    camera = shared.views[3].camera
    K = torch.tensor([[32.0, 0, width / 2], [0, 32, height / 2], [0, 0, 1]])
    return Camera(camera.viewmat, K, width, height)
