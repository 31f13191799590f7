"""Results of a search: scores, the selection, and pictures of both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.field.query import Query, Space
from gsdff.field.relevancy import classify
from gsdff.files.places import check_place, make_folder
from gsdff.files.writing import together
from gsdff.io.pictures import (
    color_bar,
    heat,
    label_colors,
    label_palette,
    legend,
    png_bytes,
    save_png,
    show_picture,
    side_by_side,
    spotlight,
    stacked,
    to_bytes,
)
from gsdff.latents import MIN_NORM
from gsdff.scene import View
from gsdff.selection import Selection
from gsdff.words import fold

MIN_LEGEND_WIDTH = 200


@dataclass(frozen=True, eq=False)
class Hit:
    """Scores of all Gaussians [N], or of the pixels of a view [H, W], and the selection; on the field's device."""

    field: FieldBase
    query: Query
    space: Space
    """`2d` if rendered features were scored, `3d` if Gaussians were, also if their scores are then drawn in a view."""
    scores: Float[Tensor, "*S"]
    """For classes, the cosine of the best."""
    answered: Bool[Tensor, "*S"]
    """Whether there is a feature to score; elsewhere scores are 0 and nothing is selected."""
    selected: Bool[Tensor, "*S"]
    """For classes, where one of the query's positives is best: nowhere, if it has none."""
    threshold: float | None = None
    """Least score that is selected; None for classes."""
    score_range: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest score that pictures show: all but the outermost thousandth of the Gaussians'."""
    labels: UInt8[Tensor, "*S"] | None = None
    """Indices into the query's classes, VOID if not answered; None without classes."""
    view: View | None = None
    """The photo whose pixels were scored; None for Gaussians."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the query."""
        return tuple(self.query.classes)

    @property
    def selection(self) -> Selection:
        """The selected Gaussians; for a hit of Gaussians."""
        if self.scores.ndim != 1:
            raise UserError("pixels are selected here, not Gaussians; query without a `view`")
        return Selection(self.selected)

    def __repr__(self) -> str:
        where = f"pixels of {self.view.name}" if self.view is not None else "Gaussians"
        return f"<gsdff.Hit: {self.describe(where)}>"

    def describe(self, things: str) -> str:
        """Number of things selected, or of each class, in one line."""
        total = self.scores.numel()
        if self.labels is not None and not self.query.positives:
            counts = [int((self.labels == i).sum()) for i in range(len(self.classes))]
            named = zip(self.classes, counts, strict=True)
            return ", ".join(f"{name} {count:,}" for name, count in named) + f" of {total:,} {things}"
        count = int(self.selected.sum())
        line = f"{count:,} of {total:,} {things} selected ({count / total:.1%})"
        if self.threshold is not None:
            source = "suggested" if self.query.threshold is None else "given"
            line += f", {self.query.chosen_method} at least {self.threshold:.3f} ({source})"
        return line

    @torch.no_grad()
    def in_view(self, view: View | str | int) -> Hit:
        """Scores of Gaussians drawn in a view: blended, a pixel selected if most of what it shows is.

        Of classes, the one that shows most wins.
        """
        if self.scores.ndim != 1:
            raise UserError("these are scores of pixels; `in_view` draws those of Gaussians, queried without a `view`")
        view = self.field.find_view(view)
        columns = [torch.ones_like(self.scores), self.scores.nan_to_num(), self.selected.float()]
        if self.labels is not None:
            columns += [(self.labels == i).float() for i in range(len(self.classes))]
        alpha, scores, selected, *votes = self.field.blend(view, torch.stack(columns, dim=1)).unbind(-1)
        share = alpha.clamp_min(MIN_NORM)
        answered = alpha > 0
        labels = classify(torch.stack(votes, -1), torch.stack(votes, -1).any(-1)) if votes else None
        chosen = answered & (selected >= 0.5 * share) if labels is None else is_positive(self.query, labels)
        return replace(self, scores=scores / share, answered=answered, selected=chosen, labels=labels, view=view)

    # --- pictures

    @property
    def picture(self) -> UInt8[Tensor, "H W 3"]:
        """Scores as heat with a colour bar, or classes as colours with a legend.

        Scores of Gaussians are drawn in the first held-out view. Raises `UserError` without photos.
        """
        hit = self._drawn()
        return _draw_classes(hit) if hit.classes else _draw_scores(hit)

    def show(self) -> None:
        """Opens the picture in the desktop's viewer, or shows it in a notebook."""
        show_picture(self.picture)

    def save(self, path: str | Path) -> list[Path]:
        """Writes the selected Gaussians (`.safetensors`), or pictures (`.png`); returns the paths.

        `car.png` has scores as heat with a colour bar, or classes as colours with a legend; `car_mask.png` is white
        where selected, at the photo's size; `car_overlay.png` is the photo, dark where nothing is selected. Of classes
        none of which is selected there is no mask, and the overlay has the classes over the photo.
        """
        path = Path(path)
        check_place(path, parameter="path")
        if path.suffix == ".safetensors":
            make_folder(path.parent)
            self.selection.save(path, source=f"{self.field.source}: {summarise(self.query)}")
            return [path]
        if path.suffix != ".png":
            raise UserError(f"`path` {path}: expected a name ending in .png or .safetensors")
        hit = self._drawn()
        assert hit.view is not None
        pictures = {"": hit.picture}
        if hit.query.positives or not hit.classes:
            white = hit.selected.cpu()[..., None].expand(-1, -1, 3)
            pictures |= {"_mask": white.byte() * 255, "_overlay": spotlight(hit.view.image, hit.selected)}
        else:
            pictures["_overlay"] = draw_classes_over(hit)
        paths = []
        with together():
            for ending, picture in pictures.items():
                paths.append(path.with_name(f"{path.stem}{ending}{path.suffix}"))
                save_png(paths[-1], picture)
        return paths

    def _repr_png_(self) -> bytes | None:
        return png_bytes(self.picture) if self.view is not None or self.field.has_photos else None

    def _drawn(self) -> Hit:
        return self if self.view is not None else self.in_view(default_view(self.field))


