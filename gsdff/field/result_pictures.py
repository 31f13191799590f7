"""Pictures of an answer in a view: scores or classes, the mask of what is selected, both over the photo."""

from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from gsdff.field.query import Answer
from gsdff.io.pictures import (
    color_bar,
    heat,
    label_colors,
    label_palette,
    legend,
    save_png,
    side_by_side,
    spotlight,
    stacked,
    to_bytes,
)
from gsdff.scene import View

MIN_LEGEND_WIDTH = 200


def save_answer(out: Path, view: View, answer: Answer) -> list[Path]:
    """Writes three PNGs and gives their paths; of classes none of which is asked for, there is no mask.

    OUT.png: scores as heat with a colour bar, or classes as colours with a legend. OUT_mask.png: white where selected,
    at the photo's size. OUT_overlay.png: the photo, dark where nothing is selected, or classes over it.
    """
    classes = answer.query.classes
    pictures = {"": _draw_classes(answer) if classes else _draw_scores(answer)}
    if answer.query.positives or not classes:
        white = answer.selected.cpu()[..., None].expand(-1, -1, 3)
        pictures |= {"_mask": white.byte() * 255, "_overlay": spotlight(view.image, answer.selected)}
    else:
        pictures["_overlay"] = draw_classes_over(view, answer)
    paths = []
    for ending, picture in pictures.items():
        paths.append(out.with_name(f"{out.stem}{ending}{out.suffix}"))
        save_png(paths[-1], picture)
    return paths


def draw_classes_over(view: View, answer: Answer) -> UInt8[Tensor, "H W 3"]:
    """The photo with its classes' colours over it, dark where there is no answer, above a legend."""
    colors = label_colors(answer.labels, label_palette(len(answer.query.classes)))
    mixed = (view.image.float() + colors.float()) / 2
    return _with_legend(mixed.round().byte(), answer.query.classes)


def _draw_scores(answer: Answer) -> UInt8[Tensor, "H W 3"]:
    """Over the range of the scene's scores, the same in all views: the bar says which. Black where nothing is."""
    low, high = answer.scale
    shown = heat(answer.answered * (answer.scores.nan_to_num(low) - low) / max(high - low, 1e-6))
    return side_by_side(shown, color_bar(low, high, height=len(shown)))


def _draw_classes(answer: Answer) -> UInt8[Tensor, "H W 3"]:
    classes = answer.query.classes
    return _with_legend(to_bytes(label_colors(answer.labels, label_palette(len(classes)))), classes)


def _with_legend(picture: UInt8[Tensor, "H W 3"], classes: tuple[str, ...]) -> UInt8[Tensor, "H W 3"]:
    width = max(picture.shape[1], MIN_LEGEND_WIDTH)
    return stacked(picture, legend(classes, label_palette(len(classes)), width=width))
