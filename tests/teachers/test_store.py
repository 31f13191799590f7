"""The feature store: projected maps on disk, made once, reused while nothing changes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from gsdff.cameras import Camera
from gsdff.config.options import FeatureConfig, TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import View
from gsdff.teachers import store as store_module
from gsdff.teachers.precomputed import PrecomputedTeacher
from gsdff.teachers.store import open_store


def make_views(count: int) -> list[View]:
    camera = Camera(torch.eye(4), torch.eye(3), 6, 4)
    return [View(f"v{i}.png", camera, torch.zeros(4, 6, 3, dtype=torch.uint8)) for i in range(count)]


def write_maps(folder: Path, count: int, *, channels: int = 7, seed: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        # Each map has its own shape: a network's resolution may follow the photo's.
        torch.save(torch.randn(channels, 5, 4 + i, generator=generator).half(), folder / f"v{i}_fmap_CxHxW.pt")


def open_maps(folder: Path) -> PrecomputedTeacher:
    return PrecomputedTeacher(TeacherConfig("precomputed", folder))


class CountingTeacher(PrecomputedTeacher):
    """Counts the maps it gives, and is killed when it has given `patience` of them."""

    num_extracted = 0
    patience = 1000

    def extract(self, views: Sequence[View]) -> Iterator[torch.Tensor]:
        for features in super().extract(views):
            if self.num_extracted == self.patience:
                raise KeyboardInterrupt
            self.num_extracted += 1
            yield features


def extract_one(teacher: PrecomputedTeacher, view: View) -> torch.Tensor:
    (features,) = teacher.extract([view])
    return features


def test_maps_come_back_projected_at_their_own_resolution(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 3)
    teacher, views = open_maps(tmp_path / "maps"), make_views(3)
    store = open_store(teacher, views, tmp_path / "features", FeatureConfig(4))
    for i, view in enumerate(views):
        latents = store.load(view)
        assert latents.shape == (5, 4 + i, 4) and latents.dtype == torch.float32
        expected = torch.einsum("thw,tk->hwk", extract_one(teacher, view), store.basis.B)
        torch.testing.assert_close(latents, expected, atol=5e-4, rtol=0)  # float16 on disk


def test_the_basis_keeps_the_leading_directions_of_all_pixels_of_all_maps(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 3)
    teacher, views = open_maps(tmp_path / "maps"), make_views(3)
    basis = open_store(teacher, views, tmp_path / "features", FeatureConfig(4)).basis
    pixels = torch.cat([extract_one(teacher, view).flatten(1) for view in views], dim=1).double()
    singular = torch.linalg.svd(pixels).S.square()
    assert basis.energy == pytest.approx(float(singular[:4].sum() / singular.sum()), abs=1e-5)  # float16 on the way
    kept = (basis.B.T.double() @ pixels).square().sum() / pixels.square().sum()
    assert float(kept) == pytest.approx(basis.energy, abs=1e-5)


def test_as_many_dimensions_as_channels_store_the_maps_as_they_are(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 2)
    teacher, views = open_maps(tmp_path / "maps"), make_views(2)
    store = open_store(teacher, views, tmp_path / "features", FeatureConfig(7))
    assert torch.equal(store.basis.B, torch.eye(7))
    assert torch.equal(store.load(views[0]), extract_one(teacher, views[0]).half().float().permute(1, 2, 0))


def test_pixels_without_an_answer_stay_zero(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 2)
    path = tmp_path / "maps" / "v0_fmap_CxHxW.pt"
    features = torch.load(path, weights_only=True)
    features[:, 2, 1] = 0
    torch.save(features, path)
    store = open_store(open_maps(tmp_path / "maps"), make_views(2), tmp_path / "features", FeatureConfig(3))
    latents = store.load(make_views(2)[0])
    assert not latents[2, 1].any() and (latents.norm(dim=-1) == 0).sum() == 1


def test_an_unchanged_store_is_reused_without_reading_a_map(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 3)
    first = open_store(open_maps(tmp_path / "maps"), make_views(3), tmp_path / "features", FeatureConfig(4))
    teacher = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps"))
    again = open_store(teacher, make_views(3), tmp_path / "features", FeatureConfig(4))
    assert teacher.num_extracted == 0
    assert torch.equal(again.basis.B, first.basis.B) and again.basis.fingerprint == first.basis.fingerprint


@pytest.mark.parametrize("change", ["map", "dim", "views", "teacher"])
def test_any_change_makes_the_store_again(tmp_path: Path, change: str) -> None:
    write_maps(tmp_path / "maps", 3)
    first = open_store(open_maps(tmp_path / "maps"), make_views(3), tmp_path / "features", FeatureConfig(4))
    teacher, views, dim = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps")), make_views(3), 4
    if change == "map":
        torch.save(torch.ones(7, 5, 4).half(), tmp_path / "maps" / "v0_fmap_CxHxW.pt")
    elif change == "dim":
        dim = 5
    elif change == "views":
        views = views[:2]
    else:
        teacher.fingerprint = "another network"
    again = open_store(teacher, views, tmp_path / "features", FeatureConfig(dim))
    assert teacher.num_extracted == len(views)
    assert again.basis.fingerprint != first.basis.fingerprint
    assert sorted(path.stem for path in again.folder.glob("*.npy")) == [view.stem for view in views]
    assert again.folder != first.folder and first.missing(make_views(3)) == []  # another run may be using it


@pytest.mark.parametrize("damage", ["cut short", "map missing", "index damaged", "index missing", "basis damaged"])
def test_a_damaged_or_unfinished_store_is_made_again(tmp_path: Path, damage: str) -> None:
    write_maps(tmp_path / "maps", 2)
    views, cache = make_views(2), tmp_path / "features"
    whole = open_store(open_maps(tmp_path / "maps"), views, cache, FeatureConfig(4))
    expected, folder = [whole.load(view) for view in views], whole.folder
    if damage == "cut short":
        (folder / "v1.npy").write_bytes((folder / "v1.npy").read_bytes()[:-10])
    elif damage == "map missing":
        (folder / "v1.npy").unlink()
    elif damage == "index damaged":
        (folder / "index.json").write_text("{")
    elif damage == "basis damaged":
        (folder / "basis.safetensors").write_bytes(b"no basis")
    else:
        (folder / "index.json").unlink()
        (folder / ".v1.npy.partial").write_bytes(b"half")
    store = open_store(open_maps(tmp_path / "maps"), views, cache, FeatureConfig(4))
    for view, latents in zip(views, expected, strict=True):
        assert torch.equal(store.load(view), latents)


@pytest.mark.parametrize("patience", [0, 1, 3, 4])
def test_a_store_that_was_killed_goes_on_where_it_was(tmp_path: Path, patience: int) -> None:
    write_maps(tmp_path / "maps", 5)
    views, config = make_views(5), FeatureConfig(4)
    whole = open_store(open_maps(tmp_path / "maps"), views, tmp_path / "whole", config)
    torn = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps"))
    torn.patience = patience
    with pytest.raises(KeyboardInterrupt):
        open_store(torn, views, tmp_path / "torn", config)
    again = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps"))
    store = open_store(again, views, tmp_path / "torn", config)
    assert again.num_extracted == 5 - patience
    assert torch.equal(store.basis.B, whole.basis.B)
    for view in views:
        assert torch.equal(store.load(view), whole.load(view))


def test_a_store_killed_while_it_projects_asks_for_no_map_again(tmp_path: Path, monkeypatch) -> None:
    write_maps(tmp_path / "maps", 4)
    whole = open_store(open_maps(tmp_path / "maps"), make_views(4), tmp_path / "whole", FeatureConfig(3))

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(store_module, "_project", kill)
        open_store(open_maps(tmp_path / "maps"), make_views(4), tmp_path / "torn", FeatureConfig(3))
    teacher = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps"))
    store = open_store(teacher, make_views(4), tmp_path / "torn", FeatureConfig(3))
    assert teacher.num_extracted == 0
    assert all(torch.equal(store.load(view), whole.load(view)) for view in make_views(4))


def test_a_large_scene_takes_its_basis_from_every_nth_view(tmp_path: Path, monkeypatch) -> None:
    write_maps(tmp_path / "maps", 6)
    teacher, views = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps")), make_views(6)
    small = open_store(teacher, views[::3], tmp_path / "few", FeatureConfig(3))
    few = small.basis
    monkeypatch.setattr(store_module, "FULL_BYTES", 2 * small.path(views[0]).stat().st_size * 7 / 3)
    teacher.num_extracted = 0
    store = open_store(teacher, views, tmp_path / "features", FeatureConfig(3))
    assert teacher.num_extracted == 6
    torch.testing.assert_close(store.basis.B, few.B)
    for view in views:
        expected = torch.einsum("thw,tk->hwk", extract_one(teacher, view), few.B)
        torch.testing.assert_close(store.load(view), expected, atol=1e-3, rtol=0)


def test_full_maps_are_gone_once_they_are_projected(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 3)
    store = open_store(open_maps(tmp_path / "maps"), make_views(3), tmp_path / "features", FeatureConfig(3))
    left = sorted(path.name for path in (tmp_path / "features").rglob("*") if path.is_file())
    assert left == [".lock", "basis.safetensors", "index.json", "v0.npy", "v1.npy", "v2.npy"]
    assert store.folder == tmp_path / "features" / store.basis.fingerprint


def test_a_share_of_the_energy_chooses_the_dimension(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 3)
    teacher = open_maps(tmp_path / "maps")
    store = open_store(teacher, make_views(3), tmp_path / "features", FeatureConfig(energy=0.7))
    dim = store.basis.B.shape[1]
    fewer = open_store(teacher, make_views(3), tmp_path / "fewer", FeatureConfig(dim=dim - 1))
    assert fewer.basis.energy < 0.7 <= store.basis.energy
    index = json.loads((store.folder / "index.json").read_text())
    assert (index["dim"], index["channels"], index["energy"]) == (dim, 7, store.basis.energy)
    assert index["bytes_per_view_full"] == 2 * 7 * 4 * 6  # float16, at the photo's 6x4


def test_the_kept_energy_and_the_sizes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_maps(tmp_path / "maps", 2)
    with caplog.at_level("INFO", logger="gsdff"):
        teacher = open_maps(tmp_path / "maps")
        basis = open_store(teacher, make_views(2), tmp_path / "features", FeatureConfig(4)).basis
    assert f"4 of 7 channels keep {basis.energy:.4f} of the teacher's energy" in caplog.text


def test_a_view_without_its_map_stops_before_anything_is_written(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 2)
    with pytest.raises(UserError, match=r"v2_fmap_CxHxW"):
        open_store(open_maps(tmp_path / "maps"), make_views(3), tmp_path / "features", FeatureConfig(4))
    assert not (tmp_path / "features").exists()


def test_maps_that_say_nothing_at_all_are_refused(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    torch.save(torch.zeros(3, 2, 2), tmp_path / "maps" / "v0_fmap_CxHxW.pt")
    with pytest.raises(UserError, match="every pixel of all 1 maps is zero"):
        open_store(open_maps(tmp_path / "maps"), make_views(1), tmp_path / "features", FeatureConfig(2))
