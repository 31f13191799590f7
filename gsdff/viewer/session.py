"""State of one tab: its query, its selection and its edits, with undo and redo."""

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
from gsdff.field.thing_search import select_things
from gsdff.gaussians import Gaussians
from gsdff.selection import Selection

SelectionMode = Literal["replace", "add", "subtract", "intersect"]
"""Set operation that combines a new selection with the present one."""
NOTHING_SELECTED = "nothing is selected; search for a text, click, or draw a box first"


@dataclass(frozen=True)
class MadeEdit:
    """An edit made, and the Gaussians that it edited."""

    edit: Edit
    """Its target are texts that select the same, or a selection if clicks, boxes or several queries made it."""
    mask: Bool[Tensor, "N"]
    """Edited Gaussians, by their indices before the first edit."""


@dataclass(frozen=True, eq=False)
class VisibleScene:
    """Gaussians that are neither deleted nor hidden, with their selection, scores and labels.

    Immutable, so that it can be rendered in one thread while another edits.
    """

    gaussians: Gaussians
    """M Gaussians in the working frame."""
    selected: Bool[Tensor, "M"]
    prepared: PreparedQuery | None
    """Last query by text or click; None before the first."""
    scores: Float[Tensor, "M"] | None
    """Scores of that query."""
    threshold: float | None
    """Least score that is selected."""
    prepared_classes: PreparedQuery | None
    """Last segmentation; None before the first."""
    labels: UInt8[Tensor, "M"] | None
    """Class indices of that segmentation."""
    heat_colors: Float[Tensor, "P 3"] | None = None
    """Colours of scores from the lowest to the highest, on the CPU; None for those of `heat`."""
    class_colors: UInt8[Tensor, "Q 3"] | None = None
    """Colours of the classes; None for those of `label_palette`."""
    ids: Int[Tensor, "M"] | None = None
    """Indices of the Gaussians in the scene before any edit; None if they are all there."""

    @cached_property
    def any_selected(self) -> bool:
        """Whether any Gaussian is selected."""
        return bool(self.selected.any())


