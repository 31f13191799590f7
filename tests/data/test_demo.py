"""The built-in scene: the written files agree with the modelled scene, and look like photos."""

import json
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.data.demo import write_demo_scene
from gsdff.data.demo.light import visibility
from gsdff.data.demo.room import TABLE_TOP
from gsdff.data.demo.things import ORANGE_RADIUS
from gsdff.data.demo.tracing import trace
from gsdff.data.demo.world import CATEGORIES

pytestmark = pytest.mark.usefixtures("one_thread")
VIEWS, WIDTH, HEIGHT = 8, 64, 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small demo scene on disk."""
    folder = tmp_path_factory.mktemp("demo") / "scene"
    write_demo_scene(folder, views=VIEWS, width=WIDTH, height=HEIGHT)
    return folder


@dataclass(frozen=True)
class Model:
    """Contents of the .bin files, read by the test itself."""

    size: tuple[int, int]
    params: tuple[float, ...]
    names: list[str]
    rotations: np.ndarray
    translations: np.ndarray
    points: np.ndarray
    colors: np.ndarray

    def centres(self) -> np.ndarray:
        return np.stack([-r.T @ t for r, t in zip(self.rotations, self.translations, strict=True)])

    def rays(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Camera centre [3] and unit directions [H, W, 3] through the pixel centres."""
        fx, fy, cx, cy = self.params
        v, u = np.mgrid[: self.size[1], : self.size[0]] + 0.5
        rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], -1) @ self.rotations[view]
        return self.centres()[view], rays / np.linalg.norm(rays, axis=-1, keepdims=True)


class Reader:
    """Little-endian fields one after the other; at the end nothing may be left."""

    def __init__(self, path: Path):
        self.data, self.at = path.read_bytes(), 0

    def take(self, fields: str) -> tuple:
        values = struct.unpack_from(f"<{fields}", self.data, self.at)
        self.at += struct.calcsize(f"<{fields}")
        return values

    def name(self) -> str:
        end = self.data.index(b"\0", self.at)
        text, self.at = self.data[self.at : end].decode(), end + 1
        return text

    def finish(self) -> None:
        assert self.at == len(self.data)


def rotation_of(w: float, x: float, y: float, z: float) -> np.ndarray:
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


@pytest.fixture(scope="module")
def model(folder) -> Model:
    sparse = folder / "sparse/0"
    cameras, images, points = (Reader(sparse / f"{stem}.bin") for stem in ("cameras", "images", "points3D"))
    assert cameras.take("Q") == (1,)
    camera_id, kind, width, height = cameras.take("IiQQ")
    assert (camera_id, kind) == (1, 1)  # PINHOLE
    params = cameras.take("4d")
    poses, names = [], []
    for number in range(1, images.take("Q")[0] + 1):
        image_id, *pose, its_camera = images.take("I7dI")
        assert (image_id, its_camera) == (number, camera_id)
        poses.append(pose)
        names.append(images.name())
        assert images.take("Q") == (0,)
    rows = [points.take("Q3d3BdQ") for _ in range(points.take("Q")[0])]
    for reader in (cameras, images, points):
        reader.finish()
    assert len({row[0] for row in rows}) == len(rows) and all(row[-1] == 0 for row in rows)
    return Model(
        (width, height), params, names, np.stack([rotation_of(*pose[:4]) for pose in poses]),
        np.array([pose[4:] for pose in poses]), np.array([row[1:4] for row in rows]),
        np.array([row[4:7] for row in rows], dtype=np.uint8),
    )  # fmt: skip


