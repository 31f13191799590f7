"""segment-anything, as a tiny network of its own classes: loading, masks, and checkpoints that are refused."""

from pathlib import Path

import pytest
import torch
from mask_views import make_view, random_image
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor

from gsdff.config.smoothing import MaskConfig, SamConfig
from gsdff.errors import UserError
from gsdff.masks import sam
from gsdff.masks.partition import partition
from gsdff.masks.sam import SamSegmenter, find_model, make_empty

EAGER = SamConfig(points_per_side=4, points_per_batch=5, pred_iou_thresh=0, stability_score_thresh=0)
"""Takes all masks that an untrained network finds."""


def build_tiny(checkpoint: None = None) -> Sam:
    """SAM with a window and a global layer, for images of 64 pixels."""
    return Sam(
        ImageEncoderViT(
            img_size=64, embed_dim=16, depth=2, num_heads=2, out_chans=16, use_rel_pos=True, window_size=3,
            global_attn_indexes=(1,),
        ),
        PromptEncoder(embed_dim=16, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=4),
        MaskDecoder(
            transformer_dim=16,
            transformer=TwoWayTransformer(depth=1, embedding_dim=16, num_heads=2, mlp_dim=16),
            iou_head_hidden_dim=8,
        ),
    ).eval()  # fmt: skip


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Sam:
    """A tiny network of seeded weights, which is the registry's vit_b."""
    monkeypatch.setitem(sam_model_registry, "vit_b", build_tiny)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_tiny()


