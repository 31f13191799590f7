"""Scenes that trainings are measured on: real ones, the built-in one, and stand-ins for hard cases made from them."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import atan
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.data.demo import copy_demo_scene
from gsdff.errors import UserError
from gsdff.files.writing import whole_file
from gsdff.scene import Scene

SURROUNDINGS = (
    "wall", "floor", "rug", "window", "curtain", "painting", "bookcase", "sofa", "cushion", "book",
)  # fmt: skip
"""Classes of the built-in scene that are left out around the table."""
CUBE_SIDE = 0.8
"""Largest coordinate of the table; that of NeRF-synthetic's scenes is about 1."""


class Places:
    """Folders with the real scenes, and for what is made here."""

    def __init__(self, scenes: Path, work: Path):
        self.scenes = scenes.resolve()
        self.work = work.resolve()

    def real(self, name: str) -> Path:
        """Folder of a real scene; raises `UserError` if it is not there."""
        if not (self.scenes / name / "images").is_dir():
            raise UserError(f"{self.scenes / name}: expected a scene; give `scenes` the folder that has it")
        return self.scenes / name

    def demo(self) -> Path:
        """Folder of the built-in scene, written on first use."""
        if not (self.work / "demo" / "demo.json").is_file():
            copy_demo_scene(self.work / "demo")
        return self.work / "demo"


def without_points(source: Path, folder: Path) -> Path:
    """A folder with the photos and poses of a COLMAP scene, and no points."""
    model = folder / "sparse" / "0"
    model.mkdir(parents=True, exist_ok=True)
    for name in ("cameras.bin", "images.bin"):
        (model / name).write_bytes((source / "sparse" / "0" / name).read_bytes())
    (model / "points3D.bin").write_bytes(bytes(8))  # a number of points: none
    if not (folder / "images").exists():
        (folder / "images").symlink_to(source / "images")
    return folder


def with_found_points(posed: Path, folder: Path) -> Path:
    """A folder with points triangulated for a scene that has none, on first use."""
    if not (folder / "sparse").is_dir():
        from gsdff.data.poses import triangulate  # earlier commits, which bench_train compares with, have none

        triangulate(posed, folder)
    return folder


def with_few(scene: Scene, kept: list[int]) -> Scene:
    """The scene with these training photos and all held-out ones."""
    ids = sorted([*scene.test_ids, *kept])
    held_out = tuple(ids.index(view_id) for view_id in scene.test_ids)
    return replace(scene, views=[scene.views[view_id] for view_id in ids], held_out=held_out)


def with_own_points(scene: Scene, source: Path) -> Scene:
    """The scene with those of a COLMAP scene's points alone that two of its training photos have matched."""
    import pycolmap

    from gsdff.neighbours import nearest_to  # earlier commits have none

    model = pycolmap.Reconstruction(str(source / "sparse" / "0"))
    names = {scene.views[view_id].name for view_id in scene.train_ids}
    kept = {image_id for image_id, image in model.images.items() if image.name in names}
    tracks = [(point.xyz, {element.image_id for element in point.track.elements}) for point in model.points3D.values()]
    places = torch.tensor(np.array([place for place, seen_by in tracks if len(seen_by & kept) > 1]))
    rows = nearest_to(scene.points, scene.frame.points_to_working(places), 1)[1].unique()
    return replace(scene, points=scene.points[rows], point_colors=scene.point_colors[rows])


def spread(ids: list[int], count: int) -> list[int]:
    """So many of the ids, evenly over the list."""
    return [ids[index] for index in np.linspace(0, len(ids) - 1, count).round().astype(int)]