def imread(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def pictures(folder: Path, kind: str) -> np.ndarray:
    return np.stack([imread(path) for path in sorted((folder / kind).glob("*.png"))])


def object_ids(folder: Path) -> dict[str, int]:
    return {row["name"]: row["id"] for row in json.loads((folder / "objects.json").read_text())["objects"]}


def test_pictures_of_every_kind_have_the_size_and_depth_asked_for(folder, model):
    kinds = {kind: pictures(folder, kind) for kind in ("images", "labels", "instances")}
    assert kinds["images"].shape == (VIEWS, HEIGHT, WIDTH, 3) and kinds["images"].dtype == np.uint8
    assert kinds["labels"].shape == (VIEWS, HEIGHT, WIDTH) and kinds["labels"].dtype == np.uint8
    assert kinds["instances"].shape == (VIEWS, HEIGHT, WIDTH) and kinds["instances"].dtype == np.uint16
    assert model.size == (WIDTH, HEIGHT) and model.names == [f"view_{i:03d}.png" for i in range(VIEWS)]


def test_all_classes_appear_and_every_instance_has_one_class(folder):
    classes = json.loads((folder / "classes.json").read_text())
    labels, instances = pictures(folder, "labels"), pictures(folder, "instances")
    ids = [row["id"] for row in classes["classes"]]
    assert classes["void"] == 255 and ids == list(range(len(CATEGORIES)))
    assert set(np.unique(labels)) == set(ids)
    names = {row["name"]: row["id"] for row in classes["classes"]}
    objects = json.loads((folder / "objects.json").read_text())["objects"]
    for row in objects:
        assert set(np.unique(labels[instances == row["id"]])) <= {names[row["class"]]}
    assert set(np.unique(instances)) <= {row["id"] for row in objects}


def test_at_least_8_objects_of_6_classes_stand_on_the_table(folder, world):
    seen = set(np.unique(pictures(folder, "instances")))
    ids = object_ids(folder)
    standing = {s.name: s.category for s in world.room.solids if s.origin[2] >= TABLE_TOP and s.category != "painting"}
    visible = {name: category for name, category in standing.items() if ids[name] in seen and category != "cushion"}
    assert len(visible) >= 8 and len(set(visible.values())) >= 6


def test_cameras_stand_in_the_room_and_look_at_the_table(model):
    centres = model.centres()
    assert (np.abs(centres[:, :2]) < 1.6).all() and (centres[:, 2] > 1).all() and (centres[:, 2] < 1.7).all()
    to_table = np.array([0, 0, TABLE_TOP]) - centres
    to_table /= np.linalg.norm(to_table, axis=1, keepdims=True)
    assert (np.einsum("ci,ci->c", model.rotations[:, 2], to_table) > 0.97).all()
    np.testing.assert_allclose(model.rotations[:, 0, 2], 0, atol=1e-6)  # level horizon
    assert (model.rotations[:, 1, 2] < 0).all()  # image y points down


def test_an_orange_is_labelled_where_the_rays_meet_its_ball(folder, model, world):
    """The ball is intersected here, in closed form, with the cameras read from the .bin files."""
    instances, number = pictures(folder, "instances"), object_ids(folder)["orange on table"]
    middle = np.array(next(s.origin for s in world.room.solids if s.name == "orange on table"))
    in_front = [i for name, i in object_ids(folder).items() if not name.startswith(("wall", "floor", "rug", "table"))]
    num_hits = 0
    for view in range(VIEWS):
        centre, rays = model.rays(view)
        along = rays @ (middle - centre)
        passes_by = np.sqrt(((middle - centre) ** 2).sum() - along**2)
        labelled = instances[view] == number
        assert (passes_by[labelled] < ORANGE_RADIUS + 3e-4).all()
        others = instances[view][(passes_by < ORANGE_RADIUS - 1e-5) & ~labelled]
        assert np.isin(others, in_front).all()
        num_hits += labelled.sum()
    assert num_hits > 50


def test_labels_agree_with_walking_the_rays_in_small_steps(folder, model, world):
    """An independent search: no sphere tracing, only which solid a point 2 mm further along the ray lies in."""
    instances = pictures(folder, "instances")
    generator = np.random.default_rng(0)
    solids, names = world.room.solids, object_ids(folder)
    reach = torch.arange(0.3, 4.2, 0.002)
    wrong = 0
    for view in range(VIEWS):
        centre, rays = model.rays(view)
        for row, column in zip(generator.integers(0, HEIGHT, 12), generator.integers(0, WIDTH, 12), strict=True):
            points = torch.tensor(centre[:, None] + rays[row, column][:, None] * reach.double().numpy()).float()
            inside = (points[:2].abs() < torch.tensor([[2.4], [2.1]])).all(0) & (points[2] > 0)
            first, met = int(inside.long().argmin()), None
            for solid in solids:
                local = solid.to_local(points[:, :first])
                hits = (solid.distance(local) < 1e-4).nonzero()
                if len(hits) and hits[0, 0] < first:
                    first, met = int(hits[0, 0]), solid.name
            name = {number: name for name, number in names.items()}[int(instances[view, row, column])]
            wrong += name != met if met else not name.startswith(("wall", "floor", "ceiling"))
    assert wrong <= 2  # of 96: a 2 mm step may jump over a rim or a leaf's edge


def test_points_lie_on_one_class_in_all_views_that_see_them(folder, model, world):
    labels, fx = pictures(folder, "labels"), model.params[0]
    votes = np.zeros((len(model.points), len(CATEGORIES)), int)
    for view in range(VIEWS):
        centre, rays = model.rays(view)
        directions = torch.tensor(rays.reshape(-1, 3).T).float().contiguous()
        hits = trace(torch.tensor(centre).float(), directions, world.room.walls, world.room.solids)
        in_camera = model.points @ model.rotations[view].T + model.translations[view]
        column, row = (in_camera[:, :2] / in_camera[:, 2:] * fx + [WIDTH / 2, HEIGHT / 2]).T
        inside = (in_camera[:, 2] > 0) & (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
        ids = inside.nonzero()[0]
        pixel = row[ids].astype(int) * WIDTH + column[ids].astype(int)
        distance = np.linalg.norm(model.points[ids] - centre, axis=1)
        visible = np.abs(hits.distances.numpy()[pixel] / distance - 1) < 0.015
        votes[ids[visible], labels[view].reshape(-1)[pixel[visible]]] += 1
    seen = votes.sum(1)
    assert (seen >= 1).mean() > 0.9
    shared = votes[seen >= 2]
    assert len(shared) > 1000 and (shared.max(1) / shared.sum(1)).mean() > 0.93


def test_points_have_the_colour_of_the_photos(folder, model):
    """Projected into the photo they came from, their colour is there; over all views the closest one is near."""
    images, fx = pictures(folder, "images").astype(int), model.params[0]
    closest = np.full(len(model.points), 255.0)
    for view in range(VIEWS):
        in_camera = model.points @ model.rotations[view].T + model.translations[view]
        column, row = (in_camera[:, :2] / in_camera[:, 2:] * fx + [WIDTH / 2, HEIGHT / 2]).T
        inside = (in_camera[:, 2] > 0) & (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
        ids = inside.nonzero()[0]
        there = images[view][row[ids].astype(int), column[ids].astype(int)]
        closest[ids] = np.minimum(closest[ids], np.abs(there - model.colors[ids].astype(int)).mean(1))
    assert np.median(closest) < 1.5


PYCOLMAP = """
import json, sys
import pycolmap
r = pycolmap.Reconstruction(sys.argv[1])
image = r.images[min(r.images)]
points = [r.points3D[i] for i in sorted(r.points3D)[:5]]
pose = image.cam_from_world() if callable(image.cam_from_world) else image.cam_from_world
print(json.dumps([r.num_images(), r.num_points3D(), image.name, [(pose * p.xyz).tolist() for p in points],
                  [list(map(float, p.color)) for p in points], next(iter(r.cameras.values())).model.name]))
"""


def test_pycolmap_reads_the_same_model(folder, model):
    command = [sys.executable, "-c", PYCOLMAP, str(folder / "sparse/0")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    num_images, num_points, name, in_camera, colors, camera = json.loads(done.stdout.splitlines()[-1])
    assert (num_images, num_points, name, camera) == (VIEWS, len(model.points), model.names[0], "PINHOLE")
    ours = model.points[:5] @ model.rotations[0].T + model.translations[0]
    np.testing.assert_allclose(in_camera, ours, atol=1e-9)
    np.testing.assert_array_equal(colors, model.colors[:5])


def test_the_ordinary_loader_loads_it(folder, model):
    scene = load_scene(folder, DataConfig())
    assert [view.name for view in scene.views] == model.names and len(scene.points) == len(model.points)
    np.testing.assert_array_equal(torch.stack([view.image for view in scene.views]).numpy(), pictures(folder, "images"))
    centres = scene.frame.points_to_input(torch.stack([view.camera.position for view in scene.views]))
    np.testing.assert_allclose(centres.numpy(), model.centres(), atol=1e-5)
    assert scene.views[0].camera.K[0, 0] == pytest.approx(model.params[0])


def test_photos_are_exposed_like_photos(folder):
    images = pictures(folder, "images").astype(float)
    assert 70 < images.mean() < 170 and images.std() > 35
    assert (images.max(-1) <= 2).mean() < 0.03 and (images.min(-1) >= 254).mean() < 0.03
    means = images.mean((1, 2, 3))
    assert means.max() / means.min() < 2


def test_things_throw_shadows_away_from_the_window(world):
    bottle = next(s for s in world.room.solids if s.category == "bottle").origin
    points = torch.tensor([[bottle[0] + 0.12, 0.0], [bottle[1], 0.33], [TABLE_TOP + 0.006, TABLE_TOP + 0.006]])
    to_sun = torch.nn.functional.normalize(torch.tensor([[-1.0], [0.0], [0.48]]), dim=0)
    shaded, lit = visibility(world.room.lighting.fine, points, to_sun, 24.0, 0.01).tolist()
    assert shaded < 0.05 and lit > 0.95
