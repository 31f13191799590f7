"""Renderings of a field: values per pixel, and the picture to look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.field.checks import check_choice
from gsdff.files.places import check_place, make_folder
from gsdff.files.writing import whole_file
from gsdff.io.pictures import heat, pca_colors, png_bytes, save_png, show_picture, to_bytes
from gsdff.latents import MIN_NORM
from gsdff.render import render_depth
from gsdff.scene import View

Kind = Literal["rgb", "features", "depth", "alpha"]


@dataclass(frozen=True, eq=False)
class Rendering:
    """One view of a field. `np.asarray(rendering)` gives its values."""

    values: Float[Tensor, "H W D"]
    """RGB in [0, 1], latent features, depth in units of the working frame, or opacity; on the field's device."""
    kind: Kind
    view: View
    colors: Float[Tensor, "H W 3"]
    """The values as colours, in [0, 1]."""

    @property
    def shape(self) -> torch.Size:
        """Height, width and number of channels."""
        return self.values.shape

    @property
    def picture(self) -> UInt8[Tensor, "H W 3"]:
        """The picture to look at."""
        return to_bytes(self.colors)

    def show(self) -> None:
        """Opens the picture in the desktop's viewer, or shows it in a notebook."""
        show_picture(self.picture)

    def save(self, path: str | Path) -> Path:
        """Writes the picture as a `.png`, or the values as a `.npy`; returns the path."""
        path = Path(path)
        check_place(path, parameter="path")
        if path.suffix == ".npy":
            make_folder(path.parent)
            with whole_file(path) as partial, partial.open("wb") as file:
                np.save(file, self.values.cpu().numpy())
        elif path.suffix == ".png":
            save_png(path, self.picture)
        else:
            raise UserError(f"`path` {path}: expected a name ending in .png or .npy")
        return path

    def __repr__(self) -> str:
        return f"<gsdff.Rendering: {self.kind} of {self.view.name}, {' x '.join(map(str, self.shape))}>"

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.values.cpu().numpy(), dtype=dtype)

    def _repr_png_(self) -> bytes:
        return png_bytes(self.picture)


def render_kind(field: FieldBase, view: View, kind: Kind) -> Rendering:
    """Rendering of one kind; raises `UserError` for features that are not there, and for another kind."""
    check_choice("kind", kind, get_args(Kind))
    if kind == "rgb":
        image = field.draw(view.camera).image.clamp(0, 1)
        return Rendering(image, kind, view, image)
    if kind == "features":
        latents = field.blend(view)
        is_something = latents.norm(dim=-1, keepdim=True) >= MIN_NORM
        colors = pca_colors(latents, field.feature_colors)[0].to(latents) * is_something
        return Rendering(latents, kind, view, colors)
    if kind == "depth":
        with torch.no_grad():
            rendered = render_depth(field.working, view.camera.to(field.device))
        return Rendering(rendered.image, kind, view, depth_colors(rendered.image, rendered.alpha))
    alpha = field.draw(view.camera).alpha
    return Rendering(alpha, kind, view, alpha.expand(-1, -1, 3))


def depth_colors(
    depth: Float[Tensor, "H W 1"], alpha: Float[Tensor, "H W 1"], typical: float | None = None
) -> Float[Tensor, "H W 3"]:
    """Heat by disparity, bright if near; black if less than half covered. `typical` None is the picture's median."""
    solid = alpha > 0.5
    if typical is None:
        typical = float(depth[solid].median()) if solid.any() else 1.0
    near = (0.5 * typical / depth.clamp_min(1e-3)).clamp(max=1.0) * solid
    return heat(near[..., 0]).to(depth) / 255
