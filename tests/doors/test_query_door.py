"""`gsdff query`: what it prints, what it writes, what it refuses."""

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import tyro
from PIL import Image
from tiny_answers import NUM_CHAIR, write_asked_run
from tiny_run import HEIGHT, WIDTH, make_gaussians, write_run

from gsdff import query
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.query import Method, Space
from gsdff.field.relevancy import TEMPERATURE
from gsdff.query import QueryArguments
from gsdff.selection import Selection


@pytest.fixture
def run(tmp_path, generator):
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def door(call):
    return lambda *arguments: call(query, *arguments)


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_text_gives_counts_pictures_and_a_selection(door, run, tmp_path):
    out, selection = tmp_path / "new" / "heat.png", tmp_path / "other" / "chair.safetensors"
    gaussians, saved, pixels, pictures = door(
        run.folder, "--text", "chair", "--negative", "lamp", "--view", 0, "--out", out, "--selection", selection
    )
    assert gaussians.startswith(f"3D: {NUM_CHAIR} of 60 Gaussians selected (50.0%), relevancy at least 0.")
    assert gaussians.endswith("(suggested)") and saved == f"selection: {selection}"
    mask = read(tmp_path / "new" / "heat_mask.png")
    assert mask.shape == (HEIGHT, WIDTH, 3) and set(np.unique(mask)) == {0, 255}
    assert pixels.startswith(f"2D in a/v0.png: {(mask[..., 0] == 255).sum()} of {WIDTH * HEIGHT} pixels selected")
    assert pictures == f"pictures: {out}, {tmp_path / 'new/heat_mask.png'}, {tmp_path / 'new/heat_overlay.png'}"
    heat, overlay, photo = read(out), read(tmp_path / "new" / "heat_overlay.png"), read(run.data / "images/a/v0.png")
    assert heat.shape[0] == HEIGHT and heat.shape[1] > WIDTH  # the colour bar
    assert heat[11, 8].min() > 200 and heat[11, 21].max() < 30
    assert (overlay[11, 8] == photo[11, 8]).all() and len(set(overlay[11, 21])) == 1
    assert Selection.load(selection, expected=60).mask.tolist() == [True] * NUM_CHAIR + [False] * (60 - NUM_CHAIR)


@pytest.mark.parametrize(
    "options",
    [
        ("--pixel", "a/v0.png", 8, 11),
        ("--box", 0, 7, 10, 10, 13),
        ("--gaussian", 3),
        ("--text", "chair", "--method", "lerf"),
        ("--text", "chair", "--classes", "chair", "lamp", "wall"),
        ("--text", "chair", "--threshold", 0.4),
    ],
)
def test_every_way_of_asking_selects_the_chair(door, run, options):
    assert door(run.folder, *options)[0].startswith(f"3D: {NUM_CHAIR} of 60 Gaussians selected")


def test_classes_get_colours_a_legend_and_counts(door, run, tmp_path):
    out = tmp_path / "classes.png"
    gaussians, pixels, pictures = door(run.folder, "--classes", "chair", "lamp", "--view", "b/v0.png", "--out", out)
    assert gaussians == "3D: chair 30, lamp 30 of 60 Gaussians"
    assert pixels.startswith("2D in b/v0.png: chair ")
    assert pictures == f"pictures: {out}, {tmp_path / 'classes_overlay.png'}"
    assert read(out).shape[0] > HEIGHT and (read(out)[0, 0] == 0).all()


def test_the_3d_protocol_draws_the_gaussians_answers(door, run, tmp_path):
    lines = door(run.folder, "--text", "chair", "--space", "3d", "--view", 0, "--out", tmp_path / "a.png")
    assert lines[1].startswith("3D drawn in a/v0.png: ")
    mask = read(tmp_path / "a_mask.png")[..., 0]
    assert mask[11, 8] == 255 and mask[11, 21] == 0


def test_a_ply_prints_what_its_run_does(door, run, tmp_path):
    ply = export_run(ExportArguments(run.folder, out=tmp_path / "away" / "a.ply"))
    ours = door(run.folder, "--text", "chair", "--view", 2)
    assert door(ply, "--text", "chair", "--view", 2, "--data", run.data) == ours
    assert door(ply, "--text", "chair") == ours[:1]


def test_a_view_is_chosen_where_pictures_are_asked_for_without_one(door, run, tmp_path, caplog):
    with caplog.at_level("INFO", logger="gsdff"):
        lines = door(run.folder, "--text", "chair", "--out", tmp_path / "a.png")
    assert "--out without --view: showing a/v0.png" in caplog.text and "in a/v0.png" in lines[1]
    assert "in b/v0.png" in door(run.folder, "--pixel", "b/v0.png", 12, 11)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--text", "chair", "--out", "a.jpg"), "--out a.jpg: expected a name ending in .png"),
        (("--text", "chair", "--selection", "a.pt"), "--selection a.pt: expected a name ending in .safetensors"),
        (("--classes", "a", "b", "--selection", "a.safetensors"), "--selection: name those of --classes"),
        (("--gaussian", 0, "--pixel", 0, 1, 1), "--pixel and --gaussian: expected one example to search for"),
        ((), "expected one thing to search for"),
        (("--text", ""), "a text to search for is empty"),
    ],
)
def test_bad_options_are_refused_before_the_run_is_read(door, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        door(tmp_path, *options)


@pytest.mark.parametrize("options", [("--pixel", "NOSUCH", 3, 4), ("--box", "NOSUCH", 3, 4, 5, 6)])
def test_a_photo_that_is_not_there_is_blamed_on_the_option_that_names_it(door, run, options):
    with pytest.raises(UserError, match=rf"^{options[0]} NOSUCH: expected an index from 0 to 9"):
        door(run.folder, *options, "--view", 0)
    with pytest.raises(UserError, match=r"^--view NOSUCH: expected an index from 0 to 9"):
        door(run.folder, options[0], 0, *options[2:], "--view", "NOSUCH")


def test_pictures_of_a_ply_need_its_photos(door, run):
    ply = export_run(ExportArguments(run.folder))
    with pytest.raises(UserError, match="holds no photos to look from; give their folder as --data"):
        door(ply, "--text", "chair", "--out", "a.png")


def test_a_run_without_features_is_refused_in_one_line(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    command = [sys.executable, "-m", "gsdff.query", str(run.folder), "--text", "chair"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {run.folder}: has no features to query")
    assert done.stderr.strip().count("\n") == 0


def test_the_door_offers_what_the_package_does():
    hints = {field.name: field.type for field in fields(QueryArguments)}
    assert set(hints["method"].__args__[0].__args__) == set(Method.__args__)
    assert hints["space"].__args__ == Space.__args__
    assert tyro.cli(QueryArguments, args=["x"]).temperature == TEMPERATURE
