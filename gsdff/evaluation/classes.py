"""What the pixels of held-out views are asked, and the true answers where labels give them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Int, UInt8
from torch import Tensor

from gsdff.errors import UserError
from gsdff.labels import INSTANCES_FOLDER, LabelClass, Truth, find_truth, read_instances
from gsdff.scene import VOID, Scene, View
from gsdff.teachers import Teacher


@dataclass(frozen=True)
class ViewTruth:
    """What is known about a view, at the photo's size."""

    labels: UInt8[Tensor, "H W"]
    """Indices into the competing classes, VOID where nothing counts."""
    ids: UInt8[Tensor, "H W"]
    """An index for every class there is, competing or not, VOID for void."""
    segments: Int[Tensor, "H W"]
    """Things one by one where there are instance maps, otherwise `ids`."""
    no_segment: int
    """What `segments` holds where there is none."""


@dataclass(frozen=True)
class Questions:
    """Classes that compete for every pixel."""

    classes: list[LabelClass]
    truth: Truth | None
    """Whose competing classes are `classes`; None where no label image says what is right."""
    instances: Path | None
    """Folder of instance maps `<stem>.png`, 0 for none, for every held-out view that has labels."""

    def load(self, view: View) -> ViewTruth | None:
        """The truth of a view; None where it has no label image."""
        if self.truth is None or (labels := self.truth.load(view)) is None:
            return None
        ids = replace(self.truth, competing=[*self.truth.competing, *self.truth.ignored], ignored=[]).load(view)
        if self.instances is None:
            return ViewTruth(labels, ids, ids.int(), no_segment=VOID)
        size = view.camera.width, view.camera.height
        return ViewTruth(labels, ids, read_instances(self.instances / f"{view.stem}.png", size), no_segment=0)


def find_questions(teacher: Teacher, scene: Scene, labels: Path | None, names: Sequence[str]) -> Questions | None:
    """The classes that the scene's labels list, or those of `names`; with both, the labels' classes that `names` has.

    None where there is neither, or the teacher knows no text. `UserError` for labels that are asked for (`labels`, a
    folder) but cannot be used, and for names that the teacher or the labels do not know.
    """
    if names:
        _check_names(names)
    # texts are given because there are no labels: nothing to tell about those
    is_unlabelled = bool(names) and labels is None and not (scene.root / "labels").is_dir()
    truth = None if is_unlabelled else find_truth(scene, labels, teacher.knows)
    if truth is None:
        return Questions(_as_classes(names, teacher), truth=None, instances=None) if names else None
    if names:
        truth = _restrict(truth, names)
    stems = [scene.views[i].stem for i in scene.test_ids]
    instances = truth.folder.parent / INSTANCES_FOLDER
    has_all = all((instances / f"{stem}.png").is_file() for stem in stems if (truth.folder / f"{stem}.png").is_file())
    return Questions(truth.competing, truth, instances if has_all else None)


def _check_names(names: Sequence[str]) -> None:
    if not 2 <= len(names) < VOID or len({_key(name) for name in names}) < len(names):
        got = ", ".join(map(repr, names))
        raise UserError(f"--classes: expected two different names or more, separated by spaces, got {got}")


def _as_classes(names: Sequence[str], teacher: Teacher) -> list[LabelClass]:
    if unknown := [name for name in names if not teacher.knows(name)]:
        raise UserError(f"--classes: the {teacher.name} teacher cannot be asked for {', '.join(map(repr, unknown))}")
    return [LabelClass(i, name, name) for i, name in enumerate(names)]


def _restrict(truth: Truth, names: Sequence[str]) -> Truth:
    """The same truth with the named classes competing, by their name or by the text they are asked for by."""
    by_name = {_key(text): row for row in truth.competing for text in (row.query, row.name)}
    if unknown := [name for name in names if _key(name) not in by_name]:
        raise UserError(
            f"--classes: {', '.join(map(repr, unknown))} cannot be scored, expected names among "
            f"{', '.join(row.name for row in truth.competing)}: what {truth.folder} labels and the teacher knows"
        )
    named = [by_name[_key(name)] for name in names]
    if twice := [row.name for row in truth.competing if named.count(row) > 1]:
        raise UserError(f"--classes: {twice[0]} is named twice, also as {by_name[_key(twice[0])].query!r}")
    competing = [row for row in truth.competing if row in named]
    ignored = [row for row in [*truth.competing, *truth.ignored] if row not in named]
    return replace(truth, competing=competing, ignored=ignored)


def _key(name: str) -> str:
    return name.strip().lower()
