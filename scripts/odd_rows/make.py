"""Small inputs that are right, which the rows make odd."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gsdff.config.options import DataConfig, FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.config.smoothing import GraphConfig, SmoothingConfig
from gsdff.data import load_scene
from gsdff.scene import Scene

WIDTH, HEIGHT, FOCAL = 16, 12, 14.0
PINHOLE = f"PINHOLE {WIDTH} {HEIGHT} {FOCAL} {FOCAL} {WIDTH / 2} {HEIGHT / 2}"
NAMES = tuple(f"v{i}.png" for i in range(4))


def numbered(count: int) -> list[str]:
    """Names of so many photos."""
    return [f"{i:02}.png" for i in range(count)]


def write_photos(folder: Path, names: Iterable[str] = NAMES, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """Photos of noise; the same name gives the same noise."""
    for name in names:
        generator = np.random.default_rng(sum(name.encode()))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(folder / name)


def save_ids(path: Path, ids: np.ndarray) -> None:
    """A picture of one 8-bit channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8)).save(path)


def pose(index: int) -> tuple[float, ...]:
    """Quaternion and translation (world to camera) of a camera that looks along z; cameras stand in a row along x."""
    return 1.0, 0.0, 0.0, 0.0, -0.3 * index, 0.0, 0.0


def write_model(
    folder: Path,
    names: Sequence[str] = NAMES,
    *,
    at: str = "sparse/0",
    camera: str = PINHOLE,
    lines_2d: bool = True,
    images: str | None = "images",
) -> Path:
    """A COLMAP model as text, its eight points in front of the cameras, and its photos; gives the model's folder."""
    model = folder / at
    model.mkdir(parents=True, exist_ok=True)
    (model / "cameras.txt").write_text(f"# Camera list\n1 {camera}\n")
    rows = ["# Image list", f"# Number of images: {len(names)}"]
    for i, name in enumerate(names):
        rows.append(" ".join(map(str, (i + 1, *pose(i), 1, name))))
        rows += ["1.5 2.5 1 3.5 4.5 -1"] if lines_2d else []
    (model / "images.txt").write_text("\n".join(rows) + "\n")
    points = [f"{i + 1} {i / 8} 0.5 2.5 {30 * i} 20 10 0.5 1 0 2 0" for i in range(8)]
    (model / "points3D.txt").write_text("\n".join(["# 3D point list", *points]) + "\n")
    if images is not None:
        width, height = map(int, camera.split()[1:3])
        write_photos(folder / images, names, (width, height))
    return model


def matrix(index: int, shift: Sequence[float] = (0, 0, 0)) -> list[list[float]]:
    """The pose of `pose` as a transform_matrix: camera to world, OpenGL axes."""
    result = np.diag([1.0, -1.0, -1.0, 1.0])
    result[:3, 3] = np.array([0.3 * index, 0, 0]) + shift
    return result.tolist()


def write_transforms(
    folder: Path, names: Sequence[str] = NAMES, *, shift: Sequence[float] = (0, 0, 0), **settings: Any
) -> dict[str, Any]:
    """transforms.json and its photos in `images`; gives the content, to be changed and written by `put`."""
    frames = [{"file_path": f"images/{name}", "transform_matrix": matrix(i, shift)} for i, name in enumerate(names)]
    shared = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    write_photos(folder / "images", names)
    content = {**shared, **settings, "frames": frames}
    put(folder, content)
    return content


def put(folder: Path, content: dict[str, Any], name: str = "transforms.json") -> None:
    """Writes the content of a transforms file."""
    (folder / name).write_text(json.dumps(content))


def write_cloud(path: Path, colors: Sequence[str], kind: str, values: Sequence[float], num: int = 8) -> None:
    """A point cloud of one colour, its properties of these names and this type of PLY."""
    dtype = {"uchar": "u1", "ushort": "<u2", "float": "<f4", "int": "<i4"}[kind]
    table = np.zeros(num, [(axis, "<f4") for axis in "xyz"] + [(name, dtype) for name in colors])
    table["x"], table["z"] = np.arange(num) / num, 2.5
    for name, value in zip(colors, values, strict=True):
        table[name] = value
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {num}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property {kind} {name}\n" for name in colors)
    path.write_bytes(f"{header}end_header\n".encode() + table.tobytes())


def load(path: Path, **options: Any) -> Scene:
    """`load_scene` with these options of the dataset."""
    return load_scene(path, DataConfig(random_points=50, **options))


def write_maps(folder: Path, names: Sequence[str] = NAMES, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """Teacher maps of five channels, and the text vectors of three words."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        features = torch.randn(5, *size, generator=torch.Generator().manual_seed(i))
        torch.save(features, folder / f"{Path(name).stem}_fmap_CxHxW.pt")
    vectors = np.eye(5, dtype=np.float32)[:3]
    np.savez(folder / "text_features.npz", names=np.array(["chair", "lamp", "wall"]), vectors=vectors)
    return folder


def training(data: Path, out: Path, maps: Path | None = None, **changes: Any) -> TrainConfig:
    """Options of a training of a few steps, with a teacher if there are maps."""
    options: dict[str, Any] = {
        "data": data, "out": out, "device": "cpu", "log_every": 2, "checkpoint_every": 4, "picture_every": 100,
        "dataset": DataConfig(random_points=80), "stage1": Stage1Config(steps=6), "stage2": Stage2Config(steps=4),
        "teacher": TeacherConfig("none") if maps is None else TeacherConfig("precomputed", maps),
        "features": FeatureConfig(3), "smoothing": SmoothingConfig(graph=GraphConfig(form="off")),
    }  # fmt: skip
    return TrainConfig(**{**options, **changes})


def train(config: TrainConfig) -> Path:
    """Trains without printing; gives the run's folder."""
    from contextlib import redirect_stdout
    from io import StringIO

    from gsdff.training.run import train_run

    with redirect_stdout(StringIO()):
        return train_run(config).path


def make_run(folder: Path) -> Path:
    """A run with features on photos and maps, all below the folder; gives the run's folder."""
    write_transforms(folder / "data")
    return train(training(folder / "data", folder / "run", write_maps(folder / "maps")))


def flip(path: Path, position: int, bit: int = 4) -> None:
    """Flips a bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= bit
    path.write_bytes(content)
