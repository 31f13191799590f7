"""Trains one scene, so many steps at a time, for scripts/bench_train.py; talks in lines of JSON.

Run with the checkout to be measured on PYTHONPATH. Every line of the input is a number of steps to go on by; each is
answered with seconds, CPU seconds and the held-out scores at the end.
"""

import gsdff  # isort: skip  # before torch: it sets how torch's threads wait

import json
import sys
import time
from pathlib import Path
from statistics import fmean

import torch
from training_scenes import SCENES, WHITE, Places

from gsdff.config.file import find_preset, lay_over, read_config
from gsdff.config.options import TrainConfig
from gsdff.metrics import psnr, ssim
from gsdff.render import render_view
from gsdff.training.initialise import initial_gaussians
from gsdff.training.trainer import Trainer


def nested(options: dict[str, object]) -> dict:
    """Options by dotted names as nested tables."""
    table: dict = {}
    for name, value in options.items():
        *tables, key = name.split(".")
        inner = table
        for part in tables:
            inner = inner.setdefault(part, {})
        inner[key] = value
    return table


def config_for(scene: str, seed: int, options: dict[str, object]) -> TrainConfig:
    """Stage 1 of the preset for the CPU, with options by dotted names."""
    config = lay_over(read_config(find_preset("cpu"), TrainConfig()), nested(options), "options")
    if scene in WHITE:
        config = lay_over(config, {"dataset": {"background": "white"}}, "options")
    return lay_over(config, {"seed": seed, "teacher": {"name": "none"}}, "options")


def main() -> None:
    """Trains and answers until the input ends."""
    job = json.loads(sys.stdin.readline())
    config = config_for(job["scene"], job["seed"], job["options"])
    scene = SCENES[job["scene"]](Places(Path(job["scenes"]), Path(job["work"])))
    trainer = Trainer(config, scene, torch.device("cpu"), initial_gaussians(config, scene))
    print(json.dumps({"ready": str(Path(gsdff.__file__).parent), "steps": trainer.total_steps}), flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        squares = [trainer.advance()["mse"] for _ in range(int(line))]
        spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        with torch.no_grad():
            scores = score(trainer)
        train = -10 * float(torch.stack(squares).mean().log10())
        answer = {"step": trainer.step, "gaussians": len(trainer.gaussians), "train_psnr": train}
        print(json.dumps(answer | spent | scores), flush=True)


def score(trainer: Trainer) -> dict[str, float]:
    """Mean PSNR and SSIM of the held-out views."""
    background = trainer.config.dataset.solid_background
    scores = []
    for view in (trainer.scene.views[view_id] for view_id in trainer.scene.test_ids):
        image = render_view(trainer.gaussians, view, background)
        scores.append((psnr(image, view.target, view.mask), ssim(image, view.target, view.mask)))
    return {"psnr": fmean(value for value, _ in scores), "ssim": fmean(value for _, value in scores)}


if __name__ == "__main__":
    main()
