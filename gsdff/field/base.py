"""The contents of a field: Gaussians, the meaning of their features, photos to look from; rendering and text vectors.

`gsdff.field.field.Field` is the public object, built on this one.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.choices import TEACHERS, TeacherKind
from gsdff.config.options import DataConfig, TeacherConfig
from gsdff.data import load_scene
from gsdff.editing.apply import EditReport
from gsdff.errors import UserError, command, shown
from gsdff.field.checks import check_views
from gsdff.field.placement import MIN_OPACITY, find_misplacement, fit_frame
from gsdff.field.query import NAME_PLACE
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import PcaBasis, fit_pca
from gsdff.io.refined_poses import at_poses
from gsdff.io.runs import LoadedRun, check_poses, warn_of_assumption, warn_of_turned_poses
from gsdff.io.sidecar import SETTINGS, Sidecar, sidecar_path
from gsdff.latents import MIN_NORM, Basis
from gsdff.origin import OriginChoice, resolve_origin, warn_if_coarse
from gsdff.render import Rendered, render_features, render_rgb
from gsdff.run_folder import RunFolder
from gsdff.scene import Scene, View, find_view
from gsdff.teachers import Teacher, open_teacher
from gsdff.teachers.texts import TextVectors
from gsdff.words import as_words

log = logging.getLogger("gsdff")

MOST_PHOTOS = 10**9
"""Larger numbers are no index of a photo."""

T = TypeVar("T")


@dataclass(eq=False)
class FieldBase:
    """A scene of N Gaussians with optional features. Photos, teacher and words are read when first needed."""

    source: Path
    """The run's folder or the PLY that was loaded."""
    gaussians: Gaussians
    """In the input's world frame."""
    basis: Basis | None = None
    """Basis of the features, with B on the Gaussians' device; None if the features have no known meaning."""
    why_no_features: str = "the scene has no features"
    """Message of the `UserError` for a query if `basis` is None."""
    data: Path | None = None
    """Folder of the photos; None for a PLY that was loaded without one."""
    dataset: DataConfig = field(default_factory=DataConfig)
    """Options by which the photos are read."""
    says_made_from: bool = True
    """Whether the training, or the call that loaded it, chose what files of photos show (`dataset.made_from`)."""
    run: LoadedRun | None = None
    """The run as read from its checkpoint; None for a PLY."""
    sidecar: Sidecar | None = None
    """The file beside a PLY; None for a run, and for a PLY without one."""
    edits: tuple[EditReport, ...] = ()
    """Reports of the edits that made this field of the one that was loaded."""
    read: dict[str, Any] = field(default_factory=dict, repr=False)
    """Photos, teacher and words read so far; shared with the fields that edits make of this one."""

    @property
    def device(self) -> torch.device:
        """Device of the Gaussians."""
        return self.gaussians.means.device

    @property
    def has_features(self) -> bool:
        """Whether features can be queried: they are there, and so is their basis."""
        return self.basis is not None

    @property
    def latents(self) -> Float[Tensor, "N K"]:
        """Latent features of the Gaussians; raises `UserError` if there are none to query."""
        self.require_features()
        assert self.gaussians.features is not None
        return self.gaussians.features

    @property
    def reliability(self) -> Float[Tensor, "N"]:
        """Agreement of the views on what each Gaussian shows, in [0, 1]: 0 for what fewer than two views show.

        Raises `UserError` if it was not measured: without features, and in runs and files of earlier versions.
        """
        if self.gaussians.reliability is None:
            raise UserError(
                f"{self.source}: the reliability of its Gaussians was not measured; distil features again with "
                f"`{command('train', '--stage1-from', self.source)}`"
            )
        return self.gaussians.reliability

    @property
    def B(self) -> Float[Tensor, "T K"]:
        """Basis as a tensor: the T-dimensional feature of latents z is B z."""
        return self.require_features().B

    def require_features(self) -> Basis:
        """Returns the basis; raises `UserError` with the reason if features cannot be queried."""
        if self.basis is None:
            raise UserError(self.why_no_features)
        return self.basis

    @property
    def teacher_config(self) -> TeacherConfig:
        """Options of the teacher that the features come from."""
        if self.run is not None:
            return self.run.config.teacher
        return TeacherConfig("none") if self.sidecar is None else self.sidecar.teacher

    @property
    def background(self) -> tuple[float, float, float]:
        """Background colour of the training, in [0, 1]; black for a PLY."""
        return self.dataset.solid_background

    # --- photos and frames

    @property
    def scene(self) -> Scene:
        """Photos and cameras; raises `UserError` if there are none or the run was trained on other poses."""
        return self._read("scene", self._load_scene)

    def find_view(self, name: str | SupportsIndex | View) -> View:
        """Photo of a name, a stem or an index in name order (`gsdff.scene.find_view`); a `View` stays itself."""
        if isinstance(name, View):
            return name
        try:
            number = 0 if isinstance(name, str) else index(name)
        except TypeError:
            number = None
        if number is None or abs(number) > MOST_PHOTOS:
            raise UserError(f"`view` {shown(name)}: expected the name of a photo or its index")
        return find_view(self.scene, name)

    def choose_views(
        self, names: Sequence[str | SupportsIndex] | str | SupportsIndex, *, all_held_out: bool = False
    ) -> list[View]:
        """Photos by name or index, each once, or all held-out ones; raises `UserError` for both, or no such photo."""
        chosen = [names] if isinstance(names, str | SupportsIndex) else names
        check_views(chosen, all_held_out)
        scene = self.scene
        if all_held_out and not scene.test_ids:
            raise UserError(f"`all_held_out`: {scene.root} holds none out; name some as `views`")
        views = [scene.views[i] for i in scene.test_ids] if all_held_out else map(self.find_view, chosen)
        return list({view.name: view for view in views}.values())

    @property
    def has_photos(self) -> bool:
        """Whether photos can be loaded; logs the reason once if they cannot."""
        return self._read("has_photos", self._try_scene)

    @property
    def frame(self) -> WorldFrame:
        """Working frame of the cameras; without photos that of the run, or one fitted to the Gaussians."""
        if self.has_photos:
            return self.scene.frame
        return self._read("frame", lambda: fit_frame(self.gaussians) if self.run is None else self.run.frame)

    @property
    def working(self) -> Gaussians:
        """The Gaussians in the working frame, in which they are rendered."""
        return self.gaussians.to_working_frame(self.frame)

    @property
    def trained(self) -> Gaussians:
        """The Gaussians as they were trained, in the working frame; `working` for a PLY or an edited field.

        The way through the input's frame, which makes a run and its PLY the same field, costs the last bits.
        """
        return self.working if self.run is None or self.edits else self.run.gaussians.to(self.device)

    # --- rendering

    def draw(self, camera: Camera, background: Sequence[float] | None = None) -> Rendered:
        """Colours from a camera of the working frame, over the training's background or another colour."""
        color = torch.tensor(tuple(background or self.background), device=self.device)
        with torch.no_grad():
            return render_rgb(self.working, camera.to(self.device), background=color)

    def blend(self, view: View | Camera, values: Float[Tensor, "N D"] | None = None) -> Float[Tensor, "H W D"]:
        """Latents, or other values of the Gaussians, blended as a view shows them; zero where nothing is."""
        camera = view.camera if isinstance(view, View) else view
        features = self.gaussians.features if values is None else values
        if features is None:
            raise UserError(self.why_no_features)
        with torch.no_grad():
            return render_features(self.working, camera.to(self.device), features=features).image

    @property
    def feature_colors(self) -> PcaBasis:
        """Colours of features, the same in all views; raises `UserError` without features."""
        return self._read("feature_colors", self._fit_feature_colors)

    # --- words

    @property
    def teacher(self) -> Teacher:
        """The 2D network that the features come from; raises `UserError` if it cannot be opened."""
        return self._read("teacher", self._open_teacher)

    @property
    def vocabulary(self) -> TextVectors | None:
        """All names that can be queried; None if any words can. Raises `UserError` if the names cannot be had."""
        return self._read("vocabulary", self._load_vocabulary)

    def knows(self, name: str) -> bool:
        """Whether this name can be queried; raises `UserError` for what is no text."""
        if not isinstance(name, str):
            raise UserError(f"`name`: expected a text, got {shown(name)}")
        return self.vocabulary is None or self.vocabulary.knows(name)

    def encode_text(self, names: str | Sequence[str], prompts: str | Sequence[str] = ()) -> Float[Tensor, "Q T"]:
        """Unit vectors of names, on the field's device.

        With `prompts` ("a photo of a {}") a name's vector is the normalised mean over all of its phrases; without, the
        teacher's own prompts are used. Raises `UserError` for a name that a closed vocabulary lacks, with the names
        that it has, and for prompts if only names are known.
        """
        names, prompts = as_words(names, "names"), as_words(prompts, "prompts")
        if not names:
            raise UserError("`names`: expected one text or several, got none")
        basis = self.require_features()
        if (vocabulary := self.vocabulary) is not None:
            if not vocabulary.vectors:
                raise UserError(
                    f"{self.source}: its {basis.teacher} teacher knows no text; query by a pixel, a box or a "
                    "Gaussian, or train with a teacher that does (clip, lseg, or precomputed with text_features.npz)"
                )
            if prompts:
                raise UserError(
                    f"{self.source}: its {basis.teacher} teacher knows names, no sentences; leave `prompts` out"
                )
            return vocabulary.look_up(names).to(self.device)
        if prompts:
            phrases = [prompt.replace(NAME_PLACE, name) for name in names for prompt in prompts]
            vectors = self.teacher.phrases(phrases).unflatten(0, (len(names), len(prompts))).mean(1)
        else:
            vectors = self.teacher.text(names)
        self._check_texts(vectors)
        return F.normalize(vectors, dim=1, eps=MIN_NORM).to(self.device)

    def for_files(self, origin: OriginChoice = "auto") -> Gaussians:
        """The Gaussians as files have them: on the CPU, relative to the origin that is chosen.

        `auto` is the option of the run, or the origin of the PLY that was loaded. Warns of positions that get coarse.
        """
        if origin == "auto" and self.run is not None:
            origin = self.run.config.origin
        gaussians = self.gaussians.to("cpu")
        moved = gaussians.relative_to(resolve_origin(origin, gaussians.origin))
        if moved is not gaussians:
            frame = fit_frame(gaussians)
            warn_if_coarse(frame.centre, 2 * frame.scale, moved.origin)
        return moved

    def describe(self) -> Sidecar | None:
        """The file to write beside a PLY of this field, with all words it can be queried for; None without a basis.

        Words that cannot be had (a teacher whose files are gone) are left out, with a warning.
        """
        if self.basis is None:
            return None
        if self.sidecar is not None:
            return replace(self.sidecar, poses=self.dataset.poses)  # it may have been read with others
        texts, no_texts = None, ""
        try:
            texts = None if self.vocabulary is None else self.vocabulary.vectors
        except UserError as error:
            no_texts = str(error)
            log.warning("%s: exported without its words, the PLY cannot be queried by text: %s", self.source, error)
        settings = {name: getattr(self.teacher_config, name) for name in SETTINGS}
        teacher = TeacherConfig(self.teacher_config.name, **settings)
        mode = self.gaussians.rasterize_mode
        return Sidecar(self.basis, teacher, texts, no_texts, mode, self.dataset.downscale, self.dataset.poses)

    # --- reading

    def _read(self, name: str, load: Callable[[], T]) -> T:
        """Something of the field, loaded once."""
        if name not in self.read:
            self.read[name] = load()
        return self.read[name]

    def _load_scene(self) -> Scene:
        if self.data is None:
            raise UserError(f"{self.source}: a PLY holds no photos to look from; give their folder as `data`")
        scene = load_scene(self.data, self.dataset)
        if self.run is not None:
            check_poses(self.run, scene)
            if not self.says_made_from:
                warn_of_assumption(self.source, scene)
            if not self.run.says_poses and self.dataset.poses == "auto":
                warn_of_turned_poses(self.source, scene)
            if (moved := RunFolder(self.run.folder).poses).is_file():
                scene = at_poses(scene, moved)
        elif complaint := find_misplacement(self.gaussians, scene):
            log.warning("%s: %s", self.source, complaint)
        return scene

    def _try_scene(self) -> bool:
        try:
            _ = self.scene
        except UserError as error:
            log.info("no photos: %s", error)
            return False
        return True

    def _fit_feature_colors(self) -> PcaBasis:
        features = self.gaussians.features
        if features is None:
            raise UserError(self.why_no_features)
        solid = self.gaussians.opacities >= MIN_OPACITY
        return fit_pca(features[solid] if solid.any() else features)

    @property
    def _teacher_kind(self) -> TeacherKind:
        """Row of the teacher in `TEACHERS`; raises `UserError` if the run's options have lost its name."""
        name = self.teacher_config.name
        if name not in TEACHERS:
            raise UserError(
                f"{self.source}: its options name no teacher (config.toml: teacher.name {name!r}), its features come "
                f"from {self.require_features().teacher!r}; put the file back as it was"
            )
        return TEACHERS[name]

    def _open_teacher(self) -> Teacher:
        if self.sidecar is not None and "maps" in self._teacher_kind.reads:
            raise UserError(
                f"{self.source}: its features come from teacher maps, and a PLY does not state their folder; use the "
                "run that it was exported from"
            )
        scene = self.scene if self._teacher_kind.reads_scene else self.read.get("scene")
        teacher = open_teacher(self.teacher_config, scene, self.device)
        assert teacher is not None, "features have a teacher"
        return teacher

    def _load_vocabulary(self) -> TextVectors | None:
        basis = self.require_features()
        if self._teacher_kind.encodes_text:
            return None
        if self.sidecar is None:
            vocabulary = self.teacher.vocabulary
            assert vocabulary is not None, "a teacher without a vocabulary encodes words"
            for vector in vocabulary.vectors.values():
                self._check_texts(vector)
            return vocabulary
        if self.sidecar.texts is None:
            raise UserError(
                f"{sidecar_path(self.source)}: has no text vectors ({self.sidecar.no_texts}); export the run again, "
                "or query by a pixel, a box or a Gaussian"
            )
        return TextVectors(f"{self.source} ({basis.teacher} teacher)", self.sidecar.texts)

    def _check_texts(self, vectors: Float[Tensor, "*S T"]) -> None:
        if vectors.shape[-1] != len(self.B):
            raise UserError(
                f"{self.source}: the {self.teacher_config.name} teacher's texts have {vectors.shape[-1]} channels, its "
                f"features {len(self.B)}; use the teacher they were distilled from"
            )
