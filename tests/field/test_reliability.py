"""Reliability of the Gaussians of a field: kept by runs, PLYs and edits, and missing in those of earlier versions."""

from dataclasses import replace

import pytest
import torch
from plyfile import PlyData
from tiny_answers import NUM_CHAIR, write_asked_run
from tiny_run import open_field, save_run

import gsdff
from gsdff.errors import UserError


@pytest.fixture
def reliability(generator):
    return torch.rand(60, generator=generator)


@pytest.fixture
def run(tmp_path, generator, reliability):
    run = write_asked_run(tmp_path, generator)
    save_run(run.folder, 800, replace(run.gaussians, reliability=reliability).to_working_frame(run.frame), run.frame)
    return run


def test_it_travels_from_the_run_to_the_ply_and_back(run, reliability, tmp_path):
    field = open_field(run.folder)
    assert torch.equal(field.reliability, reliability)
    ply = field.save(tmp_path / "scene.ply")
    vertices = PlyData.read(str(ply), mmap=False)["vertex"].data
    assert vertices.dtype.names[-1] == "reliability" and torch.equal(open_field(ply).reliability, reliability)


def test_edits_keep_it_with_its_gaussians(run, reliability):
    field = open_field(run.folder)
    kept = field.edit(gsdff.Delete("chair", rim=False))
    assert torch.equal(kept.reliability, reliability[NUM_CHAIR:])
    doubled = field.edit(gsdff.Duplicate("lamp", translation=(0, 1, 0)))
    assert torch.equal(doubled.reliability, torch.cat([reliability, reliability[NUM_CHAIR:]]))


def test_files_without_features_are_without_it_too(run, tmp_path):
    ply = open_field(run.folder).save(tmp_path / "plain.ply", features="none")
    assert "reliability" not in PlyData.read(str(ply), mmap=False)["vertex"].data.dtype.names


def test_a_run_of_an_earlier_version_works_on_and_says_what_it_lacks(tmp_path, generator):
    run = write_asked_run(tmp_path, generator)
    field = open_field(run.folder)
    assert int(field.query("chair").selected.sum()) == NUM_CHAIR
    again = open_field(field.save(tmp_path / "scene.ply"))
    for each in (field, again):
        with pytest.raises(UserError, match="was not measured; distil features again with `gsdff train --stage1-from"):
            _ = each.reliability


def test_numbers_in_a_ply_that_are_no_reliability_are_made_some(run, tmp_path):
    ply = open_field(run.folder).save(tmp_path / "scene.ply")
    content = PlyData.read(str(ply), mmap=False)
    content["vertex"]["reliability"][:3] = [float("nan"), 7, -1]
    content.write(str(ply))
    assert open_field(ply).reliability[:3].tolist() == [0, 1, 0] and len(open_field(ply)) == 60
