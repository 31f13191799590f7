"""Things by number as a query: memberships as scores, the thing as the selection, of Gaussians and of pixels."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import HEIGHT, WIDTH, open_field
from tiny_things import INSTANCES, write_run_of_things

import gsdff
from gsdff import query
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.search import prepare
from gsdff.run_folder import RunFolder
from gsdff.things.store import load_things, save_things


@pytest.fixture
def run(tmp_path, generator):
    return write_run_of_things(tmp_path, generator)


@pytest.fixture
def field(run):
    return open_field(run.folder)


def test_the_scores_of_a_thing_are_memberships_and_its_gaussians_are_selected(field):
    hit = field.query("thing:2")
    assert hit.selected.nonzero()[:, 0].tolist() == list(range(20, 30))
    torch.testing.assert_close(hit.scores, torch.tensor([0.2] * 20 + [0.8] * 10 + [0.0] * 30))
    assert repr(hit) == "<gsdff.Hit: 10 of 60 Gaussians selected (16.7%)>"
    assert torch.equal(hit.selection.mask, field.select_thing(2).mask)
    both = field.query(["thing:2", "thing: 3"])
    assert both.selected.tolist() == [number in (2, 3) for number in INSTANCES]


def test_in_a_view_the_thing_is_what_its_label_map_shows(field):
    ids = field.instance_ids(view=0)
    assert ids.shape == (HEIGHT, WIDTH) and {1, 3} <= set(ids.unique().tolist()) <= {0, 1, 2, 3}
    for number in (1, 2, 3):
        hit = field.query(f"thing:{number}", view=0)
        assert torch.equal(hit.selected, ids == number) and hit.space == "2d"
        assert hit.scores.min() >= 0 and hit.scores.max() <= 1 + 1e-5
    drawn = field.query("thing:3", view=0, space="3d")
    assert drawn.space == "3d" and drawn.scores.shape == (HEIGHT, WIDTH)
    assert torch.equal(drawn.scores, field.query("thing:3").in_view(0).scores)


@pytest.fixture
def parted(run):
    """The field, whose first thing has its Gaussians 0 to 7 as a second part."""
    path = RunFolder(run.folder).things
    things = load_things(path, len(INSTANCES))
    things.parts[:8] = 2
    save_things(path, things)
    return open_field(run.folder)


def test_a_part_of_a_thing_is_searched_for_by_its_number_behind_a_dot(parted):
    hit = parted.query("thing:1.2")
    assert hit.selected.nonzero()[:, 0].tolist() == list(range(8))
    torch.testing.assert_close(hit.scores, torch.tensor([0.8] * 8 + [0.0] * 52))
    other, whole = parted.query("thing:1.1").selected, parted.query("thing:1").selected
    assert torch.equal(hit.selected | other, whole) and not (hit.selected & other).any()
    mixed = parted.query(["thing:1.2", "thing:2"])
    assert mixed.selected.nonzero()[:, 0].tolist() == [*range(8), *range(20, 30)]
    torch.testing.assert_close(mixed.scores, torch.tensor([1.0] * 8 + [0.2] * 12 + [0.8] * 10 + [0.0] * 30))
    everything = parted.query(["thing:1.2", "thing:1"])
    assert torch.equal(everything.scores, parted.query("thing:1").scores)


def test_parts_share_the_pixels_of_their_thing_in_a_view(parted):
    whole = parted.query("thing:1", view=0).selected
    parts = [parted.query(f"thing:1.{part}", view=0).selected for part in (1, 2)]
    assert all(part.any() for part in parts)
    # where both parts are drawn, neither may have most of a pixel
    assert not (parts[0] & parts[1]).any() and not ((parts[0] | parts[1]) & ~whole).any()


def test_the_things_of_gaussians_are_their_numbers(field):
    assert field.instance_ids().tolist() == INSTANCES


def test_many_things_are_drawn_as_few_are(field, monkeypatch):
    whole = field.instance_ids(view=0)
    monkeypatch.setattr("gsdff.field.objects.CHANNELS", 2)
    assert torch.equal(field.instance_ids(view=0), whole)


def test_the_command_writes_pictures_and_the_selection_of_a_thing(call, run, tmp_path):
    out, chosen = tmp_path / "heat.png", tmp_path / "chosen.safetensors"
    options = ("--text", "thing:3", "--view", 0, "--out", out, "--selection", chosen)
    gaussians, saved, pixels, pictures = call(query, run.folder, *options)
    assert gaussians == "3D: 20 of 60 Gaussians selected (33.3%)"
    mask = np.asarray(Image.open(tmp_path / "heat_mask.png"))[..., 0] == 255
    shown = open_field(run.folder).instance_ids(view=0) == 3
    assert np.array_equal(mask, shown.numpy()) and pixels.startswith(f"2D in a/v0.png: {int(shown.sum())} of ")
    assert pictures.startswith(f"pictures: {out}") and saved == f"selection: {chosen}"
    assert gsdff.Selection.load(chosen, expected=60).mask.tolist() == [number == 3 for number in INSTANCES]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": "thing:4"}, r"thing:4: expected a thing from 1 to 3 \(`gsdff objects` lists them\)"),
        ({"what": "thing:2.0"}, "thing:2.0: expected a part from 1 to 1 of thing:2"),
        ({"what": "thing:2.2"}, "thing:2.2: expected a part from 1 to 1 of thing:2"),
        ({"what": ["thing:1", "chair"]}, "expected texts or things by number"),
        ({"what": "chair", "negatives": "thing:1"}, "expected texts or things by number"),
        ({"what": "thing:1", "negatives": "chair"}, "leave `negatives` and `classes` out"),
        ({"what": "thing:1", "threshold": 0.5}, "`threshold`: not used for a thing by its number"),
        ({"what": "thing:1", "method": "cosine"}, "`method`: not used for a thing by its number"),
        ({"what": "thing:1", "temperature": 0.5}, "`temperature`: not used for a thing by its number"),
        ({"what": "thing:1", "prompts": "a {}"}, "`prompts`: not used for a thing by its number"),
    ],
)
def test_what_makes_no_sense_for_a_thing_is_refused(field, options, message):
    with pytest.raises(UserError, match=message):
        field.query(**options)


def test_a_thing_is_never_taken_for_a_word(field):
    with pytest.raises(UserError, match="thing:1: expected words, things have numbers"):
        prepare(field, gsdff.Query("thing:1"))


def test_a_run_without_things_and_a_ply_say_what_to_do(field, run, tmp_path):
    (run.folder / "things.safetensors").unlink()
    for ask in (lambda: field.query("thing:1"), field.instance_ids):
        with pytest.raises(UserError, match="has no things; join masks into some with `gsdff train --stage1-from"):
            ask()
    ply = open_field(export_run(ExportArguments(run.folder, out=tmp_path / "scene.ply")))
    with pytest.raises(UserError, match="a PLY has no things; give the folder of the run"):
        ply.query("thing:1")
