"""scripts/pack_wheels.py: which wheels a machine with torch and without a network lacks."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "pack_wheels.py"


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(SCRIPT))


def names(pins: list[str]) -> set[str]:
    return {pin.partition("==")[0] for pin in pins}


def test_torch_and_what_it_brings_stay_as_they_are(script):
    chosen = names(script["choose"]("3.12", {}))
    assert {"gsplat", "kornia", "kornia-rs", "websockets", "msgspec", "numba", "beartype"} <= chosen
    assert not chosen & {"torch", "torchvision", "triton", "numpy", "sympy", "pycolmap", "imageio-ffmpeg"}
    assert not {name for name in chosen if name.startswith(("nvidia-", "cuda-"))}


def test_what_is_listed_is_left_out_unless_it_is_too_old(script):
    every = names(script["choose"]("3.12", {}))
    fewer = script["choose"]("3.12", {"numba": "0.68.1", "llvmlite": "", "kornia": "0.7.0", "pytest": ""})
    assert every - names(fewer) >= {"numba", "llvmlite", "pytest"} and "kornia" in names(fewer)


def test_what_is_left_out_can_be_asked_for(script):
    assert "pycolmap" in names(script["choose"]("3.12", {}, ["pycolmap"]))


def test_versions_are_those_of_the_lock_for_the_other_python(script):
    old, new = (dict(pin.split("==") for pin in script["choose"](python, {})) for python in ("3.10", "3.12"))
    assert old["jaxtyping"] != new["jaxtyping"] and old["gsplat"] == new["gsplat"] == "1.5.3"


def test_lists_of_pip_are_read(script):
    lines = "numba==0.68.1\nPyYAML==6.0\ngsdff @ file:here\njaxlib\n\n"
    assert script["read_list"](lines) == {"numba": "0.68.1", "pyyaml": "6.0", "gsdff": "file:here", "jaxlib": ""}
