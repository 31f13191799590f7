"""SPZ, SOG and GLB: written by PlayCanvas' splat-transform, and opened by readers of others.

The program and the readers are found on the PATH and in build/third_party, where scripts/check_third_party.py installs
them; tests that need one that is not there are skipped.
"""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from page_file import write_things
from plyfile import PlyData
from tiny_run import make_gaussians, open_field, write_run
from tiny_words import write_words

from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.columns import ColumnChoice, make_columns
from gsdff.field.field import Field
from gsdff.gaussians import Gaussians
from gsdff.io.glb import read_glb
from gsdff.io.ply import read_ply
from gsdff.io.splat_transform import PROGRAM, find_splat_transform

ROOT = Path(__file__).resolve().parents[2]
TURNED = torch.tensor([-1.0, -1.0, 1.0])
"""Half a turn about z: in glTF y points up, where a PLY's points down."""
MODULES = ROOT / "build" / "third_party" / "node_modules"


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A run with words and two things."""
    folder, generator = tmp_path_factory.mktemp("formats"), torch.Generator().manual_seed(0)
    run = write_run(folder, make_gaussians(generator, num_features=8))
    write_words(folder / "maps", generator)
    write_things(run.folder)
    return open_field(run.folder)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of splat-transform; skips the test without it."""
    monkeypatch.setenv("PATH", f"{MODULES / '.bin'}{os.pathsep}{os.environ['PATH']}")
    if shutil.which(PROGRAM) is None:
        pytest.skip("needs splat-transform: npm install -g @playcanvas/splat-transform")
    return find_splat_transform()


def export(field: Field, format: str, folder: Path, **options: object) -> Path:
    return export_run(ExportArguments(field.source, format=format, out=folder / f"scene.{format}", **options))


def read_back(program: str, path: Path) -> Gaussians:
    """Converts a file to a PLY with splat-transform's own reader."""
    ply = path.with_name("back.ply")
    subprocess.run([program, "--quiet", str(path), str(ply)], check=True, capture_output=True)
    return read_ply(ply)


def nearest(found: Gaussians, expected: Gaussians) -> torch.Tensor:
    """Index of the found Gaussian at each expected one's place; formats sort them anew."""
    return torch.cdist(expected.means, found.means).argmin(1)


@pytest.mark.parametrize("format", ["spz", "sog"])
def test_positions_sizes_and_colours_come_back_from_a_lossy_format(field, program, tmp_path, format):
    expected = field.for_files()
    found = read_back(program, export(field, format, tmp_path))
    assert len(found) == 60
    order = nearest(found, expected)
    assert len(order.unique()) == 60
    limits = {"means": (0.01, 1e9), "log_scales": (0.1, 1e9), "sh0": (0.1, 3.3)}  # SPZ ends at colours of 3.3
    for name, (error, limit) in limits.items():
        ours, theirs = (
            values.clamp(-limit, limit) for values in (getattr(found, name)[order], getattr(expected, name))
        )
        assert (ours - theirs).abs().max() < error, name
    assert (found.opacities[order] - expected.opacities).abs().max() < 0.02


