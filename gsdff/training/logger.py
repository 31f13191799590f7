"""Log of a training run: progress bar, metrics.jsonl, TensorBoard events, pictures of held-out views."""

import json
import logging
import math
import os
import sys
import time
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.files.reading import read_bytes
from gsdff.files.writer import Writer
from gsdff.files.writing import whole_file
from gsdff.gaussians import Gaussians, finite_rows
from gsdff.io.pictures import save_png, side_by_side
from gsdff.io.runs import RunFolder
from gsdff.metrics import psnr
from gsdff.ranks import this_job
from gsdff.render import render_view
from gsdff.scene import Scene, View, picture_name
from gsdff.training.pace import Pace, is_due
from gsdff.training.parts import add_parts, count_all

LONGEST_TRAINING = 1 << 53
"""Number of steps from which on a line of metrics is damage."""

log = logging.getLogger("gsdff")

PICTURED_VIEWS = 4
"""Number of held-out views with a picture during training, spread over all of them; the last step draws every one."""
BAR_DIGITS = {"loss": 4, "psnr": 2, "feature": 4}
"""Means that the progress bar shows, with their number of decimals."""


class TrainingLogger:
    """Accumulates the scalars of every step, writes their means every `log_every` steps, and scores held-out views.

    A resumed run continues at `step`: later lines of metrics.jsonl are dropped, since those steps are repeated, and
    TensorBoard purges them. A context manager. Of several ranks, which score the held-out views together, the first
    writes.
    """

    def __init__(self, config: TrainConfig, scene: Scene, folder: RunFolder, step: int, total_steps: int):
        self.config = config
        self.scene = scene
        self.folder = folder
        self.total_steps = total_steps
        self.ranks = this_job()
        self.step = step
        """Number of steps so far."""
        self.sums: dict[str, Tensor] = {}
        self.num_steps = 0
        self.earlier_seconds = 0.0
        self.start = time.perf_counter()
        if self.ranks.is_first:
            drop_lines_after(folder.metrics, step)
        self.metrics = (folder.metrics if self.ranks.is_first else Path(os.devnull)).open("a", encoding="utf-8")
        self.events = TensorBoardWriter(folder.events if self.ranks.is_first else None, step)
        self.writer = Writer()
        """Thread that writes pictures and checkpoints, in the order of the steps."""
        # in a log file every update of the bar is a line of its own
        interval = 0.2 if sys.stderr.isatty() else 10.0
        self.bar = tqdm(initial=step, total=total_steps, desc="training", unit="step", mininterval=interval)

    def __enter__(self) -> "TrainingLogger":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.writer.__exit__(*error)
        finally:
            self.bar.close()
            self.events.close()
            self.metrics.close()

    @property
    def seconds(self) -> float:
        """Time spent on training, over all sessions of the run."""
        return self.earlier_seconds + time.perf_counter() - self.start

    def add(self, step: int, gaussians: Gaussians, scalars: dict[str, Tensor]) -> None:
        """Adds the scalars of a finished step, `loss` among them; writes a line and pictures if they are due.

        Raises the error of what was written behind before.
        """
        self.writer.check()
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.num_steps += 1
        before, self.step = self.step, step
        self.bar.update(step - before)
        scores_views = step == self.total_steps or is_due(before, step, self.config.picture_every)
        if scores_views or is_due(before, step, self.config.log_every):
            self.check_finite(step, gaussians)
            held_out = {"heldout_psnr": self.score_held_out(step, gaussians)} if scores_views else {}
            self.write_line(step, gaussians, held_out)

    def check_finite(self, step: int, gaussians: Gaussians) -> None:
        """Raises `UserError` if a scalar, or an attribute of a Gaussian, is not finite any more.

        Gaussians that are not finite are not drawn, so that scalars alone would not show them.
        """
        before = max(0, step - self.num_steps * Pace.of(self.config).stride)
        kept = "what was written before is kept: train again with"
        for name, total in self.sums.items():
            if not math.isfinite(float(total)):
                raise UserError(
                    f"{self.folder.path}: {name} became {float(total)} after step {before}; "
                    f"{kept} lower learning rates (`rates.means`, ...)"
                )
        for name, tensor in gaussians.items():
            if num_lost := add_parts(gaussians, int((~finite_rows(tensor)).sum())):
                raise UserError(
                    f"{self.folder.path}: {name} of {num_lost:,} of {count_all(gaussians):,} Gaussians became "
                    f"infinite or NaN after step {before}; {kept} a lower `rates.{name}`"
                )

    def score_held_out(self, step: int, gaussians: Gaussians) -> float:
        """Returns the mean PSNR of the held-out views in dB; photo | rendering of some of them are written behind."""
        views = [self.scene.views[view_id] for view_id in self.scene.test_ids]
        pictured = views if step == self.total_steps else views[:: -(-len(views) // PICTURED_VIEWS)]

        def score(view: View) -> tuple[float, UInt8[Tensor, "H W 3"] | None]:
            image = render_view(gaussians, view, self.config.dataset.solid_background)
            view_on_device = view.to(image.device)
            is_pictured = any(view is other for other in pictured)
            picture = side_by_side(view.image, image) if is_pictured else None
            return psnr(image, view_on_device.target, view_on_device.mask), picture

        scores, pictures = [], []
        own = self.ranks.share_evenly(views) if gaussians.is_part else self.ranks.share(views)
        results = self.ranks.collect(map(score, own), len(views))
        for view, (value, picture) in zip(views, results, strict=True):
            scores.append(value)
            if picture is not None and self.ranks.is_first:
                pictures.append((picture_name(view), picture))
            if len(pictures) == PICTURED_VIEWS:
                self.writer.write(self._save_pictures, step, pictures)
                pictures = []
        self.writer.write(self._save_pictures, step, pictures)
        scores = [score for score in scores if not math.isnan(score)]  # a view may be masked completely
        return sum(scores) / len(scores) if scores else math.nan

    def _save_pictures(self, step: int, pictures: list[tuple[str, UInt8[Tensor, "H W 3"]]]) -> None:
        for name, picture in pictures:
            path = self.folder.pictures / f"step_{step:06d}_{name}.png"
            save_png(path, picture)
            self.events.add_picture(step, f"heldout/{name}", path)

    def write_line(self, step: int, gaussians: Gaussians, held_out: dict[str, float]) -> None:
        """Writes the means since the last line to metrics.jsonl, TensorBoard and the progress bar."""
        means = {name: float(total) / self.num_steps for name, total in self.sums.items()}
        self.sums, self.num_steps = {}, 0
        if "mse" in means:
            means["psnr"] = -10 * math.log10(max(means.pop("mse"), 1e-10))
        num_gaussians = count_all(gaussians)
        means |= {**held_out, "gaussians": num_gaussians}
        line = {"step": step, **means, "seconds": round(self.seconds, 3)}
        self.metrics.write(json.dumps({key: None if value != value else value for key, value in line.items()}) + "\n")
        self.metrics.flush()
        self.events.add_scalars(step, means)
        shown = {name: f"{means[name]:.{digits}f}" for name, digits in BAR_DIGITS.items() if name in means}
        self.bar.set_postfix(shown | {"gaussians": f"{num_gaussians:,}"}, refresh=False)

    def state_dict(self) -> dict[str, Any]:
        """State from which an interrupted run writes the same lines as one that was not interrupted."""
        return {"sums": dict(self.sums), "num_steps": self.num_steps, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continues from the sums of `state_dict`."""
        self.sums = {name: total.to(device) for name, total in state["sums"].items()}
        self.num_steps, self.earlier_seconds = state["num_steps"], state["seconds"]


class TensorBoardWriter:
    """Writer of a TensorBoard event file, without a thread of its own, so that a full disk raises an error at once.

    Several threads may use it.
    """

    def __init__(self, folder: Path | None, step: int):
        """Opens a file in the folder; None writes nothing."""
        # protobuf makes these classes when it is imported, where no type checker looks
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._Event, self._Summary = Event, Summary
        path = Path(os.devnull)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads a folder's files in name order, and a later session purges steps of an earlier one
            path = folder / f"events.out.tfevents.{time.time_ns() // 1000:020d}"
        self._file = path.open("wb")
        self._records = RecordWriter(self._file)
        self._lock = Lock()
        self._write(file_version="brain.Event:2")
        self._write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def add_scalars(self, step: int, values: dict[str, float]) -> None:
        """Adds one point to every curve."""
        summary = self._Summary(value=[{"tag": tag, "simple_value": value} for tag, value in values.items()])
        self._write(step=step, summary=summary)

    def add_picture(self, step: int, tag: str, png: Path) -> None:
        """Adds a PNG file unchanged."""
        image = self._Summary.Image(encoded_image_string=png.read_bytes(), colorspace=3)
        self._write(step=step, summary=self._Summary(value=[{"tag": tag, "image": image}]))

    def _write(self, **event: Any) -> None:
        with self._lock:
            self._records.write(self._Event(wall_time=time.time(), **event).SerializeToString())
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def drop_lines_after(path: Path, step: int) -> None:
    """Rewrites metrics.jsonl without lines after `step`, and without those that cannot be read; atomically."""
    if not path.exists():
        return
    text = read_bytes(path, "the metrics of a run").decode(errors="replace")
    lines = text.splitlines(keepends=True)
    rows = [parse_line(line) for line in lines]
    if num_damaged := rows[:-1].count(None):  # the last may have been cut off
        log.warning("%s: left out %d of %d lines, which are damaged", path, num_damaged, len(lines))
    with whole_file(path) as partial:
        kept = (line for line, row in zip(lines, rows, strict=True) if row is not None and row["step"] <= step)
        partial.write_text("".join(kept), encoding="utf-8")


def last_line(path: Path) -> dict[str, Any]:
    """Reads the newest line of metrics.jsonl that is whole; empty if there is none."""
    text = read_bytes(path, "the metrics of a run").decode(errors="replace")
    rows = (parse_line(line) for line in reversed(text.splitlines(keepends=True)))
    return next((row for row in rows if row is not None), {})


def parse_line(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl with its step; None if it is cut off or damaged."""
    try:
        row = json.loads(line) if line.endswith("}\n") else None
    except (ValueError, RecursionError):
        return None
    step = row.get("step") if isinstance(row, dict) else None
    return row if type(step) is int and 0 <= step < LONGEST_TRAINING else None
