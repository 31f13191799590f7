"""Label maps on disk: made once, made again when something has changed, never half."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from mask_views import make_view, random_image
from PIL import Image
from torch import Tensor

from gsdff.cameras import WorldFrame
from gsdff.errors import UserError
from gsdff.masks.store import FINGERPRINT, MaskStore, make_masks, overlay
from gsdff.scene import Scene, View


@dataclass
class Brightness:
    """Cuts images by their red channel, and notes which views it was asked for."""

    fingerprint: str = "1"
    files: str = ""
    breaks_at: str = ""
    asked: list[str] = field(default_factory=list)
    name: str = "brightness"

    def check(self, view: View) -> None:
        pass

    def fingerprint_of(self, view: View) -> str:
        return self.files

    def segment(self, view: View, image: Tensor) -> Tensor:
        if view.stem == self.breaks_at:
            raise KeyboardInterrupt
        self.asked.append(view.stem)
        return image[..., 0].int() * 257


def make_views(generator: torch.Generator, names: Sequence[str] = ("a.png", "b.png", "c.png")) -> list[View]:
    return [make_view(random_image(generator), name) for name in names]


def test_a_map_comes_back_as_it_was_made_over_the_whole_range_of_ids(tmp_path: Path, generator: torch.Generator):
    views = make_views(generator)
    views[0].image[0, :2, 0] = torch.tensor([0, 255], dtype=torch.uint8)
    store = make_masks(Brightness(), views, tmp_path / "masks")
    for view in views:
        got = store.load(view)
        assert got.dtype == torch.int32
        torch.testing.assert_close(got, view.image[..., 0].int() * 257, rtol=0, atol=0)
    assert store.load(views[0])[0, :2].tolist() == [0, 65535]


def test_a_second_call_makes_nothing_and_writes_nothing(tmp_path: Path, generator: torch.Generator, caplog):
    caplog.set_level("INFO", "gsdff")
    views, segmenter = make_views(generator), Brightness()
    make_masks(segmenter, views, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    make_masks(segmenter, views, tmp_path)
    assert segmenter.asked == ["a", "b", "c"] and len(before) == 6
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert "3 views segmented by brightness and 0 reused" in caplog.text and "0 views segmented by" in caplog.text


@pytest.mark.parametrize("change", [{"fingerprint": "2"}, {"files": "others"}, {"name": "another"}])
def test_another_segmenter_or_other_settings_or_files_make_all_of_it_again(
    tmp_path: Path, generator: torch.Generator, change: dict[str, str]
):
    views, segmenter = make_views(generator), Brightness(**change)
    make_masks(Brightness(), views, tmp_path)
    make_masks(segmenter, views, tmp_path)
    assert segmenter.asked == ["a", "b", "c"]


def test_an_image_that_changes_is_segmented_again_and_no_other(tmp_path: Path, generator: torch.Generator):
    views, segmenter = make_views(generator), Brightness()
    make_masks(segmenter, views, tmp_path)
    views[1].image[3, 4, 0] ^= 1
    store = make_masks(segmenter, views, tmp_path)
    assert segmenter.asked == ["a", "b", "c", "b"]
    torch.testing.assert_close(store.load(views[1]), views[1].image[..., 0].int() * 257, rtol=0, atol=0)


def test_rendered_images_are_segmented_where_they_are_given(tmp_path: Path, generator: torch.Generator):
    views, segmenter = make_views(generator), Brightness()
    make_masks(segmenter, views, tmp_path)
    store = make_masks(segmenter, views, tmp_path, image_of=lambda view: 255 - view.image)
    assert len(segmenter.asked) == 6
    torch.testing.assert_close(store.load(views[2]), (255 - views[2].image[..., 0]).int() * 257, rtol=0, atol=0)


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path, generator: torch.Generator):
    views, stopped, resumed = make_views(generator), Brightness(breaks_at="b"), Brightness()
    with pytest.raises(KeyboardInterrupt):
        make_masks(stopped, views, tmp_path)
    make_masks(resumed, views, tmp_path)
    assert (stopped.asked, resumed.asked) == (["a"], ["b", "c"])


@pytest.mark.parametrize("damage", ["cut", "emptied", "removed", "foreign"])
def test_a_map_that_is_damaged_or_of_someone_else_is_made_again(
    tmp_path: Path, generator: torch.Generator, damage: str
):
    views, segmenter = make_views(generator), Brightness()
    store = make_masks(segmenter, views, tmp_path)
    path = tmp_path / "b.png"
    if damage == "foreign":
        Image.fromarray(np.zeros((24, 32), np.uint16)).save(path)
    elif damage == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 300 if damage == "cut" else 0])
    if damage != "foreign":
        with pytest.raises(UserError, match=r"b\.png: missing or damaged; run the command again"):
            store.load(views[1])
    make_masks(segmenter, views, tmp_path)
    assert segmenter.asked == ["a", "b", "c", "b"]
    torch.testing.assert_close(store.load(views[1]), views[1].image[..., 0].int() * 257, rtol=0, atol=0)


def test_no_flipped_bit_of_a_map_goes_unnoticed(tmp_path: Path, generator: torch.Generator):
    (view,) = [make_view(random_image(generator, 6, 8), "b.png")]
    store = make_masks(Brightness(), [view], tmp_path)
    path, labels = tmp_path / "b.png", store.load(view)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        assert not store.holds(view) or torch.equal(store.load(view), labels)


@pytest.mark.parametrize("pixels", [np.ones((24, 31), np.uint16), np.ones((24, 32), np.uint8), np.ones((24, 32, 3))])
def test_a_picture_of_another_size_or_kind_in_place_of_a_map_is_refused(
    tmp_path: Path, generator: torch.Generator, pixels: np.ndarray
):
    views = make_views(generator)
    store = make_masks(Brightness(), views, tmp_path)
    kind = np.uint8 if pixels.ndim == 3 else pixels.dtype
    Image.fromarray(pixels.astype(kind)).save(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"b\.png: "):
        store.load(views[1])
    assert not store.holds(views[1]) and store.holds(views[0])


def test_a_cache_keeps_maps_of_all_settings_and_gives_copies(tmp_path: Path, generator: torch.Generator, caplog):
    caplog.set_level("INFO", "gsdff")
    views, cache = make_views(generator), tmp_path / "cache"
    first, other, again = Brightness(), Brightness("2"), Brightness()
    make_masks(first, views, tmp_path / "run 1", cache=cache)
    assert "other runs or settings" not in caplog.text
    make_masks(other, views, tmp_path / "run 2", cache=cache)
    assert "3 masks of other runs or settings take 0.0 MB; every run has its own copies" in caplog.text
    assert f"rm -r {cache}" in caplog.text
    store = make_masks(again, views, tmp_path / "run 3", cache=cache)
    assert (len(first.asked), len(other.asked), again.asked) == (3, 3, [])
    assert (tmp_path / "run 3" / "preview" / "a.png").is_file()
    shutil.rmtree(cache)
    assert all(torch.equal(store.load(view), view.image[..., 0].int() * 257) for view in views)
    make_masks(again, views, tmp_path / "run 3", cache=cache)
    assert again.asked == [] and len([*cache.rglob("*.png")]) == 3


def test_photos_of_one_stem_have_maps_of_their_own(tmp_path: Path, generator: torch.Generator):
    views = make_views(generator, ["cam0/1.png", "cam1/1.png"])
    views = Scene(tmp_path, views, torch.zeros(0, 3), torch.zeros(0, 3).byte(), WorldFrame()).views
    store = make_masks(Brightness(), views, tmp_path)
    for view in views:
        assert (tmp_path / f"{view.key}.png").is_file() and (tmp_path / "preview" / f"{view.key}.png").is_file()
        assert torch.equal(store.load(view), view.image[..., 0].int() * 257)


def test_maps_are_16_bit_pngs_that_say_what_they_were_made_from(tmp_path: Path, generator: torch.Generator):
    (view,) = make_views(generator, ["x/one.jpg"])
    make_masks(Brightness(), [view], tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "one.png", "preview/one.png",
    ]  # fmt: skip
    with Image.open(tmp_path / "one.png") as image:
        assert image.mode == "I;16" and len(image.info[FINGERPRINT]) == 32


def test_no_views_make_an_empty_store(tmp_path: Path):
    assert make_masks(Brightness(), [], tmp_path / "masks") == MaskStore(tmp_path / "masks")


def test_a_preview_tints_segments_draws_borders_and_leaves_the_rest(tmp_path: Path):
    image = torch.full((4, 6, 3), 100, dtype=torch.uint8)
    labels = torch.zeros(4, 6, dtype=torch.int32)
    labels[:, 2:4], labels[:, 4:] = 1, 2
    picture = overlay(image, labels)
    assert (picture[:, 0] == 100).all() and (picture[:, [1, 3]] == 255).all()
    first, second = picture[0, 2], picture[0, 4]
    assert len({tuple(first.tolist()), tuple(second.tolist()), (100, 100, 100)}) == 3
    assert (picture[:, 2] == first).all() and (picture[:, 4:] == second).all()
    torch.testing.assert_close(overlay(image, labels), picture)
    assert (overlay(image, torch.full_like(labels, 65535)) != 100).any()
