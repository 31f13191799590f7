"""Schedules for a given time: steps, Gaussians and size of photos for training that takes so many minutes here.

The schedule in force (a preset, files, options) is the model: all its counts of steps, and the most Gaussians, are
multiplied by one factor. Photos are made smaller as long as they keep `PIXELS` pixels for each Gaussian. The factor
follows from the speed of this machine on this scene, measured for a few seconds: a step's time is taken to be linear in
the number of Gaussians, and proportional to the pixels of a photo.
"""

import logging
import math
import time
from dataclasses import dataclass, replace
from numbers import Real

import torch

from gsdff.config.options import Stage1Config, TrainConfig
from gsdff.device import wait_for
from gsdff.errors import UserError, shown
from gsdff.gaussians import Gaussians
from gsdff.ranks import this_job
from gsdff.scene import Scene
from gsdff.training.growth import halve
from gsdff.training.initialise import initial_gaussians
from gsdff.training.trainer import Trainer

log = logging.getLogger("gsdff")

PIXELS = 2.5
"""Least pixels of a photo for each Gaussian: the fox at 270x480 has 2.6 with the 50,000 of the preset for the CPU."""
FILLED = 0.8
"""Weight of the most Gaussians in the mean number over all steps; the rest is that of the first ones."""
FEATURE_STEP = 1.6
"""Time of a step of stage 2 over that of one of stage 1 (`scripts/bench_features.py`)."""
LEAST_STEPS = 200
"""Fewest steps of stage 1 that are worth their time."""
MOST = 30.0
"""Largest factor on a schedule."""
MOST_GROWTH = 16
"""Most Gaussians that the speed is measured with, over those that training starts from."""
WARM_UP, TIMED, SECONDS = 4, 24, 4.0
"""Rounds of steps before the clock starts, most rounds that are timed, and the time that these should take."""


@dataclass(frozen=True)
class Speed:
    """Time of a step of stage 1 on this machine, in seconds: `fixed` + `per_gaussian` times their number."""

    fixed: float
    per_gaussian: float
    pixels: int
    """Pixels of the photos that it was measured with; other photos take a proportional time."""

    def of_step(self, num: float, pixels: float) -> float:
        """Seconds of a step with so many Gaussians and pixels."""
        return (self.fixed + self.per_gaussian * num) * pixels / self.pixels


@dataclass(frozen=True)
class Budget:
    """A schedule, and how long it should take."""

    factor: float
    """What the schedule in force is multiplied by."""
    halvings: int
    """How often the sides of the photos are halved."""
    seconds: float
    """Expected time of all steps."""


def check_minutes(config: TrainConfig, minutes: float) -> None:
    """Raises `UserError` if no schedule can be chosen for this time."""
    is_number = isinstance(minutes, Real) and not isinstance(minutes, bool)
    if not (is_number and minutes > 0 and math.isfinite(minutes)):
        raise UserError(f"`minutes`: expected a number above 0, got {shown(minutes)}")
    if config.stage1_from is not None:
        raise UserError("`minutes`: chooses a schedule for stage 1, which `stage1_from` leaves out; use `stage2.steps`")
    if config.stage1.steps < 1:
        raise UserError("`minutes`: scales `stage1.steps`, which is 0")


def fit_schedule(config: TrainConfig, scene: Scene, device: torch.device, minutes: float) -> TrainConfig:
    """The options with a schedule that takes about so many minutes on this device, measured on this scene.

    Loading, teacher maps and pictures of held-out views come on top. The scene must be loaded anew where
    `dataset.downscale` changes. Raises `UserError` as `check_minutes` does.
    """
    check_minutes(config, minutes)
    initial = initial_gaussians(replace(config, shard="none"), scene)
    speed = measure_speed(config, scene, device, initial)
    found = choose(config, speed, len(initial), 60 * minutes)
    chosen = apply(config, found)
    camera = scene.views[scene.train_ids[0]].camera
    width, height = (max(1, side >> found.halvings) for side in (camera.width, camera.height))
    stage2 = f" + {chosen.stage2.steps:,}" if config.teacher.name != "none" else ""
    log.info(
        "schedule for %g minutes: %s%s steps, at most %s Gaussians, photos of about %dx%d (a step takes %.0f ms with "
        "%s Gaussians at %dx%d); expected: %.2g minutes",
        minutes, f"{chosen.stage1.steps:,}", stage2, f"{chosen.stage1.max_gaussians:,}", width, height,
        1000 * speed.of_step(config.stage1.max_gaussians, speed.pixels), f"{config.stage1.max_gaussians:,}",
        camera.width, camera.height, found.seconds / 60,
    )  # fmt: skip
    if found.seconds > 66 * minutes:
        log.warning("%g minutes are not enough for %d steps, the fewest that are used", minutes, LEAST_STEPS)
    return chosen


