"""Rows about scenes and runs that are joined with photos elsewhere, or with other ones: A2, A7, A12, A13 and B."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

import gsdff
from gsdff.config.options import TeacherConfig, TrainConfig
from gsdff.config.unread import refuse_unread
from gsdff.io.ply import read_ply
from gsdff.metrics import psnr
from gsdff.training.run import train_run
from gsdff.training.trainer import Trainer
from odd_rows.make import WIDTH, load, make_run, train, training, write_maps, write_model, write_transforms
from odd_rows.table import Here, Table, expect

TABLE = Table()
row = TABLE.row

UTM = (500000.0, 4649776.0, 100.0)


@row(
    "A2",
    "a `.splat` of such a scene, which cannot state its offset, read with its photos",
    "test_a_splat_without_its_offset_is_said_where_photos_join_it",
    "test_training_refuses_it_and_takes_it_with_an_offset",
    "test_small_things_cut_out_of_a_scene_and_far_cameras_are_no_misplacement",
)
def splat_without_offset(here: Here) -> str:
    data = here.folder / "data"
    write_transforms(data, shift=UTM)
    run = train(training(data, here.folder / "run"))
    offset = read_ply(run / "scene.ply").origin
    field = gsdff.load(run, device="cpu")
    splat = field.save(run / "scene.splat")

    def score(given: gsdff.Field) -> float:
        return float(psnr(*(each.draw(each.scene.views[1].camera).image for each in (given, field))))

    lost = score(gsdff.load(splat, data=data, device="cpu"))
    said = here.said("its middle", "give it as `offset`")
    right = score(gsdff.load(splat, data=data, offset=offset, device="cpu"))
    expect(right > 25 > lost, f"{right:.1f} dB with the offset, {lost:.1f} without")
    config = replace(training(data, here.folder / "next", write_maps(here.folder / "maps")), stage1_from=splat)
    here.refused(lambda: train_run(replace(config, stage1=replace(config.stage1, steps=0))), "its middle")
    return f"{said}; with `--offset` {right:.0f} dB against the run, without {lost:.0f}; `--stage1-from` refuses it"


@row(
    "A7",
    "a run of a version that did not know `dataset.made_from`, on photos with lens distortion",
    "test_an_old_run_says_what_it_assumes_until_it_is_told",
    "test_what_files_show_can_be_said_when_a_run_is_read",
)
def old_run(here: Here) -> str:
    camera = f"OPENCV {WIDTH} 12 14 14 8 6 -0.2 0.03 0 0"
    write_model(here.folder / "data", camera=camera)
    run = train(training(here.folder / "data", here.folder / "run"))
    path = run / "config.toml"
    path.write_text(path.read_text().replace('made_from = "photos"\n', ""))
    stored = gsdff.load(run, device="cpu").scene.views[0].stored
    said = here.said("its options are of an earlier version")
    told = gsdff.load(run, dataset={"made_from": "views"}, device="cpu").scene.views[0].stored
    expect(stored is not None and told is None, "the answer has no effect")
    return f"{said}; `gsdff evaluate RUN --dataset.made-from views` and every other reader takes the answer"


def stop_at(step: int) -> "mock._patch[Callable[[Trainer], dict]]":
    """A training that is killed before this step."""
    advance = Trainer.advance

    def advance_or_die(trainer: Trainer) -> dict:
        if trainer.step == step:
            raise KeyboardInterrupt
        return advance(trainer)

    return mock.patch.object(Trainer, "advance", advance_or_die)


def begin(here: Here) -> TrainConfig:
    """A run that was killed after its first checkpoint."""
    write_transforms(here.folder / "data")
    config = training(here.folder / "data", here.folder / "run", write_maps(here.folder / "maps"))
    with stop_at(9):
        try:
            train(config)
        except KeyboardInterrupt:
            return config
    raise AssertionError("the training was not killed")


@row("A12", "a photo replaced between a kill and `--resume`", "test_a_replaced_photo_is_noticed")
def replaced_photo(here: Here) -> str:
    config = begin(here)
    path = config.data / "images" / "v2.png"
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    return here.refused(lambda: train_run(config, resume=True), "v2.png", "show something else")


@row(
    "B8",
    "photos, teacher maps and cache moved between a kill and `--resume`, `--data` and the others naming the new places",
    "test_moved_photos_maps_and_caches_are_the_same_run",
    "test_other_photos_and_poses_elsewhere_are_refused",
)
def moved_dataset(here: Here) -> str:
    config = begin(here)
    shutil.copytree(here.folder / "run", here.folder / "stayed")
    expected = (train_resumed(replace(config, out=here.folder / "stayed")) / "scene.ply").read_bytes()
    there = here.folder / "there"
    there.mkdir()
    for name in ("data", "maps"):
        (here.folder / name).rename(there / name)
    moved = replace(config, data=there / "data", teacher=replace(config.teacher, maps=there / "maps"))
    same = (train_resumed(moved) / "scene.ply").read_bytes() == expected
    expect(same, "the moved run ends with other bytes")
    return f"the same `scene.ply` to the byte; {here.said('continuing with', 'data')}"


def train_resumed(config: TrainConfig) -> Path:
    """Resumes without printing; gives the run's folder."""
    with mock.patch("builtins.print"):
        return train_run(config, resume=True).path


@row(
    "A13",
    "one point at 1e9 beside eight in front of the cameras",
    "test_a_stray_point_is_left_out_and_said_and_a_far_one_stays",
)
def stray_point(here: Here) -> str:
    model = write_model(here.folder)
    path = model / "points3D.txt"
    path.write_text(path.read_text() + "9 1e9 0.5 2.5 1 20 10 0.5 1 0 2 0\n")
    scene = load(here.folder)
    expect(len(scene.points) == 8, f"{len(scene.points)} points")
    return f"{len(scene.points)} points; {here.said('points are left out')}"


@row(
    "B9",
    "`--teacher.maps` beside a teacher that reads none, such as one inherited by `--stage1-from`",
    "test_a_setting_that_nothing_reads_is_refused",
    "test_settings_of_another_teacher_that_the_first_run_had_are_left_out_and_new_ones_are_refused",
)
def unread_setting(here: Here) -> str:
    run = make_run(here.folder)
    config = training(here.folder / "data", here.folder / "next")
    teacher = TeacherConfig("clip", maps=here.folder / "maps")
    given = replace(config, stage1_from=run, teacher=teacher)
    return here.refused(lambda: refuse_unread(given), "`teacher.maps` maps: the teacher is clip", "may come from run")
