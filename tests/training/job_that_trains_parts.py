"""What tests/training/test_parts_train.py looks at: two ranks that train a tiny scene in parts, and its features.

    torchrun ... job_that_trains_parts.py FOLDER

A run is trained to its end; another one is stopped in stage 1 and in stage 2, and resumed; a third has no features.
"""

import contextlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from job_settings import CONFIG
from tiny_scene import TinyDataset

from gsdff.config.options import DataConfig, FeatureConfig, TeacherConfig
from gsdff.errors import UserError
from gsdff.ranks import joined
from gsdff.training.run import train_run
from gsdff.training.trainer import Trainer


def draw(*shape, device):
    """Draws of splits that do not depend on their order, so that parts and the whole become the same scene."""
    return torch.tensor([0.3, -0.5, 0.4]).expand(shape).to(device)


class Stopped(Exception):
    """The end of a training before its time."""


def stop_after(step):
    """A step of training that ends it after so many steps."""

    def advance(trainer):
        if trainer.step >= step:
            raise Stopped
        sizes.add(len(trainer.gaussians))
        return original(trainer)

    return advance


def message_of(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except UserError as error:
        return str(error)
    return None


original = Trainer.advance
sizes = set()
with contextlib.ExitStack() as stack:
    ranks = stack.enter_context(joined("cpu"))
    folder = Path(sys.argv[1])
    if ranks.is_first:
        TinyDataset.write(folder / "data")
        (folder / "maps").mkdir()
        for i in range(6):
            features = torch.randn(7, 8, 10, generator=torch.Generator().manual_seed(i))
            torch.save(features.half(), folder / "maps" / f"view_{i}_fmap_CxHxW.pt")
    ranks.wait()
    stage1_only = replace(CONFIG, shard="gaussians", data=folder / "data", dataset=DataConfig(random_points=40))
    teacher = TeacherConfig(name="precomputed", maps=folder / "maps")
    config = replace(stage1_only, teacher=teacher, features=FeatureConfig(dim=3))
    graph = replace(config.smoothing.graph, form="consistency", neighbours=4)
    with_graph = replace(config, smoothing=replace(config.smoothing, graph=graph))
    config = replace(config, smoothing=replace(config.smoothing, graph=replace(graph, form="off")))
    stack.enter_context(mock.patch("torch.randn", draw))
    train_run(replace(config, out=folder / "whole"))
    torn = replace(config, out=folder / "torn")
    report = {}
    for step in (14, 26):
        Trainer.advance = stop_after(step)
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
    train_run(replace(with_graph, out=folder / "graph"))
    train_run(replace(config, out=folder / "replicated", shard="none"))
    begun = replace(config, out=folder / "begun", stage1=replace(config.stage1, steps=0), stage1_from=folder / "whole")
    train_run(begun)
    Trainer.advance = stop_after(1000)
    train_run(replace(stage1_only, out=folder / "plain"))
    report["sizes"] = sorted(sizes)
    report["viewer"] = message_of(train_run, replace(stage1_only, out=folder / "seen"), watch=lambda *_: None)
    (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(report))
