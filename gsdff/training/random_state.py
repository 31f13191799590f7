"""Random numbers of a run, apart from those of the program around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class RandomState:
    """State of torch's global generators that belongs to one run, and is swapped in while the run draws.

    gsplat's splits draw from the global generators, so that a run cannot simply use generators of its own.
    """

    def __init__(self, seed: int, device: torch.device):
        self.cuda_devices = [device] if device.type == "cuda" else []
        self.cpu = torch.Generator().manual_seed(seed).get_state()
        self.cuda = [torch.Generator(cuda).manual_seed(seed).get_state() for cuda in self.cuda_devices]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Draws inside the block continue this state; the global generators are restored after it."""
        with torch.random.fork_rng(self.cuda_devices):
            torch.set_rng_state(self.cpu)
            for device, state in zip(self.cuda_devices, self.cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
            self.cpu = torch.get_rng_state()
            self.cuda = [torch.cuda.get_rng_state(device) for device in self.cuda_devices]

    def state_dict(self) -> dict[str, Any]:
        """State of both generators; None for CUDA if the run is on the CPU."""
        return {"cpu": self.cpu, "cuda": self.cuda[0] if self.cuda else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`; CUDA starts from the seed if the run was on the CPU before.

        Raises an error of torch for what is no state of a generator.
        """
        torch.Generator().set_state(state["cpu"])
        self.cpu = state["cpu"]
        if self.cuda and state["cuda"] is not None:
            torch.Generator(self.cuda_devices[0]).set_state(state["cuda"])
            self.cuda = [state["cuda"]]
