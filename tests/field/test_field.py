"""Fields of runs and of what is exported of them; what is no field."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_answers import NAMES, write_asked_run
from tiny_run import make_gaussians, open_field, write_run

from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.load import load
from gsdff.field.query import OneGaussian
from gsdff.io.ply import read_ply, write_ply
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.latents import Basis


@pytest.fixture
def run(tmp_path, generator):
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def ply(run, tmp_path):
    return export_run(ExportArguments(run.folder, out=tmp_path / "away" / "scene.ply"))


def test_a_run_and_its_ply_are_the_same_field_to_the_bit(run, ply):
    shutil.rmtree(run.folder.parents[1] / "maps")  # the words have gone with the PLY
    exported = open_field(ply, data=run.data)
    (run.folder.parents[1] / "maps").mkdir()
    np.savez(run.folder.parents[1] / "maps" / "text_features.npz", names=NAMES, vectors=exported.B.T.numpy())
    field = open_field(run.folder)
    for (name, value), (_, expected) in zip(exported.gaussians.items(), field.gaussians.items(), strict=True):
        assert torch.equal(value, expected), name
    assert torch.equal(exported.B, field.B)
    assert torch.equal(exported.encode_text(NAMES), field.encode_text(NAMES))
    assert torch.equal(exported.blend(exported.find_view(3)), field.blend(field.find_view(3)))


def test_gaussians_are_in_the_frame_of_the_input(run):
    torch.testing.assert_close(open_field(run.folder).gaussians.means, run.gaussians.means, atol=1e-5, rtol=0)


def test_words_are_the_teachers_whatever_their_case(run):
    field = open_field(run.folder)
    torch.testing.assert_close(field.encode_text(["Lamp ", "chair"]), field.B.T[[1, 0]])
    assert field.knows("WALL") and not field.knows("sofa")


@pytest.mark.parametrize("exported", [False, True])
def test_an_unknown_word_is_refused_with_those_that_are_close_and_those_there_are(run, ply, exported):
    with pytest.raises(UserError, match=r"unknown name 'chiar'; did you mean 'chair'\? Known: chair, lamp, wall"):
        open_field(ply if exported else run.folder).encode_text(["lamp", "chiar"])


def test_prompts_are_for_teachers_that_read_sentences(run):
    with pytest.raises(UserError, match="knows names, no sentences; leave `prompts` out"):
        open_field(run.folder).encode_text(["chair"], ["a photo of a {}"])


def test_decoded_features_are_the_same_field_in_all_channels(run, tmp_path):
    wide = export_run(ExportArguments(run.folder, out=tmp_path / "wide.ply", features="decoded"))
    field, narrow = open_field(wide), open_field(run.folder)
    assert field.latents.shape == (60, 5) and torch.equal(field.B, torch.eye(5))
    assert torch.equal(field.encode_text(NAMES), narrow.encode_text(NAMES))


def test_a_ply_exported_again_keeps_its_words(ply, tmp_path):
    again = export_run(ExportArguments(ply, out=tmp_path / "again.ply"))
    assert torch.equal(open_field(again).encode_text(NAMES), open_field(ply).encode_text(NAMES))


def test_a_run_without_features_is_refused_with_what_to_do(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    with pytest.raises(UserError, match=r"tiny: has no features to query; .* --stage1-from .*tiny --teacher clip"):
        _ = open_field(run.folder).latents


def test_a_ply_without_features_is_refused(run, tmp_path):
    path = export_run(ExportArguments(run.folder, out=tmp_path / "plain.ply", features="none"))
    with pytest.raises(UserError, match=r"plain\.ply: expected features, it has no semantic_0"):
        _ = open_field(path).latents


def test_a_ply_without_its_sidecar_is_refused(ply):
    sidecar_path(ply).unlink()
    with pytest.raises(UserError, match=r"scene\.basis\.safetensors: missing; .* `gsdff export RUN` writes"):
        _ = open_field(ply).latents


def test_a_sidecar_of_another_number_of_channels_is_refused(ply):
    Basis(torch.eye(5)[:, :2].contiguous(), 0.9, "precomputed", "f").save(sidecar_path(ply))
    with pytest.raises(UserError, match=r"a basis of 2 channels does not go with .*scene\.ply, whose features have 3"):
        _ = open_field(ply).latents


def test_a_damaged_sidecar_is_refused(ply):
    sidecar_path(ply).write_bytes(b"no sidecar")
    with pytest.raises(
        UserError, match=r"scene\.basis\.safetensors: cannot be read as a basis .*; export the run again"
    ):
        _ = open_field(ply).latents


def test_a_plain_basis_beside_a_ply_serves_all_but_words(ply, run):
    shutil.copyfile(run.folder / "basis.safetensors", sidecar_path(ply))
    field = open_field(ply, data=run.data)
    assert field.blend(field.find_view(3)).any()
    with pytest.raises(UserError, match=r"has no text vectors .*; export the run again"):
        field.encode_text(["chair"])


def test_words_that_cannot_be_had_are_left_out_of_an_export_and_it_says_why(tmp_path, generator, caplog):
    run = write_run(tmp_path, make_gaussians(generator, num_features=4))  # its maps are gone
    ply = export_run(ExportArguments(run.folder))
    assert "exported without its words" in caplog.text
    with pytest.raises(UserError, match=r"has no text vectors \(.*maps: no such folder; `teacher\.maps` expects"):
        open_field(ply).encode_text(["chair"])


def test_a_teacher_without_words_says_so(run, tmp_path):
    (tmp_path / "maps" / "text_features.npz").unlink()
    for path in (run.folder, export_run(ExportArguments(run.folder))):
        field = open_field(path)
        assert not field.knows("chair")
        with pytest.raises(UserError, match="its precomputed teacher knows no text; query by a pixel"):
            field.encode_text(["chair"])


def test_texts_of_another_network_are_refused(run, tmp_path):
    np.savez(tmp_path / "maps" / "text_features.npz", names=np.array(NAMES), vectors=np.eye(3, 7))
    with pytest.raises(UserError, match="texts have 7 channels, its features 5"):
        open_field(run.folder).encode_text(["chair"])


@pytest.mark.parametrize("name", ["nowhere", "data"])
def test_what_is_neither_run_nor_ply_is_refused(run, tmp_path, name):
    with pytest.raises(UserError, match=f"{name}: expected a run's folder"):
        open_field(tmp_path / name)


def test_a_view_goes_by_name_stem_or_index(run):
    field = open_field(run.folder)
    assert field.find_view(3).name == field.find_view("3").name == field.find_view("a/v3.png").name == "a/v3.png"
    assert field.find_view(9).name == "b/v4.png"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v3", "several photos have this name: a/v3.png, b/v3.png"),
        ("10", "expected an index from 0 to 9"),
        (-1, "expected an index from 0 to 9"),
        ("a/v3.jpg", "expected .* or the name of a photo of .*data, such as a/v3.png"),
    ],
)
def test_a_view_that_is_not_there_is_refused_with_those_there_are(run, name, message):
    with pytest.raises(UserError, match=f"`view` {name}: {message}"):
        open_field(run.folder).find_view(name)


def test_a_ply_has_no_views_of_its_own(ply):
    with pytest.raises(UserError, match=r"scene\.ply: a PLY holds no photos to look from; give their folder as `data`"):
        open_field(ply).find_view(0)


def test_a_run_is_not_looked_at_from_other_poses(run):
    table = json.loads((run.data / "transforms.json").read_text())
    table["frames"][0]["transform_matrix"][0][3] += 1
    (run.data / "transforms.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match=r"data: its camera poses are not those that .*tiny was trained on"):
        _ = open_field(run.folder).scene


def test_a_sidecar_keeps_how_the_run_was_rendered(ply, run):
    sidecar = Sidecar.load(sidecar_path(ply))
    assert (sidecar.rasterize_mode, sidecar.downscale, sidecar.teacher.name) == ("classic", 1, "precomputed")
    assert sidecar.teacher.maps is None  # a place on this machine
    assert list(sidecar.texts) == list(NAMES)


def test_a_ply_of_other_software_with_features_exports_without_a_sidecar(run, tmp_path):
    write_ply(tmp_path / "other.ply", read_ply(export_run(ExportArguments(run.folder))))
    again = export_run(ExportArguments(tmp_path / "other.ply", out=tmp_path / "again.ply"))
    assert read_ply(again).features is not None and not sidecar_path(again).exists()


@pytest.mark.parametrize("text", ["", "[teacher]\n", '[teacher]\nname = "none"\n'])
def test_a_run_whose_options_are_lost_says_so(run, text):
    (run.folder / "config.toml").write_text(text)
    field = open_field(run.folder)
    for ask in (lambda: field.query("chair"), lambda: field.teacher, lambda: field.knows("chair")):
        with pytest.raises(
            UserError, match=r"tiny: its options name no teacher .* come from 'precomputed'; put the file"
        ):
            ask()
    assert len(field.query(OneGaussian(3)).selection) == 30


def test_a_ply_of_teacher_maps_says_that_the_run_has_them(ply, run):
    assert open_field(run.folder, data=run.data).teacher.name == "precomputed"
    with pytest.raises(UserError, match=r"scene\.ply: its features come from teacher maps, and a PLY does not state"):
        _ = open_field(ply, data=run.data).teacher


def test_what_poses_are_of_is_kept_when_a_ply_is_saved_again(ply, tmp_path):
    path = load(ply, dataset={"poses": "turned"}, device="cpu").save(tmp_path / "again.ply")
    assert load(path, device="cpu").dataset.poses == "turned"