def choose(config: TrainConfig, speed: Speed, num_initial: int, seconds: float) -> Budget:
    """The largest budget that takes at most so many seconds, or the smallest of all."""

    def budget(factor: float) -> Budget:
        stage1 = scaled(config.stage1, factor)
        most = stage1.max_gaussians
        halvings = 0
        while speed.pixels / 4 ** (halvings + 1) >= PIXELS * most:
            halvings += 1
        mean = FILLED * most + (1 - FILLED) * min(num_initial, most)
        pixels = speed.pixels / 4**halvings
        total = stage1.steps * speed.of_step(mean, pixels)
        if config.teacher.name != "none":
            total += round(factor * config.stage2.steps) * FEATURE_STEP * speed.of_step(most, pixels)
        return Budget(factor, halvings, total)

    low, high = math.log(min(1.0, LEAST_STEPS / config.stage1.steps)), math.log(MOST)
    for _ in range(40):  # time rises with the factor
        middle = (low + high) / 2
        if budget(math.exp(middle)).seconds <= seconds:
            low = middle
        else:
            high = middle
    return budget(math.exp(low))


def apply(config: TrainConfig, budget: Budget) -> TrainConfig:
    """The options with a budget's schedule and size of photos."""
    stage2 = replace(config.stage2, steps=round(budget.factor * config.stage2.steps))
    dataset = replace(config.dataset, downscale=config.dataset.downscale << budget.halvings)
    return replace(config, stage1=scaled(config.stage1, budget.factor), stage2=stage2, dataset=dataset)


def scaled(stage1: Stage1Config, factor: float) -> Stage1Config:
    """Stage 1 with so many times its steps and Gaussians; a longer one is refined more often, not more rarely."""

    def times(count: int) -> int:
        return max(1, round(factor * count)) if count else 0

    return replace(
        stage1,
        steps=times(stage1.steps),
        sh_interval=times(stage1.sh_interval),
        refine_start=times(stage1.refine_start),
        refine_stop=times(stage1.refine_stop),
        refine_every=min(stage1.refine_every, times(stage1.refine_every)),
        reset_every=times(stage1.reset_every),
        max_gaussians=times(stage1.max_gaussians),
    )


def measure_speed(config: TrainConfig, scene: Scene, device: torch.device, initial: Gaussians) -> Speed:
    """Times steps with the first Gaussians and with more of them, all bands of the harmonics in use."""
    stage1 = replace(config.stage1, sh_interval=1, refine_stop=0, exposure="off", refine_poses=False)
    config = replace(config, stage1=replace(stage1, steps=max(stage1.steps, WARM_UP + TIMED)))
    most = min(config.stage1.max_gaussians, MOST_GROWTH * len(initial))
    few, many = initial, grown(initial, max(most, 2 * len(initial)), config.seed)
    times = [time_step(Trainer(config, scene, device, each)) for each in (few, many)]
    slope = max(0.0, (times[1] - times[0]) / (len(many) - len(few)))
    camera = scene.views[scene.train_ids[0]].camera
    return Speed(max(times[0] - slope * len(few), 0.1 * times[0]), slope, camera.width * camera.height)


def time_step(trainer: Trainer) -> float:
    """Mean seconds of a step, the same on all ranks."""

    def seconds(rounds: int) -> float:
        wait_for(trainer.device)
        start = time.perf_counter()
        for _ in range(rounds):
            trainer.advance()
        wait_for(trainer.device)
        return this_job().from_first(time.perf_counter() - start)

    seconds(WARM_UP - 1)  # compiles kernels, and puts all bands in use
    rounds = min(TIMED, max(2, int(SECONDS / max(seconds(1), 1e-4))))
    before = trainer.step
    taken = seconds(rounds)
    return taken / (trainer.step - before)


def grown(gaussians: Gaussians, num: int, seed: int) -> Gaussians:
    """So many Gaussians that show the same: some are halved, drawn at random, in as many rounds as that takes."""
    generator = torch.Generator().manual_seed(seed)
    while len(gaussians) < num:
        rows = torch.randperm(len(gaussians), generator=generator)[: num - len(gaussians)]
        halves = halve(gaussians.quats[rows], gaussians.log_scales[rows], gaussians.logit_opacities[rows])
        changed = {"log_scales": halves.log_scales, "logit_opacities": halves.logit_opacities}
        tensors = {}
        for name, tensor in gaussians.items():
            first = second = changed.get(name, tensor[rows])
            if name == "means":
                first, second = first + halves.offsets, first - halves.offsets
            tensors[name] = torch.cat([tensor.index_copy(0, rows, first), second])
        gaussians = replace(gaussians, **tensors)
    return gaussians
