"""HTML of the panel. Texts of users are escaped here."""

from html import escape

import torch
from jaxtyping import UInt8
from torch import Tensor

from gsdff.io.pictures import heat, label_palette

MAX_LEGEND = 40
"""Largest number of classes in a legend."""


def printable(text: str) -> str:
    """A text as a page can show it: bytes of a path that are no UTF-8 are written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def line(markup: str) -> str:
    """A line of the panel; `markup` is HTML already."""
    return f'<div style="padding:0.2em 1em;font-size:0.85em">{printable(markup)}</div>'


def note(text: str) -> str:
    """A line in small grey type."""
    return f'<div style="padding:0 1.2em 0.3em;font-size:0.75em;opacity:0.65">{escape(printable(text))}</div>'


def color_bar(low: float, high: float) -> str:
    """Colours of `heat`, with the values at both ends."""
    colors = heat(torch.linspace(0, 1, 9)[None])[0].tolist()
    stops = ",".join("rgb({},{},{})".format(*color) for color in colors)
    return (
        f'<div style="padding:0.2em 1.2em">'
        f'<div style="height:0.8em;background:linear-gradient(to right,{stops})"></div>'
        f'<div style="display:flex;justify-content:space-between;font-size:0.75em">'
        f"<span>{low:.3f}</span><span>{high:.3f}</span></div></div>"
    )


def class_legend(names: tuple[str, ...], labels: UInt8[Tensor, "M"]) -> str:
    """Colours of the classes that occur in `labels`, the most frequent first."""
    counts = labels.cpu().long().bincount(minlength=256)[: len(names)]
    palette = label_palette(len(names)).tolist()
    present = [i for i in counts.argsort(descending=True, stable=True).tolist() if counts[i]]
    items = []
    for i in present[:MAX_LEGEND]:
        square = "display:inline-block;width:0.8em;height:0.8em;margin-right:0.3em;background:rgb({},{},{})"
        items.append(
            f'<span style="margin-right:0.8em;white-space:nowrap"><span style="{square.format(*palette[i])}"></span>'
            f"{escape(printable(names[i]))}</span>"
        )
    if len(present) > MAX_LEGEND:
        items.append(f"and {len(present) - MAX_LEGEND} more")
    return f'<div style="padding:0.2em 1.2em;font-size:0.75em;line-height:1.6">{" ".join(items)}</div>'
