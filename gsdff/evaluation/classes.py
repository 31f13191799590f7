"""Classes that compete for the pixels of held-out views, and ground truth for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Int, UInt8
from torch import Tensor

from gsdff.errors import UserError
from gsdff.labels import ENDINGS, INSTANCES_FOLDER, LABEL_IMAGE, LabelClass, Truth, find_truth, read_instances
from gsdff.photo_files import find_file, require_file
from gsdff.scene import VOID, Scene, View
from gsdff.teachers import Teacher
from gsdff.words import describe_names, fold


@dataclass(frozen=True)
class GroundTruth:
    """Ground-truth labels of one view, at the size of the photo."""

    labels: UInt8[Tensor, "H W"]
    """Indices into the competing classes; VOID for pixels that do not count."""
    ids: UInt8[Tensor, "H W"]
    """One index per class, competing or not; VOID for unlabelled pixels."""
    segments: Int[Tensor, "H W"]
    """Instances if there are instance maps, otherwise `ids`."""
    no_segment: int
    """Value in `segments` of pixels without a segment."""


@dataclass(frozen=True)
class ScoredClasses:
    """Classes that compete for every pixel, with their ground truth."""

    classes: list[LabelClass]
    truth: Truth | None
    """Label images whose competing classes are `classes`; None without ground truth."""
    instances: Path | None
    """Folder of instance maps, 0 for none, which has one for every held-out view with labels."""

    @property
    def queries(self) -> list[str]:
        """Texts that the classes are queried by."""
        return [entry.query for entry in self.classes if entry.query is not None]

    def load(self, view: View) -> GroundTruth | None:
        """Loads the ground truth of a view; returns None if it has no label image."""
        if self.truth is None or (labels := self.truth.load(view)) is None:
            return None
        ids = replace(self.truth, competing=[*self.truth.competing, *self.truth.ignored], ignored=[]).load(view)
        assert ids is not None, "the view has a label image"
        if view.mask is not None:
            labels, ids = (map.masked_fill(~view.mask, VOID) for map in (labels, ids))
        if self.instances is None:
            return GroundTruth(labels, ids, ids.int(), no_segment=VOID)
        segments = read_instances(require_file(self.instances, view, ENDINGS, LABEL_IMAGE), view)
        if view.mask is not None:
            segments = segments.masked_fill(~view.mask, 0)
        return GroundTruth(labels, ids, segments, no_segment=0)


def find_classes(teacher: Teacher, scene: Scene, labels: Path | None, names: Sequence[str]) -> ScoredClasses | None:
    """Finds the classes to score: those of the scene's labels, or `names`, or the labels' classes that `names` lists.

    Returns None if there are neither labels nor names, and if the teacher knows no text. Raises `UserError` for
    `labels` (a folder) that cannot be used, and for names that the teacher or the labels do not know.
    """
    if names:
        _check_names(names)
    # names without labels are fine: nothing to log about the missing labels then
    is_unlabelled = bool(names) and labels is None and not (scene.root / "labels").is_dir()
    truth = None if is_unlabelled else find_truth(scene, labels, teacher.knows)
    if truth is None:
        return ScoredClasses(_to_classes(names, teacher), truth=None, instances=None) if names else None
    if names:
        truth = _restrict(truth, names)
    views = [scene.views[i] for i in scene.test_ids]
    labelled = [view for view in views if find_file(truth.folder, view, ENDINGS, LABEL_IMAGE)]
    instances = truth.folder.parent / INSTANCES_FOLDER
    has_all = all(find_file(instances, view, ENDINGS, LABEL_IMAGE) for view in labelled)
    return ScoredClasses(truth.competing, truth, instances if has_all else None)


def _check_names(names: Sequence[str]) -> None:
    if not 2 <= len(names) < VOID or len({fold(name) for name in names}) < len(names):
        got = describe_names(names)
        most = f", at most {VOID - 1}" if len(names) >= VOID else ""
        raise UserError(f"`classes`: expected two different names or more{most}, separated by spaces, got {got}")


def _to_classes(names: Sequence[str], teacher: Teacher) -> list[LabelClass]:
    if unknown := [name for name in names if not teacher.knows(name)]:
        raise UserError(f"`classes`: the {teacher.name} teacher does not know {', '.join(map(repr, unknown))}")
    return [LabelClass(i, name, name) for i, name in enumerate(names)]


def _restrict(truth: Truth, names: Sequence[str]) -> Truth:
    """The same label images with the named classes competing; a class is found by its name or by its query."""
    by_name = {fold(text): entry for entry in truth.competing for text in (entry.query, entry.name) if text is not None}
    if unknown := [name for name in names if fold(name) not in by_name]:
        raise UserError(
            f"`classes`: {', '.join(map(repr, unknown))} cannot be scored, expected names among "
            f"{', '.join(entry.name for entry in truth.competing)}, which {truth.folder} labels and the teacher knows"
        )
    named = [by_name[fold(name)] for name in names]
    if twice := [entry.name for entry in truth.competing if named.count(entry) > 1]:
        raise UserError(f"`classes`: {twice[0]} is named twice, also as {by_name[fold(twice[0])].query!r}")
    competing = [entry for entry in truth.competing if entry in named]
    ignored = [entry for entry in [*truth.competing, *truth.ignored] if entry not in named]
    return replace(truth, competing=competing, ignored=ignored)
