"""Things of a run whose answers are known: two chairs, a lamp, and Gaussians that are in no thing."""

from pathlib import Path

import torch
from tiny_answers import write_asked_run
from tiny_run import TinyRun

from gsdff.run_folder import RunFolder
from gsdff.things import Things
from gsdff.things.store import save_things

INSTANCES = [1] * 20 + [2] * 10 + [3] * 20 + [0] * 10
"""Things of the 60 Gaussians of `tiny_answers`, of which the first 30 say chair, the others lamp."""


def write_things(run: Path) -> Things:
    """Adds the things to a run of 60 Gaussians; every Gaussian of thing 1 is a bit of thing 2 too."""
    ids = torch.tensor(INSTANCES).int()
    shares = torch.where(ids > 0, 0.8, 0.0)
    second = torch.where(ids == 1, 2, 0).int()
    members = torch.stack([ids, second], 1)
    shares = torch.stack([shares, torch.where(ids == 1, 0.2, 0.0)], 1)
    things = Things(members, shares, (ids > 0).int(), torch.tensor([9.0, 5, 7]), [])
    save_things(RunFolder(run).things, things)
    return things


def write_run_of_things(root: Path, generator: torch.Generator) -> TinyRun:
    """`write_asked_run` with the things."""
    run = write_asked_run(root, generator)
    write_things(run.folder)
    return run
