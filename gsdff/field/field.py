"""The public object: a scene that is rendered, queried, segmented, edited, saved and viewed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

import gsdff
from gsdff.device import choose_device
from gsdff.editing.apply import Edited, apply_edits
from gsdff.editing.context import EditContext, Judge
from gsdff.editing.edit import Edit
from gsdff.editing.selector import Selector
from gsdff.editing.stylize import open_judge
from gsdff.errors import UserError, shown
from gsdff.field.base import FieldBase
from gsdff.field.checks import check_choice, check_path
from gsdff.field.columns import ColumnChoice, make_columns, write_gaussians
from gsdff.field.hit import Hit, default_view
from gsdff.field.objects import SceneObject, draw_things, list_objects, read_things, replace_things, select_thing
from gsdff.field.query import Example, Query, Space
from gsdff.field.rendering import Kind, Rendering, render_kind
from gsdff.field.search import RepeatedSearch, find, prepare
from gsdff.field.segmentation import Segmentation, SegmentationFolder, export_segmentation
from gsdff.field.thing_search import find_things
from gsdff.files.places import check_place
from gsdff.gaussians import Gaussians
from gsdff.io.splat_transform import ENDINGS, find_splat_transform
from gsdff.latents import decode
from gsdff.origin import OriginChoice
from gsdff.run_folder import refuse_source
from gsdff.scene import View
from gsdff.selection import Selection
from gsdff.words import ThingNumber, as_words

log = logging.getLogger("gsdff")

Format = Literal["ply", "splat", "compressed", "spz", "sog", "glb"]
Features = Literal["latent", "decoded", "none"]
BY_ENDING: dict[str, Format] = {".splat": "splat", ".spz": "spz", ".sog": "sog", ".glb": "glb"}


@dataclass(eq=False, repr=False)
class Field(FieldBase):
    """A scene of Gaussians with optional features, as `gsdff.load` and `gsdff.fit` return it.

    Nothing here changes a field: `edit` returns another one.
    """

    def __len__(self) -> int:
        return len(self.gaussians)

    def __repr__(self) -> str:
        features = "no features"
        if self.basis is not None:
            channels, latents = self.basis.B.shape
            features = f"{latents} latent channels of {channels} ({self.basis.teacher} teacher)"
        edits = f", {len(self.edits)} edit{'s' * (len(self.edits) > 1)}" if self.edits else ""
        return f"<gsdff.Field {self.source}: {len(self):,} Gaussians, {features}{edits}, on {self.device}>"

    def _repr_png_(self) -> bytes | None:
        return self.render(default_view(self))._repr_png_() if self.has_photos else None

    def to(self, device: torch.device | str) -> "Field":
        """The same field on another device; raises `UserError` as `gsdff.load` does."""
        device = choose_device(device)
        basis = None if self.basis is None else replace(self.basis, B=self.basis.B.to(device))
        read = {name: value for name, value in self.read.items() if name in ("scene", "has_photos", "frame")}
        return replace(self, gaussians=self.gaussians.to(device), basis=basis, read=read)

    # --- rendering and queries

    def render(self, view: int | str | View | None = None, kind: Kind = "rgb") -> Rendering:
        """Rendering [H, W, D] of a view: of a photo by index or name, or of any `View`; None is the first held-out one.

        `kind` is rgb (D = 3), features (D = K latent channels), depth or alpha (D = 1). Raises `UserError` for a view
        that is not there, and for features that are not.
        """
        return render_kind(self, self._view_or_default(view), kind)

    def query(
        self,
        what: str | Sequence[str] | Example | Query,
        *,
        negatives: str | Sequence[str] = (),
        view: int | str | View | None = None,
        space: Space | None = None,
        **options: Any,
    ) -> Hit:
        """Scores and selection for texts, of which any may fit, for an example, or for a `Query`.

        A thing by its number, "thing:12", or a part of it, "thing:12.2", has memberships as scores, and is itself the
        selection.
        Without `view` every Gaussian is scored. With one every pixel is: rendered features in `space` 2d (default), or
        scores of Gaussians drawn in the view in 3d. `options` are the other fields of `gsdff.Query`: threshold, method,
        prompts, temperature, only_negatives, classes. Raises `UserError` for words that the field does not know.
        """
        if isinstance(what, Query):
            query = what
        elif isinstance(what, Example):
            query = Query(like=what, negatives=negatives, **options)
        else:
            query = Query(what, negatives, **options)
        return self._search(query, view, space)

    def segment(
        self,
        classes: Sequence[str],
        *,
        view: int | str | View | None = None,
        space: Space | None = None,
        prompts: str | Sequence[str] = (),
    ) -> Hit:
        """Best of the classes for every Gaussian or, with `view`, for every pixel; `hit.labels` are their indices."""
        return self._search(Query(classes=classes, prompts=prompts), view, space)

    def select(self, gaussians: Gaussians, selector: Selector) -> Selection:
        """Those of the Gaussians that a selector means; threshold and click are of this field, before edits.

        With their rim (`Selection.with_rim`) if the selector says so.
        """
        return RepeatedSearch(self)(gaussians, selector)

    def objects(self, names: Sequence[str] = ()) -> list[SceneObject]:
        """The things of the run, each with the best of these names, its place and its size.

        No names take those that the teacher knows, if it knows a list. Raises `UserError` if the run has no things:
        it has some if it was trained with `--config sam`.
        """
        return list_objects(self, as_words(names, "names"))

    def instance_ids(self, view: int | str | View | None = None) -> Tensor:
        """The thing of every Gaussian [N] or, with `view`, of every pixel [H, W], int32; 0 for none.

        Numbers are those of `objects`. Raises `UserError` if the run has no things.
        """
        things = read_things(self)
        return things.instance_ids.to(self.device) if view is None else draw_things(self, things, self.find_view(view))

    def select_thing(self, number: int, *, part: int | None = None, rim: bool = False) -> Selection:
        """The Gaussians of a thing by its number in `objects`, with or without its rim, or those of one of its parts.

        Edits take "thing:12", and "thing:12.2" for its second part. Raises `UserError` for numbers that there are not.
        """
        return select_thing(self, ThingNumber(number, part), rim=rim)

    # --- edits

    def edit(
        self,
        *edits: Edit,
        dry_run: bool = False,
        clip_model: str | None = None,
        clip_pretrained: str | None = None,
    ) -> "Field":
        """The field after these edits, in order; `Field.edits` has a report for each.

        A dry run selects and reports, and leaves the Gaussians as they are. `clip_model` and `clip_pretrained` are of
        the CLIP that stylizes, by default the teacher's if that is one. Raises `UserError` for an edit that selects
        nothing or leaves nothing, and for what is no edit.
        """
        for edit in edits:
            if not isinstance(edit, Edit):
                hint = "; write a star before a list: edit(*edits)" if isinstance(edit, list | tuple) else ""
                raise UserError(f'`edits`: expected edits such as gsdff.Delete("cup"), got {shown(edit)}{hint}')
        edits = tuple(replace_things(self, edit) for edit in edits)
        context = None
        if any(edit.needs_photos for edit in edits):
            _ = self.scene  # without photos nothing can be looked at: known sooner than whether there is a CLIP
            is_judged = any(edit.needs_judge for edit in edits) and not dry_run
            context = self.edit_context(self.open_judge(clip_model, clip_pretrained) if is_judged else None)
        edited: Edited = apply_edits(self.gaussians, edits, RepeatedSearch(self), context=context, dry_run=dry_run)
        return replace(self, gaussians=edited.gaussians, edits=(*self.edits, *edited.reports))

    def open_judge(self, model: str | None = None, pretrained: str | None = None) -> Judge:
        """CLIP with its weights, by default the teacher's if that is one; raises `UserError` if it cannot be loaded."""
        teacher = self.teacher_config
        if teacher.name == "clip" and model is None:
            model, pretrained = teacher.model, pretrained or teacher.pretrained
        return open_judge(model, pretrained, self.device)

    def edit_context(self, judge: Judge | None) -> EditContext:
        """Training views, for edits that need photos; raises `UserError` without photos."""
        return EditContext(self.scene.frame, [self.scene.views[i].camera for i in self.scene.train_ids], judge)

    # --- files

    def save(
        self,
        path: str | Path,
        *,
        format: Format | None = None,
        features: Features = "latent",
        origin: OriginChoice = "auto",
        classes: Sequence[str] = (),
        scores: Sequence[str] = (),
        instances: bool = False,
    ) -> Path:
        """Writes the Gaussians in the input's world frame; returns the path.

        `format` None follows the ending: `.ply` (3DGS's, exact), `.splat` (32 bytes a Gaussian, SH degree 0),
        `.compressed.ply` (SuperSplat's), or `.spz`, `.sog` and `.glb` (by PlayCanvas' splat-transform, which must be
        installed). A PLY or a GLB may have the best of `classes` for every Gaussian and its thing (`instances`), a PLY
        its relevancy to words (`scores`) too; `<stem>.columns.json` has the names. A PLY has K latent features, and
        beside it `<stem>.basis.safetensors`, which text queries need; `features="decoded"` writes all T channels as
        Feature 3DGS does, "none" leaves them out. Positions are relative to `origin`, a point of the world that the
        PLY's header states: "auto" is zero, or a point near the scene if its coordinates are too large for float32;
        "none" is zero in any case.
        """
        check_path("path", path)
        check_choice("features", features, get_args(Features))
        path = Path(path)
        check_place(path, parameter="path")
        is_named_compressed = path.name.endswith(".compressed.ply")
        if format is None:
            format = "compressed" if is_named_compressed else BY_ENDING.get(path.suffix, "ply")
        check_choice("format", format, get_args(Format))
        ending = ".ply" if format in ("ply", "compressed") else f".{format}"
        if path.suffix != ending:
            raise UserError(f"`path` {path}: expected a name ending in {ending} for `format` {format}")
        choice = ColumnChoice(as_words(classes, "classes"), as_words(scores, "scores"), instances)
        choice.check(format)
        if ending in ENDINGS:
            find_splat_transform()
        if format == "ply" and is_named_compressed:
            raise UserError(
                f"`path` {path}: is named as a compressed PLY; expected `format` compressed, or another name"
            )
        if self.edits:
            refuse_source(path, self.source)
        gaussians, sidecar = self.for_files(origin), None
        if gaussians.features is not None and format != "ply" and features != "none":
            log.info("features are left out: format %s has no place for them", format)
        if gaussians.features is None or features == "none" or format != "ply":
            gaussians = replace(gaussians, features=None, reliability=None)
        else:
            if features == "decoded":
                self.require_features()
            sidecar = self.describe()
            if sidecar is None:
                log.warning("%s: its features are written without their basis: %s", self.source, self.why_no_features)
        if sidecar is not None and features == "decoded":
            B = sidecar.basis.B.cpu()
            assert gaussians.features is not None
            gaussians = replace(gaussians, features=decode(gaussians.features, B))
            sidecar = replace(sidecar, basis=replace(sidecar.basis, B=torch.eye(len(B))))
        columns = make_columns(self, choice) if choice else None
        write_gaussians(path, gaussians, format, columns, sidecar)
        return path

    def save_segmentation(
        self,
        classes: Sequence[str],
        folder: str | Path | None = None,
        *,
        views: Sequence[str | int] = (),
        all_held_out: bool = False,
        prompts: str | Sequence[str] = (),
        space: Space = "2d",
        min_area: int = 50,
        min_opacity: float = 0.5,
        things: bool = False,
    ) -> Segmentation:
        """Writes the best class of every pixel and Gaussian to a folder; returns counts and the folder.

        The folder (None: `segmentation` in the run's, or `<stem>_segmentation` beside a PLY) gets label maps and
        classes.json, scene.ply and points.ply with a `label` property, coco.json and pictures. `views` are photos by
        name or index, by default all. coco.json has connected parts of at least `min_area` pixels, points.ply Gaussians
        of at least `min_opacity`. `things` adds the things of the run: instances/ and COCO's panoptic format. Raises
        `UserError` for a folder that holds other files, and for a run without things if they are wanted.
        """
        query = Query(classes=classes, prompts=prompts, method="argmax")
        check_path("folder", folder)
        check_choice("space", space, get_args(Space))
        if not isinstance(things, bool):
            raise UserError(f"`things`: expected true or false, got {shown(things)}")
        options: dict[str, Any] = {"min_area": min_area, "min_opacity": min_opacity, "things": things}
        out = SegmentationFolder.choose(self.source, folder)
        self.require_features()
        if things:
            read_things(self)  # refused before photos are read
        chosen = self.choose_views(views, all_held_out=all_held_out) or self.scene.views
        return export_segmentation(self, query, chosen, out, space=space, **options)

    # --- what belongs to the packages above: by its public name, so that imports point down

    def view(self, **options: Any) -> None:
        """Opens the viewer in the browser until it is interrupted; options of `gsdff.serve`."""
        gsdff.serve(self, **options)

    def evaluate(self, **options: Any) -> Any:
        """Scores of the held-out views; options and result of `gsdff.score`."""
        return gsdff.score(self, **options)

    # --- help

    def _search(self, query: Query, view: int | str | View | None, space: Space | None) -> Hit:
        if space is not None:
            check_choice("space", space, get_args(Space))
        if query.things:
            if view is None and space != "2d":
                return find_things(self, query)
            shown = self._view_or_default(view)
            return find_things(self, query).in_view(shown) if space == "3d" else find_things(self, query, shown)
        prepared = prepare(self, query)
        if view is None and space != "2d":
            return find(self, prepared)
        found = self._view_or_default(view)
        return find(self, prepared).in_view(found) if space == "3d" else find(self, prepared, found)

    def _view_or_default(self, view: int | str | View | None) -> View:
        return default_view(self) if view is None else self.find_view(view)
