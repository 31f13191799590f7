"""Undistorted photos equal those of a pinhole, for every camera model; a crash of pycolmap is contained."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsdff.cameras import WorldFrame
from gsdff.config.options import DataConfig
from gsdff.data import lens as lenses
from gsdff.data import worker
from gsdff.data.capture import Capture, Lens, Shot
from gsdff.data.develop import LENSES_AT_A_TIME, develop
from gsdff.data.lens import SizedLens, pinhole_of, rectify, resample
from gsdff.errors import UserError

WIDTH, HEIGHT, F, CX, CY = 96, 72, 70.0, 47.0, 37.0
DISTORTIONS = {
    "SIMPLE_RADIAL": (-0.1,),
    "RADIAL": (-0.12, 0.02),
    "OPENCV": (-0.1, 0.01, 0.002, -0.003),
    "OPENCV_FISHEYE": (0.02, -0.01, 0.003, 0.0),
    "FULL_OPENCV": (-0.1, 0.01, 0.001, 0.002, 0.01, 0.01, 0.001, 0.0),
    "FOV": (0.7,),
    "SIMPLE_RADIAL_FISHEYE": (0.03,),
    "RADIAL_FISHEYE": (0.02, 0.01),
    "THIN_PRISM_FISHEYE": (0.02, 0.01, 0.001, 0.002, 0.0, 0.0, 0.002, 0.001),
    "RAD_TAN_THIN_PRISM_FISHEYE": (0.02, 0.01, 0, 0, 0, 0, 0.001, 0.001, 0.002, 0.001, 0.001, 0.001),
    "SIMPLE_DIVISION": (-0.1,),
    "DIVISION": (-0.1,),
    "SIMPLE_FISHEYE": (),
    "FISHEYE": (),
    "EUCM": (0.5, 1.1),
}
ONE_FOCAL = {"SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_DIVISION", "SIMPLE_FISHEYE"}


def make(model, distortion):
    focal = (F,) if model in ONE_FOCAL else (F, F + 3)
    return Lens(model, WIDTH, HEIGHT, (*focal, CX, CY, *distortion))


LENSES = [make(model, distortion) for model, distortion in DISTORTIONS.items()]


def pattern(directions):
    """A smooth colour per direction (x/z, y/z), in [0, 1]."""
    x, y = np.moveaxis(directions, -1, 0)
    return 0.5 + 0.4 * np.stack([np.sin(6 * x), np.cos(5 * y + 1), np.sin(4 * (x + y))], axis=-1)


def pixel_centres(width, height):
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)


@pytest.fixture(scope="module")
def directions():
    """For each lens the direction (x/z, y/z) of every pixel's ray, by pycolmap's inverse maths, in its own process."""
    script = """
import json, sys, numpy as np, pycolmap
lenses, out = json.loads(sys.argv[1]), []
for model, width, height, params in lenses:
    camera = pycolmap.Camera(model=model, width=width, height=height, params=params)
    pixels = np.stack(np.meshgrid(np.arange(width) + .5, np.arange(height) + .5), axis=-1)
    out.append(camera.cam_from_img(pixels.reshape(-1, 2)).reshape(pixels.shape).tolist())
