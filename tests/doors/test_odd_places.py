"""Results that are to go where they cannot, and names that are not in UTF-8, through the doors."""

import os
import subprocess
import sys

import pytest
import torch
from tiny_answers import write_asked_run
from tiny_run import open_field
from tiny_scene import TinyDataset

from gsdff import edit, export, prepare, query, segment, train
from gsdff.errors import UserError
from gsdff.evaluation.run import score
from gsdff.files.reading import read_safetensors
from gsdff.io.sidecar import sidecar_path
from gsdff.labels import read_classes

ODD = os.fsdecode(b"photos\xff")


@pytest.fixture
def run(tmp_path, generator):
    return write_asked_run(tmp_path, generator)


@pytest.mark.parametrize(
    ("door", "arguments", "name", "complaint"),
    [
        (export, ("RUN",), "a.ply", "expected the name of a file, there is a folder of that name; choose another"),
        (export, ("RUN", "--format", "splat"), "a.splat", "expected the name of a file, there is a folder"),
        (edit, ("RUN", "--delete", "chair"), "a.ply", "expected the name of a file, there is a folder"),
        (query, ("RUN", "--text", "chair"), "a.png", "expected the name of a file, there is a folder"),
        (segment, ("RUN", "--classes", "chair", "lamp"), "file", "expected the name of a folder, there is a file"),
        (train, ("--data", "DATA"), "file", "expected the name of a folder, there is a file"),
        (prepare, ("--images", "DATA"), "file", "expected the name of a folder, there is a file"),
        (export, ("RUN",), "file/a.ply", "file is no folder; choose another place"),
        (train, ("--data", "DATA"), "file/run", "file is no folder; choose another place"),
        (segment, ("RUN", "--classes", "chair", "lamp"), "file/a", "file is no folder; choose another place"),
    ],
)
def test_an_out_that_will_not_do_is_refused_before_anything_is_loaded(
    run, tmp_path, call, monkeypatch, door, arguments, name, complaint
):
    for folder in ("a.ply", "a.splat", "a.png"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr("gsdff.field.load.load", None)
    monkeypatch.setattr("gsdff.training.run.load_scene", None)
    words = [{"RUN": run.folder, "DATA": run.data}.get(word, word) for word in arguments]
    with pytest.raises(UserError, match=rf"^--out {tmp_path}/{name}: .*{complaint}"):
        call(door, *words, "--out", tmp_path / name)


def test_a_selection_is_refused_too(run, tmp_path, call):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(
        UserError, match=r"^--selection .*a\.safetensors: expected the name of a file, there is a folder"
    ):
        call(query, run.folder, "--text", "chair", "--selection", tmp_path / "a.safetensors")


def test_names_that_are_not_in_utf_8_are_written_and_read_where_a_file_can_hold_them(run, tmp_path):
    for path in (run.data / "images" / "b").glob("v*.png"):
        path.rename(path.with_name(path.name.replace("v", "w")))
    transforms = run.data / "transforms.json"
    transforms.write_text(transforms.read_text().replace("b/v", "b/w"))
    data = run.data.rename(tmp_path / ODD)
    field = open_field(run.folder, data=data)
    field.source = tmp_path / ODD / "run"  # as the metadata of files name it
    ply = field.save(tmp_path / ODD / f"{ODD}.ply")
    assert torch.equal(open_field(ply).gaussians.means, field.gaussians.means)
    assert read_safetensors(sidecar_path(ply), "a sidecar")[0]["B"].shape == (5, 3)
    field.query("chair").save(tmp_path / f"{ODD}.safetensors")
    tensors, metadata = read_safetensors(tmp_path / f"{ODD}.safetensors", "a selection")
    assert tensors["bits"].dtype == torch.uint8 and metadata["source"].startswith(f"{tmp_path}/photos\\udcff/run: ")
    result = field.save_segmentation(["chair", "lamp"], tmp_path / f"{ODD}_segmentation")
    assert [row.name for row in read_classes(result.folder / "labels" / "classes.json")] == ["chair", "lamp"]
    plain = field.save(tmp_path / f"{ODD}_plain.ply", features="none")
    assert (score(open_field(plain, data=data)).folder / "metrics.json").is_file()


def test_options_that_a_toml_file_cannot_hold_are_refused_before_training(tmp_path):
    data = TinyDataset.write(tmp_path / ODD).folder
    options = ["--data", str(data), "--out", str(tmp_path / "run"), "--device", "cpu", "--teacher", "none"]
    command = [sys.executable, "-m", "gsdff.train", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: --data {tmp_path}/photos\\udcff: expected a path in UTF-8, as config.toml has to hold it; rename it"
    )
    assert not (tmp_path / "run" / "config.toml").exists()
