"""Our files in other programs: plyfile, gsplat's exporter, 3DGS's own loader by its rules; and the browser check."""

import json
import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gsplat.exporter import export_splats
from plyfile import PlyData
from random_gaussians import assert_same_bits, make_gaussians
from tiny_answers import write_asked_run
from tiny_field import make_camera

from gsdff import edit, segment
from gsdff.cameras import WorldFrame
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.gaussians import Gaussians
from gsdff.io.ply import read_ply, write_compressed_ply, write_ply, write_splat
from gsdff.render import render_rgb

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def standard_names(degree: int) -> list[str]:
    """INRIA's, in the order of `GaussianModel.construct_list_of_attributes`."""
    rest = 3 * ((degree + 1) ** 2 - 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(rest))]
    return [*names, "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]


def vertices(path: Path) -> np.ndarray:
    """All that plyfile finds."""
    ply = PlyData.read(str(path), mmap=False)
    assert [element.name for element in ply.elements] == ["vertex"]
    return ply["vertex"].data


def gsplat_file(path: Path, gaussians: Gaussians, form: str) -> Path:
    """The same Gaussians by gsplat's exporter, which takes what is stored, before activations."""
    g = gaussians
    export_splats(g.means, g.log_scales, g.quats, g.logit_opacities, g.sh0, g.shN, format=form, save_to=str(path))
    return path


@pytest.fixture
def run(tmp_path, generator):
    """Thirty Gaussians say chair, thirty lamp."""
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def call(monkeypatch):
    """Runs a door in this process."""

    def start(door, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [door.__name__, *map(str, arguments)])
        door.main()

    return start


# --- plyfile


def test_plyfile_reads_an_edited_scene_with_the_standard_properties_first(call, run, tmp_path):
    call(edit, run.folder, "--delete", "chair", "--recolor", "lamp:#2a6fdb", "--out", tmp_path / "edited.ply")
    found = vertices(tmp_path / "edited.ply")
    assert list(found.dtype.names) == [*standard_names(1), "semantic_0", "semantic_1", "semantic_2"]
    assert {found.dtype[name].str for name in found.dtype.names} == {"<f4"}
    assert len(found) == 30
    assert np.array_equal(np.stack([found[c] for c in "xyz"], 1), run.gaussians.means[30:].numpy())


def test_plyfile_reads_a_scene_with_labels_after_everything_else(call, run, tmp_path):
    call(segment, run.folder, "--classes", "chair", "lamp", "wall", "--views", 0, "--out", tmp_path / "out")
    found = vertices(tmp_path / "out" / "scene.ply")
    assert list(found.dtype.names) == [*standard_names(1), "semantic_0", "semantic_1", "semantic_2", "label"]
    assert found.dtype["label"].str == "<i4"
    assert found["label"].tolist() == [0] * 30 + [1] * 30


def test_an_export_without_features_is_nothing_but_the_standard(run, tmp_path):
    path = export_run(ExportArguments(run.folder, out=tmp_path / "scene.ply", features="none"))
    assert list(vertices(path).dtype.names) == standard_names(1)


# --- 3DGS itself


def test_what_3dgs_collects_by_prefix_is_its_own(tmp_path):
    # GaussianModel.load_ply takes all that starts with these, sorts by the number behind the last _, and counts f_rest
    gaussians = make_gaussians(3, degree=3, num_features=12)
    write_ply(tmp_path / "scene.ply", gaussians, labels=torch.arange(3))
    names = vertices(tmp_path / "scene.ply").dtype.names
    for prefix, count in (("f_rest_", 45), ("scale_", 3), ("rot", 4)):
        collected = [name for name in names if name.startswith(prefix)]
        assert [int(name.split("_")[-1]) for name in collected] == list(range(count))


# --- gsplat's exporter (it has no reader)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gsplat_writes_the_same_values_under_the_same_names(tmp_path, degree):
    gaussians = make_gaussians(9, degree, num_features=2)
    write_ply(tmp_path / "ours.ply", gaussians, labels=torch.arange(9))
    ours, theirs = vertices(tmp_path / "ours.ply"), vertices(gsplat_file(tmp_path / "a.ply", gaussians, "ply"))
    extra = {"nx", "ny", "nz", "semantic_0", "semantic_1", "label"}
    assert [name for name in ours.dtype.names if name not in extra] == list(theirs.dtype.names)
    for name in theirs.dtype.names:
        assert ours[name].dtype == theirs[name].dtype, name
        assert np.array_equal(ours[name].view("<u4"), theirs[name].view("<u4")), name


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_what_gsplat_writes_is_read_bit_for_bit(tmp_path, degree):
    gaussians = make_gaussians(9, degree)
    assert_same_bits(gaussians, read_ply(gsplat_file(tmp_path / "theirs.ply", gaussians, "ply")))


def test_splat_files_are_gsplats_byte_for_byte(tmp_path):
    gaussians = make_gaussians(40, 2, num_features=3)
    write_splat(tmp_path / "ours.splat", gaussians)
    theirs = gsplat_file(tmp_path / "theirs.splat", gaussians, "splat")
    assert (tmp_path / "ours.splat").read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_compressed_files_are_gsplats_byte_for_byte_where_there_are_harmonics(tmp_path, degree):
    gaussians = make_gaussians(300, degree, num_features=3)
    gaussians.logit_opacities[7] = -20  # left out by both
    write_compressed_ply(tmp_path / "ours.ply", gaussians)
    theirs = gsplat_file(tmp_path / "theirs.ply", gaussians, "ply_compressed")
    assert (tmp_path / "ours.ply").read_bytes() == theirs.read_bytes()


# --- the check in a browser, scripts/check_third_party.py


@pytest.fixture(scope="module")
def check() -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))  # as for a script that is run
        return runpy.run_path(str(SCRIPTS / "check_third_party.py"))


