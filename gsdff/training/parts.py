"""Parts of a scene in training: every rank holds some of the Gaussians, with their moments and their statistics.

A part is a run of rows of the whole scene, in the order of the ranks. Gaussians are added to and removed from each part
by the rank that holds it, by the same rules as for a whole scene; sums and limits are those of the scene.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.gaussians import Gaussians
from gsdff.io.checkpoint import save_part, save_parts, snapshot
from gsdff.ranks import this_job
from gsdff.routes import find_starts
from gsdff.training.densify import CappedStrategy, HalvingStrategy, Optimizers, Params

MOST_UNEVEN = 1.1
"""Largest part, as a multiple of the mean, before Gaussians move to other ranks."""


def shares_gaussians(config: TrainConfig) -> bool:
    """Whether the ranks of this job hold a part of the scene each."""
    return config.shard == "gaussians" and this_job().world_size > 1


def choose_strategy(config: TrainConfig) -> Callable[..., CappedStrategy] | None:
    """Densification of parts, by the option `stage1.strategy`; None if this rank holds the whole scene."""
    if not shares_gaussians(config):
        return None
    return HalvingPartStrategy if config.stage1.strategy == "halves" else partial(PartStrategy, seed=config.seed)


def own_rows(total: int) -> slice:
    """Rows of a scene that are this rank's, if all ranks hold as many."""
    ranks = this_job()
    return slice(*(total * rank // ranks.world_size for rank in (ranks.rank, ranks.rank + 1)))


def add_parts(gaussians: Gaussians, number: int) -> int:
    """The sum of a number over the parts of a scene, or the number itself if these Gaussians are all of it."""
    return this_job().sum(number) if gaussians.is_part else number


def count_all(gaussians: Gaussians) -> int:
    """Number of Gaussians of the scene; all ranks call it if they hold a part each."""
    return add_parts(gaussians, len(gaussians))


def share_of_mean(gaussians: Gaussians) -> float:
    """What a Gaussian counts in a mean over the scene, of which ranks then take the mean, as of the loss of a view."""
    return (this_job().world_size if gaussians.is_part else 1) / count_all(gaussians)


def join_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks, in their order, on the first rank; none on the others."""
    return this_job().trade(rows, [len(rows)] + [0] * (this_job().world_size - 1))[0]


def divide_rows(rows: Tensor, num_own: int) -> Tensor:
    """This rank's rows of those that the first one has, `num_own` of them; others give an empty tensor of the kind."""
    ranks = this_job()
    sizes = ranks.gather(num_own)
    counts = sizes if ranks.is_first else [0] * ranks.world_size
    return ranks.trade(rows, counts)[0]


def find_own_rows(gaussians: Gaussians) -> slice:
    """Rows of the scene that these Gaussians are: those of this rank, or all."""
    if not gaussians.is_part:
        return slice(len(gaussians))
    return slice(*find_starts(len(gaussians))[this_job().rank :][:2])


def save_own_part(state: dict[str, Any], step: int, folder: Path) -> None:
    """Writes a checkpoint of parts, of which each rank writes its own; it is complete when this returns."""
    ranks = this_job()
    token = ranks.from_first(secrets.token_hex(8))
    save_part(folder, step, snapshot(state), ranks.rank, ranks.world_size, token)
    ranks.wait()
    if ranks.is_first:
        save_parts(folder, step, ranks.world_size, token)
    ranks.wait()


@dataclass
class _StrategyOfParts(CappedStrategy):
    """Densification of a part; `max_gaussians` is that of the scene, and so are the gradients that grow first."""

    def step_post_backward(
        self,
        params: Params | torch.nn.ParameterDict,
        optimizers: Optimizers,
        state: dict[str, Any],
        step: int,
        info: dict[str, Any],
        packed: bool = False,
    ) -> None:
        """Adds and removes Gaussians as gsplat does; afterwards parts may be made even."""
        super().step_post_backward(params, optimizers, state, step, info, packed)
        if step > self.refine_start_iter and step % self.refine_every == 0:
            make_even(params, optimizers, state)

    def _update_state(
        self, params: Params | torch.nn.ParameterDict, state: dict[str, Any], info: dict[str, Any], packed: bool = False
    ) -> None:
        """Adds the gradients of this rank's Gaussians in the cameras of all ranks to the running sums."""
        means2d = info[self.key_for_gradient]
        lengths = ((means2d.absgrad if self.absgrad else means2d.grad) * info["half_sizes"]).norm(dim=-1)
        for name, values in {"grad2d": lengths, "count": torch.ones_like(lengths)}.items():
            total = lengths.new_zeros(len(params["means"])).index_add_(0, info["gaussian_ids"], values)
            state[name] = total if state[name] is None else state[name] + total


@dataclass
class PartStrategy(_StrategyOfParts):
    """Growth of a part by clones and splits, as 3DGS does.

    Splits draw from a generator seeded by seed, step and rank, as ranks split different numbers of Gaussians and share
    all other random numbers.
    """

    seed: int = 0

    @torch.no_grad()
    def _grow_gs(
        self, params: Params | torch.nn.ParameterDict, optimizers: Optimizers, state: dict[str, Any], step: int
    ) -> tuple[int, int]:
        ranks, threshold = this_job(), self.grow_grad2d
        room = max(0, self.max_gaussians - ranks.sum(len(params["means"])))
        gradients = state["grad2d"] / state["count"].clamp_min(1)
        if ranks.sum(int((gradients > threshold).sum())) > room:
            self.grow_grad2d = find_largest(gradients, room + 1)
        cards = [gradients.device] if gradients.is_cuda else []
        try:
            with torch.random.fork_rng(cards):
                torch.manual_seed(((self.seed * 1_000_003 + step) * ranks.world_size + ranks.rank) % (1 << 63))
                return super(CappedStrategy, self)._grow_gs(params, optimizers, state, step)  # gsplat's own
        finally:
            self.grow_grad2d = threshold


@dataclass
class HalvingPartStrategy(_StrategyOfParts, HalvingStrategy):
    """Growth of a part by halves: as many as the whole scene would halve, and the same ones."""

    def _sum(self, number: int) -> int:
        return this_job().sum(number)

    def _find_largest_rows(self, values: Tensor, num: int) -> Tensor:
        """This rank's rows among the `num` largest values of all ranks; of equal values, those of the first ranks."""
        ranks, least = this_job(), find_largest(values, num)
        is_above, is_equal = values > least, values == least
        room = num - ranks.sum(int(is_above.sum()))
        taken = sum(ranks.gather(int(is_equal.sum()))[: ranks.rank])
        is_equal &= is_equal.cumsum(0) <= room - taken
        return (is_above | is_equal).nonzero()[:, 0]


def find_largest(values: Tensor, place: int) -> float:
    """The `place`-th largest of the numbers that all ranks hold, float32 of at least 0.

    Found bit by bit from how many are larger, so that no rank holds those of others.
    """
    bits, low, high = values.view(torch.int32), 0, 0x7F800000
    while low < high:  # bits of such numbers have their order
        middle = (low + high + 1) // 2
        low, high = (middle, high) if this_job().sum(int((bits >= middle).sum())) >= place else (low, middle - 1)
    return float(torch.tensor(low, dtype=torch.int32).view(torch.float32))


@torch.no_grad()
def make_even(params: Params | torch.nn.ParameterDict, optimizers: Optimizers, state: dict[str, Any]) -> None:
    """Moves Gaussians between ranks, with moments and running sums, if a part has become too large; in place.

    The scene keeps its order, in which each rank then holds as many rows as any other.
    """
    ranks = this_job()
    sizes = ranks.gather(len(params["means"]))
    if max(sizes) * ranks.world_size <= MOST_UNEVEN * sum(sizes):
        return
    counts = divide(sizes, ranks.rank)

    def move(tensor: Tensor) -> Tensor:
        return ranks.trade(tensor, counts)[0]

    for name, parameter in params.items():
        optimizer = optimizers[name]
        moments = _complete(optimizer.state.pop(parameter, {}), parameter)
        params[name] = torch.nn.Parameter(move(parameter))
        optimizer.param_groups[0]["params"] = [params[name]]
        optimizer.state[params[name]] = {
            key: moment if key == "step" else move(moment) for key, moment in moments.items()
        }
    state |= {key: move(value) for key, value in state.items() if isinstance(value, Tensor)}


def _complete(moments: dict[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """A state of Adam that has all its tensors if that of any rank has: an empty part has made no step."""
    step = max(this_job().gather(float(moments["step"]) if moments else 0.0))
    if moments or step == 0:
        return moments
    zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.tensor(step, device=parameter.device), **zeros}


def divide(sizes: Sequence[int], rank: int) -> list[int]:
    """Numbers of rows that this rank gives to each, so that all hold as many; `sizes` are those they hold now."""
    start, total = sum(sizes[:rank]), sum(sizes)
    bounds = [total * other // len(sizes) for other in range(len(sizes) + 1)]
    stop = start + sizes[rank]
    return [max(0, min(stop, bounds[i + 1]) - max(start, bounds[i])) for i in range(len(sizes))]
