"""The page as one HTML file: what is packed into it, and the words it knows."""

import base64
import json
import re
import runpy
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import make_gaussians, open_field, write_run
from tiny_words import write_words

from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.relevancy import DEFAULT_NEGATIVES
from gsdff.gaussians import Gaussians
from gsdff.rotation import quats_to_matrices
from gsdff.viewer.page import dictionary
from gsdff.viewer.page.dictionary import NOUNS, list_words, make_dictionary, read_words
from gsdff.viewer.page.document import make_page
from gsdff.viewer.page.packing import pack, unpack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def field(tmp_path, generator):
    """A field of 8 channels with a vocabulary of five names."""
    run = write_run(tmp_path, make_gaussians(generator, num_features=8))
    write_words(tmp_path / "maps", generator)
    return open_field(run.folder)


def packed_pair(gaussians: Gaussians) -> tuple[Gaussians, Gaussians]:
    return gaussians, unpack(pack(gaussians), gaussians)


def test_unpacked_gaussians_are_within_a_step_of_the_packed(generator):
    before, after = packed_pair(make_gaussians(generator))
    before.means.sub_(5)
    before, after = packed_pair(before)
    torch.testing.assert_close(after.means, before.means, rtol=2**-11, atol=1e-6)
    torch.testing.assert_close(after.opacities, before.opacities, rtol=0, atol=0.5 / 255 + 1e-6)
    span = before.log_scales.max() - before.log_scales.min().clamp_max(0)
    assert (after.log_scales - before.log_scales).abs().max() <= span / 508 + 1e-6
    largest = before.shN.abs().max()
    assert (after.shN - before.shN).abs().max() <= largest / 62 + 1e-6
    axes = [quats_to_matrices(torch.nn.functional.normalize(each.quats, dim=1)) for each in (before, after)]
    assert (axes[0] - axes[1]).abs().max() < 0.03


@pytest.mark.parametrize("quat", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, -2), (-0.5, 0.5, -0.5, 0.5), (0, 0, -1, 0)])
def test_rotations_about_axes_and_by_half_a_turn_come_back(generator, quat):
    gaussians = make_gaussians(generator)
    gaussians.quats[:] = torch.tensor(quat, dtype=torch.float32)
    before, after = packed_pair(gaussians)
    axes = [quats_to_matrices(torch.nn.functional.normalize(each.quats, dim=1)) for each in (before, after)]
    torch.testing.assert_close(*axes, rtol=0, atol=0.02)


def test_latents_keep_their_direction_and_nothing_stays_nothing(generator):
    gaussians = make_gaussians(generator, num_features=8)
    assert gaussians.features is not None
    gaussians.features[3] = 0
    before, after = (each.features for each in packed_pair(gaussians))
    assert before is not None and after is not None
    assert not after[3].any()
    cosines = torch.nn.functional.cosine_similarity(before, after, dim=1)
    assert torch.cat([cosines[:3], cosines[4:]]).min() > 0.9999


def test_one_flat_gaussian_and_one_far_away_do_not_make_the_others_coarse(generator):
    gaussians = make_gaussians(generator)
    gaussians.log_scales[0, 0], gaussians.means[1, 0] = -40, 1e9
    before, after = packed_pair(gaussians)
    assert (after.log_scales - before.log_scales)[1:].abs().max() < 0.05
    assert after.is_drawable.all() and after.log_scales[0, 0] < -13


def test_all_degrees_of_harmonics_are_packed(generator):
    for bands in (0, 3, 8, 15):
        gaussians = replace(make_gaussians(generator), shN=torch.randn(60, bands, 3, generator=generator))
        assert unpack(pack(gaussians), gaussians).shN.shape == (60, bands, 3)


# --- words


def test_a_closed_vocabulary_is_shipped_whole_and_names_of_one_thing_share_a_vector(field):
    found = make_dictionary(field, None, ())
    assert list(found.names) == ["red cup", "chair", "floor", "wall", "lamp"] and found.negatives is None
    assert list(found.classes) == list(found.names)
    torch.testing.assert_close(found.vectors, field.encode_text(list(found.names)) @ field.B)


def test_fewer_words_are_compared_with_the_same_others(field):
    found = make_dictionary(field, ["Chair"], ())
    assert list(found.names) == ["chair"] and len(found.vectors) == 5


def test_the_share_of_the_words_that_are_encoded_is_reported(field, monkeypatch):
    monkeypatch.setattr(dictionary, "BATCH", 2)
    shares = []
    make_dictionary(field, None, (), shares.append)
    assert shares == pytest.approx([0.4, 0.8, 1])


def test_a_word_outside_a_closed_vocabulary_is_refused(field):
    with pytest.raises(UserError, match="unknown name 'unicorn'"):
        make_dictionary(field, ["unicorn"], ())


class AnyWords:
    """A teacher that encodes any words: a vector of a word's letters."""

    name = "clip"

    def text(self, names):
        return torch.stack([torch.tensor([float(letter in name) for letter in "aeiourst"]) + 0.1 for name in names])


