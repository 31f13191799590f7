"""Datasets: COLMAP models, transforms files, points and photos, through `load_scene`."""

import json
import math
import struct
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import torch
from fuzz_net import Format, expect
from PIL import Image

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.scene import Scene, View

WIDTH, HEIGHT, FOCAL = 16, 12, 14.0
NAMES = ("v0.png", "v1.jpg", "v2.png", "v3.tif")


def write_photos(folder: Path, names: tuple[str, ...] = NAMES) -> None:
    """Photos of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name in names:
        Image.fromarray(generator.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(folder / name)


def camera_to_world(index: int) -> np.ndarray:
    """OpenCV camera on an arc, looking at the origin from three units away."""
    angle = 0.3 * index
    back = np.array([math.sin(angle), 0.0, -math.cos(angle)])
    matrix = np.eye(4)
    matrix[:3, 0] = [math.cos(angle), 0, math.sin(angle)]
    matrix[:3, 2] = -back
    matrix[:3, 3] = 3 * back
    return matrix


def make_scene(root: Path, names: tuple[str, ...] = NAMES) -> Scene:
    """The same photos and poses in memory."""
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    image = torch.arange(HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3).byte()
    viewmats = [torch.from_numpy(np.linalg.inv(camera_to_world(i))).float() for i in range(len(names))]
    views = [
        View(name, Camera(viewmat, K, WIDTH, HEIGHT), image) for name, viewmat in zip(names, viewmats, strict=True)
    ]
    return Scene(root, views, torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.uint8), WorldFrame())


def write_points(path: Path, *, colors: str = "uchar") -> None:
    """A point cloud of eight points."""
    table = np.zeros(
        8,
        [(axis, "<f4") for axis in "xyz"]
        + [(c, "u1" if colors == "uchar" else "<f4") for c in ("red", "green", "blue")],
    )
    table["x"], table["y"] = np.arange(8) / 8, 0.5
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 8\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property {colors} {channel}\n" for channel in ("red", "green", "blue")) + "end_header\n"
    path.write_bytes(header.encode() + table.tobytes())


def write_nerfstudio(folder: Path) -> None:
    """transforms.json with points, masks and a split."""
    write_photos(folder / "images")
    write_points(folder / "points.ply")
    (folder / "masks").mkdir()
    frames = []
    for i, name in enumerate(NAMES):
        pose = camera_to_world(i) @ np.diag([1.0, -1.0, -1.0, 1.0])
        Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(folder / "masks" / f"{name[:2]}.png")
        frames.append(
            {"file_path": f"images/{name}", "transform_matrix": pose.tolist(), "mask_path": f"masks/{name[:2]}.png"}
        )
    frames[1]["fl_x"] = FOCAL
    content = {
        "camera_model": "OPENCV",
        "w": WIDTH,
        "h": HEIGHT,
        "fl_x": FOCAL,
        "fl_y": FOCAL,
        "cx": WIDTH / 2,
        "cy": HEIGHT / 2,
    }
    content |= {"k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "ply_file_path": "points.ply"}
    content |= {"train_filenames": [f"images/{name}" for name in NAMES[1:]], "test_filenames": [f"images/{NAMES[0]}"]}
    (folder / "transforms.json").write_text(json.dumps(content | {"frames": frames}))


def write_blender(folder: Path) -> None:
    """NeRF-synthetic's two files."""
    for split, ids in (("train", (0, 1, 2)), ("test", (3,))):
        names = tuple(f"r_{i}.png" for i in ids)
        write_photos(folder / split, names)
        frames = []
        for i in ids:
            pose = camera_to_world(i) @ np.diag([1.0, -1.0, -1.0, 1.0])
            frames.append({"file_path": f"./{split}/r_{i}", "rotation": 0.01, "transform_matrix": pose.tolist()})
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": 1.0, "frames": frames}))


def write_colmap_text(folder: Path) -> None:
    write_photos(folder / "images")
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text(
        f"# Camera list\n1 PINHOLE {WIDTH} {HEIGHT} {FOCAL} {FOCAL} {WIDTH / 2} {HEIGHT / 2}\n"
        f"2 SIMPLE_PINHOLE {WIDTH} {HEIGHT} {FOCAL} {WIDTH / 2} {HEIGHT / 2}\n"
    )
    rows = ["# Image list"]
    for i, name in enumerate(NAMES):
        quat, translation = _pose(i)
        rows += [" ".join(map(str, (i + 1, *quat, *translation, 1 + i % 2, name))), "1.5 2.5 1 3.5 4.5 -1"]
    (model / "images.txt").write_text("\n".join(rows) + "\n")
    points = [f"{i + 1} {i / 8} 0.5 0.25 {30 * i} 20 10 0.5 1 0 2 0" for i in range(8)]
    (model / "points3D.txt").write_text("\n".join(["# 3D point list", *points]) + "\n")


