"""Options of the tiny trainings that jobs of several ranks do, and what those that train whole runs share."""

import shutil
from dataclasses import replace

import torch
from tiny_scene import TinyDataset

from gsdff.config.options import Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.training.run import train_run
from gsdff.training.trainer import Trainer

STAGE1 = Stage1Config(
    steps=24, sh_degree=1, sh_interval=8, refine_start=4, refine_every=5, refine_stop=20, grow_grad2d=1e-5,
    reset_every=0, max_gaussians=70,
)  # fmt: skip
CONFIG = TrainConfig(
    teacher=TeacherConfig(name="none"), stage1=STAGE1, stage2=Stage2Config(steps=6), log_every=4, picture_every=12,
    checkpoint_every=10, device="cpu",
)  # fmt: skip


def write_photos_and_maps(folder):
    """Writes the tiny dataset to `folder`/data and seeded maps of a teacher of 7 channels to `folder`/maps."""
    TinyDataset.write(folder / "data")
    write_maps(folder)


def write_maps(folder):
    """Writes the maps alone."""
    (folder / "maps").mkdir()
    for i in range(6):
        features = torch.randn(7, 8, 10, generator=torch.Generator().manual_seed(i))
        torch.save(features.half(), folder / "maps" / f"view_{i}_fmap_CxHxW.pt")


class Stopped(Exception):
    """The end of a training before its time."""


def train_torn(ranks, config, folder, report):
    """Trains the run `torn`, stopped after 14 and after 26 steps, where it is copied to `torn_<step>`, and resumed."""
    torn, original = replace(config, out=folder / "torn"), Trainer.advance
    for step in (14, 26):

        def advance(trainer, last=step):
            if trainer.step >= last:
                raise Stopped
            return original(trainer)

        Trainer.advance = advance
        try:
            train_run(torn, resume=step > 14)
        except Stopped:
            report[f"stopped after {step}"] = True
        ranks.wait()
        Trainer.advance = original
        if ranks.is_first:
            shutil.copytree(folder / "torn", folder / f"torn_{step}")
        ranks.wait()
    train_run(torn, resume=True)
