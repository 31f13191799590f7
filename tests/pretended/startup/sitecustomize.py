"""Run by Python when it starts, if this folder is on its path: the pretended card is there once torch is imported."""

import atexit
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class _AfterTorch(MetaPathFinder):
    """Finds torch, and opens the card when torch has been loaded."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_open(module: ModuleType) -> None:
            sys.meta_path.remove(self)  # now, and not above: some only ask whether there is a torch
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


sys.meta_path.insert(0, _AfterTorch())
