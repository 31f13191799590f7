"""The LSeg teacher: its network against reference outputs, and what its checkpoint may and may not be."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.scene import View
from gsdff.teachers.lseg import TEXT_SHAPES, LSegTeacher
from gsdff.teachers.lseg_network import LSegNetwork, Sizes, published_name, resize_positions

TINY = Sizes(depth=4, width=32, heads=2, grid=4, taps=(0, 1, 2, 3), levels=(8, 8, 16, 16), hidden=8, channels=6)


def make_view(image: Tensor) -> View:
    return View("a.jpg", Camera(torch.eye(4), torch.eye(3), image.shape[1], image.shape[0]), image)


def random_photo(height: int, width: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def hollow() -> dict[str, Tensor]:
    """Every entry the teacher needs, of zeros that take no room in a file."""
    with torch.device("meta"):
        entries = LSegNetwork().state_dict()
    shapes = {published_name(name): entry.shape for name, entry in entries.items()} | TEXT_SHAPES
    return {f"net.{name}": torch.zeros(()).expand(shape) for name, shape in shapes.items()}


class Bench:
    """Writes checkpoints into a folder and opens them, with another network in place of the large one where given."""

    def __init__(self, folder: Path, hollow: dict[str, Tensor]):
        self.path = folder / "lseg.ckpt"
        self.hollow = hollow

    def write(self, changes: dict[str, Tensor] | None = None, **others: object) -> None:
        torch.save({"epoch": 3, "state_dict": self.hollow | (changes or {}), **others}, self.path)

    def open(self, network: torch.nn.Module | None = None, **options: object) -> LSegTeacher:
        if not self.path.exists():
            self.write()
        teacher = LSegTeacher(TeacherConfig(checkpoint=self.path, **options))
        if network is not None:
            teacher._network = network
        return teacher


@pytest.fixture
def bench(tmp_path: Path, hollow: dict[str, Tensor]) -> Bench:
    return Bench(tmp_path, hollow)


@pytest.fixture
def tiny_network() -> LSegNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LSegNetwork(TINY).eval()


class Pooling(torch.nn.Module):
    """Stands for the network: its map is the image itself at half the resolution; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, int]] = set()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.add(tuple(images.shape[2:]))
        return F.avg_pool2d(images, 2)


