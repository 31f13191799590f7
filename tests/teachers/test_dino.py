"""The DINO teacher: its maps against timm's own tokens, its weights and what it refuses."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_clip import cut_network, make_view
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.teachers import backbones
from gsdff.teachers.dino import DinoTeacher

DINO, DINOV2, REGISTERS, DINOV3 = (
    "vit_small_patch16_224.dino",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
)
PATCHES = {DINO: 16, DINOV2: 14, REGISTERS: 14, DINOV3: 16}
GRID = 4
"""Side, in patches, of the photos that the tiny networks are made for."""


def tiny(model: str) -> dict[str, object]:
    """Arguments that make timm's networks of these names small."""
    return {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": GRID * PATCHES[model]}


def make_weights(model: str) -> dict[str, Tensor]:
    """Far enough from the start of a training that every part of them shows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = timm.create_model(model, **tiny(model)).state_dict()
        return {name: entry + 0.2 * torch.randn(entry.shape) for name, entry in state.items()}


@pytest.fixture(autouse=True)
def tiny_networks_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of the real names and code but small, and no network to fetch their weights."""
    make_vit = backbones.make_vit
    monkeypatch.setattr(backbones, "make_vit", lambda model, **options: make_vit(model, **tiny(model), **options))
    cut_network(monkeypatch)


@pytest.fixture(params=list(PATCHES))
def model(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def weights(tmp_path: Path, model: str) -> Path:
    save_file(make_weights(model), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def open_tiny(model: str, weights: Path, **options: object) -> DinoTeacher:
    config = TeacherConfig(name="dino", model=model, pretrained=str(weights), size=GRID * PATCHES[model])
    return DinoTeacher(replace(config, **options))


# --- maps


def test_a_map_is_timms_patch_tokens_without_class_token_and_registers(model: str, weights: Path) -> None:
    view = make_view(GRID * PATCHES[model], GRID * PATCHES[model])
    (features,) = open_tiny(model, weights).extract([view])
    network = timm.create_model(model, **tiny(model)).eval()
    network.load_state_dict(make_weights(model))
    mean, std = (torch.tensor(values) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        tokens = network.forward_features(((view.target - mean) / std).permute(2, 0, 1)[None])[0]
    prefix = {REGISTERS: 5, DINOV3: 5}.get(model, 1)
    assert len(tokens) == prefix + GRID**2
    expected = F.normalize(tokens[prefix:], dim=1).T.unflatten(1, (GRID, GRID))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("patch_y", "patch_x"), [(1, 6), (3, 0)])
def test_a_change_in_a_wide_photo_changes_the_map_most_where_it_is(
    model: str, weights: Path, patch_y: int, patch_x: int
) -> None:
    patch = PATCHES[model]
    before, after = make_view(4 * patch, 8 * patch), make_view(4 * patch, 8 * patch)
    after.image[patch_y * patch : (patch_y + 1) * patch, patch_x * patch : (patch_x + 1) * patch] = 255
    maps = list(open_tiny(model, weights, size=8 * patch).extract([before, after]))
    change = (maps[1] - maps[0]).norm(dim=0)
    assert change.shape == (4, 8)
    assert divmod(int(change.argmax()), 8) == (patch_y, patch_x)


def test_photos_of_one_batch_have_the_maps_they_have_alone(model: str, weights: Path) -> None:
    views = [make_view(40, 64, seed) for seed in range(3)]
    together = list(open_tiny(model, weights, batch=3).extract(views))
    alone = [next(open_tiny(model, weights, batch=1).extract([view])) for view in views]
    for got, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", [DINOV2, DINOV3], indirect=True)
@pytest.mark.parametrize(("size", "sides"), [(None, {14: (28, 37), 16: (24, 32)}), (100, {14: (5, 7), 16: (5, 6)})])
def test_the_map_has_a_pixel_a_patch_of_the_resized_photo(
    model: str, weights: Path, size: int | None, sides: dict[int, tuple[int, int]]
) -> None:
    (features,) = open_tiny(model, weights, size=size).extract([make_view(360, 480)])
    assert features.shape == (24, *sides[PATCHES[model]])


# --- weights


def test_opening_loads_no_network_and_the_fingerprint_needs_none(model: str, weights: Path) -> None:
    teacher = open_tiny(model, weights)
    assert teacher.fingerprint and "_network" not in vars(teacher)


@pytest.mark.parametrize("model", [DINOV2], indirect=True)
def test_the_fingerprint_changes_with_what_changes_a_map_and_nothing_else(
    model: str, weights: Path, tmp_path: Path
) -> None:
    other, copy = tmp_path / "other.safetensors", tmp_path / "copy.safetensors"
    save_file({name: entry + 1 for name, entry in make_weights(model).items()}, other)
    copy.write_bytes(weights.read_bytes())
    base = open_tiny(model, weights, size=None).fingerprint
    assert base == open_tiny(model, copy, size=518, batch=1).fingerprint
    changed = [open_tiny(model, other, size=None), open_tiny(model, weights), open_tiny(DINO, weights, size=None)]
    published = [DinoTeacher(TeacherConfig(model=name)) for name in (DINOV2, DINOV3)]
    assert len({base, *(teacher.fingerprint for teacher in changed + published)}) == 6


@pytest.mark.parametrize("model", [REGISTERS], indirect=True)
def test_a_checkpoint_as_its_authors_publish_it_gives_the_same_map(model: str, weights: Path, tmp_path: Path) -> None:
    """DINOv2's own files hold a mask token, call registers otherwise, and give the class token a position."""
    state = make_weights(model)
    shift = torch.full((1, 1, 24), 0.5)
    official = {name: entry for name, entry in state.items() if name not in ("reg_token", "cls_token", "pos_embed")}
    official["mask_token"] = torch.ones(1, 24)
    official["register_tokens"] = state["reg_token"]
    official["cls_token"] = state["cls_token"] - shift
    official["pos_embed"] = torch.cat([shift, state["pos_embed"]], dim=1)
    torch.save(official, tmp_path / "official.pth")
    views = [make_view(40, 64)]
    (got,), (expected,) = (open_tiny(model, path).extract(views) for path in (tmp_path / "official.pth", weights))
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", [DINOV2], indirect=True)
def test_published_weights_are_taken_from_the_cache(model: str, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def find(*names: str) -> str:
        asked.append(names)
        return str(weights)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
    teacher = DinoTeacher(TeacherConfig(size=56))
    (got,), (expected,) = (each.extract([make_view(40, 64)]) for each in (teacher, open_tiny(model, weights)))
    assert torch.equal(got, expected)
    assert asked == [("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors")]


# --- what it refuses


def test_it_knows_no_text_and_says_how_to_query_instead(tmp_path: Path) -> None:
    teacher = DinoTeacher(TeacherConfig())
    assert not teacher.knows("chair")
    with pytest.raises(UserError, match="the dino teacher encodes no text: query its features by an example"):
        teacher.text(["chair"])


def test_weights_that_cannot_be_had_are_named_with_where_they_are_and_what_to_do() -> None:
    teacher = DinoTeacher(TeacherConfig())
    for ask in (lambda: teacher.check(make_view(8, 8)), lambda: next(teacher.extract([make_view(8, 8)]))):
        with pytest.raises(UserError) as caught:
            ask()
        message = str(caught.value)
        assert "\n" not in message
        for part in (
            "no weights of vit_small_patch14_dinov2.lvd142m",
            "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m",
            "Name or service not known",
            "download model.safetensors from there",
            "`teacher.pretrained`",
        ):
            assert part in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_smal_patch14_dinov2", r"timm has no 'vit_smal_patch14_dinov2'; closest: .*vit_small_patch14_dinov2\.lvd"),
        ("vit_small_patch14_dinov2.imagenet", r"timm has no 'vit_small_patch14_dinov2\.imagenet'; closest: .*lvd142m"),
        ("hf-hub:timm/vit_small_patch14_dinov2.lvd142m", "timm has no 'hf-hub:"),
        ("convnext_base.dinov3_lvd1689m", r"timm's convnext_base\.dinov3_lvd1689m is not a plain ViT"),
        ("resnet18", "timm's resnet18 is not a plain ViT"),
        ("vit_base_patch16_plus_240", "timm publishes no weights of vit_base_patch16_plus_240"),
    ],
)
def test_what_no_map_can_be_made_of_is_refused_when_it_is_opened(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DinoTeacher(TeacherConfig(model=name))


def test_a_file_that_is_not_there_is_refused_when_the_teacher_is_opened() -> None:
    with pytest.raises(UserError, match=r"`teacher.pretrained`: lvd142m: no such file; .* named in `teacher.model`"):
        DinoTeacher(TeacherConfig(pretrained="lvd142m"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pth", b""),
        ("a.pth", b"no weights"),
        ("a.safetensors", b"no weights"),
        ("a.pth", {}),
        ("a.pth", [1, 2]),
        ("a.pth", {"blocks.0.norm1.weight": torch.zeros(3)}),
        ("a.pth", {1: 2}),
    ],
)
@pytest.mark.parametrize("model", [DINOV2, DINOV3], indirect=True)
def test_a_file_of_something_else_is_refused_with_its_name(
    tmp_path: Path, model: str, name: str, content: object
) -> None:
    write = partial(torch.save, content) if not isinstance(content, bytes) else lambda path: path.write_bytes(content)
    write(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: damaged, or not weights of {model}: ") as caught:
        next(open_tiny(model, tmp_path / name).extract([make_view(8, 8)]))
    assert "\n" not in str(caught.value)
