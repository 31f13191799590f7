"""Our Triton kernels by Triton's interpreter, against the float64 twin and the CPU rasteriser.

`test_feature_pass.py` runs this file in a process of its own, as the interpreter is chosen before Triton is imported.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from closeness import BAND, assert_close, assert_gradients_close, boundary_band
from random_splats import Result, Splats, cotangents, random_splats, render
from test_unusual_splats import UNUSUAL, make_wall, points
from tile_lists import list_pairs, project_splats, take_projection
from tiny_field import make_camera, make_gaussians, make_scene
from torch import Tensor

import gsdff.render
from gsdff.cameras import Camera
from gsdff.field.field import Field
from gsdff.field.query import Query
from gsdff.field.relevancy import lerf_relevancy, relevancy
from gsdff.field.search import PreparedQuery, find
from gsdff.gaussians import Gaussians
from gsdff.latents import MIN_NORM, Basis, encode, text_cosine
from gsdff.render import rasterization, reference, render_features, render_scores
from gsdff.render.splats import TILE, PixelQuery
from gsdff.render.tensor_cores import CHUNK, LIST_BLOCK, TileTable, blend_features, list_tiles, score_pixels

FORWARD = {"half": 1e-3, "float32": 1e-5}
"""Largest differences of renders, for values up to 1."""
PRECISIONS = tuple(FORWARD)


def assert_parity(splats: Splats, **options: object) -> None:
    """Renders, alphas and gradients of features are those of the float64 twin, whose projection is shared."""
    splats = splats.map(lambda tensor: tensor.float().double())
    used = []

    def cotangent_of(result: Result) -> tuple[Tensor, Tensor]:
        band = boundary_band(result.meta["margins"], BAND)
        used.extend([band, cotangents(result, band)])
        return used[1]

    twin = render(reference.rasterization, splats, ("colors",), cotangent_of, **options)
    band, cotangent = used
    tiles = list_tiles(take_projection(twin.meta))
    for precision, atol in FORWARD.items():
        features = splats.colors.float().requires_grad_()
        image, alpha = blend_features(tiles, features, precision)
        image.backward(cotangent[0][0].float())
        assert image.dtype == alpha.dtype == torch.float32 and not alpha.requires_grad
        assert_close(image[None].detach(), twin.renders, band=band, atol=atol)
        assert_close(alpha[None, ..., None], twin.alphas, band=band, atol=1e-5)
        assert features.grad is not None
        assert_gradients_close(features.grad, twin.gradients["colors"], precision, rtol=1e-3)


def latents_of(splats: Splats) -> Tensor:
    """Blended features [H, W, K] of the CPU rasteriser."""
    return render(rasterization, splats).renders[0]


@pytest.mark.parametrize("channels", [1, 3, 16, 33, 100])
def test_any_number_of_channels(channels):
    assert_parity(random_splats(channels=channels))


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 31), (48, 5)])
def test_any_size_of_image(size):
    assert_parity(random_splats(channels=4, width=size[0], height=size[1]))


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("change", [*UNUSUAL, points], ids=lambda change: change.__name__)
def test_gaussians_out_of_the_ordinary(change, rasterize_mode):
    assert_parity(change(random_splats(seed=7)), rasterize_mode=rasterize_mode)


def test_what_the_cpu_renders_and_its_gradient():
    splats = random_splats(n=150, channels=5, seed=3).map(torch.Tensor.float)
    band = boundary_band(render(reference.rasterization, splats.map(torch.Tensor.double)).meta["margins"])
    cotangent = cotangents(render(rasterization, splats), band)
    cpu = render(rasterization, splats, ("colors",), cotangent)
    features = splats.colors.clone().requires_grad_()
    image, alpha = blend_features(list_tiles(project_splats(rasterization, splats)), features, "float32")
    image.backward(cotangent[0][0].float())
    assert_close(image[None].detach(), cpu.renders, band=band, atol=1e-5)
    assert_close(alpha[None, ..., None], cpu.alphas, band=band, atol=1e-5)
    assert_gradients_close(features.grad, cpu.gradients["colors"])


def test_the_plain_lists_are_those_of_gsplat():
    from gsplat.cuda._torch_impl import _isect_offset_encode, _isect_tiles

    splats = random_splats(n=40, seed=2)
    meta = render(rasterization, splats.map(torch.Tensor.float)).meta
    means2d, radii, depths = (meta[name] for name in ("means2d", "radii", "depths"))
    tiles_x, tiles_y = -(-splats.width // TILE), -(-splats.height // TILE)
    _, isect_ids, pair_ids = _isect_tiles(means2d, radii, depths, TILE, tiles_x, tiles_y)
    offsets = _isect_offset_encode(isect_ids, 1, tiles_x, tiles_y)
    ours = list_pairs(means2d[0], radii[0], depths[0], splats.width, splats.height)
    assert torch.equal(ours[0][:-1], offsets.flatten()) and torch.equal(ours[1], pair_ids)


def test_lists_keep_what_counts_in_order_and_drop_much_of_what_does_not():
    needles = random_splats(n=400, width=64, height=48, scale=0.4, seed=5)
    needles = needles.replace(scales=needles.scales * torch.tensor([0.05, 0.05, 4.0])).map(torch.Tensor.float)
    splats = project_splats(rasterization, needles)
    tiles = list_tiles(splats)
    bounds = splats.bounds.tolist()
    kept = needed = 0
    for tile, (start, end) in enumerate(pairwise(bounds)):
        listed = splats.pair_ids[start:end].tolist()
        first, count = CHUNK * int(tiles.starts[tile]), int(tiles.counts[tile])
        ours = tiles.ids[first : first + count].tolist()
        assert ours == [gaussian for gaussian in listed if gaussian in set(ours)], "another order"
        assert not tiles.table[-1, first + count : first + -(-count // CHUNK) * CHUNK].any(), "the rest is not empty"
        pixels = torch.arange(TILE) + 0.5
        x, y = (tile % 4) * TILE + pixels, (tile // 4) * TILE + pixels
        dx = x[None, None, :] - splats.means2d[listed, 0, None, None]
        dy = y[None, :, None] - splats.means2d[listed, 1, None, None]
        a, b, c = splats.conics[listed].T[..., None, None]
        alphas = splats.opacities[listed, None, None] * torch.exp(-(a * dx * dx + c * dy * dy) / 2 - b * dx * dy)
        counts = (alphas >= 1 / 255).flatten(1).any(1).tolist()
        assert {gaussian for gaussian, counted in zip(listed, counts, strict=True) if counted} <= set(ours)
        kept, needed = kept + len(ours), needed + sum(counts)
    assert max(tiles.counts) > 2 * CHUNK, "hardly a chunk is full"
    assert needed < kept < needed + 0.2 * (len(splats.pair_ids) - needed)


def test_lists_longer_than_a_block_and_many_finished_pixels():
    splats = random_splats(n=600, channels=2, width=32, height=16, scale=1.5, seed=8)
    assert max(torch.diff(project_splats(rasterization, splats.map(torch.Tensor.float)).bounds)) > 2 * LIST_BLOCK
    assert_parity(splats)


def test_what_is_behind_closed_tiles_changes_nothing_and_gets_no_gradient():
    wall, both = make_wall()
    both, wall = both.map(torch.Tensor.float), wall.map(torch.Tensor.float)
    features = both.colors.clone().requires_grad_()
    image, _ = blend_features(list_tiles(project_splats(rasterization, both)), features, "float32")
    alone, _ = blend_features(list_tiles(project_splats(rasterization, wall)), wall.colors, "float32")
    image.sum().backward()
    assert torch.equal(image, alone)
    assert features.grad[2:].abs().max() == 0 and features.grad[:2].abs().min() > 0


@pytest.mark.parametrize("size", [1e-30, 1e-5, 1e6, 1e30])
def test_half_precision_is_relative_to_the_largest_feature(size):
    splats = random_splats(channels=3).map(torch.Tensor.float)
    tiles = list_tiles(project_splats(rasterization, splats))
    expected, image = latents_of(splats), blend_features(tiles, size * splats.colors, "half")[0]
    torch.testing.assert_close(image / size, expected, atol=1e-3, rtol=0)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, with which Triton interprets
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_feature_that_is_not_finite_is_seen_and_spoils_no_tile_without_it(bad):
    splats = random_splats(n=30, channels=3, scale=0.3, seed=4).map(torch.Tensor.float)
    tiles = list_tiles(project_splats(rasterization, splats))
    expected, _ = blend_features(tiles, splats.colors, "half")
    features = splats.colors.clone()
    features[17, 1] = bad
    lists = [tiles.ids[CHUNK * s : CHUNK * s + c].tolist() for s, c in zip(tiles.starts, tiles.counts, strict=True)]
    spoilt = torch.tensor([17 in ids for ids in lists]).view(3, 4).repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)
    spoilt = spoilt[: splats.height, : splats.width]
    image, _ = blend_features(tiles, features, "half")
    weights = latents_of(splats.replace(colors=torch.eye(30)))[..., 17]
    assert not image[weights > 0].isfinite().all(-1).any() and (weights > 0).any()
    torch.testing.assert_close(image[~spoilt], expected[~spoilt], atol=1e-3, rtol=0)
    assert not spoilt.all()
    query = PixelQuery(torch.eye(3), 1, "relevancy", 0.1)
    assert score_pixels(tiles, features, query).scores[weights > 0].isnan().all()


def test_no_pairs_at_all():
    splats = random_splats(n=5, channels=3, seed=1).map(torch.Tensor.float)
    away = splats.replace(means=splats.means - torch.tensor([0, 0, 100.0]))
    tiles = list_tiles(project_splats(rasterization, away))
    features = away.colors.clone().requires_grad_()
    image, alpha = blend_features(tiles, features)
    image.sum().backward()
    scored = score_pixels(tiles, away.colors, PixelQuery(torch.eye(3), 1, "lerf", 0.1))
    assert not image.any() and not alpha.any() and not features.grad.any()
    assert not scored.scores.any() and (scored.best == -1).all() and not scored.alpha.any()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("channels", "num_positives", "num_negatives"), [(5, 1, 4), (32, 3, 18), (64, 2, 1)])
def test_scores_are_those_of_rendered_features(channels, num_positives, num_negatives, precision, generator):
    splats = random_splats(n=12, channels=channels, scale=0.1, seed=6)
    splats = splats.replace(colors=splats.colors - 0.4).map(torch.Tensor.float)
    tiles, latents = list_tiles(project_splats(rasterization, splats)), latents_of(splats)
    texts = torch.randn(num_positives + num_negatives, 70, generator=generator)
    B = torch.linalg.qr(torch.randn(70, channels, generator=generator)).Q
    positives, negatives = texts[:num_positives], texts[num_positives:]
    vectors = encode(F.normalize(texts, dim=1), B)
    cosines = text_cosine(latents, positives, B)
    is_there = latents.norm(dim=-1) >= MIN_NORM
    expected = {
        "relevancy": relevancy(latents, positives, negatives, B, temperature=0.1),
        "lerf": lerf_relevancy(latents, positives, negatives, B, temperature=0.1),
        "cosine": cosines.amax(-1),
    }
    assert is_there.any() and not is_there.all()
    for method, scores in expected.items():
        temperature = 1.0 if method == "cosine" else 0.1
        scored = score_pixels(tiles, splats.colors, PixelQuery(vectors, num_positives, method, temperature), precision)
        torch.testing.assert_close(scored.scores, scores, atol=2e-3 if precision == "half" else 1e-5, rtol=0)
        assert torch.equal(scored.best >= 0, is_there)
        best = cosines.gather(-1, scored.best.clamp_min(0).long()[..., None])[..., 0]
        torch.testing.assert_close(best, cosines.amax(-1), atol=1e-3, rtol=0)


def test_of_equal_texts_the_first_is_the_best():
    splats = random_splats(n=12, channels=4, scale=0.1, seed=6).map(torch.Tensor.float)
    tiles = list_tiles(project_splats(rasterization, splats))
    vectors = torch.tensor([[-1.0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
    best = score_pixels(tiles, splats.colors, PixelQuery(vectors, 3, "cosine")).best
    assert set(best.unique().tolist()) == {-1, 1}


@pytest.fixture(params=PRECISIONS)
def own_pass(monkeypatch, request) -> str:
    """Has `render_features` and `render_scores` take our kernels, on lists of the CPU's projection."""

    def list_them(gaussians: Gaussians, camera: Camera, *_projection: object) -> TileTable:
        scene = Splats(
            gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh0[:, 0],
            camera.viewmat[None], camera.K[None], camera.width, camera.height,
        )  # fmt: skip
        return list_tiles(project_splats(rasterization, scene, rasterize_mode=gaussians.rasterize_mode))

    monkeypatch.setattr(gsdff.render, "_list_tiles", list_them)
    monkeypatch.setattr(gsdff.render, "_own_pass", lambda gaussians: request.param if len(gaussians) else None)
    return request.param


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_render_features_is_what_it_was(own_pass, mode, monkeypatch, generator):
    gaussians, camera = make_gaussians(30, generator, dim=5), make_camera(width=40, height=30)
    gaussians = replace(gaussians, rasterize_mode=mode)
    leaf = gaussians.features.clone().requires_grad_()
    ours = render_features(gaussians, camera, features=leaf)
    cotangent = torch.randn(ours.image.shape, generator=generator)
    (gradient,) = torch.autograd.grad(ours.image, leaf, cotangent)
    monkeypatch.setattr(gsdff.render, "_own_pass", lambda gaussians: None)
    usual = render_features(gaussians, camera, features=leaf)
    (expected,) = torch.autograd.grad(usual.image, leaf, cotangent)
    atol = FORWARD[own_pass] * float(leaf.detach().abs().max())
    torch.testing.assert_close(ours.image, usual.image, atol=atol, rtol=0)
    torch.testing.assert_close(ours.alpha, usual.alpha, atol=1e-5, rtol=0)
    assert_gradients_close(gradient, expected)


