"""The feature store: projected maps on disk, made once, reused while nothing changes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import FeatureConfig, TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import Scene, View
from gsdff.teachers import store as store_module
from gsdff.teachers.precomputed import PrecomputedTeacher
from gsdff.teachers.store import FeatureStore, find_store, open_store

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize("damage", ["bit", "dtype", "height", "swapped", "plain", "basis"])
def test_a_stored_map_that_is_not_the_one_written_is_refused_and_made_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_maps(tmp_path / "maps", 3)
    views = make_views(3)
    whole = open_store(open_maps(tmp_path / "maps"), views, tmp_path / "features", FeatureConfig(4))
    expected = [whole.load(view) for view in views]
    path, latents = whole.path(views[1]), np.load(whole.path(views[1]))
    if damage == "bit":
        content = bytearray(path.read_bytes())
        content[200] ^= 4
        path.write_bytes(content)
    elif damage == "swapped":
        path.write_bytes(whole.path(views[2]).read_bytes())
    elif damage == "basis":
        (whole.folder / "basis.safetensors").write_bytes(b"")
    else:
        others = {"dtype": latents.astype(np.float32), "height": latents[:-1], "plain": latents}
        np.save(path, others[damage])
    if damage != "basis":
        with pytest.raises(UserError, match=r"v1\.npy: cannot be read as a stored teacher map"):
            FeatureStore(whole.folder, whole.basis).load(views[1])
    teacher = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps"))
    store = open_store(teacher, views, tmp_path / "features", FeatureConfig(4))
    assert all(torch.equal(store.load(view), latents) for view, latents in zip(views, expected, strict=True))
    assert teacher.num_extracted == (3 if damage == "basis" else 1)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    said = "damaged; making all maps again" if damage == "basis" else "1 stored maps are damaged, such as"
    assert said in record.getMessage()


def test_photos_of_one_stem_have_maps_of_their_own(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 2)
    views = [replace(view, name=f"cam{i}/0001.jpg") for i, view in enumerate(make_views(2))]
    views = Scene(tmp_path, views, torch.zeros(0, 3), torch.zeros(0, 3).byte(), WorldFrame()).views
    for i, view in enumerate(views):
        (tmp_path / "maps" / f"v{i}_fmap_CxHxW.pt").rename(tmp_path / "maps" / f"cam{i}_0001_fmap_CxHxW.pt")
        assert view.key == f"cam{i}/0001"
    teacher = open_maps(tmp_path / "maps")
    store = open_store(teacher, views, tmp_path / "features", FeatureConfig(7))
    for view in views:
        assert torch.equal(store.load(view), extract_one(teacher, view).half().float().permute(1, 2, 0))


def write_earlier_store(folder: Path, store: FeatureStore, views: Sequence[View]) -> None:
    """A store as earlier versions wrote it: in the cache itself, without checksums."""
    folder.mkdir()
    store.basis.save(folder / "basis.safetensors")
    (folder / "index.json").write_text(json.dumps({"fingerprint": store.basis.fingerprint}))
    for view in views:
        np.save(folder / f"{view.stem}.npy", store.load(view).half().numpy())


def test_a_store_of_an_earlier_version_is_used_where_it_is(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 3)
    views = make_views(3)
    whole = open_store(open_maps(tmp_path / "maps"), views, tmp_path / "features", FeatureConfig(4))
    write_earlier_store(tmp_path / "old", whole, views)
    np.save(tmp_path / "old" / "v1.npy", whole.load(views[1]).numpy())  # float32
    teacher = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps"))
    store = open_store(teacher, views, tmp_path / "old", FeatureConfig(4))
    assert store.folder == tmp_path / "old" and teacher.num_extracted == 1
    assert all(torch.equal(store.load(view), whole.load(view)) for view in views)
    found = find_store(tmp_path / "old", whole.basis)
    assert found is not None and torch.equal(found.load(views[0]), whole.load(views[0]))


def test_the_maps_of_a_basis_are_found_among_others_in_a_cache(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 2)
    stores = [open_store(open_maps(tmp_path / "maps"), make_views(2), tmp_path, FeatureConfig(K)) for K in (2, 3)]
    for store in stores:
        assert find_store(tmp_path, store.basis) == FeatureStore(store.folder, store.basis)
    for fingerprint in ("", "unknown", "../maps", "/"):
        assert find_store(tmp_path / "maps", replace(stores[0].basis, fingerprint=fingerprint)) is None


def test_what_other_runs_left_in_a_cache_is_said_with_its_size_and_how_to_remove_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gsdff")
    write_maps(tmp_path / "maps", 2)
    views, cache = make_views(2), tmp_path / "my cache"
    first = open_store(open_maps(tmp_path / "maps"), views, cache, FeatureConfig(4))
    assert "rm -r" not in caplog.text
    open_store(open_maps(tmp_path / "maps"), views, cache, FeatureConfig(3))
    assert f"take 0.0 MB; if no run needs them: rm -r '{first.folder}'" in caplog.text
    assert torch.equal(first.load(views[0]), FeatureStore(first.folder, first.basis).load(views[0]))


def test_a_finished_store_may_lie_where_nothing_can_be_written(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 2)
    store = open_store(open_maps(tmp_path / "maps"), make_views(2), tmp_path / "features", FeatureConfig(4))
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    (store.folder / ".lock").unlink()
    again = open_store(open_maps(tmp_path / "maps"), make_views(2), tmp_path / "features", FeatureConfig(4))
    assert torch.equal(again.load(make_views(2)[0]), store.load(make_views(2)[0]))
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}.items() <= before.items()


PROCESS = """
import sys, time
from pathlib import Path
import numpy as np, torch
sys.path.insert(0, "tests/teachers")
from test_store import CountingTeacher, make_views
from gsdff.config.options import FeatureConfig, TeacherConfig
from gsdff.masks.store import make_masks
from gsdff.teachers.store import open_store

