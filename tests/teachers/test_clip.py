"""Dense CLIP: its maps against the formula, its text against open_clip's."""

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import resize_pos_embed
from tiny_clip import PATCH, TINY, WINDOW, make_view, open_tiny, tiny_clip
from torch import Tensor

from gsdff.errors import UserError
from gsdff.teachers.clip import position_embedding, value_features


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tiny_clip(tmp_path_factory.mktemp("tiny")) as path:
        yield path


def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x = x - x.mean(1, keepdim=True)
    return x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt() * weight + bias


def maskclip(state: dict[str, Tensor], photo: Tensor, positions: Tensor) -> Tensor:
    """Unit value features [h, w, T] of a photo [H, W, 3] in [0, 1], token by token in float64 from the bare weights."""
    weight = {name.removeprefix("visual."): entry.double() for name, entry in state.items() if "visual." in name}
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).double()
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).double()
    photo = (photo.double() - mean) / std
    height, width = photo.shape[0] // PATCH, photo.shape[1] // PATCH
    tokens = [weight["class_embedding"]]
    for y in range(height):
        for x in range(width):
            patch = photo[y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH]
            tokens.append(torch.einsum("yxc,ocyx->o", patch, weight["conv1.weight"]))
    x = norm(torch.stack(tokens) + positions.double(), weight["ln_pre.weight"], weight["ln_pre.bias"])
    for layer in range(3):
        part = {key.split(".", 3)[3]: entry for key, entry in weight.items() if f"resblocks.{layer}." in key}
        normed = norm(x, part["ln_1.weight"], part["ln_1.bias"])
        q, k, v = (normed @ part["attn.in_proj_weight"].T + part["attn.in_proj_bias"]).split(16, dim=1)
        project = part["attn.out_proj.weight"].T
        if layer == 2:
            x = v @ project + part["attn.out_proj.bias"]
            break
        heads = [
            torch.softmax(q[:, head] @ k[:, head].T / math.sqrt(8), dim=1) @ v[:, head]
            for head in (slice(0, 8), slice(8, 16))
        ]
        x = x + torch.cat(heads, dim=1) @ project + part["attn.out_proj.bias"]
        hidden = norm(x, part["ln_2.weight"], part["ln_2.bias"]) @ part["mlp.c_fc.weight"].T + part["mlp.c_fc.bias"]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + hidden @ part["mlp.c_proj.weight"].T + part["mlp.c_proj.bias"]
    features = norm(x[1:], weight["ln_post.weight"], weight["ln_post.bias"]) @ weight["proj"]
    return F.normalize(features, dim=1).reshape(height, width, -1)


def resized_positions(state: dict[str, Tensor], height: int, width: int) -> Tensor:
    """open_clip's own resampling, which it does when it loads weights into a model of another size."""
    state = dict(state)
    resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=(height, width))))
    return state["visual.positional_embedding"]


# --- maps


def test_a_map_is_maskclips_value_features_of_the_photo(weights: Path) -> None:
    view = make_view(WINDOW, WINDOW)
    (features,) = open_tiny(weights, size=WINDOW).extract([view])
    state = torch.load(weights, weights_only=True)
    expected = maskclip(state, view.target, state["visual.positional_embedding"])
    assert features.shape == (12, 4, 4) and features.dtype == torch.float32
    torch.testing.assert_close(features.permute(1, 2, 0).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(24, 48), (24, 24), (16, 32)])
