"""Display modes. A new one is a file here and a row of `MODES`."""

from gsdff.viewer.modes.classes import CLASSES
from gsdff.viewer.modes.colour import COLOUR
from gsdff.viewer.modes.common import Mode, ModeInput
from gsdff.viewer.modes.depth import DEPTH
from gsdff.viewer.modes.features import FEATURES
from gsdff.viewer.modes.masks import MASKS
from gsdff.viewer.modes.opacity import OPACITY
from gsdff.viewer.modes.photo import PHOTO
from gsdff.viewer.modes.relevancy import RELEVANCY
from gsdff.viewer.modes.reliability import RELIABILITY
from gsdff.viewer.modes.teacher import TEACHER
from gsdff.viewer.modes.things import THINGS

__all__ = ["MODES", "Mode", "ModeInput"]

MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        COLOUR,
        DEPTH,
        OPACITY,
        FEATURES,
        RELIABILITY,
        RELEVANCY,
        CLASSES,
        THINGS,
        PHOTO,
        TEACHER,
        MASKS,
    )
}
"""All modes by name, in the order of the menu."""
