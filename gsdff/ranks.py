"""Ranks: the processes of one job, as torchrun starts them; a process on its own is a job of one rank.

    with joined("auto") as ranks:  # a door joins the job that the environment describes
        for name, result in zip(names, ranks.collect(map(score, ranks.share(names)), len(names))):
            ...

All ranks run the same code, and every rank calls the methods that exchange something in the same order. Of each item of
work, `share` gives one rank its part, and `collect` gives all ranks all results in the order of the items. What is
written or shown is so by the first rank. Tensors are exchanged by NCCL on cards and by gloo on CPUs, objects by gloo.

The job of the process is read with `this_job()`, as torch's own group belongs to the process too.
"""

import logging
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, TypeVar

from gsdff.errors import UserError, shown
from gsdff.rank_watch import RankWatch

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("gsdff")

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""Longest wait for another rank: a teacher may take hours, and a rank that has ended is noticed by `RankWatch`."""
HASH_PIECE = 1 << 20
"""Numbers of a tensor that are hashed at a time."""


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of its job."""

    rank: int = 0
    """Number of this process, from 0."""
    world_size: int = 1
    """Number of ranks."""
    local_rank: int = 0
    """Number of this process on its machine, which is that of its card."""

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes, logs and shows progress."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items that are this rank's: every `world_size`-th."""
        return items[self.rank :: self.world_size]

    def collect(self, own: Iterable[T], total: int) -> Iterator[T]:
        """Yields the results of all ranks, in the order of the items; `own` are those of this rank's share.

        Ranks advance together, each by one result, so that no more than `world_size` results are held. Of an even share
        the result that belongs to no item is left out.
        """
        if self.world_size == 1:
            yield from own
            return
        results = iter(own)
        for start in range(0, total, self.world_size):
            own_result = [*islice(results, 1)]
            for result in self.gather(own_result if start + self.rank < total else []):
                yield from result

    def share_evenly(self, items: Sequence[T]) -> list[T]:
        """This rank's share, as long as that of any other: one that has none in the last round gets the last item.

        For work that all ranks do together, such as rendering Gaussians of which each holds a part.
        """
        rounds = range(0, len(items), self.world_size)
        return [items[min(start + self.rank, len(items) - 1)] for start in rounds]

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, on all of them."""
        values = [value] * self.world_size
        if self.world_size > 1:
            with _named_losses():
                _dist().all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        """The value of the first rank."""
        values = [value]
        if self.world_size > 1:
            with _named_losses():
                _dist().broadcast_object_list(values)
        return values[0]

    def wait(self) -> None:
        """Returns when all ranks have come here."""
        self.gather(None)

    def add_up(self, tensors: Sequence["Tensor"]) -> None:
        """Replaces tensors of one type by their sums over the ranks, which are the same bits on all of them."""
        if self.world_size == 1 or not tensors:
            return
        import torch

        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        with _named_losses():
            _dist().all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(total.view_as(tensor))

    def sum(self, value: int) -> int:
        """The sum of a number over the ranks."""
        return sum(self.gather(value))

    def trade(
        self, rows: "Tensor", counts: Sequence[int], expected: Sequence[int] | None = None
    ) -> tuple["Tensor", list[int]]:
        """Gives every rank some rows: the first `counts[0]` to rank 0, the next `counts[1]` to rank 1, and so on.

        Returns the rows that came, by the rank that they come from, and how many came from each. Ranks that know these
        numbers (all, or none) give them as `expected`.
        """
        if self.world_size == 1:
            return rows, [len(rows)]
        import torch

        with _named_losses():
            if expected is None:
                announced = torch.empty(self.world_size, dtype=torch.int64)
                _dist().all_to_all_single(announced, torch.tensor([*counts], dtype=torch.int64))
                expected = announced.tolist()
            came = rows.new_empty(sum(expected), *rows.shape[1:])
            _dist().all_to_all_single(came, rows.detach().contiguous(), [*expected], [*counts])
        return came, [*expected]

    def average(self, tensors: Sequence["Tensor"]) -> None:
        """Replaces tensors of one type by their means over the ranks."""
        self.add_up(tensors)
        if self.world_size > 1:
            for tensor in tensors:
                tensor.detach().div_(self.world_size)

    def require_equal(self, facts: Mapping[str, Any], *, remedy: str) -> None:
        """Raises `UserError`, on all ranks, that names the first fact in which ranks differ, and those ranks."""
        everyone = self.gather(dict(facts))
        for name, value in everyone[0].items():
            others = [rank for rank, own in enumerate(everyone) if own.get(name) != value]
            if others:
                theirs = shown(everyone[others[0]].get(name))
                raise UserError(
                    f"{name}: {describe_ranks(others)} {'has' if len(others) == 1 else 'have'} {theirs}, "
                    f"rank 0 has {shown(value)}; {remedy}"
                )

    def require_equal_tensors(self, tensors: Mapping[str, "Tensor"], *, remedy: str) -> None:
        """Raises `UserError`, on all ranks, if a tensor has other bits on some of them."""
        if self.world_size > 1:
            self.require_equal({name: hash_bits(tensor) for name, tensor in tensors.items()}, remedy=remedy)

    def who_see(self, folder: Path) -> "Ranks":
        """This rank among those that see the same folder: all of them, or those of its machine if it is local.

        Only for `share` and `is_first`: the result exchanges nothing. The folder must exist.
        """
        if self.world_size == 1:
            return self
        job = self.from_first(secrets.token_hex(8))
        mark = folder / f".rank-{job}-{self.rank}"
        mark.touch()
        self.wait()
        seen = sorted(rank for rank in range(self.world_size) if (folder / f".rank-{job}-{rank}").exists())
        self.wait()
        mark.unlink()
        return Ranks(seen.index(self.rank), len(seen), self.local_rank)


_job = [Ranks()]
"""The job of this process, the last one joined at the end."""


def this_job() -> Ranks:
    """The ranks of the job that this process has joined; a single one outside `joined`."""
    return _job[-1]


@contextmanager
def joined(device: str = "auto", *, on_loss: str = "start the command again") -> Iterator[Ranks]:
    """Joins the job that torchrun's environment variables describe, until the end of the block.

    If a rank ends in the block in any way, the others end within seconds, and one of them names it and prints
    `on_loss`. Raises `UserError` if the ranks cannot work together on this device.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    found = [os.environ.get(name) for name in names]
    if None in found or found[1] == "1" or len(_job) > 1:
        yield this_job()
        return
    ranks = Ranks(*(int(value or 0) for value in found[:3]))
    _start_group(device, ranks.local_rank)
    _job.append(ranks)
    processes = ranks.gather(f"rank {ranks.rank}, process {os.getpid()} on {socket.gethostname()}")
    with RankWatch(ranks.rank, processes, on_loss) as watch:
        server, own_port = watch.open_port()
        port, token = ranks.from_first((own_port, secrets.token_bytes(16)))
        if server is not None:
            watch.accept(server, token)
        else:
            watch.connect(os.environ["MASTER_ADDR"], port, token)
        log.info("%d ranks work together, by %s", ranks.world_size, _dist().get_backend())
        yield ranks
        ranks.wait()
    _job.pop()
    _dist().destroy_process_group()


