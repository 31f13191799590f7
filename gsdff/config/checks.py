"""Checks of option values. Every class of options checks its own fields in `__post_init__`, one field at a time:
rules between several fields wait until all files and the command line have been read (`TrainConfig.check`)."""

from gsdff.errors import UserError, shown

MOST = 1e9
"""Largest value of an option that has no limit of its own."""
MOST_PIXELS = 1001
"""Largest window of a filter in pixels."""
COLDEST, HOTTEST = 1e-4, 1e4
"""Range of a softmax's temperature: below it the rounding of cosines decides, above it all scores are equal."""


class OptionError(UserError):
    """A value that an option cannot have."""

    def __init__(self, options: object, key: str, expected: str):
        self.owner = type(options)
        self.key = key
        self.complaint = f"expected {expected}, got {shown(getattr(options, key))}"
        super().__init__(f"`{self.owner.__name__}.{key}`: {self.complaint}")


def check(options: object, key: str, is_valid: bool, expected: str) -> None:
    """Raises `OptionError` for this field unless its value is valid."""
    if not is_valid:
        raise OptionError(options, key, expected)


def check_at_least(least: int, options: object, *keys: str, most: float = MOST) -> None:
    """Raises `OptionError` for the first of these fields whose value is below `least`, above `most`, or NaN."""
    for key in keys:
        above = f", at most {most:g}" if getattr(options, key) > most else ""
        check(options, key, least <= getattr(options, key) <= most, f"at least {least}{above}")


def check_share(options: object, *keys: str) -> None:
    """Raises `OptionError` for the first of these fields whose value is not in [0, 1]."""
    for key in keys:
        check(options, key, 0 <= getattr(options, key) <= 1, "0 to 1")


def check_positive(options: object, *keys: str, most: float = MOST) -> None:
    """Raises `OptionError` for the first of these fields whose value is not above 0 and at most `most`."""
    for key in keys:
        check(options, key, 0 < getattr(options, key) <= most, f"more than 0 and at most {most:g}")


def check_window(options: object, key: str) -> None:
    """Raises `OptionError` if this field is not an odd number of pixels."""
    window = getattr(options, key)
    above = f", at most {MOST_PIXELS}" if window > MOST_PIXELS else ""
    check(options, key, 1 <= window <= MOST_PIXELS and window % 2 == 1, f"an odd number of pixels{above}")
