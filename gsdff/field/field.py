"""A scene that can be asked: Gaussians with features, their basis, words as vectors, photos to look from.

field = open_field(Path("runs/demo"))       # or a PLY of `python -m gsdff.export`, its sidecar beside it
text = field.encode_text(["mug", "table"])  # [2, T]
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.config.choices import TEACHERS
from gsdff.config.options import DataConfig, TeacherConfig
from gsdff.data import load_scene
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.io.ply import read_ply
from gsdff.io.runs import LoadedRun, RunFolder, check_poses, load_run
from gsdff.io.sidecar import SETTINGS, Sidecar, sidecar_path
from gsdff.latents import MIN_NORM
from gsdff.render import render_features
from gsdff.scene import Scene, View
from gsdff.teachers import Teacher, open_teacher
from gsdff.teachers.basis import Basis
from gsdff.teachers.texts import TextVectors

log = logging.getLogger("gsdff")

NAME_PLACE = "{}"
"""Stands for the name in a prompt."""


@dataclass(frozen=True, eq=False)
class Field:
    """What `open_field` found. Photos, teacher and words are read when they are first needed."""

    source: Path
    """The run's folder or the PLY."""
    gaussians: Gaussians
    """With features, in the input's world frame, on the field's device."""
    basis: Basis
    """With B on the field's device."""
    teacher_config: TeacherConfig
    data: Path | None
    """The folder of photos; None for a PLY that was given none."""
    dataset: DataConfig
    run: LoadedRun | None = None
    """None for a PLY."""
    sidecar: Sidecar | None = None
    """None for a run."""

    @property
    def device(self) -> torch.device:
        """Where the Gaussians are."""
        return self.gaussians.means.device

    @property
    def B(self) -> Float[Tensor, "T K"]:
        """The basis as a tensor: the feature of latents z is B z."""
        return self.basis.B

    @property
    def latents(self) -> Float[Tensor, "N K"]:
        """Of the Gaussians."""
        assert self.gaussians.features is not None, "open_field refuses Gaussians without features"
        return self.gaussians.features

    @cached_property
    def scene(self) -> Scene:
        """Photos and cameras; `UserError` where there are none, or the run was trained on other poses."""
        if self.data is None:
            raise UserError(f"{self.source}: a PLY holds no photos to look from; name their folder with --data")
        scene = load_scene(self.data, self.dataset)
        if self.run is not None:
            check_poses(self.run, scene)
        return scene

    @cached_property
    def teacher(self) -> Teacher:
        """The 2D network the features come from."""
        kind = TEACHERS.get(self.teacher_config.name)
        scene = self.scene if kind is not None and kind.reads_scene else None
        teacher = open_teacher(self.teacher_config, scene, self.device)
        assert teacher is not None, "features have a teacher"
        return teacher

    @cached_property
    def vocabulary(self) -> TextVectors | None:
        """All names it can be asked for; None where any words will do. `UserError` where that cannot be found out."""
        kind = TEACHERS.get(self.teacher_config.name)
        if kind is not None and kind.encodes_text:
            return None
        if self.sidecar is None:
            vocabulary = self.teacher.vocabulary
            for vector in vocabulary.vectors.values():
                self._check_texts(vector)
            return vocabulary
        if self.sidecar.texts is None:
            raise UserError(
                f"{sidecar_path(self.source)}: has no text vectors ({self.sidecar.no_texts}); export the run again, "
                "or ask by a pixel, a box or a Gaussian"
            )
        return TextVectors(f"{self.source} ({self.basis.teacher} teacher)", self.sidecar.texts)

    def knows(self, name: str) -> bool:
        """Whether the field can be asked for this name."""
        return self.vocabulary is None or self.vocabulary.knows(name)

    def encode_text(self, names: Sequence[str], prompts: Sequence[str] = ()) -> Float[Tensor, "Q T"]:
        """Unit vectors of names, on the field's device.

        With `prompts` ("a photo of a {}") a name's vector is the mean of those of all its phrases, brought to unit
        length; without, the teacher's own way is taken. `UserError` for a name that a closed vocabulary lacks, with
        those it has, and for prompts where only names are known.
        """
        if (vocabulary := self.vocabulary) is not None:
            if not vocabulary.vectors:
                raise UserError(
                    f"{self.source}: its {self.basis.teacher} teacher knows no text; ask by a pixel, a box or a "
                    "Gaussian, or train with a teacher that does (clip, lseg, or precomputed with text_features.npz)"
                )
            if prompts:
                raise UserError(
                    f"{self.source}: its {self.basis.teacher} teacher knows names, no sentences; leave --prompt away"
                )
            return vocabulary.look_up(names).to(self.device)
        if prompts:
            phrases = [prompt.replace(NAME_PLACE, name) for name in names for prompt in prompts]
            vectors = self.teacher.phrases(phrases).unflatten(0, (len(names), len(prompts))).mean(1)
        else:
            vectors = self.teacher.text(names)
        self._check_texts(vectors)
        return F.normalize(vectors, dim=1, eps=MIN_NORM).to(self.device)

    def view(self, name: str | int) -> View:
        """A photo by its name or index (`find_view`)."""
        return find_view(self.scene, name)

    def render(self, view: View, values: Float[Tensor, "N D"] | None = None) -> Float[Tensor, "H W D"]:
        """The latents, or other values of the Gaussians, blended as the view sees them; zero where nothing is."""
        working = self.gaussians.to_working_frame(self.scene.frame)
        camera = view.camera.to(self.device)
        with torch.no_grad():
            return render_features(working, camera, features=values).image

    def with_gaussians(self, gaussians: Gaussians) -> "Field":
        """This field of other Gaussians; what was read of it stays read."""
        field, found = replace(self, gaussians=gaussians), vars(self)
        vars(field).update({name: found[name] for name in ("scene", "teacher", "vocabulary") if name in found})
        return field

    def _check_texts(self, vectors: Float[Tensor, "*S T"]) -> None:
        if vectors.shape[-1] != len(self.B):
            raise UserError(
                f"{self.source}: the {self.teacher_config.name} teacher's texts have {vectors.shape[-1]} channels, its "
                f"features {len(self.B)}; bring the teacher they were distilled from"
            )


