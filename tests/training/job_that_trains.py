"""What tests/training/test_ranks_train.py looks at: two ranks that train a tiny scene, writing what they found.

A step of both is compared with one process's gradients of both views; then a run is trained, and another one stopped at
two places and resumed.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from job_settings import CONFIG
from tiny_scene import TinyDataset, tiny_scene

from gsdff.config.options import DataConfig, FeatureConfig, TeacherConfig
from gsdff.errors import UserError
from gsdff.ranks import joined
from gsdff.training.initialise import initial_gaussians
from gsdff.training.run import train_run
from gsdff.training.trainer import Trainer, view_at


def message_of(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except UserError as error:
        return str(error)
    return None


def compare_a_step(ranks):
    """Relative differences between the gradients of a step of the ranks and the means over the same views."""
    scene = tiny_scene()
    trainer, alone = (Trainer(CONFIG, scene, torch.device("cpu"), initial_gaussians(CONFIG, scene)) for _ in range(2))
    for turn in range(ranks.world_size):
        loss, _ = alone._compute_loss(view_at(turn, scene.train_ids, CONFIG.seed))
        loss.backward()
    taken = {}
    trainer._step_optimizers = lambda: taken.update({k: v.grad.clone() for k, v in trainer.gaussians.items()})
    trainer.advance()
    expected = {name: tensor.grad / ranks.world_size for name, tensor in alone.gaussians.items()}
    differences = {name: float((taken[name] - expected[name]).norm()) for name in taken}
    return {name: difference / max(1e-12, float(expected[name].norm())) for name, difference in differences.items()}


class Stopped(Exception):
    """The end of a training before its time."""


def stop_after(step):
    """A step of training that ends it after so many steps."""

    def advance(trainer):
        if trainer.step >= step:
            raise Stopped
        return original(trainer)

    original = Trainer.advance
    return advance


with joined("cpu") as ranks:
    folder = Path(sys.argv[1])
    if ranks.is_first:
        TinyDataset.write(folder / "data")
        (folder / "maps").mkdir()
        for i in range(6):
            features = torch.randn(7, 8, 10, generator=torch.Generator().manual_seed(i))
            torch.save(features.half(), folder / "maps" / f"view_{i}_fmap_CxHxW.pt")
    ranks.wait()
    report = {"step": compare_a_step(ranks)}

    teacher = TeacherConfig(name="precomputed", maps=folder / "maps")
    config = replace(
        CONFIG,
        data=folder / "data",
        teacher=teacher,
        features=FeatureConfig(dim=3),
        dataset=DataConfig(random_points=40),
    )
    train_run(replace(config, out=folder / "whole"))
    torn = replace(config, out=folder / "torn")
    original = Trainer.advance
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

    other_seed = replace(config, out=folder / "unlike", seed=ranks.rank)
    report["unlike options"] = message_of(train_run, other_seed)
    (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(report))
