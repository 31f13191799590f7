"""Things on disk: what is saved is read, and anything else is refused in words."""

import pytest
import torch

from gsdff.errors import UserError
from gsdff.files.writing import save_tensors
from gsdff.things import Things
from gsdff.things.store import load_things, save_things


def make_things() -> Things:
    members = torch.tensor([[1, 2], [2, 0], [0, 0]]).int()
    owners = [torch.tensor([0, 1, 2]).int(), torch.tensor([0, 2]).int()]
    return Things(members, members / 4, torch.tensor([1, 2, 0]).int(), torch.tensor([9.0, 3.0]), owners)


def test_things_are_read_as_they_were_saved(tmp_path):
    things, path = make_things(), tmp_path / "things.safetensors"
    save_things(path, things)
    read = load_things(path, 3)
    for name in ("members", "shares", "parts", "sizes"):
        assert torch.equal(getattr(read, name), getattr(things, name))
    assert [owner.tolist() for owner in read.owners] == [[0, 1, 2], [0, 2]]
    assert read.instance_ids.tolist() == [1, 2, 0] and read.confidences.tolist() == [-0.25, 0.5, 0]


def test_a_missing_file_and_things_of_other_gaussians_are_refused(tmp_path):
    path = tmp_path / "things.safetensors"
    with pytest.raises(UserError, match=r"missing, the run has no things; join masks into some with `gsdff train"):
        load_things(path, 3)
    save_things(path, make_things())
    with pytest.raises(UserError, match="expected things of 4 Gaussians, got those of 3"):
        load_things(path, 4)


@pytest.mark.parametrize("kind", ["gsdff-basis-1", "gsdff-things-1"])
def test_another_file_is_refused(tmp_path, kind):
    save_tensors(tmp_path / "x.safetensors", {"B": torch.eye(2)}, {"format": kind})
    with pytest.raises(UserError, match="expected"):
        load_things(tmp_path / "x.safetensors", 2)
