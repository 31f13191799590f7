"""A scene to look at whose answers are known, with all that a run may keep of its photos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny_answers import write_asked_run
from tiny_run import TinyRun, open_field

from gsdff.cameras import Camera
from gsdff.io.runs import RunFolder
from gsdff.viewer.document import Document
from gsdff.viewer.world import World, open_world


@dataclass(frozen=True)
class TinyWorld:
    """A run and what is opened of it."""

    run: TinyRun
    world: World

    def document(self) -> Document:
        """A new one."""
        return Document(self.world.gaussians, self.world.frame, self.world.field)


def write_world(root: Path, generator: torch.Generator) -> TinyWorld:
    """`write_asked_run` with teacher maps and masks of its training views."""
    run = write_asked_run(root, generator)
    world = open_world(open_field(run.folder))
    (run.folder / "features").mkdir()
    RunFolder(run.folder).masks.mkdir()
    for i in world.field.scene.train_ids:
        view = world.views[i]
        latents = torch.randn(11, 15, 3, generator=generator)
        latents[0] = 0  # the teacher says nothing there
        np.save(run.folder / "features" / f"{view.stem}.npy", latents.half().numpy())
        labels = np.zeros((22, 30), np.uint16)
        labels[5:, :12], labels[5:, 12:] = 1, 2
        Image.fromarray(labels).save(RunFolder(run.folder).masks / f"{view.stem}.png")
    return TinyWorld(run, world)


def look_at(world: World, width: int = 40, height: int = 30) -> Camera:
    """From a training photo's place, in a window of another shape."""
    camera = world.views[3].camera
    K = torch.tensor([[32.0, 0, width / 2], [0, 32, height / 2], [0, 0, 1]])
    return Camera(camera.viewmat, K, width, height)
