"""Run by Python when it starts, if this folder is on its path: the pretended card is there once torch is imported."""

import atexit
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_find = PathFinder.find_spec


def _find_and_open(_class: type, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
    """Finds a module as usual; the card is opened when torch has been loaded, by whichever finder that asks for it."""
    spec = _find(fullname, path, target)
    if fullname != "torch" or spec is None or spec.loader is None:
        return spec
    load = spec.loader.exec_module

    def load_and_open(module: ModuleType) -> None:
        load(module)
        _open()

    spec.loader.exec_module = load_and_open
    return spec


def _open() -> None:
    from pretended.card import pretended_card

    card = pretended_card()
    counts = card.__enter__()
    atexit.register(card.__exit__, None, None, None)  # and keeps it open until then
    if os.environ.get("PRETENDED_COUNTS"):
        atexit.register(lambda: print(counts.table(), file=sys.stderr))


PathFinder.find_spec = classmethod(_find_and_open)  # pytest takes it for its own class