class Session:
    """A scene of N Gaussians with a query, a selection and edits. Not thread-safe.

    Edits never change the index of a Gaussian: deleted ones stay, marked as such, so that all masks fit together.
    """

    def __init__(self, gaussians: Gaussians, frame: WorldFrame, field: FieldBase):
        self.base = gaussians
        """The Gaussians before the first edit."""
        self.frame = frame
        self.field = field
        self.gaussians = gaussians
        """All N Gaussians after all edits, in the input's world frame, including the deleted ones."""
        nothing = torch.zeros(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
        self.alive: Bool[Tensor, "N"] = ~nothing
        """Gaussians that are not deleted."""
        self.hidden: Bool[Tensor, "N"] = nothing
        self.selected: Bool[Tensor, "N"] = nothing
        self.edits: list[MadeEdit] = []
        self.undone: list[MadeEdit] = []
        self.prepared: PreparedQuery | None = None
        self.scores: Float[Tensor, "N"] | None = None
        self.threshold: float | None = None
        self.prepared_classes: PreparedQuery | None = None
        self.labels: UInt8[Tensor, "N"] | None = None
        self._before_query: Bool[Tensor, "N"] = nothing
        """Selection that the query's is combined with, anew for every threshold."""
        self._query_selection_mode: SelectionMode = "replace"
        self._selector: Selector | None = None
        """Texts that alone give the selection; None if other things went into it."""
        self._drawn: tuple[Int[Tensor, "M"], Gaussians] | None = None
        self._visible: VisibleScene | None = None

    def replace_scene(self, gaussians: Gaussians, field: FieldBase) -> None:
        """Shows another state of the training, before the first edit, and repeats query and segmentation in it.

        The number of Gaussians may change: the new selection is that of the last query alone.
        """
        assert not self.edits and not self.undone, "masks of edits are of the Gaussians before"
        self.base, self.gaussians, self.field = gaussians, gaussians, field
        nothing = torch.zeros(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
        self.alive, self.hidden, self._before_query, self._drawn = ~nothing, nothing, nothing, None
        if not field.has_features:
            self.prepared = self.prepared_classes = self.scores = self.labels = None
        if self.prepared is not None:
            self.scores = self._score(self.prepared)
        if self.prepared_classes is not None:
            self.labels = find(self._require_features(), self.prepared_classes).labels
        mask = nothing if self.scores is None or self.threshold is None else self.scores >= self.threshold
        self._select(nothing, mask, "replace")

    # --- queries

    def search(self, query: Query, selection_mode: SelectionMode = "replace") -> None:
        """Scores all Gaussians and selects those with at least the suggested threshold, or things by number."""
        if query.things:
            self.select(select_things(self.field, query.things).mask, selection_mode)
            return
        prepared = prepare(self._require_features(), query)
        assert prepared.threshold is not None, "only classes have none"
        self.scores = self._score(prepared)
        self.prepared = prepared
        self._before_query, self._query_selection_mode = self.selected, selection_mode
        self.set_threshold(prepared.threshold)

    def set_threshold(self, threshold: float) -> None:
        """Selects anew by the scores of the last query."""
        assert self.scores is not None and self.prepared is not None, "there was a query"
        self.threshold = threshold
        self._select(self._before_query, self.scores >= threshold, self._query_selection_mode)
        query = self.prepared.query
        if self._query_selection_mode == "replace" and query.positives and self._nothing_hidden:
            self._selector = Selector(
                tuple(query.positives),
                negatives=tuple(query.negatives) or None,
                only_negatives=query.only_negatives,
                threshold=threshold,
                temperature=query.temperature,
            )

    def segment(self, names: tuple[str, ...]) -> None:
        """Labels every Gaussian with the best of these class names."""
        self.prepared_classes = prepare(self._require_features(), Query(classes=names))
        self.labels = find(self.field, self.prepared_classes).labels
        self._visible = None

    # --- the selection

    @property
    def selection(self) -> Selection:
        """Selected Gaussians that are not deleted."""
        return Selection(self.selected & self.alive)

    def select(self, mask: Bool[Tensor, "N"], selection_mode: SelectionMode = "replace") -> None:
        """Selects Gaussians, except hidden ones."""
        self._select(self.selected, mask, selection_mode)

    def deselect(self) -> None:
        """Clears the selection."""
        self.select(torch.zeros_like(self.selected))

    def modify_selection(self, function: Callable[[Selection, Float[Tensor, "M 3"]], Selection]) -> None:
        """Modifies the selection among visible Gaussians, as `Selection.grow` does; `function` gets their means."""
        ids = self.visible_ids
        if not len(ids):
            return
        mask = self.selected.clone()
        mask[ids] = function(Selection(mask[ids]), self.gaussians.means[ids]).mask
        self._select(mask, mask, "replace")

    @property
    def visible_ids(self) -> Int[Tensor, "M"]:
        """Indices of the Gaussians that are neither deleted nor hidden."""
        return (self.alive & ~self.hidden).nonzero()[:, 0]

    def hide(self) -> None:
        """Hides the selection, which is not an edit."""
        self._require_selection()
        self.hidden, self._drawn = self.hidden | self.selected, None
        self.deselect()

    def isolate(self) -> None:
        """Hides everything but the selection."""
        self._require_selection()
        self.hidden = ~self.selected
        self._drawn = self._visible = None

    def show_all(self) -> None:
        """Shows all hidden Gaussians."""
        self.hidden = torch.zeros_like(self.hidden)
        self._drawn = self._visible = None

    # --- edits

    def edit(self, make: Callable[..., Edit]) -> None:
        """Edits the selection; `make`, such as `Delete`, makes the edit of a target.

        A selection by texts alone is edited as `gsdff edit` does: edits that take apart, with the rim. Raises
        `UserError` if nothing is selected or nothing would be left.
        """
        self._require_selection()
        edit = self._edit_of(make)
        self._apply(edit)
        self.edits.append(edit)
        self.undone.clear()

    def undo(self) -> None:
        """Undoes the last edit; raises `UserError` if there is none."""
        if not self.edits:
            raise UserError("nothing to undo")
        self.undone.append(self.edits.pop())
        # repeated from the start: to keep every state would take the memory of the scene many times over
        self.gaussians, self.alive = self.base, torch.ones_like(self.alive)
        self._drawn = self._visible = None
        for edit in self.edits:
            self._apply(edit)

    def redo(self) -> None:
        """Repeats the edit that was undone last; raises `UserError` if there is none."""
        if not self.undone:
            raise UserError("nothing to redo")
        edit = self.undone.pop()
        self._apply(edit)
        self.edits.append(edit)

    # --- results

    def result(self, *, only_selected: bool = False) -> Gaussians:
        """The edited scene in the input's world frame, hidden Gaussians included, or its selection.

        Raises `UserError` for an empty selection.
        """
        if only_selected:
            self._require_selection()
        keep = self.alive & self.selected if only_selected else self.alive
        return self.gaussians.map(lambda tensor: tensor[keep])

    @property
    def visible(self) -> VisibleScene:
        """The present state, to be rendered."""
        if self._drawn is None:
            ids = self.visible_ids
            is_all = len(ids) == len(self.gaussians)
            visible = self.gaussians if is_all else self.gaussians.map(lambda tensor: tensor[ids])
            # kept while only selection or query change, so that a browser is sent nothing but colours
            self._drawn = ids, visible.to_working_frame(self.frame)
        if self._visible is None:
            ids, gaussians = self._drawn
            self._visible = VisibleScene(
                gaussians,
                self.selected[ids],
                self.prepared,
                None if self.scores is None else self.scores[ids],
                self.threshold,
                self.prepared_classes,
                None if self.labels is None else self.labels[ids],
                ids=ids,
            )
        return self._visible

    def _require_features(self) -> FieldBase:
        if not self.field.has_features:
            raise UserError("this scene has no features to query; train it with a teacher")
        return self.field

    def _score(self, prepared: PreparedQuery) -> Float[Tensor, "N"]:
        """Scores; NaN, which is below any threshold, for Gaussians without a feature."""
        found = find(self._require_features(), prepared)
        return found.scores.masked_fill(~found.answered, torch.nan)

    def _select(self, before: Bool[Tensor, "N"], mask: Bool[Tensor, "N"], selection_mode: SelectionMode) -> None:
        combined = {"replace": mask, "add": before | mask, "subtract": before & ~mask, "intersect": before & mask}
        self.selected = combined[selection_mode] & ~self.hidden
        self._selector, self._visible = None, None

    @property
    def _nothing_hidden(self) -> bool:
        return not (self.hidden & self.alive).any()

    def _edit_of(self, make: Callable[..., Edit]) -> MadeEdit:
        if self._selector is None or not self._nothing_hidden:
            return MadeEdit(make(self.selection), self.selection.mask)
        edit = make(**vars(self._selector))
        assert self.prepared is not None, "texts that select were a query"
        # searched among the Gaussians that are left, as when the edit is replayed: same bits, same rim
        left = self.alive.nonzero()[:, 0]
        gaussians = self.gaussians.map(lambda tensor: tensor[left])
        prepared = replace(self.prepared, threshold=self.threshold)
        found = find_with_rim(self.field, gaussians, prepared, rim=edit.takes_apart)
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
        self.alive, self._drawn, self._visible = alive, None, None
