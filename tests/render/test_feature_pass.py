"""The feature pass on CUDA, without a card: which way is taken, what the kernels compile to, what they compute."""

import inspect
import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tiny_field import make_camera, make_gaussians

from gsdff import device
from gsdff.errors import UserError
from gsdff.render import PixelQuery, feature_pass, render_scores
from gsdff.render.feature_pass import VARIABLE, choose_feature_pass

ROOT = Path(__file__).resolve().parents[2]
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton, which torch brings along on Linux")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    caches = feature_pass._is_possible, device.find_triton_obstacle
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@needs_triton
@pytest.mark.timeout(900)  # some 90 tests
def test_the_kernels_agree_with_the_reference_in_tritons_interpreter():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/render/interpreted_feature_pass.py",
    ]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


@needs_triton
def test_no_kernel_spills_registers():
    script = [sys.executable, "scripts/compile_kernels.py", "--archs", "90", "--dims", "32", "--precisions", "half"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert names == ["list_ellipses", "blend_features", "gather_gradients", "score_features"]


@pytest.mark.parametrize("way", ["gsplat", "half", "float32"])
def test_a_variable_chooses_the_way(way, monkeypatch):
    monkeypatch.setattr(feature_pass, "_is_possible", lambda: True)
    monkeypatch.setenv(VARIABLE, way)
    assert choose_feature_pass() == way


def test_half_precision_is_the_default_and_another_name_is_refused(monkeypatch):
    monkeypatch.setattr(feature_pass, "_is_possible", lambda: True)
    assert choose_feature_pass() == "half"
    monkeypatch.setenv(VARIABLE, "quarter")
    with pytest.raises(UserError, match="GSDFF_FEATURE_PASS=quarter: expected one of half, float32, gsplat"):
        choose_feature_pass()


def test_without_triton_gsplat_is_taken_and_one_line_says_so(monkeypatch, caplog):
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert [choose_feature_pass(), choose_feature_pass()] == ["gsplat", "gsplat"]
    assert [record.getMessage() for record in caplog.records] == [
        "features are blended by gsplat, more slowly than by gsdff's own kernels: Triton is not installed, which comes "
        "with torch on Linux"
    ]


@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a card")
def test_without_a_driver_gsplat_is_taken_and_the_line_names_the_reason(caplog):
    with caplog.at_level(logging.WARNING):
        assert choose_feature_pass() == "gsplat"
    assert "driver" in caplog.records[0].getMessage()


def test_on_the_cpu_features_are_rendered_before_they_are_scored(generator):
    gaussians = make_gaussians(5, generator, dim=4)
    assert render_scores(gaussians, make_camera(), PixelQuery(torch.eye(4), 1, "cosine")) is None


def test_gsplat_is_called_as_its_signatures_say(monkeypatch, generator):
    from gsdff.render import cuda

    calls = []

    def stand_in(name: str, answer: object):
        signature = inspect.signature(getattr(cuda, name))

        def call(*args: object, **kwargs: object) -> object:
            calls.append((name, signature.bind(*args, **kwargs).arguments))
            return answer

        monkeypatch.setattr(cuda, name, call)

    monkeypatch.setattr(cuda, "require_kernels", lambda: None)
    means2d, conics = torch.rand(1, 5, 2, generator=generator), torch.rand(1, 5, 3, generator=generator)
    radii, depths, factors = torch.ones(1, 5, 2, dtype=torch.int32), torch.ones(1, 5), torch.full((1, 5), 0.5)
    stand_in("fully_fused_projection", (radii, means2d, depths, conics, factors))
    stand_in("isect_tiles", (None, torch.arange(7), torch.arange(7).int()))
    stand_in("isect_offset_encode", torch.zeros(1, 3, 2, dtype=torch.int32))
    gaussians, camera = make_gaussians(5, generator), make_camera(width=17, height=33)
    parts = gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities
    views, Ks = camera.viewmat[None], camera.K[None]
    seen = cuda.see(*parts, views, Ks, camera.width, camera.height, rasterize_mode="antialiased")
    meta = cuda.add_lists(seen, camera.width, camera.height)
    splats = cuda.take_splats(meta)
    (_, projection), (_, tiles), (_, offsets) = calls
    assert projection["calc_compensations"] and torch.equal(projection["opacities"], gaussians.opacities)
    assert (projection["width"], projection["height"], projection["viewmats"].shape) == (17, 33, (1, 4, 4))
    assert (tiles["tile_size"], tiles["tile_width"], tiles["tile_height"]) == (16, 2, 3)
    assert (offsets["n_images"], offsets["tile_width"], offsets["tile_height"]) == (1, 2, 3)
    assert torch.equal(splats.opacities, 0.5 * gaussians.opacities) and splats.bounds.tolist() == [0, 0, 0, 0, 0, 0, 7]
    assert torch.equal(splats.means2d, means2d[0]) and torch.equal(splats.conics, conics[0])


def test_a_strip_reads_the_lists_of_its_tiles_of_the_whole_projection():
    from gsdff.render.cuda import take_splats

    meta = {"tile_width": 2, "tile_height": 3, "width": 20, "height": 40, "flatten_ids": torch.arange(9).int()}
    meta |= {"isect_offsets": torch.tensor([[[0, 1], [3, 4], [4, 7]]]).int(), "means2d": torch.full((1, 5, 2), 20.0)}
    meta |= {"conics": torch.ones(1, 5, 3), "opacities": torch.ones(1, 5)}
    strip = take_splats(meta, slice(18, 36))  # rows of the second and the third row of tiles
    assert strip.bounds.tolist() == [3, 4, 4, 7, 9] and (strip.width, strip.height) == (20, 24)
    assert strip.means2d[0].tolist() == [20.0, 4.0] and float(meta["means2d"][0, 0, 1]) == 20
    assert take_splats(meta).bounds.tolist() == [0, 1, 3, 4, 4, 7, 9]
