"""The way features are blended on CUDA: on tensor cores by our own kernels, or by gsplat's rasteriser."""

import logging
import os
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

from gsdff.errors import UserError

log = logging.getLogger("gsdff")

FeaturePass = Literal["half", "float32", "gsplat"]
VARIABLE = "GSDFF_FEATURE_PASS"
"""Environment variable that chooses: half (the default) or float32 on tensor cores, or gsplat."""


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
    reason = "Triton is not installed, which comes with torch on Linux"
    if find_spec("triton") is not None:
        from gsdff.render.tensor_cores import find_obstacle

        reason = find_obstacle()
    if reason:
        log.warning("features are blended by gsplat, more slowly than by gsdff's own kernels: %s", reason)
    return not reason
