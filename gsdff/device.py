"""The device that tensors are on."""

import torch

from gsdff.errors import UserError, shown


def choose_device(name: str | torch.device) -> torch.device:
    """The device of a name; `auto` is CUDA if there is a card, otherwise the CPU.

    Raises `UserError` for CUDA without a card, and for a name that is no device.
    """
    if not isinstance(name, str | torch.device):
        raise UserError(f"`device`: expected auto, cpu, cuda or one card such as cuda:0, got {shown(name)}")
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"`device` {name!r}: expected auto, cpu, cuda or one card such as cuda:0") from error
    if device.type == "cuda" and not has_cuda:
        raise UserError("`device` cuda: torch finds no CUDA card here; leave `device` out to use the CPU")
    return device
