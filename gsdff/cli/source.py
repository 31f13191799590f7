"""The scene that a door names, opened with the options that all such doors have."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gsdff.config.file import to_table
from gsdff.config.reading import PhotoConfig

if TYPE_CHECKING:
    from gsdff.field.field import Field


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
    def dataset(self) -> PhotoConfig:
        """How to read the photos."""
        ...

    @property
    def device(self) -> str:
        """Name of the device."""
        ...


def open_source(arguments: SourceOptions) -> "Field":
    """The field that the options name."""
    from gsdff.field.field import load

    changes = to_table(arguments.dataset)
    return load(arguments.run, data=arguments.data, dataset=changes, offset=arguments.offset, device=arguments.device)
