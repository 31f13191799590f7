"""Edits made one after the other, each on the result of the one before, with a report of each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from gsdff.editing.context import EditContext
from gsdff.editing.edit import Edit
from gsdff.editing.selector import Selector
from gsdff.errors import UserError
from gsdff.gaussians import FARTHEST, LEAST_LOG_SCALE, MOST_LOG_SCALE, Gaussians
from gsdff.neighbours import neighbours_remembered
from gsdff.origin import ZERO
from gsdff.selection import Selection

Select = Callable[[Gaussians, Selector], Selection]
"""Selects from these Gaussians by the texts or the click of a selector; selections made before never get there."""
OUTSIDE = 0.01
"""Share of a selection, by number, that its size leaves out at either end of every axis: strays."""
MOST_GAUSSIANS = 50_000_000
"""Largest scene that an edit may make, 12 GB of values."""


@dataclass(frozen=True)
class EditReport:
    """Selection of one edit, and the Gaussians before and after."""

    title: str
    """edit 2 (delete "chair")"""
    num_selected: int
    num_before: int
    num_after: int
    opacity_share: float
    """Part of the sum of all opacities that is selected."""
    centre: tuple[float, float, float]
    """Mean of the selected Gaussians in the world, weighted by opacity; in scene units, as `size`."""
    size: tuple[float, float, float]
    """Sides along x, y and z of the box that holds the means of all but the outermost `OUTSIDE`."""
    remark: str = ""
    """Remark of `Edit.perform`."""
    digits: int = 3
    """Significant digits of the centre as text; more if the scene is far from the world's zero."""

    def __str__(self) -> str:
        centre = ", ".join(f"{value:.{self.digits}g}" for value in self.centre)
        size = ", ".join(f"{value:.3g}" for value in self.size)
        change = "" if self.num_after == self.num_before else f", leaves {self.num_after}"
        remark = f"; {self.remark}" if self.remark else ""
        return (
            f"{self.title}: {self.num_selected} of {self.num_before} Gaussians, {self.opacity_share:.1%} of the "
            f"opacity, centre ({centre}), size ({size}){change}{remark}"
        )


@dataclass(frozen=True, eq=False)
class Edited:
    """The edited Gaussians, or after a dry run those that were given; and a report of every edit."""

    gaussians: Gaussians
    reports: tuple[EditReport, ...]


@neighbours_remembered()
def apply_edits(
    gaussians: Gaussians,
    edits: Sequence[Edit],
    select: Select,
    *,
    context: EditContext | None = None,
    dry_run: bool = False,
) -> Edited:
    """The Gaussians after all edits, in order; nothing given is changed.

    `select` is called for every edit with the Gaussians as they are by then. A selection made before, saved or in
    memory, is of the Gaussians given here: an edit gets those of it that are left, wherever they are by then, but no
    copies of them. `context` is needed if an edit `needs_photos`. A dry run does the same and returns the Gaussians it
    was given. Raises `UserError`, with the edit's title, for a selection of another number of Gaussians (before any
    edit is made), for whatever `select` or an edit refuses, for an empty selection, and for an edit that leaves
    nothing.
    """
    titles = [f"edit {number} ({edit})" for number, edit in enumerate(edits, 1)]
    files: dict[Path, Selection] = {}
    given = [_given_selection(edit, title, len(gaussians), files) for edit, title in zip(edits, titles, strict=True)]
    current = gaussians.map(torch.detach)
    origins = torch.arange(len(gaussians), device=gaussians.means.device)  # indices before the first edit, -1 of copies
    reports = []
    for edit, title, selection in zip(edits, titles, given, strict=True):
        with _titled(title):
            if edit.needs_photos and context is None:
                raise UserError("looks from the training photos' cameras, which are not given; edit a run")
            if selection is None:
                selection = select(current, edit if edit.takes_apart else replace(edit, rim=False))
            else:
                mask = selection.mask.to(origins.device)
                selection = Selection((origins >= 0) & mask[origins])  # -1 reads the last, to no effect
            assert selection.total == len(current), f"{selection.total} selected from, but {len(current)} there"
            mask = edit.extend(current, _cleaned(selection, current, edit).mask, context)
            if (num := len(current) + edit.num_copies * int(mask.sum())) > MOST_GAUSSIANS:
                raise UserError(f"would make {num:,} Gaussians, expected at most {MOST_GAUSSIANS:,}; copy less often")
            after, remark = edit.perform(current, mask, context)
            if not len(after):
                raise UserError("selects all that is left, so that nothing would be; raise its threshold")
            kept = edit.kept(mask)
            _check_rows(current, after, kept, mask)
        reports.append(_report(title, current, mask, len(after), remark))
        origins = F.pad(origins[kept], (0, len(after) - int(kept.sum())), value=-1)
        current = after
    return Edited(gaussians if dry_run else current, tuple(reports))


