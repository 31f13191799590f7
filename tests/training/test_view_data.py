import threading
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.device import send
from gsdff.errors import UserError
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


def test_on_a_card_the_next_view_is_made_ahead_by_another_thread_and_only_while_it_is_wanted(card) -> None:
    made: list[tuple[int, bool]] = []

    def make(view_id: int) -> Tensor:
        made.append((view_id, threading.current_thread() is threading.main_thread()))
        if view_id == 9:
            raise UserError("no such view")
        return send(torch.full((view_id,), float(view_id)), "cuda")

    data = ViewData([], "cuda")
    data.room = 0  # nothing is kept
    cache = data.cache(make)
    data.fetch(3)
    data.fetch(4)  # not begun: nobody has asked for the last one yet
    assert cache[3].tolist() == [3.0] * 3 and made == [(3, False)]
    assert cache[4].tolist() == [4.0] * 4 and made.pop() == (4, True)
    data.fetch(5)
    assert cache[6].tolist() == [6.0] * 6 and cache[5].tolist() == [5.0] * 5
    assert (5, True) in made  # what was made ahead has been dropped, however late its thread came to it
    data.fetch(9)
    with pytest.raises(UserError, match="no such view"):
        cache[9]


def test_nothing_that_is_sent_to_a_card_makes_the_host_wait_and_a_camera_is_sent_once(card) -> None:
    camera, picture = Camera(torch.eye(4), torch.eye(3), 5, 4), torch.zeros(4, 5, 3)
    card.clear()
    assert camera.to("cuda:0") is camera.to("cuda:0")
    assert send(picture, "cuda").is_cuda and card.num_waits == 0
    assert sum(card.bytes_up.values()) == 4 * (16 + 9 + 60)
