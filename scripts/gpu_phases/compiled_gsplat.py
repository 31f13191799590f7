"""Loads gsplat's kernels as `gpu_check.sh build` has compiled them; gsplat imports this as `gsplat.csrc`.

gsplat's own way asks ninja, which compiles everything again if a file is newer, as all are that were just unpacked.
"""

import os
import sys

from torch.utils.cpp_extension import _import_module_from_library

_place = os.path.join(os.environ.get("TORCH_EXTENSIONS_DIR", ""), "gsplat_cuda")
if not os.path.isfile(os.path.join(_place, "gsplat_cuda.so")):
    raise ImportError(f"{_place}: nothing is compiled there yet")
sys.modules[__name__] = _import_module_from_library("gsplat_cuda", _place, True)
