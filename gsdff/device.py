"""The device that tensors are on, and the way to it."""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from gsdff.errors import UserError, shown
from gsdff.ranks import this_job


def choose_device(name: str | torch.device) -> torch.device:
    """The device of a name; `auto` is CUDA if there is a card, otherwise the CPU. Each rank of a job has its own card.

    Raises `UserError` for CUDA without a card, and for a name that is no device.
    """
    if not isinstance(name, str | torch.device):
        raise UserError(f"`device`: expected auto, cpu, cuda or one card such as cuda:0, got {shown(name)}")
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_cuda else "cpu"
    if name == "cuda" and has_cuda and this_job().world_size > 1:
        name = f"cuda:{this_job().local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"`device` {name!r}: expected auto, cpu, cuda or one card such as cuda:0") from error
    if device.type == "cuda" and not has_cuda:
        raise UserError("`device` cuda: torch finds no CUDA card here; leave `device` out to use the CPU")
    return device


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on `device`, copied to a card from pinned memory: the host does not wait for the card's work."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@cache
def find_triton_obstacle() -> str:
    """Why kernels written in Triton do not run on the card; empty if they do. Tries one."""
    if find_spec("triton") is None:
        return "Triton is not installed, which comes with torch on Linux"
    from gsdff.triton import try_kernel  # loads Triton

    return try_kernel()


def wait_for(device: torch.device) -> None:
    """Waits until a card has done all its work; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_bytes(device: torch.device) -> int:
    """Free memory of a card."""
    return torch.cuda.mem_get_info(device)[0]
