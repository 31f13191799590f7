"""The way features are blended on CUDA: on tensor cores by our own kernels, or by gsplat's rasteriser."""

import logging
import os
from functools import cache
from typing import Literal, get_args

import torch

from gsdff.device import find_triton_obstacle
from gsdff.errors import UserError

log = logging.getLogger("gsdff")

FeaturePass = Literal["half", "float32", "gsplat"]
VARIABLE = "GSDFF_FEATURE_PASS"
"""Environment variable that chooses: half (the default) or float32 on tensor cores, or gsplat."""
LEAST_ARCH = (8, 0)
"""Oldest cards whose matrix instructions the kernels use: Ampere's."""


def choose_feature_pass() -> FeaturePass:
    """The way that `GSDFF_FEATURE_PASS` names, or gsplat, which is logged once, if Triton cannot run here.

    Raises `UserError` if it names none.
    """
    wanted = os.environ.get(VARIABLE) or "half"
    for known in get_args(FeaturePass):
        if wanted == known:
            return known if known == "gsplat" or _is_possible() else "gsplat"
    raise UserError(f"{VARIABLE}={wanted}: expected one of {', '.join(get_args(FeaturePass))}")


@cache
def _is_possible() -> bool:
    reason = find_triton_obstacle()
    if not reason and (arch := torch.cuda.get_device_capability()) < LEAST_ARCH:
        reason = (
            f"the card's compute capability is {arch[0]}.{arch[1]}, expected {LEAST_ARCH[0]}.{LEAST_ARCH[1]} or newer"
        )
    if reason:
        log.warning("features are blended by gsplat, more slowly than by gsdff's own kernels: %s", reason)
    return not reason
