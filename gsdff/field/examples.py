"""Asking by example: something seen in a photo, a Gaussian, or a picture of its own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.config.choices import TEACHERS
from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.latents import MIN_NORM, decode
from gsdff.scene import View
from gsdff.teachers.network import NetworkTeacher


@dataclass(frozen=True)
class Pixel:
    """What a view shows at column x and row y, from 0 at the top left."""

    view: str | int
    x: int
    y: int


@dataclass(frozen=True)
class Box:
    """What a view shows in columns x0 to x1 - 1 and rows y0 to y1 - 1, on average."""

    view: str | int
    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class OneGaussian:
    """The Gaussian of this index."""

    index: int


@dataclass(frozen=True)
class PictureFile:
    """What a picture shows, on average, to the teacher's network."""

    path: Path


@dataclass(frozen=True, eq=False)
class Seen:
    """Latents themselves, such as what is seen from where no photo was taken."""

    latents: Float[Tensor, "K"]


Exemplar = Pixel | Box | OneGaussian | PictureFile | Seen


def look_up(field: Field, exemplar: Exemplar) -> Float[Tensor, "T"]:
    """The exemplar's feature, of any length.

    Raises `UserError` for what is out of the image or of range, and where the field shows nothing.
    """
    if isinstance(exemplar, PictureFile):
        return _see(field, exemplar.path)
    if isinstance(exemplar, Seen):
        return _feature(field, exemplar.latents, "the field shows nothing there")
    if isinstance(exemplar, OneGaussian):
        num = len(field.gaussians)
        if not 0 <= exemplar.index < num:
            raise UserError(f"--gaussian {exemplar.index}: expected an index from 0 to {num - 1}")
        return _feature(field, field.latents[exemplar.index], f"--gaussian {exemplar.index}: it has no features")
    view = field.view(exemplar.view)
    size = f"{view.name} has {view.camera.width}x{view.camera.height} pixels"
    if isinstance(exemplar, Pixel):
        option = f"--pixel {exemplar.view} {exemplar.x} {exemplar.y}"
        if not (0 <= exemplar.x < view.camera.width and 0 <= exemplar.y < view.camera.height):
            raise UserError(f"{option}: expected a pixel of the photo, column and row from 0; {size}")
        return _feature(field, field.render(view)[exemplar.y, exemplar.x], f"{option}: the field shows nothing there")
    option = f"--box {exemplar.view} {exemplar.x0} {exemplar.y0} {exemplar.x1} {exemplar.y1}"
    fits = 0 <= exemplar.x0 < exemplar.x1 <= view.camera.width and 0 <= exemplar.y0 < exemplar.y1 <= view.camera.height
    if not fits:
        raise UserError(f"{option}: expected X0 < X1 and Y0 < Y1 within the photo; {size}")
    part = field.render(view)[exemplar.y0 : exemplar.y1, exemplar.x0 : exemplar.x1]
    return _feature(field, part.flatten(0, 1).mean(0), f"{option}: the field shows nothing there")


def _feature(field: Field, latents: Float[Tensor, "K"], complaint: str) -> Float[Tensor, "T"]:
    if not latents.norm() >= MIN_NORM:
        raise UserError(f"{complaint}; choose another place")
    return decode(latents, field.B)


def _see(field: Field, path: Path) -> Float[Tensor, "T"]:
    """The mean of the teacher's map of a picture."""
    name = field.teacher_config.name
    able = [name for name, kind in TEACHERS.items() if kind.encodes_images]
    if name not in able:
        raise UserError(f"--image {path}: the {name} teacher does not encode images; {', '.join(able)} do")
    try:
        with Image.open(path) as picture:
            pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    except FileNotFoundError:
        raise UserError(f"--image {path}: there is no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"--image {path}: not a readable picture ({error})") from error
    teacher = field.teacher
    assert isinstance(teacher, NetworkTeacher)
    height, width = pixels.shape[:2]
    (features,) = teacher.extract([View(str(path), Camera(torch.eye(4), torch.eye(3), width, height), pixels)])
    return features.mean((1, 2)).to(field.device)
