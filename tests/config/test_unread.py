"""Settings that the chosen teacher or segmenter does not read are refused, or left out if the first run had them."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from tiny_scene import TinyDataset

from gsdff.config.choices import SEGMENTERS, TEACHERS
from gsdff.config.file import lay_over, write_config
from gsdff.config.options import TeacherConfig, TrainConfig
from gsdff.config.smoothing import MaskConfig
from gsdff.config.unread import leave_out_unread, refuse_unread
from gsdff.errors import UserError
from gsdff.run_folder import RunFolder
from gsdff.train import read_arguments
from gsdff.training.run import train_run

SAM = {"smoothing": {"sam": {"form": "target"}}}


def configure(**tables):
    return lay_over(TrainConfig(), tables, "options")


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ({"teacher": {"name": "lseg", "maps": "m"}}, "`teacher.maps` m: the teacher is lseg, which does not read it"),
        ({"teacher": {"name": "clip", "checkpoint": "c"}}, "`teacher.checkpoint` c: .* to lseg, or leave it out"),
        ({"teacher": {"name": "precomputed", "maps": "m", "size": 99}}, "`teacher.size` 99: .* lseg or clip or dino,"),
        ({"teacher": {"name": "clip", "multi_scale": True}}, "`teacher.multi_scale` True: the teacher is clip"),
        ({"teacher": {"name": "labels", "toy": {"noise": 0.1}}}, "`teacher.toy.noise` 0.1: .* to toy, or leave"),
        ({"teacher": {"name": "none", "model": "ViT-L-14"}}, "`teacher.model` ViT-L-14: there is no teacher to read"),
        ({"masks": {"name": "felzenszwalb", "folder": "f"}} | SAM, "`masks.folder` f: the masks are felzenszwalb, wh"),
        ({"masks": {"name": "sam", "felzenszwalb": {"scale": 9}}} | SAM, "`masks.felzenszwalb.scale` 9.0: .* to felz"),
        ({"masks": {"name": "precomputed", "folder": "f", "checkpoint": "c"}} | SAM, "`masks.checkpoint` c: .* sam,"),
        ({"masks": {"name": "none", "folder": "f"}} | SAM, "`masks.folder` f: the masks are none, which does not read"),
        ({"masks": {"folder": "f"}}, "`masks.folder` f: nothing reads masks here; give `config` sam, switch"),
        ({"masks": {"name": "sam"}}, "`masks.name` sam: nothing reads masks here"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(tables, complaint):
    with pytest.raises(UserError, match=complaint):
        refuse_unread(configure(**tables))


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_takes_all_that_it_reads(name):
    values = {"maps": "m", "checkpoint": "c", "model": "x", "pretrained": "y", "size": 99, "multi_scale": True}
    values |= {"batch": 2, "labels": "l", "toy": {"noise": 0.1}}
    assert values.keys() == {entry.name for entry in fields(TeacherConfig)} - {"name"}
    refuse_unread(configure(teacher={"name": name} | {key: values[key] for key in TEACHERS[name].reads}))


def test_every_setting_of_a_teacher_or_segmenter_is_one_of_the_options():
    assert {key for kind in TEACHERS.values() for key in kind.reads} == {
        entry.name for entry in fields(TeacherConfig)
    } - {"name"}
    shared = {"name", "source", "refresh", "cache"}
    assert {key for kind in SEGMENTERS.values() for key in kind.reads} == {
        entry.name for entry in fields(MaskConfig)
    } - shared


def test_settings_of_another_teacher_that_the_first_run_had_are_left_out_and_new_ones_are_refused():
    first = configure(teacher={"name": "precomputed", "maps": "/m"}, masks={"name": "felzenszwalb"}, **SAM)
    then = replace(first, teacher=replace(first.teacher, name="clip"), smoothing=TrainConfig().smoothing)
    assert leave_out_unread(then, first) == configure(teacher={"name": "clip"})
    new = replace(then, teacher=replace(then.teacher, maps=Path("/other")))
    kept = leave_out_unread(replace(new, stage1_from=Path("RUN")), first)
    with pytest.raises(UserError, match=r"`teacher.maps` /other: the teacher is clip, .*may come from RUN\); set"):
        refuse_unread(kept)


def test_training_refuses_before_anything_is_written_and_inherits_no_leftovers(tmp_path):
    data = TinyDataset.write(tmp_path / "photos").folder
    (tmp_path / "maps").mkdir()
    config = TrainConfig(data=data, out=tmp_path / "run", teacher=TeacherConfig("clip", maps=tmp_path / "maps"))
    with pytest.raises(UserError, match=r"`teacher.maps` .*: the teacher is clip, which does not read it"):
        train_run(config)
    assert not (tmp_path / "run").exists()
    begun = RunFolder(tmp_path / "begun")
    begun.path.mkdir()
    write_config(begun.config, replace(config, out=None, teacher=TeacherConfig("precomputed", maps=tmp_path / "maps")))
    options = read_arguments(["--stage1-from", str(begun.path), "--teacher", "clip", "--device", "cpu"]).options
    assert (options.teacher.name, options.teacher.maps) == ("clip", None)


@pytest.mark.parametrize(
    ("words", "is_right"),
    [
        ("--teacher none", True),
        ("--teacher labels --smoothing.sam.form off", True),
        ("", False),
        ("--masks sam", False),
    ],
)
def test_the_command_line_replaces_the_teacher_of_a_file_with_its_settings(tmp_path, words, is_right):
    """A file that gives settings to the very teacher that does not read them stays wrong."""
    (tmp_path / "maps").mkdir()
    teacher = TeacherConfig("precomputed" if is_right else "labels", maps=tmp_path / "maps")
    config = configure(masks={"name": "felzenszwalb", "felzenszwalb": {"scale": 9}}, **SAM)
    write_config(tmp_path / "other.toml", replace(config, data=tmp_path, teacher=teacher))
    line = ["--config", str(tmp_path / "other.toml"), "--data", str(tmp_path), "--device", "cpu", *words.split()]
    options = read_arguments(line).options
    if is_right:
        refuse_unread(options)
        assert options.teacher.maps is None
    else:
        with pytest.raises(UserError, match=r"`teacher\.maps` .*: the teacher is labels"):
            refuse_unread(options)
