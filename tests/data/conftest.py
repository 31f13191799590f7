"""Writes small datasets: COLMAP models in both encodings, and photos."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.data.demo.world import DemoWorld, build_world

CAMERA_IDS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "OPENCV": 4, "OPENCV_FISHEYE": 5}


@dataclass(frozen=True)
class Model:
    """Cameras (id, model, width, height, params), images (name, camera id, quat, translation), points (xyz, rgb)."""

    cameras: tuple = ((1, "PINHOLE", 16, 12, (20.0, 21.0, 8.0, 6.0)),)
    images: tuple = tuple((f"{i}.png", 1, (1.0, 0.0, 0.0, 0.0), (float(-i), 0.0, 0.0)) for i in range(3))
    points: tuple = (((0.5, 1.0, 2.0), (255, 128, 0)), ((-1.0, 0.0, 3.0), (1, 2, 3)))


def binary_files(model: Model) -> dict[str, bytes]:
    """The files byte for byte as COLMAP documents them; each image has two 2D points, each point a track of three."""
    cameras, images, points = (struct.pack("<Q", len(rows)) for rows in (model.cameras, model.images, model.points))
    for camera_id, name, width, height, params in model.cameras:
        cameras += struct.pack(f"<IiQQ{len(params)}d", camera_id, CAMERA_IDS[name], width, height, *params)
    for i, (name, camera_id, quat, translation) in enumerate(model.images):
        images += struct.pack("<I7dI", i + 1, *quat, *translation, camera_id) + name.encode() + b"\0"
        images += struct.pack("<Q", 2) + struct.pack("<ddq", 1.0, 2.0, -1) * 2
    for i, (position, color) in enumerate(model.points):
        points += struct.pack("<Q3d3BdQ", i + 1, *position, *color, 0.5, 3) + struct.pack("<II", 1, 0) * 3
    return {"cameras.bin": cameras, "images.bin": images, "points3D.bin": points}


def text_files(model: Model) -> dict[str, bytes]:
    """The same as text; the first image has no 2D points, so its second line is empty."""
    words = lambda *values: " ".join(map(str, values))  # noqa: E731
    cameras = [words(i, name, width, height, *params) for i, name, width, height, params in model.cameras]
    images = ["# Number of images: many"]
    for i, (name, camera_id, quat, translation) in enumerate(model.images):
        images += [words(i + 1, *quat, *translation, camera_id, name), "1.0 2.0 -1 3.0 4.0 7" if i else ""]
    points = [words(i, *position, *color, 0.5, 1, 0, 2, 0) for i, (position, color) in enumerate(model.points)]
    files = {"cameras.txt": cameras, "images.txt": images, "points3D.txt": points}
    return {name: ("# a comment\n" + "\n".join(rows) + "\n").encode() for name, rows in files.items()}


@pytest.fixture
def write_photos() -> Callable[..., None]:
    """Writes noise photos of one size by path; the same path has the same noise."""

    def write(folder: Path, names: list[str], size: tuple[int, int] = (16, 12)) -> None:
        for name in names:
            rng = np.random.default_rng(sum(name.encode()))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(folder / name)

    return write


@pytest.fixture
def write_colmap(write_photos) -> Callable[..., Path]:
    """Writes a COLMAP dataset (model below `at`, photos in `images`) and gives its folder."""

    def write(root: Path, model: Model | None = None, *, at: str = "sparse/0", text: bool = False) -> Path:
        model = model or Model()
        (root / at).mkdir(parents=True)
        for name, content in (text_files if text else binary_files)(model).items():
            (root / at / name).write_bytes(content)
        write_photos(root / "images", [image[0] for image in model.images])
        return root

    return write


@pytest.fixture
def colmap_model() -> type[Model]:
    """The class of COLMAP models that `write_colmap` writes; its defaults are a valid one."""
    return Model


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The built-in scene's operations are small: threads inside them would only wait for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def world() -> DemoWorld:
    """The built-in scene, not rendered."""
    return build_world()
