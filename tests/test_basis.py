"""The basis: leading directions, their energy, their signs, the file."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsdff.errors import UserError
from gsdff.files.writing import save_tensors
from gsdff.latents import BASIS_FORMAT, Basis, fit_basis


def random_moment(channels: int, rank: int, seed: int = 0) -> torch.Tensor:
    features = torch.randn(channels, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return features @ features.T


def test_two_directions_of_three_by_hand() -> None:
    # 9 units of energy along (0.6, -0.8, 0), 3 along z, 1 across: two directions keep 12 of 13.
    along, across = torch.tensor([0.6, -0.8, 0.0]).double(), torch.tensor([0.8, 0.6, 0.0]).double()
    moment = 9 * along.outer(along) + across.outer(across) + torch.diag(torch.tensor([0.0, 0.0, 3.0]).double())
    basis = fit_basis(moment, 2)
    # The largest entry of a column is positive: -0.8 flips the first.
    torch.testing.assert_close(basis.B, torch.tensor([[-0.6, 0.0], [0.8, 0.0], [0.0, 1.0]]))
    assert basis.energy == pytest.approx(12 / 13)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 12), st.integers(1, 11), st.integers(0, 1000))
def test_columns_are_orthonormal_and_energy_is_the_share_kept(channels: int, rank: int, dim: int, seed: int) -> None:
    features = torch.randn(channels, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    basis = fit_basis(features @ features.T, dim)
    B = basis.B.double()
    assert basis.B.dtype == torch.float32 and B.shape == (channels, min(dim, channels))
    torch.testing.assert_close(B.T @ B, torch.eye(B.shape[1], dtype=torch.float64), atol=1e-6, rtol=0)
    kept = (B.T @ features).square().sum() / features.square().sum()
    assert basis.energy == pytest.approx(float(kept), abs=1e-6)


def test_no_other_subspace_keeps_more(generator: torch.Generator) -> None:
    moment = random_moment(8, 20)
    best = fit_basis(moment, 3)
    for _ in range(20):
        other = torch.linalg.qr(torch.randn(8, 3, generator=generator, dtype=torch.float64)).Q
        assert float((other.T @ moment @ other).trace() / moment.trace()) <= best.energy + 1e-12


def test_as_many_dimensions_as_the_rank_keep_everything() -> None:
    assert fit_basis(random_moment(10, 4), 4).energy == pytest.approx(1.0, abs=1e-12)


def test_all_channels_give_the_identity() -> None:
    basis = fit_basis(random_moment(5, 9), 5)
    assert torch.equal(basis.B, torch.eye(5)) and basis.energy == 1.0


def test_more_than_all_channels_are_clipped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="gsdff"):
        basis = fit_basis(random_moment(5, 9), 32)
    assert torch.equal(basis.B, torch.eye(5))
    assert "32 is more than the teacher's 5 channels" in caplog.text


def test_a_basis_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    basis = fit_basis(random_moment(6, 9), 2, teacher="toy", fingerprint="abc")
    basis.save(tmp_path / "basis.safetensors")
    back = Basis.load(tmp_path / "basis.safetensors")
    assert torch.equal(back.B, basis.B)
    assert (back.energy, back.teacher, back.fingerprint) == (basis.energy, "toy", "abc")
    assert [path.name for path in tmp_path.iterdir()] == ["basis.safetensors"]


@pytest.mark.parametrize("content", [None, b"", b"no safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_what_is_no_basis_is_refused_with_the_files_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "basis.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"basis\.safetensors: "):
        Basis.load(path)


FACTS = {"format": BASIS_FORMAT, "energy": "0.5", "teacher": "toy", "fingerprint": "abc"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_basis_of_another_precision_becomes_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "basis.safetensors"
    save_tensors(path, {"B": torch.eye(4, 2, dtype=dtype)}, FACTS)
    assert torch.equal(Basis.load(path).B, torch.eye(4, 2))


@pytest.mark.parametrize(
    ("B", "facts", "message"),
    [
        (torch.ones(4, 2, dtype=torch.bool), {}, r"expected a basis B .* got torch.bool \[4, 2\]"),
        (torch.ones(4, 2, dtype=torch.int64), {}, "got torch.int64"),
        (torch.ones(4), {}, r"got torch.float32 \[4\]"),
        (torch.ones(4, 0), {}, r"got torch.float32 \[4, 0\]"),
        (torch.ones(2, 4), {}, r"K at most T, got torch.float32 \[2, 4\]"),
        (torch.full((4, 2), torch.nan), {}, "of finite numbers"),
        (None, {}, "got none"),
        (torch.eye(4), {"energy": None}, "has no energy, which a basis has"),
        (torch.eye(4), {"fingerprint": None, "teacher": None}, "has no teacher and no fingerprint"),
        (torch.eye(4), {"energy": "much"}, "expected an energy from 0 to 1, got 'much'"),
        (torch.eye(4), {"energy": "nan"}, "expected an energy from 0 to 1, got 'nan'"),
        (torch.eye(4), {"format": "other"}, "expected a gsdff-basis-1 file, got other"),
    ],
)
def test_a_basis_with_missing_or_misshapen_content_is_refused(tmp_path: Path, B, facts, message) -> None:
    path = tmp_path / "basis.safetensors"
    metadata = {name: value for name, value in (FACTS | facts).items() if value is not None}
    save_tensors(path, {"C": torch.zeros(1)} if B is None else {"B": B}, metadata)
    with pytest.raises(UserError, match=rf"basis\.safetensors: .*{message}.*train stage 2 again"):
        Basis.load(path)


def test_maps_of_zeros_have_a_basis_that_can_be_read_back(tmp_path: Path) -> None:
    fit_basis(torch.zeros(4, 4, dtype=torch.float64), 2).save(tmp_path / "basis.safetensors")
    assert Basis.load(tmp_path / "basis.safetensors").energy == 0
