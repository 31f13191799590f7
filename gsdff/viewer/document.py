"""What one tab has asked of a scene, selected in it and changed, step by step and back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gsdff.cameras import WorldFrame
from gsdff.editing.edit import Edit
from gsdff.editing.selector import Selector
from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.field.query import Query
from gsdff.field.search import PreparedQuery, find, find_with_rim, prepare
from gsdff.gaussians import Gaussians
from gsdff.selection import Selection

Combine = Literal["replace", "add", "subtract", "within"]
"""What a new selection does to the one there is."""
NOTHING_SELECTED = "nothing is selected; ask for a text, click or draw a box first"


@dataclass(frozen=True)
class MadeEdit:
    """An edit made, and the Gaussians that it edited."""

    edit: Edit
    """Of texts that select the same, or of a selection if clicks, boxes or several questions made it."""
    mask: Bool[Tensor, "N"]
    """The Gaussians edited, as they were before the first edit."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What is to be drawn of a document at one moment. Nothing in it changes, so it can be drawn while others edit."""

    gaussians: Gaussians
    """Of M that are neither deleted nor hidden, in the working frame."""
    selected: Bool[Tensor, "M"]
    asked: PreparedQuery | None
    scores: Float[Tensor, "M"] | None
    threshold: float | None
    classes: PreparedQuery | None
    labels: UInt8[Tensor, "M"] | None

    @cached_property
    def any_selected(self) -> bool:
        """Whether there is something to mark."""
        return bool(self.selected.any())


@dataclass(frozen=True)
class Look:
    """What is shown, and how."""

    shown: Shown
    mode: str
    other: str | None
    """Of the right half; None for one picture."""
    marks: bool
    """Whether the selection is marked."""


