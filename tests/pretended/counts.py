"""Counts of what a card and the host do for one another, by the line of code that asked for it."""

import sys
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""


@dataclass
class Counts:
    """Host waits, launches and bytes since the last `clear`; the keys are lines such as `gsdff/scene.py:78`."""

    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Times that the host waited for the card, by line and reason."""
    launches: Counter[str] = field(default_factory=Counter)
    """Operations that the card did; a kernel of gsplat is one of them."""
    bytes_up: Counter[str] = field(default_factory=Counter)
    """Bytes that went to the card."""
    bytes_down: Counter[str] = field(default_factory=Counter)
    """Bytes that came from the card."""

    def clear(self) -> None:
        """Starts from zero."""
        for part in fields(self):
            getattr(self, part.name).clear()

    @property
    def num_waits(self) -> int:
        return sum(self.waits.values())

    @property
    def num_launches(self) -> int:
        return sum(self.launches.values())

    def table(self, most: int = 20) -> str:
        """Sums, and the lines with the most of each, to be printed."""
        lines = [
            f"{self.num_waits} host waits, {self.num_launches} launches, {sum(self.bytes_up.values()):,} bytes up, "
            f"{sum(self.bytes_down.values()):,} bytes down"
        ]
        for part in fields(self):
            for key, count in getattr(self, part.name).most_common(most):
                where, what = key if isinstance(key, tuple) else (key, "")
                lines.append(f"{part.name:10} {count:>12,}  {where}  {what}".rstrip())
        return "\n".join(lines)


COUNTS = Counts()
"""The pretended card's."""


def find_line() -> str:
    """Innermost line on the stack of gsdff, its scripts, gsplat or torch's optimizers; otherwise of the tests."""
    frame, test = sys._getframe(1), "elsewhere"
    while frame is not None:
        name = _name_file(frame.f_code.co_filename)
        if name.startswith("tests/"):
            test = f"{name}:{frame.f_lineno}" if test == "elsewhere" else test
        elif name:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return test


@cache
def _name_file(path: str) -> str:
    """Short name of a file whose lines are counted; empty for all others."""
    for package in ("/site-packages/gsplat/", "/site-packages/torch/optim/"):
        if package in path:
            return path[path.index(package) + len("/site-packages/") :]
    file = Path(path)
    if not file.is_relative_to(ROOT) or "site-packages" in path or file.parent == Path(__file__).parent:
        return ""
    return file.relative_to(ROOT).as_posix()