def _given_selection(edit: Edit, title: str, expected: int, files: dict[Path, Selection]) -> Selection | None:
    """The edit's selection if it was made before; None for texts and clicks. Each file is read once into `files`."""
    match edit.selection:
        case Path() as path:
            if path not in files:
                with _titled(title):
                    files[path] = Selection.load(path, expected=expected)
            return files[path]
        case Selection() as selection if selection.total != expected:
            raise UserError(f"{title}: expected a selection of {expected} Gaussians, got one of {selection.total}")
        case selection:
            return selection


@contextmanager
def _titled(title: str) -> Iterator[None]:
    """Puts the edit's title before the message of a `UserError`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{title}: {error}") from error


def _cleaned(selection: Selection, gaussians: Gaussians, edit: Edit) -> Selection:
    """The selection after its clean-up; raises `UserError` if it is empty, before or after."""
    if not selection:
        if edit.selection is not None:
            raise UserError("selects nothing; edits before it removed all of it, or it was empty from the start")
        advice = "set a threshold" if edit.threshold is None else f"lower its threshold of {edit.threshold:g}"
        raise UserError(f"selects nothing; {advice}, or select by something else")
    cleaned = _clean(selection, gaussians, edit)
    if not cleaned:
        raise UserError(f"selects nothing; its clean-up removes all {len(selection)} Gaussians; clean up less")
    return cleaned


def _clean(selection: Selection, gaussians: Gaussians, edit: Edit) -> Selection:
    """Clean-up in its order; parts are compared by their opacity, as many may be next to invisible."""
    means = gaussians.means
    if edit.majority:
        selection = selection.majority(means, steps=edit.majority)
    if edit.drop_floaters:
        selection = selection.drop_floaters(means)
    if edit.keep_largest:
        selection = selection.keep_largest(means, edit.keep_largest, weights=gaussians.opacities)
    if edit.grow:
        selection = selection.grow(means, steps=edit.grow)
    if edit.shrink:
        selection = selection.shrink(means, steps=edit.shrink)
    return selection


def _check_rows(before: Gaussians, after: Gaussians, kept: Bool[Tensor, "N"], mask: Bool[Tensor, "N"]) -> None:
    """Raises `UserError` if the edit has made Gaussians that cannot be drawn of some that can."""
    if _are_all_fine(after):
        return
    was_fine = _is_fine(before.map(lambda tensor: tensor[mask]))
    num_new = len(after) - int(kept.sum())
    is_changed = F.pad(mask[kept], (0, num_new), value=True)
    is_fine = _is_fine(after.map(lambda tensor: tensor[is_changed]))
    copies = was_fine.repeat(num_new // len(was_fine))
    new = copies if len(copies) == num_new else was_fine.new_ones(num_new)  # those that are no copies, as of a filling
    expected = torch.cat([was_fine[kept[mask]], new])
    if num_broken := int((expected & ~is_fine).sum()):
        raise UserError(
            f"would make {num_broken} of {len(after)} Gaussians that cannot be drawn, with a position, size or colour "
            "that is too large or no number; choose smaller numbers, or fewer such edits"
        )


def _are_all_fine(gaussians: Gaussians) -> bool:
    """Whether `_is_fine` holds for all, in a tenth of its time; False if in doubt."""
    low, high = gaussians.log_scales.aminmax()
    is_small = gaussians.means.abs().max() <= FARTHEST and low >= LEAST_LOG_SCALE and high <= MOST_LOG_SCALE
    finite = all(bool(tensor.sum().isfinite()) for _, tensor in gaussians.items())  # a sum keeps what is no number
    return bool(is_small) and finite and bool(gaussians.quats.any(1).all())


def _is_fine(gaussians: Gaussians) -> Bool[Tensor, "N"]:
    """Whether all values of a Gaussian are finite, and its position and size are not absurd."""
    log_scales = gaussians.log_scales
    fine = (gaussians.means.abs() <= FARTHEST).all(1) & gaussians.quats.any(1)
    fine &= ((log_scales >= LEAST_LOG_SCALE) & (log_scales <= MOST_LOG_SCALE)).all(1)
    for _, tensor in gaussians.items():
        fine &= tensor.isfinite().reshape(len(gaussians), tensor.shape[1:].numel()).all(1)
    return fine


def _report(title: str, gaussians: Gaussians, mask: Bool[Tensor, "N"], num_after: int, remark: str) -> EditReport:
    opacities, means = gaussians.opacities.double(), gaussians.positions[mask]
    weights = opacities[mask].clamp_min(1e-12)  # of all but invisible ones there is a centre too
    outside = int(OUTSIDE * len(means))
    x, y, z = (weights @ means / weights.sum()).tolist()
    low, high = (means.kthvalue(rank, dim=0).values for rank in (1 + outside, len(means) - outside))
    width, height, depth = (high - low).tolist()
    return EditReport(
        title,
        num_selected=len(means),
        num_before=len(gaussians),
        num_after=num_after,
        opacity_share=float(opacities[mask].sum() / opacities.sum().clamp_min(1e-12)),
        centre=(x, y, z),
        size=(width, height, depth),
        remark=remark,
        digits=3 if gaussians.origin == ZERO else 13,
    )
