"""The scene that a door names, opened with the options that all such doors have."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from gsdff.config.file import to_table

if TYPE_CHECKING:
    from gsdff.field.field import Field


@dataclass(frozen=True)
class PhotoOptions:
    """Options of reading the photos of a run, or those for a PLY; what is left out is as in the training."""

    poses: Literal["auto", "stored", "turned"] | None = None
    """Poses of photos with an EXIF orientation are those of the photos as `stored`, or as EXIF `turned` them."""
    made_from: Literal["photos", "views"] | None = None
    """Label images, masks and teacher maps show `photos` as stored, or `views`, which are undistorted and upright."""
    masks: bool | None = None
    """Whether to leave out what the photos' masks cover."""
    memory: float | None = None
    """Gigabytes of photos that stay in memory; larger datasets are read from a temporary file as they are used."""
    allow_outside: bool | None = None
    """Whether to read photos that the dataset lists outside its folder; for files that you trust."""


class SourceOptions(Protocol):
    """Options of every door that opens a scene with photos."""

    @property
    def run(self) -> Path:
        """The run's folder, or a PLY."""
        ...

    @property
    def data(self) -> Path | None:
        """Folder of the photos."""
        ...

    @property
    def offset(self) -> tuple[float, float, float] | None:
        """Point of the world that a file's positions are relative to."""
        ...

    @property
    def dataset(self) -> PhotoOptions:
        """Options of reading the photos."""
        ...

    @property
    def device(self) -> str:
        """Name of the device."""
        ...


def open_source(arguments: SourceOptions) -> "Field":
    """The field that the options name."""
    from gsdff.field.load import load

    changes = to_table(arguments.dataset)
    return load(arguments.run, data=arguments.data, dataset=changes, offset=arguments.offset, device=arguments.device)
