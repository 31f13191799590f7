"""Poses that are a little off, looked for before the training: by short ones, whose Gaussians are thrown away.

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

GAUSSIANS = 0.25
"""Gaussians of the short trainings, as a share of those of stage 1."""
ROUNDS = ((0.25, (0.2, 0.004)), (0.5, (0.1, 0.002)))
"""Short trainings, one after the other: steps as a share of those of stage 1, and learning rates of poses at the start
and at the end, in pixels. The first brings cameras near, and the second starts from a scene without its blur."""
START = 0.05
"""Share of each before poses move."""


def find_poses(trainer: Trainer) -> None:
    """Moves the training photos' cameras of a trainer that has not begun to where short trainings find them.

    Does nothing unless the trainer refines poses. The trainer's Gaussians, random numbers and steps stay.
    """
    refined = trainer.radiance.poses
    if not refined.is_on:
        return
    shortened = [scaled(trainer.config.stage1, share) for share, _ in ROUNDS]
    num = max(1, round(GAUSSIANS * trainer.config.stage1.max_gaussians))
    total = sum(stage1.steps for stage1 in shortened)
    with tqdm(total=total, desc="poses", unit="step", leave=False) as bar:
        for stage1, (_, rates) in zip(shortened, ROUNDS, strict=True):
            config = replace(trainer.config, stage1=replace(stage1, max_gaussians=num))
            initial = trainer.gaussians.map(lambda tensor: tensor.detach().clone())
            brief = Trainer(config, trainer.scene, trainer.device, initial)
            found = brief.radiance.poses
            found.rates, found.start = rates, START
            found.start_from(refined)
            while (before := brief.step) < stage1.steps:
                brief.advance()
                bar.update(brief.step - before)
            refined.start_from(found)
    turns, shifts = (part.norm(dim=-1).median() for part in refined.motions.detach().split(3, dim=-1))
    log.info(
        "poses: found in %s steps that do not count; photos have turned by %.2f degrees and moved by %.1f %% of the "
        "cameras' radius (medians)",
        f"{total:,}", math.degrees(float(turns)), 100 * float(shifts),
    )  # fmt: skip