def describe_ranks(ranks: Sequence[int]) -> str:
    """Ranks in a message: "rank 3", or "ranks 1, 2, 5"."""
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


def hash_bits(tensor: "Tensor") -> int:
    """A number that two tensors of other bits are unlikely to share; computed where the tensor is."""
    import torch

    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for start, piece in enumerate(tensor.detach().contiguous().flatten().split(HASH_PIECE)):
        values = piece.view(torch.int32 if piece.element_size() == 4 else torch.uint8).long()
        # odd factors, so that no bit is lost in the 64 that a sum keeps
        factors = torch.arange(1, 2 * len(values), 2, device=tensor.device) + 2 * start * HASH_PIECE
        total += (values * factors * 0x5851F42D4C957F2D).sum()
    return hash((int(total), tuple(tensor.shape)))


def _start_group(device: str, local_rank: int) -> None:
    import torch

    num_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not _dist().is_available() or not _dist().is_gloo_available():
        raise UserError(
            "this torch has no gloo, by which ranks talk; install the usual build of torch, or use one rank"
        )
    backend = "gloo"
    if device != "cpu" and (num_cards := torch.cuda.device_count()):
        if num_here > num_cards:
            raise UserError(
                f"{num_here} ranks on this machine and {num_cards} CUDA cards: expected as many ranks as cards at most "
                "(torchrun --nproc-per-node); or set `device` to cpu"
            )
        if not _dist().is_nccl_available():
            raise UserError("this torch has no NCCL, by which cards talk; install torch for CUDA, or use one rank")
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    _dist().init_process_group(backend, timeout=PATIENCE)


def _dist() -> Any:
    """torch.distributed, which loads torch: a door's help does without."""
    import torch.distributed

    return torch.distributed


@contextmanager
def _named_losses() -> Iterator[None]:
    """Leaves the word to the `RankWatch`, which names the rank, if an exchange fails because a rank has ended."""
    try:
        yield
    except RuntimeError:
        sleep(3)
        raise
