"""Pace of a training by several ranks: how many steps a round counts as, and what that does to rates.

In a round every rank shows one view. With N ranks it counts as N steps, so that all options that count steps keep their
meaning, views shown, and a job needs a Nth of the rounds. Gradients are means over N views, so Adam's learning rates
grow by the square root of N; its memory, a number of views, stays (both decay rates to the power N), and so does the
ratio of its epsilon to the noise of a gradient (divided by the square root). Rates and decay follow Grendel (Zhao et
al. 2024). With `count_views` off a round is one step, with the rates of one rank.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.ranks import Ranks, this_job


@dataclass(frozen=True)
class Pace:
    """Steps that a round of all ranks counts as."""

    ranks: Ranks
    counts_views: bool

    @staticmethod
    def of(config: TrainConfig) -> "Pace":
        """Pace of this process's job."""
        return Pace(this_job(), config.count_views)

    @property
    def stride(self) -> int:
        """Number of steps in a round."""
        return self.ranks.world_size if self.counts_views else 1

    def turn(self, step: int) -> int:
        """Place, in the order of all views shown, of the view that this rank shows in the round after `step` steps."""
        return step * (self.ranks.world_size // self.stride) + self.ranks.rank

    @property
    def rate_factor(self) -> float:
        """Factor of learning rates."""
        return self.stride**0.5

    def make_adam(self, parameter: Tensor, rate: float, eps: float) -> torch.optim.Adam:
        """An optimizer for the rate and the epsilon of one rank."""
        betas = (0.9**self.stride, 0.999**self.stride)
        return torch.optim.Adam(
            [parameter], lr=rate * self.rate_factor, eps=eps / self.rate_factor, betas=betas, fused=True
        )


def is_due(before: int, step: int, every: int) -> bool:
    """Whether a multiple of `every` was reached since `before` steps."""
    return step // every > before // every


def view_at(step: int, train_ids: list[int], seed: int) -> int:
    """Training view of a step: every pass over the views has a random order of its own."""
    epoch, index = divmod(step, len(train_ids))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return train_ids[torch.randperm(len(train_ids), generator=generator)[index]]