print(json.dumps(out))
"""
    request = json.dumps([(lens.model, lens.width, lens.height, lens.params) for lens in LENSES])
    out = subprocess.run([sys.executable, "-c", script, request], check=True, capture_output=True, text=True).stdout
    return dict(zip(DISTORTIONS, map(np.array, json.loads(out)), strict=True))


def posed(folder, shots):
    """A dataset of these photos, without points."""
    return Capture(folder, folder, shots, np.zeros((0, 3)), np.zeros((0, 3), np.uint8))


@pytest.fixture(scope="module")
def views(directions, tmp_path_factory):
    """A view per lens, of photos of the pattern taken through it."""
    folder, shots = tmp_path_factory.mktemp("distorted"), []
    for lens in LENSES:
        path = folder / f"{lens.model}.png"
        Image.fromarray(np.round(255 * pattern(directions[lens.model])).astype(np.uint8)).save(path)
        shots.append(Shot(path.name, path, 1, lens, np.eye(4)))
    return dict(zip(DISTORTIONS, develop(posed(folder, shots), WorldFrame(), DataConfig()), strict=True))


@pytest.mark.parametrize("model", DISTORTIONS)
def test_an_undistorted_photo_is_the_pinholes_view_of_the_pattern(views, directions, model):
    camera, image = views[model].camera, views[model].image.numpy()
    assert image.shape == (camera.height, camera.width, 3)
    K = camera.K.double().numpy()
    rays = (pixel_centres(camera.width, camera.height) - K[:2, 2]) / K[[0, 1], [0, 1]]
    error = np.abs(image / 255 - pattern(rays))
    assert error.max() < 0.02 and error.mean() < 0.004
    moved = directions[model] * F + [CX, CY] - pixel_centres(WIDTH, HEIGHT)
    assert np.linalg.norm(moved, axis=-1).max() > 2  # pixels: the lens does distort
    assert camera.width * camera.height > 0.7 * WIDTH * HEIGHT


def test_more_lenses_than_one_batch_are_undistorted(tmp_path, write_photos):
    shots = []
    for i in range(LENSES_AT_A_TIME + 1):
        write_photos(tmp_path, [f"{i}.png"], (WIDTH, HEIGHT))
        lens = Lens("SIMPLE_RADIAL", WIDTH, HEIGHT, (F + i, CX, CY, -0.05))
        shots.append(Shot(f"{i}.png", tmp_path / f"{i}.png", 1, lens, np.eye(4)))
    views = develop(posed(tmp_path, shots), WorldFrame(), DataConfig())
    assert [view.name for view in views] == [shot.name for shot in shots]
    assert [float(view.camera.K[0, 0]) for view in views] == [F + i for i in range(len(shots))]


def test_one_radial_coefficient_by_hand(tmp_path):
    sized = SizedLens(Lens("SIMPLE_RADIAL", WIDTH, HEIGHT, (F, CX, CY, -0.1)), WIDTH, HEIGHT)
    pinhole = rectify([sized], tmp_path, tmp_path)[sized]
    x, y = (pixel_centres(pinhole.width, pinhole.height)[5, 9] - pinhole.K[:2, 2]) / F
    expected = F * np.array([x, y]) * (1 - 0.1 * (x * x + y * y)) + [CX, CY]
    assert np.allclose(pinhole.grid[5, 9], expected, atol=1e-4)


def test_a_photo_of_half_the_size_has_half_the_map(tmp_path):
    lens = make("OPENCV", DISTORTIONS["OPENCV"])
    small, large = SizedLens(lens, WIDTH // 2, HEIGHT // 2), SizedLens(lens, WIDTH, HEIGHT)
    found = rectify([small, large], tmp_path, tmp_path)
    assert np.allclose(found[small].K[[0, 1], [0, 1]] * 2, found[large].K[[0, 1], [0, 1]])
    assert abs(found[small].width * 2 - found[large].width) <= 2
    assert found[small].grid.max(axis=(0, 1)) == pytest.approx((WIDTH / 2, HEIGHT / 2), abs=2)


def test_a_lens_without_distortion_is_left_alone(tmp_path):
    flat = SizedLens(Lens("OPENCV", WIDTH, HEIGHT, (F, F + 1, CX, CY, 0.0, 0.0, 0.0, 0.0)), WIDTH, HEIGHT)
    pinhole = rectify([flat], tmp_path, tmp_path)[flat]
    assert pinhole.grid is None and (pinhole.width, pinhole.height) == (WIDTH, HEIGHT)
    assert np.allclose(pinhole.K, [[F, 0, CX], [0, F + 1, CY], [0, 0, 1]])


def test_pinholes_need_no_pycolmap_and_scale_with_the_photo():
    simple = pinhole_of(SizedLens(Lens("SIMPLE_PINHOLE", 100, 80, (50.0, 49.0, 41.0)), 50, 40))
    assert np.allclose(simple.K, [[25, 0, 24.5], [0, 25, 20.5], [0, 0, 1]]) and simple.grid is None
    both = pinhole_of(SizedLens(Lens("PINHOLE", 100, 80, (50.0, 60.0, 49.0, 41.0)), 200, 80))
    assert np.allclose(both.K, [[100, 0, 98], [0, 60, 41], [0, 0, 1]])
    assert pinhole_of(SizedLens(LENSES[0], WIDTH, HEIGHT)) is None


@pytest.mark.parametrize(
    ("lens", "message"),
    [
        (Lens("EQUIRECTANGULAR", 64, 32, (64.0, 32.0)), "EQUIRECTANGULAR.*sees all around"),
        (Lens("SIMPLE_RADIAL", 160, 120, (40.0, 80.0, 60.0, -0.1)), r"SIMPLE_RADIAL camera \(40, 80, 60, -0.1\): "),
    ],
)
def test_lenses_no_pinhole_can_stand_for_are_named(tmp_path, lens, message):
    with pytest.raises(UserError, match=f"cameras.bin: cannot undistort the {message}"):
        rectify([SizedLens(lens, lens.width, lens.height)], tmp_path, Path("cameras.bin"))


def test_resampling_reads_pixel_centres_at_a_half_and_blends_between_them():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1) * 20
    assert (resample(image, pixel_centres(4, 3).astype(np.float32)) == image).all()
    between = np.array([[[1.0, 0.5], [0.5, 1.0], [-5.0, 0.5]]], np.float32)
    assert resample(image, between)[0, :, 0].tolist() == [10, 40, 0]


def test_a_crash_of_pycolmap_is_one_line(tmp_path, monkeypatch):
    script = tmp_path / "crash.py"
    script.write_text("import os, sys\nprint('something broke', file=sys.stderr, flush=True)\nos.abort()\n")
    monkeypatch.setattr(worker, "SCRIPT", script)
    with pytest.raises(UserError, match=r"pycolmap ended with status -6 and no result.*something broke$"):
        lenses.rectify([SizedLens(LENSES[0], WIDTH, HEIGHT)], tmp_path, tmp_path)


def test_an_abort_after_the_work_is_done_loses_nothing(tmp_path, monkeypatch):
    script = tmp_path / "late.py"
    script.write_text("import os, sys\nopen(sys.argv[3] + '/answer.json', 'w').write('[7]')\nos.abort()\n")
    monkeypatch.setattr(worker, "SCRIPT", script)
    answer = worker.run_worker("rectify", {}, tmp_path)
    assert answer == [7]