def write_colmap_binary(folder: Path) -> None:
    write_photos(folder / "images")
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    lens = struct.pack("<IiQQ4d", 1, 1, WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
    (model / "cameras.bin").write_bytes(struct.pack("<Q", 1) + lens)
    data = struct.pack("<Q", len(NAMES))
    for i, name in enumerate(NAMES):
        quat, translation = _pose(i)
        data += struct.pack("<I7dI", i + 1, *quat, *translation, 1) + name.encode() + b"\0"
        data += struct.pack("<Q2dq", 1, 1.5, 2.5, -1)
    (model / "images.bin").write_bytes(data)
    data = struct.pack("<Q", 8)
    for i in range(8):
        data += struct.pack("<Q3d3BdQ2I", i + 1, i / 8, 0.5, 0.25, 30 * i, 20, 10, 0.5, 1, 1, 0)
    (model / "points3D.bin").write_bytes(data)


def _pose(index: int) -> tuple[list[float], list[float]]:
    """World-to-camera quaternion and translation, as COLMAP has them."""
    half = 0.3 * index / 2
    translation = np.linalg.inv(camera_to_world(index))[:3, 3]
    return [math.cos(half), 0.0, -math.sin(half), 0.0], translation.tolist()


def read_scene(folder: Path, random: Random) -> None:
    """Loads the dataset at either size; everything that training uses must be a number that it can use."""
    dataset = DataConfig(
        downscale=random.choice((1, 1, 2)), background=random.choice(("black", "random")), random_points=50
    )
    check_scene(load_scene(folder, dataset))


def check_scene(scene: Scene) -> None:
    expect(bool(scene.train_ids), "no photo to train on")
    expect(len({view.name for view in scene.views}) == len(scene.views), "a photo twice")
    for view in scene.views:
        camera = view.camera
        expect(view.image.shape[:2] == (camera.height, camera.width), "a photo that is not of its camera's size")
        expect(bool(camera.viewmat.isfinite().all()), f"a pose that is not finite: {camera.viewmat.tolist()}")
        rotation = camera.viewmat[:3, :3]
        expect(torch.allclose(rotation @ rotation.mT, torch.eye(3), atol=1e-3), "a pose that is not rigid")
        expect(bool(camera.K.isfinite().all()), "intrinsics that are not finite")
        fx, fy, cx, cy = (float(camera.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        expect(fx > 0 and fy > 0, f"focal lengths {fx}, {fy}")
        expect(max(abs(cx) / camera.width, abs(cy) / camera.height) < 1e4, f"a principal point {cx}, {cy}")
        expect(view.alpha is None or view.alpha.shape == view.image.shape[:2], "an alpha channel of another size")
    positions = torch.stack([view.camera.position for view in scene.views])
    expect(bool(positions.isfinite().all()) and float(positions.abs().max()) < 1e6, f"positions {positions.tolist()}")
    expect(bool(scene.points.isfinite().all()), "points that are not finite")
    expect(len(scene.points) == len(scene.point_colors), "points and colours of other numbers")
    expect(math.isfinite(scene.frame.scale) and 0 < scene.extent < math.inf, "a frame that is not finite")


def read_photo(folder: Path, random: Random) -> None:
    """Loads photos of every format; a photo that cannot be read is refused, whatever size it is read at."""
    read_scene(folder, random)


def write_many_photos(folder: Path) -> None:
    write_nerfstudio(folder)
    names = ("v0.png", "v1.jpg", "v2.webp", "v3.tif", "v4.bmp")
    write_photos(folder / "images", names)
    content = json.loads((folder / "transforms.json").read_text())
    content["frames"] = [content["frames"][i % 4] | {"file_path": f"images/{name}"} for i, name in enumerate(names)]
    for key in ("train_filenames", "test_filenames", "ply_file_path"):
        del content[key]
    for i, frame in enumerate(content["frames"]):
        del frame["mask_path"]
        frame["transform_matrix"] = (camera_to_world(i) @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist()
    (folder / "transforms.json").write_text(json.dumps(content))


class Stopped(Exception):
    """Structure from motion would start here."""


def read_prepare(folder: Path, random: Random) -> None:
    """`gsdff prepare` until structure from motion would start."""
    from gsdff.data import sfm
    from gsdff.data.poses import reconstruct

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    sfm.run_worker = stop
    with suppress(Stopped):
        reconstruct(folder / "images", folder / "out", matcher=random.choice(("exhaustive", "sequential")))


FORMATS = (
    Format("transforms", "gsdff/data", write_nerfstudio, read_scene, ("transforms.json",), 2),
    Format("blender", "gsdff/data", write_blender, read_scene, ("*.json",), 1),
    Format("colmap-text", "gsdff/data", write_colmap_text, read_scene, ("sparse/0/*",), 2),
    Format("colmap-binary", "gsdff/data", write_colmap_binary, read_scene, ("sparse/0/*",), 2),
    Format("points", "gsdff/data", write_nerfstudio, read_scene, ("points.ply",), 1),
    Format("photos", "gsdff/data", write_many_photos, read_photo, ("images/*",), 2),
    Format("photo-masks", "gsdff/data", write_nerfstudio, read_scene, ("masks/*",), 0.5),
    Format("prepare", "gsdff/data", write_many_photos, read_prepare, ("images/*",), 0.5),
)