def open_field(path: Path, device: torch.device | str = "cpu", *, data: Path | None = None) -> Field:
    """The field of a run, as far as it was trained, or of a PLY that `gsdff.export` wrote, with its sidecar.

    Both are in the input's world frame, so a run and its export are the same field to the bit. `data` is the folder of
    photos for a PLY; for a run it takes the place of the one it was trained on. Raises `UserError` for what is
    neither, has no features, or has a basis of another number of channels.
    """
    return _of_ply(path, device, data) if path.is_file() else _of_run(path, device, data)


def find_view(scene: Scene, name: str | int) -> View:
    """A photo by its name, with or without folder and suffix, or by its index in name order."""
    views = scene.views
    if isinstance(name, str):
        named = [view for view in views if view.name == name] or [view for view in views if view.stem == name]
        if len(named) == 1:
            return named[0]
        if named:
            raise UserError(f"--view {name}: several photos are named so: {', '.join(view.name for view in named)}")
    index = int(name) if isinstance(name, int) or (name.isascii() and name.isdigit()) else -1
    if not 0 <= index < len(views):
        near = get_close_matches(str(name), [view.name for view in views], n=3) or [views[0].name]
        raise UserError(
            f"--view {name}: expected an index from 0 to {len(views) - 1} or the name of a photo of "
            f"{scene.root}, such as {', '.join(near)}"
        )
    return views[index]


def describe_run(run: LoadedRun) -> Sidecar:
    """What goes beside a PLY of this run; texts that cannot be had are left out, which is said."""
    return describe_field(field_of_run(run, "cpu"))


def describe_field(field: Field) -> Sidecar:
    """What goes beside a PLY of this field: `describe_run` of a run's, the sidecar of a PLY's."""
    if field.sidecar is not None:
        return field.sidecar
    texts, no_texts = None, ""
    try:
        texts = None if field.vocabulary is None else field.vocabulary.vectors
    except UserError as error:
        no_texts = str(error)
        log.warning("%s: exported without its words, the PLY cannot be asked by text: %s", field.source, error)
    settings = {name: getattr(field.teacher_config, name) for name in SETTINGS}
    teacher = TeacherConfig(field.teacher_config.name, **settings)
    return Sidecar(field.basis, teacher, texts, no_texts, field.gaussians.rasterize_mode, field.dataset.downscale)


def _of_run(path: Path, device: torch.device | str, data: Path | None) -> Field:
    if not path.exists():
        raise UserError(f"{path}: expected a run's folder or a PLY written by `python -m gsdff.export`, there is none")
    return field_of_run(load_run(path), device, data)


def field_of_run(run: LoadedRun, device: torch.device | str, data: Path | None = None) -> Field:
    """`open_field` of a run that is in memory."""
    if run.gaussians.features is None:
        raise UserError(
            f"{run.folder}: has no features to ask; give it some with "
            f"`python -m gsdff.train --stage1-from {run.folder} --teacher clip` (or lseg, dino, ...)"
        )
    basis_path = RunFolder(run.folder).basis
    basis = Basis.load(basis_path)
    gaussians = run.gaussians.to_input_frame(run.frame)
    _check_channels(gaussians, basis, run.folder, basis_path)
    return Field(
        source=run.folder,
        gaussians=gaussians.to(device),
        basis=replace(basis, B=basis.B.to(device)),
        teacher_config=run.config.teacher,
        data=data or run.config.data,
        dataset=run.config.dataset,
        run=run,
    )


def _of_ply(path: Path, device: torch.device | str, data: Path | None) -> Field:
    gaussians = read_ply(path)
    if gaussians.features is None:
        raise UserError(
            f"{path}: expected features, it has no semantic_0, ... properties; export a run that has them with "
            "`python -m gsdff.export RUN`"
        )
    sidecar = Sidecar.load(sidecar_path(path))
    _check_channels(gaussians, sidecar.basis, path, sidecar_path(path))
    return Field(
        source=path,
        gaussians=replace(gaussians, rasterize_mode=sidecar.rasterize_mode).to(device),
        basis=replace(sidecar.basis, B=sidecar.basis.B.to(device)),
        teacher_config=sidecar.teacher,
        data=data,
        dataset=DataConfig(downscale=sidecar.downscale),
        sidecar=sidecar,
    )


def _check_channels(gaussians: Gaussians, basis: Basis, source: Path, basis_path: Path) -> None:
    got, expected = gaussians.features.shape[1], basis.B.shape[1]
    if got != expected:
        raise UserError(
            f"{basis_path}: a basis of {expected} channels does not go with {source}, whose features have {got}; "
            "bring the file that was written with it, or export again"
        )
