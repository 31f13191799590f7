"""Edits made one after the other, each on what the one before it left, with an account of what each one took."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gsdff.editing.functional import delete, duplicate, extract, recolor, set_opacity, transform
from gsdff.editing.operations import (
    Cleanup,
    Delete,
    Duplicate,
    EditStep,
    Extract,
    Move,
    Opacity,
    Operation,
    Recolor,
    Rotate,
    Scale,
    Selector,
    Stylize,
    Vector,
)
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.rotation import axis_angle_to_matrix, euler_to_matrix
from gsdff.selection import Selection

Select = Callable[[Gaussians, Selector], Selection]
"""Which of these Gaussians a selector of texts or a click means. Saved selections never get there."""
Restyle = Callable[[Gaussians, Bool[Tensor, "N"], EditStep], tuple[Gaussians, str]]
"""Other colours for what is selected, by a step that stylizes, and what was done to them."""
OUTSIDE = 0.01
"""Share of a selection, by number, that its size leaves out at either end of every axis: strays."""


@dataclass(frozen=True)
class StepReport:
    """What one edit took."""

    title: str
    """edit 2 (delete "chair")"""
    num_selected: int
    num_before: int
    """Gaussians that it found."""
    num_after: int
    """Gaussians that it left."""
    opacity_share: float
    """The selected ones' part of the sum of all opacities."""
    centre: Vector
    """Mean of the selected, weighted by opacity; in scene units as `size`."""
    size: Vector
    """Along x, y and z, of the box that holds the means of all but the outermost `OUTSIDE`."""
    account: str = ""
    """What else there is to say."""

    def __str__(self) -> str:
        centre, size = (", ".join(f"{value:.3g}" for value in vector) for vector in (self.centre, self.size))
        change = "" if self.num_after == self.num_before else f", leaves {self.num_after}"
        account = f"; {self.account}" if self.account else ""
        return (
            f"{self.title}: {self.num_selected} of {self.num_before} Gaussians, {self.opacity_share:.1%} of the "
            f"opacity, centre ({centre}), size ({size}){change}{account}"
        )


@dataclass(frozen=True, eq=False)
class Edited:
    """The edited Gaussians, or after a dry run those that were given; and a report for every step."""

    gaussians: Gaussians
    reports: tuple[StepReport, ...]


def apply_edits(
    gaussians: Gaussians,
    steps: Sequence[EditStep],
    select: Select,
    *,
    restyle: Restyle | None = None,
    dry_run: bool = False,
) -> Edited:
    """The Gaussians after all steps, in order; nothing given is changed.

    `select` is asked at every step, of the Gaussians as they are by then. A saved selection is of the Gaussians given
    here: those of it that are left are meant, wherever they are by now, but no copies of them. Steps that stylize are
    left to `restyle`. A dry run does the same and gives back the Gaussians it was given. `UserError` names the step
    for a selection file that does not fit (before any edit is made), for what `select` and `restyle` refuse, for an
    empty selection, and for an edit that leaves nothing.
    """
    titles = [f"edit {number} ({step})" for number, step in enumerate(steps, 1)]
    saved = _load_selections(steps, titles, len(gaussians))
    current = gaussians.map(torch.detach)
    origins = torch.arange(len(gaussians), device=gaussians.means.device)
    reports = []
    for step, title in zip(steps, titles, strict=True):
        if step.selector.selection is None:
            with _named(title):
                selection = select(current, _without_idle_rim(step))
        else:
            mask = saved[step.selector.selection].mask.to(origins.device)
            selection = Selection((origins >= 0) & mask[origins])  # -1, a copy, reads the last, to no effect
        assert selection.total == len(current), f"{selection.total} selected from, but {len(current)} there"
        mask = _clean(selection, current, step, title).mask
        account = ""
        if isinstance(step.operation, Stylize):
            assert restyle is not None, "a judge is opened where an edit stylizes"
            with _named(title):
                after, account = restyle(current, mask, step)
        else:
            after = apply_operation(current, mask, step.operation)
        if not len(after):
            raise UserError(f"{title}: selects all that is left, so that nothing would be; raise its threshold")
        reports.append(replace(_report(title, current, mask, len(after)), account=account))
        origins = _origins_after(origins, mask, step.operation, len(after))
        current = after
    return Edited(gaussians if dry_run else current, tuple(reports))


def _load_selections(steps: Sequence[EditStep], titles: Sequence[str], expected: int) -> dict[Path, Selection]:
    """All saved selections, by path."""
    saved = {}
    for step, title in zip(steps, titles, strict=True):
        if (path := step.selector.selection) is not None:
            with _named(title):
                saved[path] = Selection.load(path, expected=expected)
    return saved


