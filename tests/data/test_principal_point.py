"""Principal points are refined where photos tell them; in processes of their own, as all uses of pycolmap are."""

import json
import subprocess
import sys

import pytest

from gsdff.data import worker

MADE_UP = """
import json, sys
sys.path.insert(0, {folder!r})
import pycolmap, pycolmap_worker
pycolmap.set_random_seed(0)
options = pycolmap.SyntheticDatasetOptions()
options.num_rigs, options.num_frames_per_rig, options.num_points3D = 1, {photos}, 400
options.camera_params = [1280.0, 563.0, 346.0, 0.05]  # off the middle by 5 % of both sides
model = pycolmap.synthesize_dataset(options)
noise = pycolmap.SyntheticNoiseOptions()
noise.point2D_stddev = 0.5
pycolmap.synthesize_noise(noise, model)
(camera,) = model.cameras.values()
camera.params = [1280.0, {x}, {y}, 0.05]
kept = pycolmap_worker.with_refined_centres(model)
print(json.dumps([list(kept.cameras[1].params), kept is model]))
"""


def refined(photos, x=512.0, y=384.0):
    """Parameters of the lens of a made-up scene that is thought to have this principal point, and if they stay."""
    code = MADE_UP.format(folder=str(worker.SCRIPT.parent), photos=photos, x=x, y=y)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_principal_point_off_the_middle_is_found_from_many_photos():
    (focal, x, y, _), stays = refined(photos=30)
    assert not stays and (x, y) == pytest.approx((563, 346), abs=2) and focal == pytest.approx(1280, rel=2e-3)


def test_a_right_principal_point_stays_where_it_is():
    (_, x, y, _), _ = refined(photos=30, x=563, y=346)
    assert (x, y) == pytest.approx((563, 346), abs=1)


def test_few_photos_leave_the_principal_point_in_the_middle():
    (_, x, y, _), stays = refined(photos=10)
    assert stays and (x, y) == (512, 384)