def test_an_spz_is_read_by_niantics_own_library(field, program, tmp_path):
    package = Path("@spz-loader", "core", "dist", "index.umd.cjs")
    library = next(
        (place / package for place in (Path(program).resolve().parents[3], MODULES) if (place / package).is_file()),
        None,
    )
    if library is None:
        pytest.skip("needs @spz-loader/core (scripts/check_third_party.py installs it)")
    path = export(field, "spz", tmp_path)
    # in node the library takes itself to be in a browser, or it does not load
    script = """
        process.type = "renderer";
        globalThis.WorkerGlobalScope = true;
        globalThis.self = globalThis;
        const { loadSpz } = require(process.argv[1]);
        loadSpz(new Uint8Array(require("fs").readFileSync(process.argv[2]))).then((cloud) =>
          console.log(JSON.stringify([cloud.numPoints, [...cloud.positions]])));
    """
    done = subprocess.run(["node", "-e", script, str(library), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number, positions = json.loads(done.stdout.splitlines()[-1])
    assert number == 60
    found = torch.tensor(positions).reshape(60, 3)
    assert torch.cdist(field.for_files().means, found).min(1).values.max() < 0.01


def test_a_glb_holds_the_values_by_the_names_of_its_extension_turned_as_gltf_asks_for(field, program, tmp_path):
    content, binary = read_glb(export(field, "glb", tmp_path))
    (primitive,) = content["meshes"][0]["primitives"]
    assert "KHR_gaussian_splatting" in content["extensionsUsed"] and primitive["mode"] == 0
    expected = field.for_files()
    values = {
        "POSITION": expected.means * TURNED,
        "KHR_gaussian_splatting:SCALE": expected.scales,
        "KHR_gaussian_splatting:OPACITY": expected.opacities[:, None],
        "KHR_gaussian_splatting:SH_DEGREE_0_COEF_0": expected.sh0[:, 0],
        "KHR_gaussian_splatting:SH_DEGREE_1_COEF_1": expected.shN[:, 1],  # of z
        "KHR_gaussian_splatting:SH_DEGREE_1_COEF_2": -expected.shN[:, 2],  # of x
    }
    for name, tensor in values.items():
        np.testing.assert_allclose(attribute(content, binary, name), tensor.numpy(), rtol=1e-5, atol=1e-6)


def attribute(content: dict, binary: bytes, name: str) -> np.ndarray:
    """Values of an attribute of the only primitive, a row per splat."""
    accessor = content["accessors"][content["meshes"][0]["primitives"][0]["attributes"][name]]
    view = content["bufferViews"][accessor["bufferView"]]
    return np.frombuffer(binary, "<f4", view["byteLength"] // 4, view["byteOffset"]).reshape(accessor["count"], -1)


def test_a_glb_numbers_things_and_classes(field, program, tmp_path):
    path = export(field, "glb", tmp_path, instances=True, classes=("wall", "lamp", "floor"))
    content, binary = read_glb(path)
    assert attribute(content, binary, "_FEATURE_ID_0")[:, 0].tolist() == [1] * 20 + [2] * 12 + [0] * 28
    labels = field.segment(["wall", "lamp", "floor"]).labels
    assert attribute(content, binary, "_FEATURE_ID_1")[:, 0].tolist() == (labels + 1.0).tolist()
    (primitive,) = content["meshes"][0]["primitives"]
    declared = primitive["extensions"]["EXT_mesh_features"]["featureIds"]
    assert [entry["label"] for entry in declared] == ["instance_id", "class_id"] and declared[0]["featureCount"] == 2
    assert content["meshes"][0]["extras"]["class_id"] == ["wall", "lamp", "floor"]
    assert json.loads((tmp_path / "scene.columns.json").read_text())["instance_id"].keys() == {"1", "2"}


def test_a_glb_is_opened_by_trimesh(field, program, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    path = export(field, "glb", tmp_path, instances=True)
    (cloud,) = trimesh.load(path, force="scene").geometry.values()
    np.testing.assert_allclose(cloud.vertices, (field.for_files().means * TURNED).numpy(), atol=1e-5)


def test_without_the_program_the_message_says_how_to_install_it_and_nothing_is_written(field, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"npm install -g @playcanvas/splat-transform"):
        export(field, "spz", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_program_complains_of_is_passed_on(field, monkeypatch, tmp_path):
    fake = tmp_path / PROGRAM
    fake.write_text("#!/bin/sh\necho no room for this scene >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for format in ("sog", "glb"):
        with pytest.raises(UserError, match="no room for this scene"):
            export(field, format, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PROGRAM]


# --- columns of a PLY


def test_a_ply_has_classes_things_and_scores_with_a_dictionary_beside(field, tmp_path):
    options = {"classes": ("wall", "lamp"), "scores": ("red cup",), "instances": True}
    path = export(field, "ply", tmp_path, **options)
    vertices = PlyData.read(path)["vertex"]
    assert vertices["instance_id"].tolist() == [1] * 20 + [2] * 12 + [0] * 28
    assert vertices["class_id"].tolist() == field.segment(["wall", "lamp"]).labels.tolist()
    hit = field.query("red cup")
    np.testing.assert_array_equal(vertices["score_red_cup"], hit.scores.numpy())
    dictionary = json.loads((tmp_path / "scene.columns.json").read_text())
    assert dictionary["class_id"] == ["wall", "lamp"]
    assert dictionary["score_red_cup"] == {"word": "red cup", "threshold": hit.threshold}
    assert set(dictionary["instance_id"]) == {"1", "2"} <= {str(thing.id) for thing in field.objects()}
    torch.testing.assert_close(read_ply(path).means, field.for_files().means, rtol=0, atol=0)


def test_a_gaussian_without_a_feature_has_no_class(field):
    features = field.gaussians.features.clone()
    features[3] = 0
    bare = replace(field, gaussians=replace(field.gaussians, features=features))
    assert make_columns(bare, ColumnChoice(classes=("wall", "lamp"))).values["class_id"][3] == -1


def test_two_words_of_one_property_are_refused(field):
    with pytest.raises(UserError, match="second score_red_cup"):
        make_columns(field, ColumnChoice(scores=("red cup", "Red  cup")))


def test_columns_are_refused_where_there_is_no_place_for_them(field, tmp_path):
    with pytest.raises(UserError, match="ply or glb"):
        export(field, "splat", tmp_path, classes=("wall", "lamp"))
    with pytest.raises(UserError, match="`scores`: expected `format` ply, got glb"):
        export(field, "glb", tmp_path, scores=("wall",))
    with pytest.raises(UserError, match="`scores` and `instances`"):
        export(field, "html", tmp_path, scores=("wall",))
