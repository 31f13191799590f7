"""`python -m gsdff.edit RUN --stylize ...` with a tiny CLIP of random weights."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_answers import NUM_CHAIR, write_asked_run
from tiny_clip import TINY, cut_network, tiny_clip
from tiny_run import TinyRun, make_gaussians, open_field, write_run

from gsdff import Stylize, edit
from gsdff.config.file import read_config, write_config
from gsdff.config.options import TeacherConfig
from gsdff.editing.edit import EditList
from gsdff.editing.stylize import open_judge
from gsdff.editing.toml_file import read_edits, write_edits
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.io.ply import read_ply
from gsdff.io.runs import load_run
from gsdff.latents import Basis

CHAIR = torch.arange(60) < NUM_CHAIR


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tiny_clip(tmp_path_factory.mktemp("tiny")) as path:
        yield path


@pytest.fixture
def run(tmp_path, generator) -> TinyRun:
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def door(monkeypatch, capsys):
    """Runs the door in this process; gives the lines it prints."""

    def start(*arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["edit", *map(str, arguments)])
        edit.main()
        return capsys.readouterr().out.splitlines()

    return start


def write_edit(path: Path) -> Path:
    write_edits(path, EditList([Stylize("chair", "a wooden chair, carved", steps=6)]))
    return path


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("source", [None, ""])
def test_the_loss_of_a_clip_falls(run, weights, source):
    subject = open_field(run.folder)
    judge = open_judge(TINY, str(weights), "cpu")
    edit = Stylize("chair", "a wooden chair", source, steps=100, rate=0.02)
    _, remark = edit.perform(subject.gaussians, CHAIR, subject.edit_context(judge))
    first, last = map(float, remark.split("CLIP loss ")[1].split(" -> "))
    assert last < first - 0.02, remark


def test_a_flag_stylizes_what_answers_and_its_record_makes_the_same_bytes_again(door, run, weights, tmp_path):
    clip = ("--clip-model", TINY, "--clip-pretrained", weights)
    lines = door(run.folder, "--stylize", "chair:a wooden chair, carved", *clip, "--out", tmp_path / "a.ply")
    assert lines[0].startswith(f'edit 1 (stylize "chair"): {NUM_CHAIR} of 60 Gaussians, ')
    assert "; towards 'a wooden chair, carved', away from 'a chair', 200 steps, by " in lines[0]
    assert read_edits(tmp_path / "a.toml").edits == (Stylize("chair", "a wooden chair, carved"),)
    door(run.folder, "--edits", tmp_path / "a.toml", *clip, "--out", tmp_path / "b.ply")
    for ending in (".ply", ".toml"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    loaded = load_run(run.folder)
    whole, styled = loaded.gaussians.to_input_frame(loaded.frame), read_ply(tmp_path / "a.ply")
    for (name, before), (_, after) in zip(whole.items(), styled.items(), strict=True):
        changes = name in ("sh0", "shN")
        assert torch.equal(before[~CHAIR], after[~CHAIR]) and torch.equal(before[CHAIR], after[CHAIR]) != changes, name


def test_held_out_photos_are_not_looked_at(run):
    subject = open_field(run.folder)
    cameras = subject.edit_context(None).cameras
    assert list(map(id, cameras)) == [id(subject.scene.views[i].camera) for i in subject.scene.train_ids]
    assert len(cameras) == 8


def test_a_dry_run_needs_no_clip_and_says_what_it_would_do(door, run, tmp_path, monkeypatch):
    cut_network(monkeypatch)
    before = files_below(tmp_path)
    (line,) = door(run.folder, "--stylize", "chair:a wooden chair", "--dry-run", "--out", tmp_path / "a.ply")
    assert line.endswith("; towards 'a wooden chair', away from 'a chair', 200 steps, by 7 of 8 views")
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), r"no weights of ViT-B-16-quickgelu: .*open_clip_model.safetensors .*`clip_pretrained`$"),
        (("--clip-model", "ViT-B-32"), r"no weights of ViT-B-32: .*`clip_pretrained`$"),
        (("--clip-model", "ViT-B-17"), r"^`clip_model`: open_clip has no 'ViT-B-17'; closest: .*ViT-B-16"),
        (("--clip-model", "RN50"), r"^`clip_model`: RN50 has a ResNet as its image tower; expected one of open_clip"),
        (
            ("--clip-pretrained", "no.pt"),
            r"^`clip_pretrained`: 'no.pt' is neither a file nor a tag of open_clip's ViT-B-16",
        ),
        (("--clip-pretrained", "{text}"), r"a.txt: damaged, or not weights of ViT-B-16"),
    ],
)
def test_a_clip_that_cannot_be_had_is_said_before_anything_is_rendered(
    door, run, tmp_path, monkeypatch, options, message
):
    cut_network(monkeypatch)
    monkeypatch.setattr("gsdff.render.rasterization", lambda *_, **__: pytest.fail("renders"))
    (tmp_path / "a.txt").write_text("no weights")
    options = [option.format(text=tmp_path / "a.txt") for option in options]
    before = files_below(tmp_path)
    with pytest.raises(UserError, match=message):
        door(run.folder, "--stylize", "chair:a wooden chair", "--delete", "lamp", *options)
    assert files_below(tmp_path) == before


def test_a_prompt_must_be_given_and_options_of_clip_need_something_to_stylize(door, run):
    with pytest.raises(UserError, match="--stylize 'chair': expected TEXT:PROMPT, got no colon"):
        door(run.folder, "--stylize", "chair")
    with pytest.raises(UserError, match="--clip-model, --clip-pretrained: no edit stylizes; add --stylize TEXT:PROMPT"):
        door(run.folder, "--delete", "chair", "--clip-model", TINY)


def test_a_selection_that_no_view_sees_names_the_edit(door, run, weights, tmp_path):
    clip = ("--clip-model", TINY, "--clip-pretrained", weights)
    with pytest.raises(UserError, match=r'^edit 2 \(stylize "chair"\): none of the 8 training views shows enough'):
        door(run.folder, "--move", "chair:0,0,-900", "--stylize", "chair:a wooden chair", *clip)


def test_a_ply_needs_its_photos(door, run, weights, tmp_path):
    ply = export_run(ExportArguments(run.folder))
    options = ("--edits", write_edit(tmp_path / "e.toml"), "--clip-model", TINY, "--clip-pretrained", weights)
    with pytest.raises(UserError, match="holds no photos to look from; give their folder as `data`"):
        door(ply, *options)
    door(ply, *options, "--data", run.data, "--out", tmp_path / "a.ply")
    door(run.folder, *options, "--out", tmp_path / "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_a_run_of_a_clip_teacher_is_stylized_by_that_clip_unless_another_is_named(
    tmp_path, generator, weights, monkeypatch
):
    folder = write_run(tmp_path, make_gaussians(generator, num_features=4)).folder
    teacher = TeacherConfig("clip", model=TINY, pretrained=str(weights))
    write_config(folder / "config.toml", replace(read_config(folder / "config.toml"), teacher=teacher))
    Basis(torch.linalg.qr(torch.randn(12, 4, generator=generator)).Q, 0.9, "clip", "f").save(
        folder / "basis.safetensors"
    )
    cut_network(monkeypatch)
    for source in (folder, export_run(ExportArguments(folder))):
        subject = open_field(source)
        assert subject.open_judge(None, None).side == 32
        with pytest.raises(
            UserError, match=r"`clip_pretrained`: 'nowhere.pt' is neither a file nor a tag of .*gsdff-tiny"
        ):
            subject.open_judge(None, "nowhere.pt")
        with pytest.raises(UserError, match="no weights of ViT-B-32"):
            subject.open_judge("ViT-B-32", None)