def test_a_photo_smaller_than_a_window_is_seen_whole_with_resampled_positions(
    weights: Path, height: int, width: int
) -> None:
    view = make_view(height, width)
    teacher = open_tiny(weights)
    object.__setattr__(teacher.config, "size", max(height, width))  # also below 32, which the options refuse
    (features,) = teacher.extract([view])
    state = torch.load(weights, weights_only=True)
    expected = maskclip(state, view.target, resized_positions(state, height // PATCH, width // PATCH))
    torch.testing.assert_close(features.permute(1, 2, 0).double(), expected, atol=1e-5, rtol=0)


def test_a_large_photo_is_the_mean_of_the_unit_vectors_of_its_windows(weights: Path) -> None:
    view = make_view(40, 64)
    (features,) = open_tiny(weights, size=64).extract([view])
    state = torch.load(weights, weights_only=True)
    total = torch.zeros(5, 8, 12, dtype=torch.float64)
    for top in (0, 8):
        for left in (0, 16, 32):
            part = maskclip(state, view.target[top : top + 32, left : left + 32], state["visual.positional_embedding"])
            total[top // 8 : top // 8 + 4, left // 8 : left // 8 + 4] += part
    torch.testing.assert_close(features.permute(1, 2, 0).double(), F.normalize(total, dim=2), atol=1e-5, rtol=0)


def test_by_default_the_longer_side_spans_two_windows(weights: Path) -> None:
    teacher = open_tiny(weights)
    shapes = [next(teacher.extract([make_view(*size)])).shape for size in [(90, 120), (120, 90), (50, 50), (12, 120)]]
    assert shapes == [(12, 6, 8), (12, 8, 6), (12, 8, 8), (12, 1, 8)]


def test_photos_of_one_batch_have_the_maps_they_have_alone(weights: Path) -> None:
    views = [make_view(40, 64, seed) for seed in range(3)]
    together = list(open_tiny(weights, batch=3).extract(views))
    alone = [next(open_tiny(weights, batch=1).extract([view])) for view in views]
    for got, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_the_last_layer_mixes_no_patches(weights: Path) -> None:
    visual = open_tiny(weights)._network.visual
    del visual.transformer.resblocks[:-1]
    images = torch.rand(1, 3, WINDOW, WINDOW, generator=torch.Generator().manual_seed(0))
    changed = images.clone()
    changed[:, :, 8:16, 16:24] = 0
    difference = (value_features(visual, changed) - value_features(visual, images)).abs().amax(1)[0]
    assert difference[1, 2] > 0.01
    difference[1, 2] = 0
    assert difference.max() == 0


def test_a_tower_that_wants_tokens_first_has_the_same_map(weights: Path) -> None:
    visual = open_tiny(weights)._network.visual
    images = torch.rand(2, 3, WINDOW, WINDOW, generator=torch.Generator().manual_seed(0))
    expected = value_features(visual, images)
    visual.transformer.batch_first = False
    for block in visual.transformer.resblocks:
        block.attn.batch_first = False
    torch.testing.assert_close(value_features(visual, images), expected)


def test_positions_are_as_learned_on_the_learned_grid_and_resampled_on_another(weights: Path) -> None:
    visual = open_tiny(weights)._network.visual
    assert position_embedding(visual, 4, 4) is visual.positional_embedding
    state = {"visual.positional_embedding": visual.positional_embedding}
    for height, width in [(4, 8), (2, 3), (1, 7)]:
        torch.testing.assert_close(position_embedding(visual, height, width), resized_positions(state, height, width))


# --- whole pictures


def test_a_whole_picture_is_open_clips_own_vector_of_it(weights: Path) -> None:
    pictures = torch.rand(3, 3, WINDOW, WINDOW, generator=torch.Generator().manual_seed(0))
    teacher = open_tiny(weights)
    model = open_clip.create_model(TINY, pretrained=str(weights)).eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.visual.image_mean, model.visual.image_std))
    with torch.no_grad():
        expected = model.encode_image((pictures - mean) / std, normalize=True)
    assert teacher.side == WINDOW
    torch.testing.assert_close(teacher.see_whole(pictures), expected)


def test_a_whole_picture_has_a_gradient_and_the_weights_have_none(weights: Path) -> None:
    teacher = open_tiny(weights)
    pictures = torch.rand(1, 3, WINDOW, WINDOW, generator=torch.Generator().manual_seed(0)).requires_grad_()
    text = teacher.phrases(["a wooden chair"])[0]

    def likeness(pictures: Tensor) -> Tensor:
        return (teacher.see_whole(pictures) @ text).sum()

    likeness(pictures).backward()
    step = 1e-2 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        change = likeness(pictures + step) - likeness(pictures - step)
    torch.testing.assert_close(2 * (pictures.grad * step).sum(), change, rtol=0.02, atol=1e-5)
    assert all(parameter.grad is None for parameter in teacher._network.parameters())


# --- text


def test_texts_of_damaged_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    torch.save(state | {"text_projection": state["text_projection"] * torch.nan}, tmp_path / "damaged.pt")
    with pytest.raises(UserError, match="teacher clip: its network gave NaN for a text"):
        open_tiny(tmp_path / "damaged.pt").text(["chair"])


def test_text_is_open_clips_own_with_a_prompt(weights: Path) -> None:
    teacher = open_tiny(weights)
    got = teacher.text(["chair", "potted {plant}"])
    tokens = open_clip.tokenize(["a photo of a chair.", "a photo of a potted {plant}."])
    with torch.no_grad():
        expected = open_clip.create_model(TINY, pretrained=str(weights)).eval().encode_text(tokens, normalize=True)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(got.norm(dim=1), torch.ones(2))
    assert not got.requires_grad and not got.is_inference()


def test_text_can_be_asked_for_before_and_after_maps_and_of_no_name(weights: Path) -> None:
    first, then = open_tiny(weights), open_tiny(weights)
    list(then.extract([make_view(32, 32)]))
    torch.testing.assert_close(then.text(["chair"]), first.text(["chair"]))
    assert not any(parameter.is_inference() for parameter in then._network.parameters())
    assert first.text([]).shape == (0, 12)
    assert first.knows("anything at all")
