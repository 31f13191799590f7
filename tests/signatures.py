"""Checks every call in gsdff against its signature, tensors' shapes among it; importing this installs the check.

jaxtyping's import hook puts beartype around every function of the modules that are imported from then on. Kernels are
left alone: numba compiles the function, not what is around it.
"""

import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Protocol, get_args, get_origin

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]
KERNELS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "gsdff").rglob("*.py")
    if any(f"\n@{mark}" in path.read_text("utf-8") for mark in ("kernel", "intrinsic", "triton.jit"))
}
"""Modules with functions that numba or Triton compiles."""


def check(function: Any) -> Any:
    """beartype for one signature, but for what cannot be checked."""
    if "<locals>" in function.__qualname__:
        return function  # made anew, and checked anew for 2 ms, whenever what is around it is called
    hints = function.__annotations__
    function.__annotations__ = {name: hint if is_checkable(hint) else Any for name, hint in hints.items()}
    return beartype(function, conf=BeartypeConf(is_pep484_tower=True))  # an int is a float too


def is_checkable(hint: Any) -> bool:
    """Whether no part of a type hint is a protocol, unknown at run time, or an iterable, which looking into uses up."""
    is_protocol = Protocol in getattr(hint, "__bases__", ())
    return not is_protocol and get_origin(hint) is not Iterable and all(map(is_checkable, get_args(hint)))


class _Unchanged(MetaPathFinder):
    """Finds modules with kernels, as they are."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, path, target) if fullname in KERNELS else None


install_import_hook("gsdff", "signatures.check")
sys.meta_path.insert(0, _Unchanged())
