"""Messages of pages to their server, a class each: annotations are the limits of what a page may send.

Any program can pose as a page. What does not fit here is answered with `Failed`, and nothing else happens.
"""

import math
from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import msgspec
import numpy as np
import torch
from jaxtyping import Bool
from msgspec import Meta, Struct
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame
from gsdff.editing.edit import Edit
from gsdff.editing.operations.delete import Delete
from gsdff.editing.operations.recolor import Recolor
from gsdff.editing.operations.transform import Move, Rotate, Scale
from gsdff.editing.values import LARGEST_FACTOR, MOST_DEGREES
from gsdff.errors import UserError
from gsdff.field.query import MAX_CLASSES, MOST_SCORE
from gsdff.selection import Selection
from gsdff.viewer.rendering import MAX_SIDE, bounded_size
from gsdff.viewer.shared_scene import make_camera
from gsdff.viewer.wire.bits import read_rows
from gsdff.words import LONGEST

FARTHEST = 1e6
"""Largest coordinate of a position, in the working frame, in which a scene measures about 1."""
MOST_TEXTS = 64
"""Largest number of texts of one question."""
MOST_COLORS = 64
"""Largest number of colours between which those of scores are mixed."""
MOST_EDITS = 1000
"""Largest number of edits of one page."""
MOST_SELECTIONS = 66
"""Largest number of selections of one message, if none of them can be deflated."""
MOST_KEYFRAMES = 200
MOST_LATENTS = 1024
"""Largest number of channels of an example that is searched for."""
BASE_BYTES = 1 << 18
"""Largest message, without its bits of Gaussians."""

Number: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]
"""Number of a request, by which its answer is known."""
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=LONGEST)]
Texts: TypeAlias = Annotated[tuple[Text, ...], Meta(max_length=MOST_TEXTS)]
Classes: TypeAlias = Annotated[tuple[Text, ...], Meta(max_length=MAX_CLASSES)]
Score: TypeAlias = Annotated[float, Meta(ge=-MOST_SCORE, le=MOST_SCORE)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Color: TypeAlias = tuple[Share, Share, Share]
Coordinate: TypeAlias = Annotated[float, Meta(ge=-FARTHEST, le=FARTHEST)]
Place: TypeAlias = tuple[Coordinate, Coordinate, Coordinate]
Unit: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]
Focal: TypeAlias = Annotated[float, Meta(gt=1e-3, le=1e3)]
Side: TypeAlias = Annotated[int, Meta(ge=1, le=4 * MAX_SIDE)]


Duration: TypeAlias = Annotated[float, Meta(ge=0.5, le=300)]
"""Seconds of a film."""


