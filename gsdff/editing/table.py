"""Table of the edit operations: a new one is a file with a subclass of `Edit`, and a row here.

Its option on the command line and its keys in files follow. The classes are named, not imported, so that mistakes on
the command line are found before torch is loaded.
"""

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


def split_text(name: str, text: str) -> tuple[list[str], str]:
    """Texts and value of an edit written as on a command line, "table+desk:#2a6fdb"; ValueError names its form.

    Texts joined by + are alternatives. A text may hold colons if a value follows, as the value begins after the last.
    """
    form = OPERATIONS[name].form
    expected, has_value = f"expected {form}", ":" in form
    target, colon, value = text.rpartition(":") if has_value else (text, "", "")
    if has_value and not colon:
        raise ValueError(f"{expected}, got no colon")
    if ":" in target and not has_value:
        raise ValueError(f"{expected} without a value; thresholds belong in a file of edits")
    texts = [part.strip() for part in target.split("+")]
    if not all(texts):
        raise ValueError(f"{expected}, got an empty text")
    return texts, value.strip()