def test_no_gaussians_are_left_to_the_rasteriser(own_pass, generator):
    gaussians, camera = make_gaussians(0, generator, dim=5), make_camera()
    assert not render_features(gaussians, camera).image.any()
    assert render_scores(gaussians, camera, PixelQuery(torch.eye(5), 1, "cosine")) is None


CLASSES = Query(classes=["a", "b", "c"], positives="b")
QUERIES = [Query("a"), Query("a", method="lerf"), Query("a", method="cosine"), CLASSES]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.chosen_method)
def test_a_query_in_a_view_is_what_it_was(own_pass, query, monkeypatch, generator, tmp_path):
    scene = make_scene(tmp_path, width=40, height=30)
    B = torch.linalg.qr(torch.randn(8, 5, generator=generator)).Q
    gaussians = make_gaussians(12, generator, dim=5)
    field = Field(tmp_path, gaussians, Basis(B, 1.0, "toy", "x"), read={"scene": scene, "has_photos": True})
    texts = F.normalize(torch.randn(6, 8, generator=generator), dim=1)
    has_negatives = query.chosen_method in ("relevancy", "lerf")
    positives = texts[:3] if query.classes else texts[:1]
    prepared = PreparedQuery(
        query, positives, texts[3:] if has_negatives else texts[:0], None if query.classes else 0.3
    )
    ours = find(field, prepared, scene.views[4])
    monkeypatch.setattr(gsdff.render, "_own_pass", lambda gaussians: None)
    usual = find(field, prepared, scene.views[4])
    assert torch.equal(ours.answered, usual.answered) and not usual.answered.all()
    torch.testing.assert_close(ours.scores, usual.scores, atol=2e-3 if own_pass == "half" else 1e-5, rtol=0)
    assert (ours.selected != usual.selected).double().mean() < 0.01 and usual.selected.any()
    if query.classes:
        assert (ours.labels != usual.labels).double().mean() < 0.01