folder, K, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

class SlowTeacher(CountingTeacher):
    def _read(self, view):
        time.sleep(0.1)
        return super()._read(view)

class Stripes:
    name = "stripes"

    def __init__(self, K):
        self.K, self.fingerprint = K, str(K)

    def fingerprint_of(self, view):
        return ""

    def segment(self, view, image):
        return torch.full(image.shape[:2], self.K, dtype=torch.int32)

teacher = SlowTeacher(TeacherConfig("precomputed", folder / "maps"))
(folder / f"{name}.ready").touch()
while len([*folder.glob("*.ready")]) < int(sys.argv[4]):
    time.sleep(0.01)
store = open_store(teacher, make_views(6), folder / "cache", FeatureConfig(K))
np.savez(folder / name, *[store.load(view).numpy() for view in make_views(6)])
masks = make_masks(Stripes(K), make_views(6), folder / f"masks {name}", cache=folder / "masks")
assert all((masks.load(view) == K).all() for view in make_views(6))
print(teacher.num_extracted)
"""


def test_processes_that_start_together_on_one_cache_get_what_each_would_get_alone(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 6)
    dims = {"one": 4, "two": 4, "three": 6}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), str(K), name, str(len(dims))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."},
        )
        for name, K in dims.items()
    ]  # fmt: skip
    ended = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    extracted = [int(out) for out, _ in ended]
    assert sorted(extracted[:2]) == [0, 6] and extracted[2] == 6  # of two with the same settings, one waits
    for name, K in dims.items():
        alone = open_store(open_maps(tmp_path / "maps"), make_views(6), tmp_path / "alone", FeatureConfig(K))
        with np.load(tmp_path / f"{name}.npz") as arrays:
            for view, latents in zip(make_views(6), arrays.values(), strict=True):
                assert np.array_equal(latents, alone.load(view).numpy())
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 2


def test_a_store_killed_before_its_index_is_finished_by_the_next(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 3)
    store = open_store(open_maps(tmp_path / "maps"), make_views(3), tmp_path / "cache", FeatureConfig(2))
    (store.folder / "index.json").unlink()
    (store.folder / ".full").mkdir()
    teacher = CountingTeacher(TeacherConfig("precomputed", tmp_path / "maps"))
    open_store(teacher, make_views(3), tmp_path / "cache", FeatureConfig(2))
    assert teacher.num_extracted == 0
    assert (store.folder / "index.json").is_file() and not (store.folder / ".full").exists()


def test_maps_that_say_nothing_at_all_are_refused(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    torch.save(torch.zeros(3, 2, 2), tmp_path / "maps" / "v0_fmap_CxHxW.pt")
    with pytest.raises(UserError, match="every pixel of all 1 maps is zero"):
        open_store(open_maps(tmp_path / "maps"), make_views(1), tmp_path / "features", FeatureConfig(2))
