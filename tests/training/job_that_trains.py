"""What tests/training/test_ranks_train.py looks at: two ranks that train a tiny scene, writing what they found.

A step of both is compared with one process's gradients of both views; then a run is trained, and another one stopped at
two places and resumed.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from job_settings import CONFIG, train_torn, write_photos_and_maps
from tiny_scene import tiny_scene
from torchrun import message_of

from gsdff.config.options import DataConfig, FeatureConfig, TeacherConfig
from gsdff.ranks import joined
from gsdff.training.initialise import initial_gaussians
from gsdff.training.pace import view_at
from gsdff.training.run import train_run
from gsdff.training.trainer import Trainer


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


with joined("cpu") as ranks:
    folder = Path(sys.argv[1])
    if ranks.is_first:
        write_photos_and_maps(folder)
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
    train_torn(ranks, config, folder, report)

    other_seed = replace(config, out=folder / "unlike", seed=ranks.rank)
    report["unlike options"] = message_of(train_run, other_seed)
    (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(report))
