"""Features of examples: of something seen in a photo, of a Gaussian, or of a picture of its own."""

from dataclasses import dataclass
from os.path import lexists
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.config.choices import TEACHERS
from gsdff.errors import UserError, shown
from gsdff.field.base import FieldBase
from gsdff.field.query import Box, Example, OneGaussian, PictureFile, Pixel
from gsdff.files.reading import open_picture
from gsdff.latents import MIN_NORM, decode
from gsdff.scene import View
from gsdff.teachers.network import NetworkTeacher


@dataclass(frozen=True, eq=False)
class Seen(Example):
    """Latent feature, such as one rendered from a place where no photo was taken."""

    latents: Float[Tensor, "K"]


def look_up(field: FieldBase, example: Example) -> Float[Tensor, "T"]:
    """Feature of an example, of any length.

    Raises `UserError` for a place outside the photo, for an index out of range, and if nothing is rendered there.
    """
    match example:
        case PictureFile(path):
            return _extract(field, Path(path))
        case Seen(latents):
            return _feature(field, latents, "the field shows nothing there")
        case OneGaussian(index):
            num = len(field.gaussians)
            if not 0 <= index < num:
                raise UserError(f"`gaussian` {index}: expected an index from 0 to {num - 1}")
            return _feature(field, field.latents[index], f"`gaussian` {index}: it has no features")
        case Pixel(name, x, y):
            view = _find_view(field, name, "pixel")
            place = f"`pixel` {name} {x} {y}"
            if not (0 <= x < view.camera.width and 0 <= y < view.camera.height):
                raise UserError(f"{place}: expected a pixel of the photo, column and row from 0; {_size(view)}")
            return _feature(field, field.blend(view)[y, x], f"{place}: the field shows nothing there")
        case Box(name, x0, y0, x1, y1):
            view = _find_view(field, name, "box")
            place = f"`box` {name} {x0} {y0} {x1} {y1}"
            if not (0 <= x0 < x1 <= view.camera.width and 0 <= y0 < y1 <= view.camera.height):
                raise UserError(f"{place}: expected X0 < X1 and Y0 < Y1 within the photo; {_size(view)}")
            mean = field.blend(view)[y0:y1, x0:x1].flatten(0, 1).mean(0)
            return _feature(field, mean, f"{place}: the field shows nothing there")
    raise TypeError(f"expected an example such as Pixel(view, x, y), got {shown(example)}")


def _find_view(field: FieldBase, name: str | int, parameter: str) -> View:
    """Photo of an example; the `UserError` for a photo that is not there names this parameter, not `view`."""
    try:
        return field.find_view(name)
    except UserError as error:
        raise UserError(str(error).replace("`view`", f"`{parameter}`", 1)) from error


def _size(view: View) -> str:
    return f"{view.name} has {view.camera.width}x{view.camera.height} pixels"


def _feature(field: FieldBase, latents: Float[Tensor, "K"], complaint: str) -> Float[Tensor, "T"]:
    if not latents.norm() >= MIN_NORM:
        raise UserError(f"{complaint}; choose another place")
    return decode(latents, field.B)


def _extract(field: FieldBase, path: Path) -> Float[Tensor, "T"]:
    """Mean of the teacher's map of a picture."""
    name = field.teacher_config.name
    able = [name for name, kind in TEACHERS.items() if kind.encodes_images]
    if name not in able:
        raise UserError(f"`image` {path}: the {name} teacher does not encode images; {', '.join(able)} do")
    if not lexists(path):
        raise UserError(f"`image` {path}: no such file")
    with open_picture(path, "a picture", "choose another one") as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    teacher = field.teacher
    assert isinstance(teacher, NetworkTeacher)
    height, width = pixels.shape[:2]
    (features,) = teacher.extract([View(str(path), Camera(torch.eye(4), torch.eye(3), width, height), pixels)])
    return features.mean((1, 2)).to(field.device)