def test_viewers_are_pinned_to_exact_versions_and_no_lock_names_a_host(check):
    asked = json.loads((SCRIPTS / "third_party" / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in asked.values()), asked
    assert {tool.package for tool in check["TOOLS"].values()} <= set(asked)
    assert not [*(SCRIPTS / "third_party").glob("*lock*")]


def test_every_viewer_has_its_page_and_its_name_in_the_import_map(check):
    page = (SCRIPTS / "third_party" / "view.html").read_text()
    for tool in check["TOOLS"].values():
        text = (SCRIPTS / "third_party" / f"{tool.page}.js").read_text()
        assert "export async function show(" in text and tool.package in text and tool.package in page


def test_what_is_missing_is_said_in_one_line_and_nothing_written(tmp_path):
    command = [sys.executable, SCRIPTS / "check_third_party.py", tmp_path / "run", "--folder", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: missing: node, npm, Chromium or Chrome")
    assert not list(tmp_path.iterdir())


def test_an_unknown_viewer_is_refused(check, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["check", "--tools", "spark", "sparks"])
    with pytest.raises(UserError, match="--tools sparks: expected some of spark, gaussian_splats_3d, supersplat"):
        check["main"]()


def test_a_page_is_given_the_camera_of_the_inputs_world(check):
    frame = WorldFrame((1.0, 2.0, 3.0), 2.0)
    told = json.loads(check["page_camera"](make_camera(0.0, 20, 15), frame))
    # three units before the origin of the working frame, which is (1, 2, 3); the focal length is 1.4 heights
    assert told["position"] == [1.0, 2.0, -3.0] and told["camtoworld"] == torch.eye(3).tolist()
    assert told["fov_y"] == pytest.approx(2 * math.degrees(math.atan(0.5 / 1.4)))


def test_a_camera_that_no_browser_has_is_refused(check):
    with pytest.raises(UserError, match="expected photos of 640:480 with square pixels"):
        check["check_camera"](make_camera(0.0, 20, 15))


def test_the_picture_compared_with_is_our_rendering(check, generator):
    gaussians, camera = make_gaussians(30, 3), make_camera()
    expected = check["Expected"](gaussians, 30, 3)
    full = render_rgb(gaussians, camera).image.clamp(0, 1)
    torch.testing.assert_close(check["draw"](expected, camera), full, atol=1e-5, rtol=0)
    flat = render_rgb(gaussians, camera, sh_degree=0).image.clamp(0, 1)
    torch.testing.assert_close(check["draw"](expected, camera, degree=0), flat, atol=1e-5, rtol=0)


def test_a_viewer_that_loses_gaussians_or_says_an_error_fails(check):
    gaussians, camera = make_gaussians(30, 3), make_camera()
    expected, tool = check["Expected"](gaussians, 30, 3), check["TOOLS"]["spark"]
    picture, everywhere = check["draw"](expected, camera), torch.ones(9, 13, dtype=torch.bool)

    def judge(found, before=None) -> list[str]:
        return check["judge"](found, expected, tool, camera, before, everywhere)

    assert judge("no such file")[0] == "failed: no such file"
    assert judge(check["Shown"](29, picture))[0] == "failed: 29 of 30"
    assert judge(check["Shown"](30, picture))[:2] == ["30 of 30", "inf"]
    assert judge(check["Shown"](30, picture), before=picture)[3] == "0.0%"
    assert judge(check["Shown"](30, picture), before=picture + 0.2)[3] == "100.0%"