def test_the_published_checkpoint_has_all_the_teacher_needs_and_little_else(shared: Path, hollow: dict) -> None:
    published = json.loads((shared / "lseg" / "checkpoint_keys.json").read_text())
    assert {name: published[name][0] for name in hollow} == {name: list(entry.shape) for name, entry in hollow.items()}
    unread = ("pretrained.model.head.", "pretrained.model.norm.", "scratch.refinenet4.resConfUnit1.")
    unread += ("clip_pretrained.visual.", "clip_pretrained.logit_scale")
    assert [name for name in published if name not in hollow and not name[4:].startswith(unread)] == []


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (160, 64)])
def test_a_map_has_half_the_resolution_of_the_image(tiny_network: LSegNetwork, height: int, width: int) -> None:
    assert tiny_network(torch.zeros(2, 3, height, width)).shape == (2, 6, height // 2, width // 2)


def test_every_tapped_block_and_the_class_token_reach_the_map(
    tiny_network: LSegNetwork, generator: torch.Generator
) -> None:
    tiny_network(torch.rand(1, 3, 64, 64, generator=generator)).square().sum().backward()
    assert [name for name, weight in tiny_network.named_parameters() if not weight.grad.any()] == []


def test_positions_are_resized_bilinearly_and_the_class_token_keeps_its_own() -> None:
    positions = torch.tensor([9.0, 0.0, 4.0, 8.0, 12.0]).reshape(1, 5, 1)
    got = resize_positions(positions, (2, 4)).flatten()
    torch.testing.assert_close(got, torch.tensor([9.0, 0.0, 1.0, 3.0, 4.0, 8.0, 9.0, 11.0, 12.0]))
    assert torch.equal(resize_positions(positions, (2, 2)), positions)


def test_maps_are_float32_of_unit_norm_at_half_the_resolution_seen(
    bench: Bench, tiny_network: LSegNetwork, generator: torch.Generator
) -> None:
    (got,) = bench.open(tiny_network, size=96).extract([make_view(random_photo(60, 80, generator))])
    assert got.shape == (6, 32, 48) and got.dtype == torch.float32
    torch.testing.assert_close(got.norm(dim=0), torch.ones(32, 48))


def test_the_photo_is_seen_at_480_pixels_between_minus_one_and_one(bench: Bench) -> None:
    got = bench.open(Pooling()).encode(torch.tensor([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 90, 120))
    expected = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 176, 240)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("multi_scale", [False, True])
def test_how_many_photos_share_a_pass_changes_no_map(
    bench: Bench, tiny_network: LSegNetwork, generator: torch.Generator, multi_scale: bool
) -> None:
    views = [make_view(random_photo(48, 64, generator)) for _ in range(3)]
    alone, together = (
        list(bench.open(tiny_network, size=64, multi_scale=multi_scale, batch=batch).extract(views)) for batch in (1, 2)
    )
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_with_multi_scale_the_map_of_the_mirrored_photo_is_the_mirrored_map(
    bench: Bench, tiny_network: LSegNetwork, generator: torch.Generator
) -> None:
    photo = random_photo(60, 80, generator)
    teacher = bench.open(tiny_network, size=96, multi_scale=True)
    straight, mirrored = teacher.extract([make_view(photo), make_view(photo.flip(1))])
    assert straight.shape == (6, 32, 48)
    torch.testing.assert_close(mirrored.flip(2), straight, rtol=1e-4, atol=1e-5)


def test_with_multi_scale_small_photos_are_seen_whole_and_large_ones_through_windows(bench: Bench) -> None:
    network = Pooling()
    got = bench.open(network, multi_scale=True).encode(torch.full((1, 3, 120, 480), 0.75))
    assert network.seen == {(96, 352), (128, 480), (480, 480)}
    # Four scales, each twice; nothing of the black beside a narrow photo is left in its map.
    torch.testing.assert_close(got, torch.full((1, 3, 64, 240), 8 * 0.5))


def test_with_multi_scale_every_scale_and_window_lies_in_its_place(bench: Bench) -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 352), torch.linspace(0, 1, 480), indexing="ij")
    photo = torch.stack([x, y, x * y])[None]
    single, multi = (bench.open(Pooling(), multi_scale=chosen).encode(photo) for chosen in (False, True))
    torch.testing.assert_close(multi / 8, single, rtol=0, atol=0.01)


def test_the_fingerprint_follows_weights_and_settings_and_not_the_batch(bench: Bench) -> None:
    first = bench.open().fingerprint
    assert bench.open(batch=7, size=480).fingerprint == first
    others = {bench.open(size=512).fingerprint, bench.open(multi_scale=True).fingerprint}
    bench.write({"net.scratch.head1.bias": torch.ones(512)})
    assert len(others | {bench.open().fingerprint, first}) == 4


def test_opening_builds_no_network_and_ignores_other_entries_and_prefixes(bench: Bench) -> None:
    bench.write({"net.auxlayer.weight": torch.zeros(2), "criterion.weight": torch.zeros(3)})
    teacher = bench.open()
    assert not {"_network", "_text_tower"} & vars(teacher).keys()
    assert teacher.knows("anything at all")


def test_text_vectors_have_unit_length_and_come_from_cast_half_precision_weights(
    bench: Bench, generator: torch.Generator
) -> None:
    bias, projection = torch.rand(512, generator=generator).half(), torch.randn(512, 512, generator=generator).half()
    bench.write({name: entry.half() for name, entry in bench.hollow.items() if "clip" in name} | {
        # With all else zero, what the tower says of any text is the last norm's bias, projected.
        "net.clip_pretrained.ln_final.bias": bias,
        "net.clip_pretrained.text_projection": projection,
    })  # fmt: skip
    teacher = bench.open()
    got = teacher.text(["chair", "a photo of a banana", "chair"])
    expected = F.normalize(bias.float() @ projection.float(), dim=0).expand(3, 512)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert not hasattr(teacher._text_tower, "visual")