def cut_out(source: Path, folder: Path) -> Path:
    """The built-in scene's table alone, transparent around it, in NeRF-synthetic's format, which has no points."""
    if (folder / "transforms_train.json").is_file():
        return folder
    scene = load_scene(source, DataConfig())
    table = json.loads((source / "classes.json").read_text())
    left_out = [entry["id"] for entry in table["classes"] if entry["name"] in SURROUNDINGS] + [table["void"]]
    first, names = scene.views[scene.train_ids[0]], {}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    inside = torch.ones(len(scene.points), dtype=torch.bool)
    for view in scene.views:
        labels = np.array(Image.open(source / "labels" / f"{view.stem}.png"))
        shown = ~np.isin(labels, left_out)
        Image.fromarray(np.dstack([view.image.numpy(), 255 * shown.astype(np.uint8)])).save(
            folder / "images" / f"{view.stem}.png"
        )
        # a point belongs to the table if it does in every photo that has it inside
        camera = view.camera
        x, y, depth = ((scene.points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]) @ camera.K.T).unbind(-1)
        column, row = (x / depth).long(), (y / depth).long()
        seen = (depth > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        inside[seen] &= torch.from_numpy(shown)[row[seen], column[seen]]
    low, high = scene.points[inside].quantile(0.02, dim=0), scene.points[inside].quantile(0.98, dim=0)
    centre, scale = (low + high) / 2, CUBE_SIDE / float((high - low).max() / 2)
    for split, ids in (("train", scene.train_ids), ("test", scene.test_ids)):
        frames = []
        for view in (scene.views[view_id] for view_id in ids):
            pose = view.camera.camtoworld.double()
            pose[:3, 3] = (pose[:3, 3] - centre) * scale
            pose[:3, 1:3] *= -1  # OpenGL: y up, z backward
            frames.append({"file_path": f"images/{view.stem}", "transform_matrix": pose.tolist()})
        angle = 2 * atan(first.camera.width / 2 / float(first.camera.K[0, 0]))
        names[split] = {"camera_angle_x": angle, "frames": frames}
    for split in ("test", "train"):
        with whole_file(folder / f"transforms_{split}.json") as partial:
            partial.write_text(json.dumps(names[split]))
    return folder


def _fox(places: Places) -> Scene:
    return load_scene(places.real("fox"), DataConfig(downscale=2))


def _room(places: Places) -> Scene:
    return load_scene(places.real("room_a"), DataConfig())


def _fox_triangulated(places: Places, downscale: int) -> Scene:
    posed = without_points(places.real("fox"), places.work / "fox_poses")
    return load_scene(with_found_points(posed, places.work / "fox_triangulated"), DataConfig(downscale=downscale))


SCENES: dict[str, Callable[[Places], Scene]] = {
    "fox": _fox,
    "room_a": _room,
    "camvid": lambda places: load_scene(places.real("camvid"), DataConfig()),
    "demo": lambda places: load_scene(places.demo(), DataConfig()),
    "fox_small": lambda places: load_scene(places.real("fox"), DataConfig(downscale=4)),
    "fox_small_few": lambda places: with_few(
        scene := load_scene(places.real("fox"), DataConfig(downscale=4)), scene.train_ids[::5]
    ),
    "fox_small_9": lambda places: with_own_points(SCENES["fox_small_few"](places), places.real("fox")),
    "fox_small_12": lambda places: with_own_points(
        with_few(scene := load_scene(places.real("fox"), DataConfig(downscale=4)), spread(scene.train_ids, 12)),
        places.real("fox"),
    ),
    "fox_small_20": lambda places: with_few(
        scene := load_scene(places.real("fox"), DataConfig(downscale=4)), spread(scene.train_ids, 20)
    ),
    "demo_few": lambda places: with_few(scene := load_scene(places.demo(), DataConfig()), spread(scene.train_ids, 9)),
    "room_small_few": lambda places: with_few(
        scene := load_scene(places.real("room_a"), DataConfig(downscale=2)), spread(scene.train_ids, 12)
    ),
    "room_small": lambda places: load_scene(places.real("room_a"), DataConfig(downscale=2)),
    "fox_few": lambda places: with_few(scene := _fox(places), scene.train_ids[::5]),
    "room_few": lambda places: with_few(scene := _room(places), spread(scene.train_ids, 12)),
    "fox_poses": lambda places: load_scene(
        without_points(places.real("fox"), places.work / "fox_poses"), DataConfig(downscale=2)
    ),
    "demo_poses": lambda places: load_scene(without_points(places.demo(), places.work / "demo_poses"), DataConfig()),
    "fox_small_poses": lambda places: load_scene(
        without_points(places.real("fox"), places.work / "fox_poses"), DataConfig(downscale=4)
    ),
    "fox_triangulated": lambda places: _fox_triangulated(places, 2),
    "fox_small_triangulated": lambda places: _fox_triangulated(places, 4),
    "demo_triangulated": lambda places: load_scene(
        with_found_points(without_points(places.demo(), places.work / "demo_poses"), places.work / "demo_triangulated"),
        DataConfig(),
    ),
    "demo_cut_out": lambda places: load_scene(
        cut_out(places.demo(), places.work / "demo_cut_out"), DataConfig(background="white")
    ),
}
"""Scenes by their names: `few` or a number have a few of the training photos, `poses` random points, `triangulated`
points found for those poses, `cut_out` random ones on white."""
WHITE = frozenset({"demo_cut_out"})
"""Scenes over white."""