@pytest.fixture
def open_words(field):
    """The field as if its teacher encoded any words."""
    return replace(field, read=dict(field.read) | {"vocabulary": None, "teacher": AnyWords()})


def test_any_words_are_compared_with_the_default_negatives_and_have_no_classes(open_words):
    found = make_dictionary(open_words, None, ())
    by_hand, wordnet = map(read_words, NOUNS)
    assert list(found.names) == list(dict.fromkeys([*by_hand, *wordnet])) and found.classes == {}
    assert found.negatives is not None and list(found.negatives) == ["object", "things", "stuff", "texture"]
    expected = open_words.encode_text(["chair", "stuff"]) @ open_words.B
    rows = [found.names["chair"], found.negatives["stuff"]]
    torch.testing.assert_close(found.vectors[rows], expected)


def test_a_page_with_a_server_names_words_and_leaves_their_vectors_to_it(open_words, field):
    found = list_words(open_words)
    assert found.names["teapot"] is None and found.negatives == dict.fromkeys(DEFAULT_NEGATIVES)
    assert found.vectors.shape == (0, 8)
    assert list_words(field).names == make_dictionary(field, None, ()).names


def test_a_page_with_a_server_leaves_its_policy_to_it_and_a_file_has_one(field):
    server = {"scene": "a", "modes": ["colour"]}
    served, file = make_page(field, server=server).served(), make_page(field).file()
    assert "Content-Security-Policy" not in served and "default-src 'none'" in file and "ws:" not in file
    assert json.loads(element(served, "scene-header"))["server"] == server and not element(served, "scene-columns")
    assert json.loads(element(file, "scene-header"))["server"] is None


def test_classes_of_the_legend_are_those_that_are_given(open_words):
    found = make_dictionary(open_words, ["lamp"], ["Sofa", "rug"])
    assert list(found.classes) == ["sofa", "rug"] and list(found.names) == ["lamp"]
    with pytest.raises(UserError, match="`classes`: expected 2 to 254 different names, got 1"):
        make_dictionary(open_words, ["lamp"], ["sofa", "Sofa"])


def test_more_than_two_thousand_common_nouns_are_offered():
    by_hand, wordnet = map(read_words, NOUNS)
    assert len({*by_hand, *wordnet}) >= 2000
    assert len(by_hand) == len(set(by_hand)) and len(wordnet) == len(set(wordnet))
    assert {"chair", "potted plant"} <= set(by_hand) and {"sofa", "teapot", "giraffe", "park bench"} <= set(wordnet)


def test_the_list_from_wordnet_is_what_its_script_makes_and_its_licence_is_in_the_page(field, tmp_path):
    script = runpy.run_path(str(ROOT / "scripts" / "make_nouns.py"))
    assert read_words(NOUNS[1]) == script["choose"]()
    text = export_run(ExportArguments(field.source, format="html", out=tmp_path / "page.html")).read_text()
    assert "Copyright 2006 by Princeton University" in text


def test_a_list_without_words_is_refused(tmp_path):
    (tmp_path / "words.txt").write_text("# nothing\n\n")
    with pytest.raises(UserError, match="expected words, one a line, found none"):
        read_words(tmp_path / "words.txt")


# --- the file


def element(text: str, name: str) -> str:
    (found,) = re.findall(rf'<script[^>]* id="{name}">(.*?)</script>', text, re.DOTALL)
    return found


def test_the_file_holds_scene_words_and_licences_and_names_no_place_of_a_network(field, tmp_path):
    path = export_run(ExportArguments(field.source, format="html", out=tmp_path / "new" / "send.html"))
    text = path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["send.html"]
    header = json.loads(element(text, "scene-header"))
    data = zlib.decompress(base64.b64decode(element(text, "scene-columns")))
    columns = header["columns"]
    assert columns["latents"]["rows"] == 60 and columns["latents"]["columns"] == 8
    assert columns["vectors"]["start"] + 4 * 5 * 8 == columns["cameras"]["start"]
    assert columns["cameras"]["start"] + 4 * 11 * 10 == len(data)
    assert "WORLD LABS" in text and "three.js authors" in text
    assert not re.search(r'(src|href)="', text)
    assert {name for name, _ in header["facts"]} >= {"picture", "best class", "selected Gaussians"}


def test_a_name_cannot_end_the_element_that_holds_it(field):
    folder = field.source.parent / "<!--<script>"
    field.source.rename(folder)
    text = export_run(ExportArguments(folder, format="html")).read_text()
    assert "<!--<script>" not in text and json.loads(element(text, "scene-header"))["title"] == "<!--<script>"


def test_a_scene_without_features_is_a_page_without_words(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    ply = export_run(ExportArguments(run.folder, out=tmp_path / "plain.ply"))
    path = export_run(ExportArguments(ply, format="html"))
    header = json.loads(element(path.read_text(), "scene-header"))
    assert path == tmp_path / "plain.html" and (header["words"], header["classes"]) == ([], [])
    with pytest.raises(UserError, match="`format` ply or glb, got splat"):
        export_run(ExportArguments(ply, format="splat", classes=("a", "b")))