def test_a_map_comes_from_cast_half_precision_weights_and_loads_no_text(bench: Bench) -> None:
    bench.write({"net.scratch.head1.bias": torch.arange(512.0).half()})
    teacher = bench.open(size=32)
    got = teacher.encode(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(got, torch.arange(512.0).reshape(1, 512, 1, 1).expand(1, 512, 16, 16))
    assert "_text_tower" not in vars(teacher)


@pytest.mark.parametrize("name", ["net.pretrained.model.blocks.7.attn.qkv.weight", "net.scratch.head1.bias"])
def test_a_missing_entry_is_named_with_its_file(bench: Bench, name: str) -> None:
    torch.save({"state_dict": {key: entry for key, entry in bench.hollow.items() if key != name}}, bench.path)
    with pytest.raises(UserError, match=f"{bench.path}.*{name}"):
        bench.open()


def test_an_entry_of_another_shape_is_named_with_both_shapes(bench: Bench) -> None:
    bench.write({"net.pretrained.model.pos_embed": torch.zeros(1, 197, 768)})
    with pytest.raises(UserError, match=rf"{bench.path}.*model.pos_embed.*\[1, 197, 768\].*\[1, 577, 1024\]"):
        bench.open()


def test_entries_of_whole_numbers_are_refused(bench: Bench) -> None:
    bench.write({"net.scratch.head1.bias": torch.arange(512)})
    with pytest.raises(UserError, match=rf"{bench.path}: net\.scratch\.head1\.bias is torch\.int64, expected floats"):
        bench.open()


def test_a_file_without_a_state_dict_is_refused(bench: Bench) -> None:
    torch.save(bench.hollow, bench.path)
    with pytest.raises(UserError, match=f"{bench.path}.*state_dict"):
        bench.open()


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"<html>", lambda data: data[: len(data) // 2]])
def test_a_file_that_is_no_checkpoint_or_half_of_one_is_refused(bench: Bench, damage: Callable) -> None:
    bench.write()
    bench.path.write_bytes(damage(bench.path.read_bytes()))
    with pytest.raises(UserError, match=f"{bench.path}: cannot be read as .*demo_e200.ckpt"):
        bench.open()


def touch(path: str) -> None:
    Path(path).touch()


class Callback:
    """A checkpoint as training writes it."""


class Trap:
    """Calls `function(argument)` where it is unpickled."""

    def __init__(self, function: Callable, argument: str):
        self.call = function, (argument,)

    def __reduce__(self) -> tuple:
        return self.call


def test_what_training_left_in_the_checkpoint_is_neither_needed_nor_executed(bench: Bench, tmp_path: Path) -> None:
    options = argparse.Namespace(lr=0.1, callback=Callback())
    trap = Trap(touch, str(tmp_path / "sprung"))
    bench.write(callbacks={Callback: {"best": np.float64(1)}}, hyper_parameters=options, trap=trap)
    allowed = set(torch.serialization.get_safe_globals())
    assert bench.open().knows("chair")
    assert not (tmp_path / "sprung").exists()
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_a_checkpoint_that_calls_the_system_is_refused(bench: Bench, tmp_path: Path) -> None:
    bench.write(trap=Trap(os.system, f"touch {tmp_path / 'sprung'}"))
    with pytest.raises(UserError, match=f"{bench.path}.*without executing"):
        bench.open()
    assert not (tmp_path / "sprung").exists()


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "lseg" / "golden_seed0.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def seeded(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LSegTeacher]:
    """The teacher on 2 GB of seeded weights, for which the reference network's outputs are known."""
    path = tmp_path_factory.mktemp("lseg") / "seeded.ckpt"
    subprocess.run([sys.executable, str(shared / "lseg" / "seeded_checkpoint.py"), str(path)], check=True)
    yield LSegTeacher(TeacherConfig(checkpoint=path))
    path.unlink()


def relative_error(got: Tensor, expected: np.ndarray) -> float:
    """Largest error, relative to the largest value."""
    return float((got - torch.from_numpy(expected)).abs().max() / np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("size", ["480x480", "352x480"])
def test_maps_are_those_of_the_reference_network(golden: dict, seeded: LSegTeacher, size: str) -> None:
    photo, expected = torch.from_numpy(golden[f"image_{size}"]), golden[f"features_{size}"]
    got = seeded.encode(photo.permute(2, 0, 1)[None].float() / 255)[0]
    assert got.shape == tuple(golden[f"features_shape_{size}"])
    assert relative_error(got[:, ::8, ::8], expected) < 1e-4


@pytest.mark.slow
def test_text_vectors_are_those_of_the_reference_network(golden: dict, seeded: LSegTeacher) -> None:
    expected = golden["text_features"] / np.linalg.norm(golden["text_features"], axis=1, keepdims=True)
    assert relative_error(seeded.text(golden["prompts"].tolist()), expected) < 1e-4
