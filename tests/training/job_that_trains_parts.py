"""What tests/training/test_parts_train.py looks at: two ranks that train a tiny scene in parts, and its features.

    torchrun ... job_that_trains_parts.py FOLDER

A run is trained to its end; another one is stopped in stage 1 and in stage 2, and resumed; a third has no features.
"""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from job_settings import CONFIG, train_torn, write_photos_and_maps
from torchrun import message_of

from gsdff.config.options import DataConfig, FeatureConfig, TeacherConfig
from gsdff.ranks import joined
from gsdff.training.run import train_run
from gsdff.training.trainer import Trainer


def draw(*shape, device):
    """Draws of splits that do not depend on their order, so that parts and the whole become the same scene."""
    return torch.tensor([0.3, -0.5, 0.4]).expand(shape).to(device)


def count(trainer):
    """A step of training that notes how many Gaussians this rank holds."""
    sizes.add(len(trainer.gaussians))
    return original(trainer)


original = Trainer.advance
sizes = set()
with contextlib.ExitStack() as stack:
    ranks = stack.enter_context(joined("cpu"))
    folder = Path(sys.argv[1])
    if ranks.is_first:
        write_photos_and_maps(folder)
    ranks.wait()
    stage1_only = replace(CONFIG, shard="gaussians", data=folder / "data", dataset=DataConfig(random_points=40))
    teacher = TeacherConfig(name="precomputed", maps=folder / "maps")
    config = replace(stage1_only, teacher=teacher, features=FeatureConfig(dim=3))
    stack.enter_context(mock.patch("torch.randn", draw))
    train_run(replace(config, out=folder / "whole"))
    report = {}
    train_torn(ranks, config, folder, report)
    train_run(replace(config, out=folder / "replicated", shard="none"))
    begun = replace(config, out=folder / "begun", stage1=replace(config.stage1, steps=0), stage1_from=folder / "whole")
    train_run(begun)
    with mock.patch.object(Trainer, "advance", count):
        train_run(replace(stage1_only, out=folder / "plain"))
    report["sizes"] = sorted(sizes)
    report["viewer"] = message_of(train_run, replace(stage1_only, out=folder / "seen"), watch=lambda *_: None)
    (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(report))