class Document:
    """A scene of N Gaussians with what was done to it. Not for several threads at once.

    Edits never move a Gaussian to another index: deleted ones stay, marked, so that masks of all times go together.
    """

    def __init__(self, gaussians: Gaussians, frame: WorldFrame, field: FieldBase):
        self.base = gaussians
        self.frame = frame
        self.field = field
        self.gaussians = gaussians
        """In the input's world frame, with all edits, the deleted ones among them."""
        nothing = torch.zeros(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
        self.alive, self.hidden, self.selected = ~nothing, nothing, nothing
        self.edits: list[MadeEdit] = []
        self.undone: list[MadeEdit] = []
        self.asked: PreparedQuery | None = None
        self.scores: Float[Tensor, "N"] | None = None
        self.threshold: float | None = None
        self.classes: PreparedQuery | None = None
        self.labels: UInt8[Tensor, "N"] | None = None
        self._before = nothing
        self._combine: Combine = "replace"
        self._selector: Selector | None = None
        """Texts alone that the selection is the answer of; None for any other."""
        self._drawn: tuple[Int[Tensor, "M"], Gaussians] | None = None
        self._shown: Shown | None = None

    def rebase(self, gaussians: Gaussians, field: FieldBase) -> None:
        """Takes the scene as training has made it, before anything was edited; what was asked is answered anew.

        There may be other Gaussians now, and more of them: nothing stays selected but what the last text selects.
        """
        assert not self.edits and not self.undone, "masks of edits are of the Gaussians there were"
        self.base, self.gaussians, self.field = gaussians, gaussians, field
        nothing = torch.zeros(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
        self.alive, self.hidden, self._before, self._drawn = ~nothing, nothing, nothing, None
        if not field.has_features:
            self.asked = self.classes = self.scores = self.labels = None
        if self.asked is not None:
            self.scores = self._scores_of(self.asked)
        if self.classes is not None:
            self.labels = find(self._asking(), self.classes).labels
        self._select(nothing, nothing if self.scores is None else self.scores >= self.threshold, "replace")

    # --- questions

    def ask(self, query: Query, combine: Combine = "replace") -> None:
        """Scores all Gaussians and selects those over the suggested threshold."""
        asked = prepare(self._asking(), query)
        self.scores = self._scores_of(asked)
        self.asked, self.threshold = asked, asked.threshold
        self._before, self._combine = self.selected, combine
        self.set_threshold(asked.threshold)

    def set_threshold(self, threshold: float) -> None:
        """Selects anew by the last question's scores."""
        assert self.scores is not None, "something was asked"
        self.threshold = threshold
        self._select(self._before, self.scores >= threshold, self._combine)
        query = self.asked.query
        if self._combine == "replace" and query.positives and self._all_shown:
            self._selector = Selector(
                query.positives,
                negatives=query.negatives or None,
                only_negatives=query.only_negatives,
                threshold=threshold,
                temperature=query.temperature,
            )

    def ask_classes(self, names: tuple[str, ...]) -> None:
        """Gives every Gaussian the best of these names."""
        self.classes = prepare(self._asking(), Query(classes=names))
        self.labels = find(self.field, self.classes).labels
        self._shown = None

    # --- the selection

    @property
    def selection(self) -> Selection:
        """What is selected and there."""
        return Selection(self.selected & self.alive)

    def select(self, mask: Bool[Tensor, "N"], combine: Combine = "replace") -> None:
        """Selects these, but for what is hidden."""
        self._select(self.selected, mask, combine)

    def select_nothing(self) -> None:
        """Selects none, whatever was."""
        self.select(torch.zeros_like(self.selected))

    def change(self, function: Callable[[Selection, Float[Tensor, "M 3"]], Selection]) -> None:
        """Changes the selection among what is shown, as `Selection.grow` does; `function` is given means of these."""
        ids = self.visible_ids
        if not len(ids):
            return
        mask = self.selected.clone()
        mask[ids] = function(Selection(mask[ids]), self.gaussians.means[ids]).mask
        self._select(mask, mask, "replace")

    @property
    def visible_ids(self) -> Int[Tensor, "M"]:
        """Which of the N are drawn."""
        return (self.alive & ~self.hidden).nonzero()[:, 0]

    def hide(self) -> None:
        """Puts the selection out of sight, which is no edit."""
        self._require_selection()
        self.hidden, self._drawn = self.hidden | self.selected, None
        self.select_nothing()

    def isolate(self) -> None:
        """Puts all else out of sight."""
        self._require_selection()
        self.hidden = ~self.selected
        self._drawn = self._shown = None

    def show_all(self) -> None:
        """Brings back what is out of sight."""
        self.hidden = torch.zeros_like(self.hidden)
        self._drawn = self._shown = None

    # --- edits

    def edit(self, make: Callable[..., Edit]) -> None:
        """Edits the selection; `make`, such as `Delete`, makes the edit of a target.

        Raises `UserError` if nothing is selected, or nothing would be left.

        What texts alone select is what they select in `python -m gsdff.edit`, which takes apart with the rim.
        """
        self._require_selection()
        edit = self._edit_of(make)
        self._apply(edit)
        self.edits.append(edit)
        self.undone.clear()

    def undo(self) -> None:
        """Takes the last edit back; `UserError` where there is none."""
        if not self.edits:
            raise UserError("nothing to undo")
        self.undone.append(self.edits.pop())
        # made again from the beginning: to keep every state would take the scene's memory many times over
        self.gaussians, self.alive = self.base, torch.ones_like(self.alive)
        self._drawn = self._shown = None
        for edit in self.edits:
            self._apply(edit)

    def redo(self) -> None:
        """Makes the last edit that was taken back; `UserError` where there is none."""
        if not self.undone:
            raise UserError("nothing to redo")
        edit = self.undone.pop()
        self._apply(edit)
        self.edits.append(edit)

    # --- what leaves the page

    def result(self, *, only_selected: bool = False) -> Gaussians:
        """The scene as edited, hidden things too, in the input's frame; `UserError` for a selection that is empty."""
        if only_selected:
            self._require_selection()
        keep = self.alive & self.selected if only_selected else self.alive
        return self.gaussians.map(lambda tensor: tensor[keep])

    @property
    def shown(self) -> Shown:
        """What is to be drawn now."""
        if self._drawn is None:
            ids = self.visible_ids
            is_all = len(ids) == len(self.gaussians)
            there = self.gaussians if is_all else self.gaussians.map(lambda tensor: tensor[ids])
            # kept while only the selection or the question changes, so that a browser is sent colours alone
            self._drawn = ids, there.to_working_frame(self.frame)
        if self._shown is None:
            ids, gaussians = self._drawn
            self._shown = Shown(
                gaussians,
                self.selected[ids],
                self.asked,
                None if self.scores is None else self.scores[ids],
                self.threshold,
                self.classes,
                None if self.labels is None else self.labels[ids],
            )
        return self._shown

    def _asking(self) -> FieldBase:
        if not self.field.has_features:
            raise UserError("this scene has no features to query; train it with a teacher")
        return self.field

    def _scores_of(self, asked: PreparedQuery) -> Float[Tensor, "N"]:
        """NaN, which no threshold is below, where there is nothing that could answer."""
        found = find(self._asking(), asked)
        return found.scores.masked_fill(~found.answered, torch.nan)

    def _select(self, before: Bool[Tensor, "N"], mask: Bool[Tensor, "N"], combine: Combine) -> None:
        combined = {"replace": mask, "add": before | mask, "subtract": before & ~mask, "within": before & mask}
        self.selected = combined[combine] & ~self.hidden
        self._selector, self._shown = None, None

    @property
    def _all_shown(self) -> bool:
        return not (self.hidden & self.alive).any()

    def _edit_of(self, make: Callable[..., Edit]) -> MadeEdit:
        if self._selector is None or not self._all_shown:
            return MadeEdit(make(self.selection), self.selection.mask)
        edit = make(**vars(self._selector))
        # of what is left, as when it is replayed: to the bit, and with a rim that is among what is left
        left = self.alive.nonzero()[:, 0]
        gaussians = self.gaussians.map(lambda tensor: tensor[left])
        asked = replace(self.asked, threshold=self.threshold)
        found = find_with_rim(self.field, gaussians, asked, rim=edit.takes_apart)
        mask = torch.zeros_like(self.alive)
        mask[left] = found.mask
        return MadeEdit(edit, mask)

    def _require_selection(self) -> None:
        if not self.selection:
            raise UserError(NOTHING_SELECTED)

    def _apply(self, made: MadeEdit) -> None:
        kept = made.edit.kept(made.mask)
        alive = self.alive & kept
        if not alive.any():
            raise UserError("nothing would be left; select less")
        if kept.all():
            self.gaussians = made.edit.apply(self.gaussians, made.mask)
        self.alive, self._drawn, self._shown = alive, None, None
