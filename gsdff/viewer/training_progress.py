"""Progress of a training run for its page: steps, speed, curves, and a pause."""

import math
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np

from gsdff.training.logger import parse_line

MAX_POINTS = 300
"""Largest number of points of a curve that is sent; a plot is no wider in pixels."""
LARGEST = 1e30
"""Values beyond it are no losses or decibels, but damage."""
RECENT = 100
"""Number of steps over which the speed is measured."""


class Curves:
    """Curves of a run's metrics.jsonl, as lists of (step, value), updated as the file grows."""

    def __init__(self, path: Path):
        self.path = path
        self.losses: list[tuple[int, float]] = []
        self.psnrs: list[tuple[int, float]] = []
        """PSNR of training views in dB."""
        self.heldout: list[tuple[int, float]] = []
        """PSNR of held-out views in dB."""
        self._position = 0

    def update(self) -> bool:
        """Reads the new lines of the file; returns whether there were any."""
        if not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            file.seek(self._position)
            lines = file.readlines()
        whole = [line for line in lines if line.endswith(b"\n")]
        self._position += sum(map(len, whole))
        rows = [row for line in whole if (row := parse_line(line.decode(errors="replace"))) is not None]
        for row in rows:
            for name, points in (("loss", self.losses), ("psnr", self.psnrs), ("heldout_psnr", self.heldout)):
                value = row.get(name)
                if isinstance(value, int | float) and abs(value) < LARGEST:  # not for NaN
                    points.append((row["step"], float(value)))
        return bool(rows)


def thin_out(points: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a curve; means of neighbours if there are more than `MAX_POINTS`."""
    if not points:
        return np.zeros(0), np.zeros(0)
    every = math.ceil(len(points) / MAX_POINTS)
    groups = [np.mean(points[i : i + every], axis=0) for i in range(0, len(points), every)]
    steps, values = np.stack(groups, axis=1)
    return steps, values


class TrainingProgress:
    """Steps done, their speed, and a pause; updated after every step by the thread that trains."""

    def __init__(self, step: int, stage1_steps: int, total_steps: int, metrics: Path):
        self.step = step
        self.stage1_steps, self.total_steps = stage1_steps, total_steps
        self.num_gaussians = 0
        self.curves = Curves(metrics)
        self._times: deque[float] = deque(maxlen=RECENT)
        self._may_run = threading.Event()
        self._may_run.set()

    @property
    def is_paused(self) -> bool:
        """Whether the training pauses before the next step."""
        return not self._may_run.is_set()

    def pause(self) -> None:
        """Pauses the training after the present step."""
        self._may_run.clear()

    def resume(self) -> None:
        """Resumes the training."""
        self._may_run.set()

    def wait_while_paused(self) -> None:
        """Blocks while the training is paused."""
        if self.is_paused:
            self._may_run.wait()
            self._times.clear()

    def update(self, step: int, num_gaussians: int) -> None:
        """Records the number of steps done and of Gaussians after a step."""
        if step == self.stage1_steps + 1:  # the preparation of stage 2 was no step
            self._times.clear()
        self.step, self.num_gaussians = step, num_gaussians
        self._times.append(time.perf_counter())

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the speed of the last steps, of either stage; None before there is one, and between stages."""
        times = list(self._times)
        if len(times) < 2 or self._is_between:
            return None
        return (self.total_steps - self.step) * (times[-1] - times[0]) / (len(times) - 1)

    @property
    def _is_between(self) -> bool:
        return self.step == self.stage1_steps < self.total_steps

    @property
    def stage(self) -> str:
        """Name of the present stage, for the page."""
        if self.step < self.stage1_steps:
            return "stage 1 (colours)"
        if self._is_between:
            return "preparing stage 2"
        return "stage 2 (features)" if self.step > self.stage1_steps else "finished"

    def describe(self) -> list[str]:
        """Lines for the page."""
        state = "paused" if self.is_paused else self.stage
        lines = [f"step {self.step:,} of {self.total_steps:,}, {state}"]
        left = self.seconds_left
        estimate = "" if left is None or self.is_paused else f", about {format_seconds(left)} left"
        lines.append(f"{self.num_gaussians:,} Gaussians{estimate}")
        if self.curves.heldout:
            step, value = self.curves.heldout[-1]
            lines.append(f"held-out views: {value:.2f} dB at step {step:,}")
        return lines


def format_seconds(seconds: float) -> str:
    """A duration in its two largest units: 42 s, 3 min 20 s, 1 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
