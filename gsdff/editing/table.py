"""Table of the edit operations: a new one is a file with a subclass of `Edit`, and a row here.

Its option on the command line and its keys in files follow. The classes are named, not imported, so that mistakes on
the command line are found before torch is loaded.
"""

import re
from typing import NamedTuple


class OperationKind(NamedTuple):
    """Facts about an operation that are needed before its module is imported."""

    location: str
    """Module and class."""
    form: str
    """The edit on a command line: "TEXT", or "TEXT:" and the form of its value."""
    help: str
    """Help line of its option on the command line."""


OPERATIONS = {
    "extract": OperationKind(
        "gsdff.editing.operations.extract:Extract", "TEXT", "Keep the selection and remove everything else."
    ),
    "delete": OperationKind("gsdff.editing.operations.delete:Delete", "TEXT", "Remove the selection."),
    "recolor": OperationKind(
        "gsdff.editing.operations.recolor:Recolor",
        "TEXT:COLOR",
        'Change the hue and keep the brightness: "table:#2a6fdb".',
    ),
    "move": OperationKind(
        "gsdff.editing.operations.transform:Move",
        "TEXT:X,Y,Z",
        "Move by this offset, in the units and axes of the photos' poses.",
    ),
    "rotate": OperationKind(
        "gsdff.editing.operations.transform:Rotate",
        "TEXT:X,Y,Z",
        'Turn by degrees about x, then y, then z; or "TEXT:AXIS_X,AXIS_Y,AXIS_Z,DEGREES".',
    ),
    "scale": OperationKind("gsdff.editing.operations.transform:Scale", "TEXT:FACTOR", "Scale about the centre."),
    "duplicate": OperationKind(
        "gsdff.editing.operations.transform:Duplicate",
        "TEXT:X,Y,Z[,COPIES]",
        "Add a copy at this offset, or several in a row.",
    ),
    "opacity": OperationKind(
        "gsdff.editing.operations.opacity:Opacity", "TEXT:OPACITY", "Set the opacity, above 0 and at most 1."
    ),
    "stylize": OperationKind(
        "gsdff.editing.operations.stylize:Stylize",
        "TEXT:PROMPT",
        'Change the colours until CLIP reads the training views as the prompt: "chair:a wooden chair".',
    ),
}
"""By `Edit.name`, in the order of the options on the command line."""


_QUOTED = re.compile(r'(?:^|(?<=[+:]))\s*"([^"]*)"\s*(?=[+:]|$)')
"""A whole text or value in quotes, in which + and : are letters."""


def split_text(name: str, text: str) -> tuple[list[str], str]:
    """Texts and value of an edit written as on a command line, "table+desk:#2a6fdb"; ValueError names its form.

    Texts joined by + are alternatives. The value begins after the last colon, and where none is expected a colon is a
    letter. In quotes, which may be around each text and the value, + and : are letters: `"c++ book"+"a cup: red":navy`.
    """
    form = OPERATIONS[name].form
    expected, has_value = f"expected {form}", ":" in form
    outline = _QUOTED.sub(lambda match: "_" * len(match[0]), text)  # as long, without the + and : of quotes
    end = outline.rfind(":") if has_value else len(text)
    if end < 0:
        raise ValueError(f"{expected}, got no colon")
    ends = [*(i for i in range(end) if outline[i] == "+"), end]
    starts = [0, *(i + 1 for i in ends[:-1])]
    texts = [_unquoted(text[i:j], expected) for i, j in zip(starts, ends, strict=True)]
    if not all(texts):
        hint = f"""; a text with + goes in quotes: '"{text[:end].strip()}"'""" if len(texts) > 1 else ""
        raise ValueError(f"{expected}, got an empty text{hint}")
    return texts, _unquoted(text[end + 1 :], expected)


def _unquoted(part: str, expected: str) -> str:
    """A text or a value without the spaces and the quotes around it."""
    part = part.strip()
    if not part.startswith('"'):
        return part
    if not _QUOTED.fullmatch(part):
        raise ValueError(f"{expected}, got {part} without a quote at its end")
    return part[1:-1].strip()
