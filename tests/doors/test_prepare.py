"""Photos become a scene the loader reads, and what cannot is said in one line."""

import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr

import pytest
import torch
from PIL import Image

from gsdff.config.options import DataConfig
from gsdff.data import load_scene, sfm
from gsdff.errors import UserError
from gsdff.prepare import PrepareArguments, prepare, report


@pytest.fixture
def photos(tmp_path):
    """Three photos of one grey each: nothing in them can be matched."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (64, 48), (80 * i, 80 * i, 80 * i)).save(folder / f"{i}.jpg")
    return folder


@pytest.mark.slow
def test_fox_photos_become_a_scene_that_loads(tmp_path, shared, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [path.name for path in sorted((shared / "assets/scenes/fox/images").iterdir())[:10]]
    for name in names:
        with Image.open(shared / "assets/scenes/fox/images" / name) as photo:
            photo.resize((270, 480), Image.Resampling.BOX).save(folder / name, quality=95)
    Image.new("RGB", (270, 480)).save(folder / "zz_black.jpg")

    out = prepare(PrepareArguments(images=folder))

    said = capsys.readouterr().out
    assert out == tmp_path / "photos_scene" and sorted(p.name for p in out.iterdir()) == [
        "images",
        "poses.png",
        "sparse",
    ]
    assert "10 of 11 photos have poses" in said and "without a pose: zz_black.jpg" in said
    scene = load_scene(out, DataConfig())
    assert [view.name for view in scene.views] == names and len(scene.points) > 500
    assert_same_motion(scene, load_scene(shared / "assets/scenes/fox", DataConfig(downscale=8)))
    with pytest.raises(UserError, match="there is a model already"):
        prepare(PrepareArguments(images=folder))


def assert_same_motion(scene, truth):
    """Both scenes' cameras turn alike between views: relative rotations do not depend on the world frame."""
    true = {view.name: view.camera.viewmat[:3, :3] for view in truth.views}
    first = scene.views[0]
    for view in scene.views[1:]:
        relative = view.camera.viewmat[:3, :3] @ first.camera.viewmat[:3, :3].T
        expected = true[view.name] @ true[first.name].T
        cosine = ((relative @ expected.T).trace() - 1) / 2
        assert torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))) < 1


def test_photos_that_do_not_connect_are_said_and_leave_nothing(tmp_path, photos):
    with pytest.raises(UserError, match=r"photos: no two of the 3 photos could be posed"):
        prepare(PrepareArguments(images=photos, out=tmp_path / "out", matcher="sequential"))
    assert not (tmp_path / "out/images").exists() and not list((tmp_path / "out/sparse").iterdir())


def test_fewer_than_three_photos_are_refused(photos):
    (photos / "0.jpg").unlink()
    (photos / "notes.txt").write_text("not a photo")
    with pytest.raises(UserError, match="photos: 2 photos, expected 3 or more"):
        prepare(PrepareArguments(images=photos))


