"""Exported files in the input's world frame."""

import subprocess
import sys

import pytest
import torch
from plyfile import PlyData
from tiny_run import make_gaussians, write_run

from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.io.ply import read_ply
from gsdff.latents import Basis


@pytest.fixture
def run(tmp_path, generator):
    """A run with features of 4 channels."""
    return write_run(tmp_path, make_gaussians(generator, num_features=4))


def test_a_ply_is_in_the_frame_of_the_input(run):
    path = export_run(ExportArguments(run.folder))
    assert path == run.folder / "scene.ply"
    exported = read_ply(path)
    for (name, value), (_, expected) in zip(exported.items(), run.gaussians.items(), strict=True):
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-6, msg=name)
    for name in ("quats", "sh0", "shN", "logit_opacities", "features"):
        assert torch.equal(getattr(exported, name), getattr(run.gaussians, name)), name


def test_the_basis_goes_beside_the_features(run, tmp_path):
    export_run(ExportArguments(run.folder, out=tmp_path / "new" / "room.ply"))
    assert torch.equal(Basis.load(tmp_path / "new" / "room.basis.safetensors").B, torch.eye(4))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["room.basis.safetensors", "room.ply"]


def test_features_can_be_left_out(run, tmp_path):
    path = export_run(ExportArguments(run.folder, out=tmp_path / "new" / "room.ply", features="none"))
    assert read_ply(path).features is None
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["room.ply"]


def test_decoded_features_are_the_teachers_channels_and_their_basis_is_the_identity(run, tmp_path, generator):
    B = torch.linalg.qr(torch.randn(7, 4, generator=generator)).Q
    Basis(B, 0.9, "precomputed", "f").save(run.folder / "basis.safetensors")
    path = export_run(ExportArguments(run.folder, out=tmp_path / "wide.ply", features="decoded"))
    torch.testing.assert_close(read_ply(path).features, run.gaussians.features @ B.T)
    basis = Basis.load(tmp_path / "wide.basis.safetensors")
    assert torch.equal(basis.B, torch.eye(7)) and (basis.energy, basis.teacher) == (0.9, "precomputed")


def test_features_and_basis_come_back_exactly(run, tmp_path, generator):
    before = Basis(torch.linalg.qr(torch.randn(7, 4, generator=generator)).Q.contiguous(), 0.9, "lseg", "f")
    before.save(run.folder / "basis.safetensors")
    path = export_run(ExportArguments(run.folder, out=tmp_path / "a.ply"))
    after = Basis.load(tmp_path / "a.basis.safetensors")
    assert torch.equal(after.B, before.B) and (after.energy, after.teacher, after.fingerprint) == (0.9, "lseg", "f")
    assert torch.equal(read_ply(path).features, run.gaussians.features)


def test_a_run_without_features_exports_without_them(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    assert read_ply(export_run(ExportArguments(run.folder))).features is None
    assert not (run.folder / "scene.basis.safetensors").exists()


@pytest.mark.parametrize("form, name", [("splat", "scene.splat"), ("compressed", "scene.compressed.ply")])
def test_lossy_formats_say_that_features_are_left_out(run, form, name, caplog):
    with caplog.at_level("INFO", logger="gsdff"):
        path = export_run(ExportArguments(run.folder, format=form))
    assert path == run.folder / name
    assert f"features are left out: format {form} has no place for them" in caplog.text
    num = len(run.gaussians)
    if form == "splat":
        assert path.stat().st_size == 32 * num
    else:
        assert PlyData.read(str(path), mmap=False)["vertex"].count == num
    assert not list(run.folder.glob("scene*.basis.safetensors"))


@pytest.mark.parametrize(("form", "out", "ending"), [("splat", "a.ply", ".splat"), ("ply", "a.splat", ".ply")])
def test_a_name_that_does_not_fit_the_format_is_refused_before_anything_is_read(tmp_path, form, out, ending):
    with pytest.raises(UserError, match=rf"--out .*{out}: expected a name ending in \{ending} for --format {form}"):
        export_run(ExportArguments(tmp_path / "nowhere", format=form, out=tmp_path / out))


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path):
    command = [sys.executable, "-m", "gsdff.export", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {tmp_path}: expected a run's folder")
    assert done.stderr.strip().count("\n") == 0 and not list(tmp_path.iterdir())


def test_the_door_names_the_file_it_wrote(run):
    command = [sys.executable, "-m", "gsdff.export", str(run.folder), "--format", "splat"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run.folder / 'scene.splat'}: 0.0 MiB\n"


def test_a_ply_from_anywhere_converts_too(run, tmp_path):
    ply = export_run(ExportArguments(run.folder, out=tmp_path / "other.ply"))
    splat = export_run(ExportArguments(ply, format="splat"))
    assert splat == tmp_path / "other.splat"
    assert splat.read_bytes() == export_run(ExportArguments(run.folder, format="splat")).read_bytes()
    with pytest.raises(UserError, match=f"{ply}: is a PLY already"):
        export_run(ExportArguments(ply))
