"""A run resumes on the same photos and maps wherever they lie now, and notices others."""

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_scene import TinyDataset

from gsdff.config.options import DataConfig, FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.data import load_scene
from gsdff.errors import UserError
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from gsdff.io.dataset_summary import compare, summarize
from gsdff.training.run import complete, train_run
from gsdff.training.trainer import Trainer


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Options of a run that stopped after 5 of 8 steps, in stage 2, with its maps in a cache."""
    data = TinyDataset.write(tmp_path / "photos").folder
    (tmp_path / "maps").mkdir()
    for photo in data.glob("*.png"):
        torch.save(torch.randn(6, 8, 8), tmp_path / "maps" / f"{photo.stem}_fmap_CxHxW.pt")
    config = TrainConfig(
        data=data,
        out=tmp_path / "run",
        device="cpu",
        checkpoint_every=5,
        dataset=DataConfig(random_points=60),
        stage1=Stage1Config(steps=4, sh_degree=0),
        stage2=Stage2Config(steps=4),
        teacher=TeacherConfig("precomputed", maps=tmp_path / "maps"),
        features=FeatureConfig(dim=3, cache=tmp_path / "cache"),
    )
    advance = Trainer.advance

    def advance_and_die(self):
        if self.step == 6:
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as mortal, pytest.raises(KeyboardInterrupt):
        mortal.setattr(Trainer, "advance", advance_and_die)
        train_run(complete(config))
    return complete(config)


def resume(config):
    train_run(config, resume=True)
    return (config.out / "scene.ply").read_bytes()


def test_moved_photos_maps_and_caches_are_the_same_run(begun, tmp_path, caplog):
    shutil.copytree(begun.out, tmp_path / "other")
    expected = resume(replace(begun, out=tmp_path / "other"))
    (tmp_path / "there").mkdir()
    for name in ("photos", "maps", "cache"):
        (tmp_path / name).rename(tmp_path / "there" / name)
    there = tmp_path / "there"
    moved = replace(
        begun,
        data=there / "photos",
        dataset=replace(begun.dataset, poses="stored"),  # EXIF turns none of these photos
        teacher=replace(begun.teacher, maps=there / "maps"),
        features=replace(begun.features, cache=there / "cache"),
    )
    with caplog.at_level(logging.INFO, "gsdff"):
        assert resume(moved) == expected
    assert f"continuing with `data` {there}/photos, which was {tmp_path}/photos" in caplog.text
    assert "continuing with `features.cache`" in caplog.text and "reused, nothing has changed" in caplog.text


def test_a_replaced_photo_is_noticed(begun):
    photo = begun.data / "view_3.png"
    Image.fromarray(255 - np.array(Image.open(photo))).save(photo)
    complaint = r"photos: is not what .*run was trained on so far: 1 of 6 photos that show something else .*view_3\.png"
    with pytest.raises(UserError, match=complaint):
        resume(begun)


def test_other_photos_and_poses_elsewhere_are_refused(begun, tmp_path):
    other = tmp_path / "elsewhere"
    shutil.copytree(begun.data, other)
    path = other / "transforms.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "frames": content["frames"][1:]}))
    with pytest.raises(UserError, match=r"elsewhere: is not what .*: 6 photos before, 5 now \(such as view_0\.png\)"):
        resume(replace(begun, data=other))
    path.write_text(json.dumps({**content, "fl_x": 44.0}))
    with pytest.raises(UserError, match=r"6 of 6 photos with another camera \(such as view_0\.png\)"):
        resume(replace(begun, data=other))
    for frame in content["frames"]:
        frame["transform_matrix"][0][3] += 100
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="its camera poses lie elsewhere; put the photos and poses back"):
        resume(replace(begun, data=other))


def test_other_maps_are_refused_and_the_built_in_scene_is_no_moved_one(begun):
    torch.save(torch.randn(6, 8, 8), begun.teacher.maps / "view_1_fmap_CxHxW.pt")
    with pytest.raises(UserError, match=r"basis\.safetensors: belongs to other teacher maps"):
        resume(begun)
    with pytest.raises(UserError, match=r"options it was started with \(data was .*, now demo\)"):
        resume(replace(begun, data=TrainConfig().data))


@pytest.mark.parametrize("summary", [None, {}, {"names": [1]}, {"names": ["a"], "cameras": 1}, [3]])
def test_a_checkpoint_without_a_readable_summary_says_so_and_resumes(begun, caplog, summary):
    newest = list_checkpoints(begun.out / "checkpoints")[-1]
    state = load_checkpoint(newest)
    step = state.pop("step")
    del state["format"]
    save_checkpoint(newest.parent, step, state | {"dataset": summary})
    resume(begun)
    assert "its checkpoint does not say which photos it was trained on" in caplog.text


def test_what_decoders_differ_by_is_no_other_photo_and_points_and_masks_count(tmp_path, generator):
    scene = load_scene(TinyDataset.write(tmp_path / "photos").folder, DataConfig(random_points=60))
    saved = summarize(scene)

    def change(**changes):
        return replace(scene, views=[replace(scene.views[0], **changes), *scene.views[1:]])

    noise = torch.randint(-1, 2, scene.views[0].image.shape, generator=generator)
    decoded = (scene.views[0].image.int() + noise).clamp(0, 255).byte()
    assert (
        compare(saved, change(image=decoded)).photos
        == compare(saved, scene).photos
        == compare(saved, scene).points
        == ""
    )
    patched = scene.views[0].image.clone()
    patched[:6, :6] = 255 - patched[:6, :6]
    assert "1 of 6 photos that show something else (such as view_0.png)" in compare(saved, change(image=patched)).photos
    mask = torch.ones(patched.shape[:2], dtype=torch.bool)
    mask[:5] = False
    assert "1 of 6 photos with another mask" in compare(saved, change(mask=mask)).photos
    assert compare(saved, replace(scene, points=scene.points + 1)).points == "its points"