def test_a_damaged_photo_is_named_before_the_long_work(photos, caplog):
    (photos / "1.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match=r"photos: 2 photos, expected 3 or more"):
        prepare(PrepareArguments(images=photos))
    assert "1.jpg: cannot be read as a photo" in caplog.text


def posed(folder, photos, size=(64, 48)):
    """A transforms.json for these photos, all from cameras side by side that look the same way."""
    frames = []
    for i, path in enumerate(sorted(photos.iterdir())):
        matrix = [[1, 0, 0, 0.1 * i], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        frames.append({"file_path": f"{photos.name}/{path.name}", "transform_matrix": matrix})
    settings = {"w": size[0], "h": size[1], "fl_x": 60, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.slow
def test_posed_photos_get_points_on_what_they_show_and_keep_their_poses(tmp_path, shared, capsys):
    fox = shared / "assets/scenes/fox"
    whole = load_scene(fox, DataConfig(downscale=2))
    (tmp_path / "images").mkdir()
    frames = []
    for view in whole.views[:8]:
        Image.fromarray(view.image.numpy()).save(tmp_path / "images" / view.name, quality=95)
        pose = torch.linalg.inv(whole.frame.viewmats_to_input(view.camera.viewmat)).numpy()
        frames.append({"file_path": f"images/{view.name}", "transform_matrix": (pose * [1, -1, -1, 1]).tolist()})
    camera = whole.views[0].camera
    lens = {"w": camera.width, "h": camera.height, "fl_x": float(camera.K[0, 0]), "fl_y": float(camera.K[1, 1])}
    (tmp_path / "transforms.json").write_text(json.dumps(lens | {"frames": frames}))

    out = prepare(PrepareArguments(poses=tmp_path, out=tmp_path / "out"))

    assert "8 of 8 photos have poses" in capsys.readouterr().out
    scene, before = load_scene(out, DataConfig()), load_scene(tmp_path, DataConfig())
    assert len(scene.points) > 300 and [view.name for view in scene.views] == [view.name for view in before.views]
    for got, given in zip(scene.views, before.views, strict=True):
        torch.testing.assert_close(got.camera.viewmat, given.camera.viewmat, atol=1e-5, rtol=0)
        torch.testing.assert_close(got.camera.K, given.camera.K)
    # most lie near a point of the model that was made of all photos
    points, true = (scene.frame.points_to_input(scene.points), whole.frame.points_to_input(whole.points))
    assert torch.cdist(points, true).amin(1).median() < 0.02 * whole.frame.scale


def test_poses_whose_photos_have_nothing_in_common_leave_nothing(tmp_path, photos):
    with pytest.raises(UserError, match=r"photos: 0 points could be triangulated, expected at least 100; do the poses"):
        prepare(PrepareArguments(poses=posed(tmp_path, photos), out=tmp_path / "out"))
    assert not (tmp_path / "out/images").exists() and not list((tmp_path / "out/sparse").iterdir())


def test_photos_of_another_shape_than_their_cameras_are_refused(tmp_path, photos):
    with pytest.raises(UserError, match=r"0.jpg: is 64x48, but its camera 48x64, which is another shape"):
        prepare(PrepareArguments(poses=posed(tmp_path, photos, (48, 64)), out=tmp_path / "out"))


def test_either_photos_or_poses_are_expected(tmp_path, photos):
    for arguments in (PrepareArguments(), PrepareArguments(images=photos, poses=tmp_path)):
        with pytest.raises(UserError, match="--images, --poses: expected one of them"):
            prepare(arguments)


def test_bad_options_are_refused(photos):
    with pytest.raises(UserError, match=r"`images` .*nowhere: no such file or folder"):
        prepare(PrepareArguments(images=photos / "nowhere"))
    with pytest.raises(UserError, match="`max_size`: expected at least 1, got 0"):
        prepare(PrepareArguments(images=photos, max_size=0))


def test_photos_of_another_scene_are_not_mixed_in(tmp_path, photos):
    shutil.copytree(photos, tmp_path / "out/images")
    with pytest.raises(UserError, match="holds other photos"):
        prepare(PrepareArguments(images=photos, out=tmp_path / "out"))


def test_names_without_a_pose_are_listed_up_to_ten(capsys):
    names = [f"{i:02}.jpg" for i in range(14)]
    report(names, names[:2])
    said = capsys.readouterr().out
    assert "2 of 14 photos have poses" in said and "11.jpg and 2 more" in said and "12.jpg" not in said
    report(names, names)
    assert "without a pose" not in capsys.readouterr().out


def test_progress_follows_the_phases_of_colmaps_log():
    shares = []
    with redirect_stderr(io.StringIO()):
        progress = sfm.ColmapProgress(4)
        for line in [
            "I2026 feature_extraction.cc:270] Processed file [1/4]",
            "I2026 feature_extraction.cc:289]   Focal Length:    576.00px",
            "I2026 feature_matching.cc:196] === Feature matching & geometric verification ===",
            "I2026 pairing.cc:214] Processing block [2/2, 1/2]",
            "I2026 pairing.cc:214] Processing image [4/8]",
            "I2026 incremental_pipeline.cc:465] Finding good initial image pair",
            "I2026 incremental_pipeline.cc:620] Registering image #6 (num_reg_frames=2)",
        ]:
            progress.read(line)
            shares.append((progress.bar.desc, progress.bar.n))
        progress.close()
    assert shares == [
        ("features", 0.25), ("features", 0.25), ("matching", 0), ("matching", 0.5), ("matching", 0.375),
        ("mapping", 0), ("mapping", 0.75),
    ]  # fmt: skip


def test_the_door_ends_in_one_line_and_status_1(tmp_path):
    command = [sys.executable, "-m", "gsdff.prepare", "--images", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --images ") and "nowhere: no such file or folder" in done.stderr