class Request(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Something that a page asks for."""

    id: Number


class Window(Struct, frozen=True, forbid_unknown_fields=True):
    """Camera of a page in the working frame, and the size of its picture."""

    position: Place
    wxyz: tuple[Unit, Unit, Unit, Unit]
    """Camera to world, with OpenCV axes."""
    focal: tuple[Focal, Focal]
    """Focal lengths as shares of width and height."""
    centre: tuple[Unit, Unit]
    """Principal point as shares of width and height."""
    width: Side
    height: Side

    def __post_init__(self) -> None:
        if math.hypot(*self.wxyz) < 0.5:
            raise ValueError(f"Expected a unit quaternion, got {self.wxyz}")

    def camera(self) -> Camera:
        """The camera, whose picture is smaller than a window that is too large."""
        width, height = bounded_size(self.width, self.height)
        camera = make_camera(np.array(self.wxyz), np.array(self.position), 1.0, width, height)
        (fx, fy), (cx, cy) = self.focal, self.centre
        return replace(camera, K=torch.tensor([[fx * width, 0, cx * width], [0, fy * height, cy * height], [0, 0, 1]]))


Keyframes: TypeAlias = Annotated[tuple[Window, ...], Meta(min_length=2, max_length=MOST_KEYFRAMES)]


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """Words that a page searches for, with what it chose by the scores of its Gaussians."""

    positives: Texts
    negatives: Texts
    threshold: Score
    score_range: tuple[Score, Score]
    """Scores between which the page shows colours."""
    colors: Annotated[tuple[Color, ...], Meta(min_length=2, max_length=MOST_COLORS)]
    """These colours, from the lowest score to the highest."""
    like: Annotated[tuple[Coordinate, ...], Meta(max_length=MOST_LATENTS)] = ()
    """Latent feature of an example, in place of positives."""

    def __post_init__(self) -> None:
        if bool(self.positives) == bool(self.like):
            raise ValueError("Expected texts or an example to search for")


class ByText(Struct, frozen=True, forbid_unknown_fields=True):
    """Words that select the same in another training, as the fields of `Selector`."""

    positives: Annotated[Texts, Meta(min_length=1)]
    negatives: Texts
    threshold: Annotated[float, Meta(ge=-1, le=1)]
    rim: bool


class HandEdit(Struct, frozen=True, forbid_unknown_fields=True):
    """An edit made in a page, of some Gaussians; places and lengths are those of the working frame."""

    operation: Literal["delete", "recolor", "move", "rotate", "scale"]
    rows: bytes
    """Bits of the Gaussians, deflated: hundreds of edits are of few Gaussians each."""
    color: Color | None = None
    translation: Place | None = None
    axis: tuple[Unit, Unit, Unit] | None = None
    degrees: Annotated[float, Meta(ge=-MOST_DEGREES, le=MOST_DEGREES)] | None = None
    factor: Annotated[float, Meta(ge=1 / LARGEST_FACTOR, le=LARGEST_FACTOR)] | None = None
    centre: Place | None = None
    text: ByText | None = None
    """Words that have selected what is deleted."""

    def __post_init__(self) -> None:
        if self.text is not None and self.operation != "delete":
            raise ValueError(f"Expected words of delete alone, got some of {self.operation}")
        given = {name for name in OPERATION_FIELDS if getattr(self, name) is not None}
        expected = set(FIELDS_OF[self.operation])
        if given != expected:
            names = " and ".join(sorted(expected)) or "none of its fields"
            raise ValueError(f"Expected {names} of {self.operation}, got {' and '.join(sorted(given)) or 'none'}")

    def mask(self, num_gaussians: int) -> Bool[Tensor, "N"]:
        """The Gaussians that are edited; raises `UserError` for bits of another number of Gaussians."""
        return read_rows(self.rows, num_gaussians)

    def make(self, num_gaussians: int, frame: WorldFrame | None = None, *, by_text: bool = False) -> Edit:
        """The edit, in a world whose working frame this is, or in the working frame.

        With `by_text` a deletion of what words select has the words in place of the Gaussians. Raises `UserError` if it
        selects nothing, for an axis that is no direction, or for bits of another number of Gaussians.
        """
        selection = Selection(self.mask(num_gaussians))
        if not selection:
            raise UserError("nothing is selected to be edited")
        frame = frame or WorldFrame()
        centre = None if self.centre is None else _to_world(self.centre, frame)
        match self.operation:
            case "delete" if by_text and self.text is not None:
                text = self.text
                negatives = text.negatives or None
                return Delete(text.positives, negatives=negatives, threshold=text.threshold, rim=text.rim)
            case "delete":
                return Delete(selection)
            case "recolor":
                return Recolor(selection, color=self.color)
            case "move":
                assert self.translation is not None, "every move has one"
                x, y, z = (frame.scale * value for value in self.translation)
                return Move(selection, translation=(x, y, z))
            case "rotate":
                return Rotate(selection, axis=self.axis, degrees=self.degrees, centre=centre)
            case "scale":
                assert self.factor is not None, "every scaling has one"
                return Scale(selection, factor=self.factor, centre=centre)


FIELDS_OF = {
    "delete": (),
    "recolor": ("color",),
    "move": ("translation",),
    "rotate": ("axis", "degrees", "centre"),
    "scale": ("factor", "centre"),
}
"""Fields that an operation has, all of them."""
OPERATION_FIELDS = sorted({name for names in FIELDS_OF.values() for name in names})


def _to_world(place: Place, frame: WorldFrame) -> Place:
    x, y, z = (frame.scale * value + middle for value, middle in zip(place, frame.centre, strict=True))
    return x, y, z


HandEdits: TypeAlias = Annotated[tuple[HandEdit, ...], Meta(max_length=MOST_EDITS)]


class Scenery(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides what a page shows, but for its camera."""

    mode: Annotated[str, Meta(max_length=32)]
    question: Question | None = None
    classes: Classes = ()
    class_colors: Annotated[tuple[Color, ...], Meta(max_length=MAX_CLASSES)] = ()
    """Colours of the classes, if there are any; otherwise the usual ones."""
    hidden: bytes = b""
    """Gaussians that are not drawn, and those that are marked, as bits; empty for none."""
    marked: bytes = b""
    edits: HandEdits = ()
    """Edits that the page shows."""
    version: Number = 0
    """State of a scene that trains, whose Gaussians the bits are of."""

    def __post_init__(self) -> None:
        if self.class_colors and len(self.class_colors) != len(self.classes):
            raise ValueError("Expected a colour for each class")


class Encode(Request, frozen=True, tag="encode"):
    """Asks for the latent vectors of texts; a newer one cancels an older."""

    texts: Annotated[Texts, Meta(min_length=1)]


class NameClasses(Request, frozen=True, tag="name_classes"):
    """Asks for the latent vectors and colours of classes."""

    names: Annotated[Classes, Meta(min_length=2)]


class Draw(Request, frozen=True, tag="draw"):
    """Asks for pictures of what the page shows, coarse and then whole; a newer one cancels an older."""

    window: Window
    scenery: Scenery | None = None
    """None for that of the last request, `beside` included."""
    beside: Scenery | None = None
    """What the right half shows, if it is something else."""


class SavePicture(Request, frozen=True, tag="save_picture"):
    """Saves a whole picture of what the page shows."""

    window: Window
    scenery: Scenery
    beside: Scenery | None = None


class SaveSelection(Request, frozen=True, tag="save_selection"):
    """Saves selected Gaussians."""

    selected: bytes


class SaveEdits(Request, frozen=True, tag="save_edits"):
    """Saves edits as a file that `gsdff edit` replays."""

    edits: Annotated[HandEdits, Meta(min_length=1)]


class SaveScene(Request, frozen=True, tag="save_scene"):
    """Saves the scene after edits as a PLY."""

    edits: HandEdits = ()
    selected: bytes = b""
    """Gaussians that are saved alone, by their indices before the edits; empty for all."""


class SavePage(Request, frozen=True, tag="save_page"):
    """Saves what the page shows as a page that needs no server."""

    window: Window
    """The view that it begins with."""
    edits: HandEdits = ()
    classes: Classes = ()


class Fly(Request, frozen=True, tag="fly"):
    """Asks for the smooth flight through keyframes."""

    keyframes: Keyframes
    seconds: Duration


class SaveFilm(Request, frozen=True, tag="save_film"):
    """Saves that flight as a film of what the page shows."""

    keyframes: Keyframes
    seconds: Duration
    scenery: Scenery


class Stop(Request, frozen=True, tag="stop"):
    """Stops the film that is being made."""


class Fetch(Request, frozen=True, tag="fetch"):
    """Asks for a file that the page has saved before."""

    saved: Number
    """Number of the request that saved it: no page names a file."""
    place: Annotated[int, Meta(ge=0, le=1)] = 0
    """Place among the files that were saved together."""


class FindSimilar(Request, frozen=True, tag="find_similar"):
    """Asks how similar all Gaussians are to what is at a place of the window."""

    window: Window
    scenery: Scenery
    place: tuple[Share, Share]


class Modify(Request, frozen=True, tag="modify"):
    """Asks for a selection that is modified by where its Gaussians are."""

    selected: bytes
    hidden: bytes
    """Gaussians that are not there."""
    how: Literal["grow", "shrink", "keep_largest", "drop_floaters"]
    version: Number = 0


class Follow(Request, frozen=True, tag="follow"):
    """Asks how far the training is, and for the Gaussians if there are newer ones than the page's.

    It is answered when there is something new, at the latest after a moment.
    """

    scene: Annotated[str, Meta(max_length=64)]
    version: Number
    """The scene and its state that the page shows."""
    holds: bool
    """Whether the page keeps its Gaussians for now."""


class Pause(Request, frozen=True, tag="pause"):
    """Pauses the training, or resumes it."""

    is_paused: bool


_DECODER = msgspec.json.Decoder(
    Encode | NameClasses | Draw | FindSimilar | Modify | Follow | Pause | Fly | Stop | Fetch
    | SavePicture | SaveSelection | SaveEdits | SaveScene | SavePage | SaveFilm
)  # fmt: skip


def read_request(data: str | bytes) -> Request:
    """The request in a message; raises `UserError` for what is none, or has a value out of its limits."""
    if isinstance(data, bytes):
        raise UserError("message: expected a request in JSON, got bytes")
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UserError(f"message: {error}") from error


class _Numbered(Struct):
    """Any request, as far as its answer is concerned."""

    id: Number


def read_number(data: str | bytes) -> int | None:
    """Number of a message that is no request, by which a page knows the answer; None if it has none."""
    try:
        return msgspec.json.decode(data, type=_Numbered).id
    except (msgspec.MsgspecError, RecursionError):
        return None


def most_bytes(num_gaussians: int) -> int:
    """Length of the largest message of a page with so many Gaussians: bits of selections and more, in base64."""
    return BASE_BYTES + MOST_SELECTIONS * 4 * -(-num_gaussians // 8 // 3)
