"""gsdff: 3D Gaussian scenes that carry a feature vector per Gaussian, distilled from a 2D teacher.

    import gsdff
    field = gsdff.load("runs/street")             # a run's folder or a PLY
    hit = field.query("car", negatives=["bus"])   # scores and selection of Gaussians; with view=3, of pixels
    field.edit(gsdff.Delete("car")).save("edited.ply")

Conventions, everywhere in the package:

- Letters: N Gaussians, C cameras, H W pixels, K latent channels, T teacher channels, D rendered channels, M masks,
  Q queries.
- Names of the field: means, quats (wxyz), scales, opacities, sh0, shN, features, viewmats (world to camera), Ks,
  camtoworlds. Stored parameters are pre-activation and say so: log_scales, logit_opacities.
- Cameras are OpenCV's: x right, y down, z forward. Pixel centres are at +0.5; Ks and means2d are in pixels.
- Images are [H, W, 3] float32 in [0, 1]; kept in memory they are uint8. Teacher maps have unit norm per pixel.
- A scene lives in its own *working frame*, the input's world frame shifted and scaled so that the cameras lie around
  the origin at about unit distance (`gsdff.cameras.WorldFrame`). Everything that is written is in the input's frame,
  relative to an origin that the file states if its coordinates are too large for float32 (`gsdff.origin`).

Packages, and imports point down only: doors (`gsdff train`, `python -m gsdff.train`) -> cli -> viewer -> evaluation ->
training -> field -> editing -> io -> data, losses, masks, render, smoothing, teachers -> config -> the files here.
"""

import os
from importlib import import_module
from typing import Any

# Must be set before torch is loaded: torch's OpenMP threads would otherwise spin between operations on the cores that
# our own kernels are running on (a training step took 1.3 times as long on an idle machine, 4 times on a busy one).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

PUBLIC = {
    "load": "field.load",
    "fit": "training.fit",
    "reconstruct": "data.poses",
    "triangulate": "data.poses",
    "serve": "viewer.serve",
    "score": "evaluation.run",
    "Field": "field.field",
    "Hit": "field.hit",
    "Rendering": "field.rendering",
    "Query": "field.query",
    "Pixel": "field.query",
    "Box": "field.query",
    "OneGaussian": "field.query",
    "PictureFile": "field.query",
    "Extract": "editing.operations.extract",
    "Delete": "editing.operations.delete",
    "Recolor": "editing.operations.recolor",
    "Move": "editing.operations.transform",
    "Rotate": "editing.operations.transform",
    "Scale": "editing.operations.transform",
    "Duplicate": "editing.operations.transform",
    "Opacity": "editing.operations.opacity",
    "Stylize": "editing.operations.stylize",
    "Click": "editing.selector",
    "Selection": "selection",
    "Gaussians": "gaussians",
    "TrainConfig": "config.options",
    "UserError": "errors",
}
"""Public names, by the module that defines each; it is imported when the name is first used."""

__all__ = ["__version__", *PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]  (the stub lists them)


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'gsdff' has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
