"""What a run says while it trains: progress bar, metrics.jsonl, TensorBoard events, pictures of held-out views."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.files import whole_file
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import save_png, side_by_side
from gsdff.io.runs import RunFolder
from gsdff.metrics import psnr
from gsdff.render import render_view
from gsdff.scene import Scene, picture_name

SHOWN_VIEWS = 4
"""Held-out views that get a picture while training, spread over all of them; the last step shows every one."""
BAR_DIGITS = {"loss": 4, "psnr": 2, "feature": 4}
"""What the progress bar shows of a step's means, and with how many digits after the point."""


class Report:
    """Gathers what every step measures; writes the means every `log_every` steps and shows held-out views.

    A resumed run takes up at `step`: later lines of metrics.jsonl are dropped, as those steps are done again, and
    TensorBoard is told to forget them. A context manager.
    """

    def __init__(self, config: TrainConfig, scene: Scene, folder: RunFolder, step: int, total_steps: int):
        self.config = config
        self.scene = scene
        self.folder = folder
        self.total_steps = total_steps
        self.sums: dict[str, Tensor] = {}
        self.num_steps = 0
        self.earlier_seconds = 0.0
        self.start = time.perf_counter()
        drop_lines_after(folder.metrics, step)
        self.metrics = folder.metrics.open("a", encoding="utf-8")
        self.events = EventFile(folder.events, step)
        # a log file gets a line now and then instead of a moving bar
        interval = 0.2 if sys.stderr.isatty() else 10.0
        self.bar = tqdm(initial=step, total=total_steps, desc="training", unit="step", mininterval=interval)

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_error: object) -> None:
        self.bar.close()
        self.events.close()
        self.metrics.close()

    @property
    def seconds(self) -> float:
        """Time spent training, over all sittings."""
        return self.earlier_seconds + time.perf_counter() - self.start

    def add(self, step: int, gaussians: Gaussians, measures: dict[str, Tensor]) -> None:
        """Counts a finished step and writes what is due; `measures` are scalars, `loss` among them."""
        for name, value in measures.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.num_steps += 1
        self.bar.update()
        last = step == self.total_steps
        shows = last or step % self.config.picture_every == 0
        if shows or step % self.config.log_every == 0:
            self.check(step)
            held_out = {"heldout_psnr": self.show(step, gaussians)} if shows else {}
            self.write_line(step, gaussians, held_out)

    def check(self, step: int) -> None:
        """Raises `UserError` where the loss is no longer a number."""
        for name, total in self.sums.items():
            if not math.isfinite(float(total)):
                raise UserError(
                    f"{self.folder.path}: {name} became {float(total)} after step {step - self.num_steps}; "
                    "what was written before is kept: train again with lower --rates"
                )

    def show(self, step: int, gaussians: Gaussians) -> float:
        """Mean PSNR of the held-out views in dB; writes photo | rendering of some of them."""
        views = [self.scene.views[view_id] for view_id in self.scene.test_ids]
        shown = views if step == self.total_steps else views[:: -(-len(views) // SHOWN_VIEWS)]
        scores = []
        for view in views:
            image = render_view(gaussians, view, self.config.dataset.solid_background)
            scores.append(psnr(image, view.target.to(image.device)))
            if any(view is other for other in shown):
                name = picture_name(view)
                path = self.folder.pictures / f"step_{step:06d}_{name}.png"
                save_png(path, side_by_side(view.image, image))
                self.events.add_picture(step, f"heldout/{name}", path)
        return sum(scores) / len(scores) if scores else math.nan

    def write_line(self, step: int, gaussians: Gaussians, held_out: dict[str, float]) -> None:
        """Writes the means since the last line to metrics.jsonl, TensorBoard and the bar."""
        means = {name: float(total) / self.num_steps for name, total in self.sums.items()}
        self.sums, self.num_steps = {}, 0
        if "mse" in means:
            means["psnr"] = -10 * math.log10(max(means.pop("mse"), 1e-10))
        means |= {**held_out, "gaussians": len(gaussians)}
        line = {"step": step, **means, "seconds": round(self.seconds, 3)}
        self.metrics.write(json.dumps({key: None if value != value else value for key, value in line.items()}) + "\n")
        self.metrics.flush()
        self.events.add_scalars(step, means)
        shown = {name: f"{means[name]:.{digits}f}" for name, digits in BAR_DIGITS.items() if name in means}
        self.bar.set_postfix(**shown, gaussians=f"{len(gaussians):,}", refresh=False)

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted run needs to write the same lines as one that was not."""
        return {"sums": dict(self.sums), "num_steps": self.num_steps, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Takes up the sums of `state_dict`."""
        self.sums = {name: total.to(device) for name, total in state["sums"].items()}
        self.num_steps, self.earlier_seconds = state["num_steps"], state["seconds"]


class EventFile:
    """A TensorBoard event file, written without a thread of its own, so that a full disk is an error here and now."""

    def __init__(self, folder: Path, step: int):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._Event, self._Summary = Event, Summary
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in name order, and a later session purges steps of an earlier one
        path = folder / f"events.out.tfevents.{time.time_ns() // 1000:020d}"
        self._file = path.open("wb")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        self._write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def add_scalars(self, step: int, values: dict[str, float]) -> None:
        """One point of every curve."""
        summary = self._Summary(value=[{"tag": tag, "simple_value": value} for tag, value in values.items()])
        self._write(step=step, summary=summary)

    def add_picture(self, step: int, tag: str, png: Path) -> None:
        """A PNG file as it is."""
        image = self._Summary.Image(encoded_image_string=png.read_bytes(), colorspace=3)
        self._write(step=step, summary=self._Summary(value=[{"tag": tag, "image": image}]))

    def _write(self, **event: Any) -> None:
        self._records.write(self._Event(wall_time=time.time(), **event).SerializeToString())
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def drop_lines_after(path: Path, step: int) -> None:
    """Rewrites metrics.jsonl without lines beyond `step`, and without a last line that was cut off; atomically."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= step]
    with whole_file(path) as partial:
        partial.write_text("".join(kept), encoding="utf-8")


def last_line(path: Path) -> dict[str, Any]:
    """The newest line of metrics.jsonl."""
    return json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
