"""Poses that are a little off, looked for before the training: by a short one, whose Gaussians are thrown away.

A scene that grows while cameras still move is fitted to photos that contradict each other, and what is left of the
schedule when they have settled is too short for it.
"""

import logging
import math
from dataclasses import replace

from tqdm import tqdm

from gsdff.training.budget import scaled
from gsdff.training.trainer import Trainer

log = logging.getLogger("gsdff")

SHARE = 0.25
"""Steps and Gaussians of the short training, as a share of those of stage 1."""
RATES = (0.2, 0.004)
"""Learning rates of poses in it, at its start and at its end, in pixels."""
START = 0.05
"""Share of it before poses move."""


def find_poses(trainer: Trainer) -> None:
    """Moves the training photos' cameras of a trainer that has not begun to where a short training finds them.

    Does nothing unless the trainer refines poses. The trainer's Gaussians, random numbers and steps stay.
    """
    refined = trainer.radiance.poses
    if not refined.is_on:
        return
    config = replace(trainer.config, stage1=scaled(trainer.config.stage1, SHARE))
    initial = trainer.gaussians.map(lambda tensor: tensor.detach().clone())
    brief = Trainer(config, trainer.scene, trainer.device, initial)
    found, steps = brief.radiance.poses, config.stage1.steps
    found.rates, found.start = RATES, START
    with tqdm(total=steps, desc="poses", unit="step", leave=False) as bar:
        while (before := brief.step) < steps:
            brief.advance()
            bar.update(brief.step - before)
    refined.start_from(found)
    turns, shifts = (part.norm(dim=-1).median() for part in refined.motions.detach().split(3, dim=-1))
    log.info(
        "poses: found in %s steps that do not count; photos have turned by %.2f degrees and moved by %.1f %% of the "
        "cameras' radius (medians)",
        f"{steps:,}", math.degrees(float(turns)), 100 * float(shifts),
    )  # fmt: skip