@contextmanager
def _named(title: str) -> Iterator[None]:
    """Puts the step's title before what a `UserError` says."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{title}: {error}") from error


def takes_apart(operation: Operation) -> bool:
    """Whether a rim not taken along would be left behind, or missed.

    Of other edits it has no part: it is in part its neighbours', and in another colour it is seen on them.
    """
    return isinstance(operation, Delete | Extract)


def _without_idle_rim(step: EditStep) -> Selector:
    """The step's selector, which takes a rim in only where the operation takes apart."""
    return step.selector if takes_apart(step.operation) else replace(step.selector, rim=False)


def _clean(selection: Selection, gaussians: Gaussians, step: EditStep, title: str) -> Selection:
    """The selection after its clean-up; `UserError` where nothing is in it, before or after."""
    if not selection:
        if step.selector.selection is not None:
            raise UserError(f"{title}: selects nothing; edits before it took all of it out, or it was saved empty")
        given = step.selector.threshold
        advice = f"lower its threshold of {given:g}" if given is not None else "set a threshold"
        raise UserError(f"{title}: selects nothing; {advice}, or ask for something else")
    cleaned = _tidy(selection, gaussians, step.cleanup)
    if not cleaned:
        raise UserError(
            f"{title}: selects nothing; its clean-up takes out all {len(selection)} Gaussians; ask for less"
        )
    return cleaned


def _tidy(selection: Selection, gaussians: Gaussians, cleanup: Cleanup) -> Selection:
    """The clean-up in its order; parts are compared by their opacity, as many may be next to invisible."""
    means = gaussians.means
    if cleanup.majority:
        selection = selection.majority(means, steps=cleanup.majority)
    if cleanup.drop_floaters:
        selection = selection.drop_floaters(means)
    if cleanup.keep_largest:
        selection = selection.keep_largest(means, cleanup.keep_largest, weights=gaussians.opacities)
    if cleanup.grow:
        selection = selection.grow(means, steps=cleanup.grow)
    if cleanup.shrink:
        selection = selection.shrink(means, steps=cleanup.shrink)
    return selection


def apply_operation(gaussians: Gaussians, mask: Bool[Tensor, "N"], operation: Operation) -> Gaussians:
    """The Gaussians with one operation done to the selected ones; of all kinds but Stylize."""
    match operation:
        case Extract():
            return extract(gaussians, mask)
        case Delete():
            return delete(gaussians, mask)
        case Recolor(color, mode):
            return recolor(gaussians, mask, color, mode)
        case Move(translation):
            return transform(gaussians, mask, translation=translation)
        case Rotate(centre=centre):
            return transform(gaussians, mask, rotation=_rotation(operation), centre=centre)
        case Scale(factor, centre):
            return transform(gaussians, mask, scale=factor, centre=centre)
        case Duplicate():
            return _copied(gaussians, mask, operation)
        case Opacity(opacity, factor):
            return set_opacity(gaussians, mask, opacity=opacity, factor=factor)


def _copied(gaussians: Gaussians, mask: Bool[Tensor, "N"], operation: Duplicate) -> Gaussians:
    """The scene and the copies, the i-th moved, turned and scaled i times about the centre of the originals."""
    rotation = _rotation(operation)
    result = gaussians
    for i in range(1, operation.copies + 1):
        result = duplicate(
            result,
            F.pad(mask, (0, len(result) - len(mask))),
            rotation=None if rotation is None else torch.linalg.matrix_power(rotation, i),
            translation=[i * value for value in operation.translation],
            scale=operation.factor**i,
        )
    return result


def _rotation(operation: Rotate | Duplicate) -> Float[Tensor, "3 3"] | None:
    if operation.axis is not None:
        return axis_angle_to_matrix(operation.axis, operation.degrees)
    return None if operation.euler is None else euler_to_matrix(operation.euler)


def _origins_after(
    origins: Int[Tensor, "N"], mask: Bool[Tensor, "N"], operation: Operation, count: int
) -> Int[Tensor, "M"]:
    """Which Gaussian each was at the beginning; -1 for a copy."""
    match operation:
        case Extract():
            return origins[mask]
        case Delete():
            return origins[~mask]
        case _:
            return F.pad(origins, (0, count - len(origins)), value=-1)


def _report(title: str, gaussians: Gaussians, mask: Bool[Tensor, "N"], num_after: int) -> StepReport:
    opacities, means = gaussians.opacities.double(), gaussians.means[mask].double()
    weights = opacities[mask].clamp_min(1e-12)  # of all but invisible ones there is a centre too
    ordered = means.sort(0).values
    outside = int(OUTSIDE * len(means))
    return StepReport(
        title,
        num_selected=len(means),
        num_before=len(gaussians),
        num_after=num_after,
        opacity_share=float(opacities[mask].sum() / opacities.sum().clamp_min(1e-12)),
        centre=tuple((weights @ means / weights.sum()).tolist()),
        size=tuple((ordered[len(means) - 1 - outside] - ordered[outside]).tolist()),
    )
