"""Signatures are checked while the tests run."""

import importlib
import inspect
import pkgutil

import jaxtyping
import pytest
import signatures
import torch
from tiny_run import make_gaussians

import gsdff
from gsdff.cameras import Camera, WorldFrame
from gsdff.rotation import quats_to_matrices


@pytest.mark.parametrize("quats", [torch.zeros(2, 3), torch.zeros(4, 1), torch.zeros(2, 4, dtype=torch.int64), None])
def test_a_wrong_argument_is_refused(quats):
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'quats'"):
        quats_to_matrices(quats)


def test_a_letter_is_one_size_in_the_whole_signature(generator):
    gaussians = make_gaussians(generator)
    with pytest.raises(jaxtyping.TypeCheckError, match="N=60"):
        type(gaussians)(**dict(gaussians.items()) | {"quats": torch.ones(59, 4)})


def test_a_wrong_result_is_refused(monkeypatch):
    camera = Camera(torch.eye(4), torch.eye(3), 4, 3)
    monkeypatch.setattr(torch.linalg, "inv", lambda matrix: matrix[:3])
    with pytest.raises(jaxtyping.TypeCheckError, match=r"return value of .*camtoworld"):
        _ = camera.camtoworld


def test_a_whole_number_is_a_float_too():
    assert WorldFrame((0, 1, 2), 3).scale == 3


def test_the_functions_of_all_modules_but_those_with_kernels_are_checked():
    names = {found.name for found in pkgutil.walk_packages(gsdff.__path__, "gsdff.")}
    assert names > signatures.KERNELS and {"gsdff.render.blend", "gsdff.losses.cpu"} < signatures.KERNELS
    for module in map(importlib.import_module, names - signatures.KERNELS):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            assert function.__module__ != module.__name__ or hasattr(function, "__wrapped__"), (module, name)
