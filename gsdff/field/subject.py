"""A scene to edit: a run or a PLY, its features where edits ask, its photos where pictures are wanted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.editing.context import EditContext, Judge
from gsdff.editing.selector import Selector
from gsdff.editing.stylize import open_judge
from gsdff.errors import UserError
from gsdff.field.examples import Pixel
from gsdff.field.field import Field, describe_field, describe_run, open_field
from gsdff.field.query import Asked, Query, answer, prepare
from gsdff.field.relevancy import TEMPERATURE
from gsdff.gaussians import Gaussians
from gsdff.io.ply import read_ply, write_ply
from gsdff.io.runs import LoadedRun, check_poses, load_run
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.render import render_rgb
from gsdff.scene import Scene
from gsdff.selection import Selection

log = logging.getLogger("gsdff")

RIM_SHARE = 0.01
"""What scores less than so much of the threshold is clearly something else, and no part of a rim."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is edited. Photos are read when they are first needed."""

    source: Path
    gaussians: Gaussians
    """In the input's world frame."""
    run: LoadedRun | None
    """None for a PLY."""
    sidecar: Sidecar | None
    """Of a PLY that has one."""
    data: Path | None
    field: Field | None
    """None where no edit asks."""

    @cached_property
    def scene(self) -> Scene:
        """Photos and cameras; `UserError` where there are none."""
        if self.field is not None:
            return self.field.scene
        if self.run is not None:
            scene = load_scene(self.data or self.run.config.data, self.run.config.dataset)
            check_poses(self.run, scene)
            return scene
        if self.data is None:
            raise UserError(f"{self.source}: a PLY holds no photos to look from; name their folder with --data")
        return load_scene(self.data, DataConfig(downscale=1 if self.sidecar is None else self.sidecar.downscale))

    @property
    def background(self) -> tuple[float, float, float]:
        """What the run was trained over; black for a PLY."""
        return (float(self.run is not None and self.run.config.dataset.background == "white"),) * 3

    def select(self, gaussians: Gaussians, selector: Selector) -> Selection:
        """Those of the Gaussians that are meant: a click and a suggested threshold are of the scene before edits.

        With its rim where the selector says so (`select_asked`).
        """
        assert self.field is not None, "a field is opened where an edit asks"
        click = selector.click
        query = Query(
            positives=selector.positives,
            negatives=tuple(selector.negatives or ()),
            only_negatives=selector.only_negatives,
            like=click and Pixel(click.view, click.x, click.y),
            method="cosine" if selector.negatives == () else None,
            temperature=selector.temperature or TEMPERATURE,
            threshold=selector.threshold,
        )
        asked = prepare(self.field, query)
        if query.threshold is None:
            log.info("%s: %s at least %.3f (suggested)", selector, query.way, asked.threshold)
        return select_asked(self.field, gaussians, asked, rim=selector.rim)

    def open_judge(self, model: str | None, pretrained: str | None) -> Judge:
        """This CLIP, by default the teacher's where that is one, loaded; `UserError` where it cannot be."""
        described = self.run.config if self.run is not None else self.sidecar
        if described is not None and described.teacher.name == "clip" and model is None:
            model, pretrained = described.teacher.model, pretrained or described.teacher.pretrained
        return open_judge(model, pretrained, self.gaussians.means.device)

    def edit_context(self, judge: Judge | None) -> EditContext:
        """Training views, for edits that need photos; raises `UserError` if there are no photos."""
        return EditContext(self.scene.frame, [self.scene.views[i].camera for i in self.scene.train_ids], judge)

    def draw(
        self, gaussians: Gaussians, camera: Camera, background: Sequence[float] | None = None
    ) -> Float[Tensor, "H W 3"]:
        """Gaussians of the input's frame as a camera of the scene sees them."""
        color = torch.tensor(background or self.background, device=gaussians.means.device)
        working = gaussians.to_working_frame(self.scene.frame)
        camera = camera.to(gaussians.means.device)
        return render_rgb(working, camera, background=color).image

    def save(self, path: Path, gaussians: Gaussians) -> None:
        """Writes a PLY and, where its features are known, what asks them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.field is not None:
            sidecar = describe_field(self.field)
        else:
            is_described = self.run is not None and gaussians.features is not None
            sidecar = describe_run(self.run) if is_described else self.sidecar
        if sidecar is not None:
            sidecar.save(sidecar_path(path))
        write_ply(path, gaussians)


def select_asked(field: Field, gaussians: Gaussians, asked: Asked, *, rim: bool) -> Selection:
    """Those of the Gaussians, the field's own or what edits made of them, that answer to a question.

    With their rim (`Selection.with_rim`) where that is wanted, but for cosines: a low one does not say that something
    else is meant.
    """
    found = answer(replace(field, gaussians=gaussians), asked)
    if not rim or asked.query.way == "cosine":
        return found.selection
    possible = Selection.from_scores(found.scores, RIM_SHARE * asked.threshold)
    return found.selection.with_rim(gaussians.means, possible)


def open_subject(source: Path, device: str, *, data: Path | None = None, asks: bool) -> Subject:
    """The scene of a run or a PLY; features are needed only where an edit asks."""
    if asks:
        field = open_field(source, device, data=data)
        return Subject(source, field.gaussians, field.run, field.sidecar, data, field)
    if source.is_file():
        gaussians, beside = read_ply(source), sidecar_path(source)
        sidecar = Sidecar.load(beside) if gaussians.features is not None and beside.is_file() else None
        if sidecar is not None:
            gaussians = replace(gaussians, rasterize_mode=sidecar.rasterize_mode)
        return Subject(source, gaussians.to(device), None, sidecar, data, None)
    run = load_run(source)
    gaussians = run.gaussians.to_input_frame(run.frame)
    return Subject(source, gaussians.to(device), run, None, data, None)
