from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from gsdff.training import view_data
from gsdff.training.view_data import ViewData


@dataclass
class Maker:
    """Makes vectors of as many floats as the id of the view, and records the ids."""

    made: list[int] = field(default_factory=list)

    def __call__(self, view_id: int) -> Tensor:
        self.made.append(view_id)
        return torch.full((view_id,), float(view_id))


def test_only_what_fits_is_kept_in_all_caches_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_data, "CPU_BYTES", 4 * 6)  # six floats
    data, maker, other = ViewData([], "cpu"), Maker(), Maker()
    cache, also = data.cache(maker), data.cache(other)
    for _ in range(2):
        assert cache[3].tolist() == [3.0] * 3 and also[2].tolist() == [2.0] * 2
        assert cache[8].tolist() == [8.0] * 8
    assert maker.made == [3, 8, 8] and other.made == [2]
    cache.clear()
    assert also[4].tolist() == [4.0] * 4 and also[4].tolist() == [4.0] * 4
    assert other.made == [2, 4]
    cache[3]
    assert maker.made == [3, 8, 8, 3]


def test_values_of_several_tensors_count_by_all_of_them() -> None:
    @dataclass
    class Pair:
        one: Tensor
        name: str
        inner: object

    assert view_data.count_bytes(Pair(torch.zeros(3), "", Pair(torch.zeros(2, dtype=torch.uint8), "", None))) == 14


def test_on_a_cpu_nothing_is_made_ahead() -> None:
    data, maker = ViewData([], "cpu"), Maker()
    cache = data.cache(maker)
    data.fetch(3)
    assert maker.made == []
    cache[3]
    assert maker.made == [3]
