"""Messages of the server to its pages, a class each."""

from typing import Any

import msgspec
from msgspec import Struct


class Hello(Struct, frozen=True, tag="hello", tag_field="type"):
    """First message to every page."""

    scene: str
    """Text that is another one for every start of a server: a page must not ask about another scene than its own."""


class Vectors(Struct, frozen=True, tag="vectors", tag_field="type"):
    """Answer to `Encode`: a latent vector for each text."""

    id: int
    vectors: list[list[float]]


class NamedClasses(Struct, frozen=True, tag="named_classes", tag_field="type"):
    """Answer to `NameClasses`: a latent vector and a colour for each."""

    id: int
    vectors: list[list[float]]
    colors: list[list[float]]


class Pictured(Struct, frozen=True, tag="pictured", tag_field="type"):
    """Answer to `Draw`; the picture as JPEG comes after it."""

    id: int
    mode: str
    width: int
    height: int
    is_whole: bool
    """Whether it is the last one, and not a coarse one before it."""


class Training(Struct, frozen=True, tag="training", tag_field="type"):
    """Answer to `Follow`; newer Gaussians come after it, as the columns of the page's file."""

    id: int
    lines: list[str]
    """Progress in words."""
    share: float
    """Share of the steps that is done."""
    is_paused: bool
    is_other: bool
    """Whether the page is to be loaded again, as its scene has other parts now: features, or things to edit."""
    losses: list[tuple[float, float]]
    psnrs: list[tuple[float, float]]
    """Curves as steps and values, the PSNR in dB."""
    version: int
    """State of the scene that comes, or that the page has."""
    header: dict[str, Any] | None = None
    """Numbers that unpack what comes; None if nothing comes."""


class Saved(Struct, frozen=True, tag="saved", tag_field="type"):
    """Answer to what saves: the file, and how to use it."""

    id: int
    path: str
    hint: str
    names: list[str] = []
    """Names of the files that the page may fetch."""


class Progressed(Struct, frozen=True, tag="progressed", tag_field="type"):
    """Share of what is being made that is done; the answer comes after it."""

    id: int
    share: float


class FilePart(Struct, frozen=True, tag="part", tag_field="type"):
    """Answer to `Fetch`: bytes of the file come after it, in as many messages as it takes."""

    id: int
    is_last: bool


class Flown(Struct, frozen=True, tag="flown", tag_field="type"):
    """Answer to `Fly`: cameras as in a page's tour."""

    id: int
    seconds: float
    frames: list[list[float]]


class Likeness(Struct, frozen=True, tag="scored", tag_field="type"):
    """Answer to `FindSimilar`: a score of every Gaussian comes after it, as float32."""

    id: int
    latents: list[float]
    """The example, for `Question`."""
    threshold: float
    score_range: tuple[float, float]


class Selected(Struct, frozen=True, tag="selected", tag_field="type"):
    """Answer to `Modify`: bits of the selected Gaussians come after it."""

    id: int


class Done(Struct, frozen=True, tag="done", tag_field="type"):
    """Answer to a request that is met, with nothing to add."""

    id: int


class Failed(Struct, frozen=True, tag="failed", tag_field="type"):
    """Answer to a request that could not be met; `id` is None for what has no number."""

    id: int | None
    text: str


def write_answer(answer: Struct, payload: bytes = b"") -> str | bytes:
    """A message as JSON, or, with bytes after it, the length of its JSON in 4 bytes (little-endian) before both."""
    text = msgspec.json.encode(answer)
    return b"".join([len(text).to_bytes(4, "little"), text, payload]) if payload else text.decode()