@pytest.fixture
def checkpoint(network: Sam, tmp_path: Path) -> Path:
    torch.save(network.state_dict(), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def open_sam(checkpoint: Path, options: SamConfig = EAGER, **others: object) -> SamSegmenter:
    return SamSegmenter(
        MaskConfig(checkpoint=checkpoint, sam=options, **({"min_area": 20} | others)), torch.device("cpu")
    )


def segment(segmenter: SamSegmenter, image: Tensor) -> Tensor:
    return segmenter.segment(make_view(image), image)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_loaded_network_gives_the_partition_of_its_own_generators_masks(
    network: Sam, tmp_path: Path, generator: torch.Generator, new_format: bool
):
    torch.save(network.state_dict(), tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
    image = random_image(generator, 48, 64)
    found = SamAutomaticMaskGenerator(
        network, points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0
    ).generate(image.numpy())  # fmt: skip
    masks = torch.stack([torch.from_numpy(record["segmentation"]) for record in found])
    expected = partition(masks, torch.tensor([record["predicted_iou"] for record in found]), min_area=20)
    got = segment(open_sam(tmp_path / "x.pth"), image)
    assert got.dtype == torch.int32 and got.shape == (48, 64) and got.max() >= 1
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("layers", [0, 1])
def test_an_image_without_any_mask_has_no_segment(checkpoint: Path, generator: torch.Generator, layers: int):
    options = SamConfig(points_per_side=2, pred_iou_thresh=1, crop_n_layers=layers)
    assert segment(open_sam(checkpoint, options), random_image(generator)).max() == 0


def test_crops_are_asked_too(checkpoint: Path, generator: torch.Generator):
    options = SamConfig(points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0, crop_n_layers=1)
    assert segment(open_sam(checkpoint, options, min_area=1), random_image(generator)).max() >= 1


def test_options_of_the_partition_count(checkpoint: Path, generator: torch.Generator):
    image = random_image(generator)
    assert segment(open_sam(checkpoint, min_area=24 * 32 + 1), image).max() == 0


def test_half_precision_weights_are_cast(network: Sam, tmp_path: Path, generator: torch.Generator):
    torch.save({name: entry.half() for name, entry in network.state_dict().items()}, tmp_path / "half.pth")
    assert segment(open_sam(tmp_path / "half.pth"), random_image(generator)).shape == (24, 32)


def test_opening_builds_no_network_and_any_view_will_do(checkpoint: Path):
    segmenter = open_sam(checkpoint)
    segmenter.check(make_view())
    assert "_generator" not in vars(segmenter) and segmenter.fingerprint_of(make_view()) == ""


def test_the_fingerprint_follows_weights_and_settings_and_not_the_batch(network: Sam, checkpoint: Path):
    first = open_sam(checkpoint).fingerprint
    assert open_sam(checkpoint, SamConfig(**(vars(EAGER) | {"points_per_batch": 9}))).fingerprint == first
    changed = [SamConfig(**(vars(EAGER) | change)) for change in (
        {"points_per_side": 5}, {"pred_iou_thresh": 0.1}, {"stability_score_thresh": 0.1}, {"crop_n_layers": 1},
    )]  # fmt: skip
    others = {open_sam(checkpoint, options).fingerprint for options in changed}
    others |= {open_sam(checkpoint, **change).fingerprint for change in ({"min_area": 9}, {"level": "whole"})}
    network.mask_decoder.mask_tokens.weight.data += 1
    torch.save(network.state_dict(), checkpoint)
    assert len(others | {first, open_sam(checkpoint).fingerprint, open_sam(checkpoint, nms_iou=0.1).fingerprint}) == 9


@pytest.mark.parametrize("model", ["vit_b", "vit_l", "vit_h"])
def test_published_networks_are_told_apart_by_their_weights(model: str):
    state = make_empty(model).state_dict()
    assert find_model(state, Path("x.pth"), "auto") == model
    other = "vit_l" if model != "vit_l" else "vit_b"
    with pytest.raises(UserError, match=rf"x\.pth: expected weights of segment-anything's {other}, but .* has shape"):
        find_model(state, Path("x.pth"), other)


def test_of_fetched_checkpoints_the_largest_is_taken_or_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "gsdff").mkdir()
    for name in ("sam_vit_b_01ec64.pth", "sam_vit_l_0b3195.pth"):
        (tmp_path / "gsdff" / name).touch()
    assert sam.find_checkpoint(MaskConfig()).name == "sam_vit_l_0b3195.pth"
    assert sam.find_checkpoint(MaskConfig(sam=SamConfig(model="vit_b"))).name == "sam_vit_b_01ec64.pth"
    with pytest.raises(UserError, match=r"sam_vit_h_4b8939\.pth: missing"):
        sam.find_checkpoint(MaskConfig(sam=SamConfig(model="vit_h")))


def test_a_missing_or_a_foreign_entry_is_named_with_its_file(network: Sam, checkpoint: Path):
    state = network.state_dict()
    torch.save(state | {"more": torch.zeros(1)}, checkpoint)
    with pytest.raises(UserError, match=r"tiny\.pth: .*it has an entry more, unlike vit_b"):
        open_sam(checkpoint)
    del state["image_encoder.neck.0.weight"]
    torch.save(state, checkpoint)
    with pytest.raises(UserError, match=r"tiny\.pth: .*it has no entry image_encoder\.neck\.0\.weight"):
        open_sam(checkpoint)


def test_weights_of_another_type_and_such_that_are_not_finite_are_refused(
    network: Sam, checkpoint: Path, generator: torch.Generator
):
    state, name = network.state_dict(), "image_encoder.neck.0.weight"
    torch.save(state | {name: state[name].to(torch.int64)}, checkpoint)
    with pytest.raises(UserError, match=rf"tiny\.pth: .*{name} is torch\.int64, in vit_b it is float"):
        open_sam(checkpoint)
    torch.save(state | {name: state[name] * torch.nan}, checkpoint)
    with pytest.raises(UserError, match=rf"tiny\.pth: {name} holds NaN or infinite values"):
        segment(open_sam(checkpoint), random_image(generator))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "cannot be read as segment-anything's weights"),
        (b"no checkpoint at all", "cannot be read as segment-anything's weights"),
        ([1, 2], "expected segment-anything's weights by name"),
        ({"epoch": 3}, "expected segment-anything's weights by name"),
        (Path("x"), "cannot be read as segment-anything's weights .* executes no code"),
    ],
)
def test_files_of_something_else_are_refused(network: Sam, tmp_path: Path, content: object, complaint: str):
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=rf"x\.pth: {complaint}"):
        open_sam(path)


def test_a_checkpoint_that_is_cut_short_is_refused(checkpoint: Path):
    checkpoint.write_bytes(checkpoint.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"tiny\.pth: "):
        open_sam(checkpoint)


def test_a_given_checkpoint_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"typo\.pth: no such file; `masks\.checkpoint` expects"):
        open_sam(tmp_path / "typo.pth")


def test_removing_small_regions_is_refused_where_opencv_is_missing(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    monkeypatch.setattr(sam, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^`masks\.sam\.min_mask_region_area`: .*opencv-python-headless"):
        open_sam(checkpoint, SamConfig(min_mask_region_area=3))