def default_view(field: FieldBase) -> View:
    """The first held-out photo, or the first of all; raises `UserError` without photos."""
    scene = field.scene
    return scene.views[(scene.test_ids or [0])[0]]


def is_positive(query: Query, labels: UInt8[Tensor, "*S"]) -> Bool[Tensor, "*S"]:
    """Whether labels are those of the query's positives."""
    positives = {fold(name) for name in query.positives}
    ids = [i for i, name in enumerate(query.classes) if fold(name) in positives]
    return torch.isin(labels, torch.tensor(ids, dtype=labels.dtype, device=labels.device))


def summarise(query: Query) -> str:
    """A query in few words, to be kept beside a saved selection."""
    given = {"positives": query.positives, "negatives": query.negatives, "classes": query.classes}
    words = [f"{name} {', '.join(texts)}" for name, texts in given.items() if texts]
    return "; ".join([*words, *([] if query.like is None else [repr(query.like)])])


def draw_classes_over(hit: Hit) -> UInt8[Tensor, "H W 3"]:
    """The photo with the classes' colours over it, dark where there is no feature, above a legend."""
    assert hit.view is not None and hit.labels is not None
    colors = label_colors(hit.labels, label_palette(len(hit.classes)))
    mixed = (hit.view.image.float() + colors.float()) / 2
    return _with_legend(mixed.round().byte(), hit.classes)


def _draw_scores(hit: Hit) -> UInt8[Tensor, "H W 3"]:
    """Heat over the range of the scene's scores, the same in all views, with its bar; black where nothing is."""
    low, high = hit.score_range
    shown = heat(hit.answered * (hit.scores.nan_to_num(low) - low) / max(high - low, 1e-6))
    return side_by_side(shown, color_bar(low, high, height=len(shown)))


def _draw_classes(hit: Hit) -> UInt8[Tensor, "H W 3"]:
    assert hit.labels is not None
    return _with_legend(to_bytes(label_colors(hit.labels, label_palette(len(hit.classes)))), hit.classes)


def _with_legend(picture: UInt8[Tensor, "_ _ 3"], classes: tuple[str, ...]) -> UInt8[Tensor, "_ _ 3"]:
    width = max(picture.shape[1], MIN_LEGEND_WIDTH)
    return stacked(picture, legend(classes, label_palette(len(classes)), width=width))
