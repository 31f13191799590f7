"""Times the server behind the app's page: exact pictures after a move, and after a question.

    python scripts/bench_viewer.py runs/demo
    python scripts/bench_viewer.py runs/demo --gaussians 200000

A program poses as a page, over a socket of this machine. Times are medians, with their spread, from a request until its
first picture has come, which is as large as fits into the time that the server gives itself, and until the whole one
has; those of a question include the encoding of its words. A page waits for 40 ms without a move before it asks, and
has to unpack and draw the picture. Every picture has its share of the window's width. Prints a table.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import tyro
from bench_rasterizer import DeviceName, spread
from study_tools import markdown_table
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from gsdff.cameras import Camera
from gsdff.cli import run_door
from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.gaussians import Gaussians
from gsdff.rotation import axis_angle_to_matrix, matrices_to_quats
from gsdff.viewer.address import find_address
from gsdff.viewer.page.start import choose_cameras
from gsdff.viewer.serve import make_app_page
from gsdff.viewer.shared_scene import SharedScene, open_shared_scene
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.server import AppServer

PAUSE = 0.3
"""Seconds between two requests."""


@dataclass(frozen=True)
class Options:
    """Times exact pictures of the app."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = Path("runs/demo")
    """A run with features, or a PLY."""
    texts: tuple[str, ...] = ()
    """Words, asked in turn; by default those of a closed vocabulary."""
    gaussians: int | None = None
    """Number of Gaussians: copies of those of the run, jittered, or a part of them; by default those of the run."""
    size: tuple[int, int] = (1280, 800)
    """Width and height of the window, in pixels."""
    repeats: int = 8
    device: DeviceName = "auto"


def resample(gaussians: Gaussians, count: int) -> Gaussians:
    """A scene of `count` Gaussians: a seeded choice, or copies that are moved by about their size."""
    generator = torch.Generator().manual_seed(0)
    times = -(-count // len(gaussians))
    chosen = torch.randperm(times * len(gaussians), generator=generator)[:count].to(gaussians.means.device)
    copied = gaussians.map(lambda tensor: tensor[chosen % len(gaussians)])
    noise = torch.randn(count, 3, generator=generator).to(copied.scales) * copied.scales
    return replace(copied, means=copied.means + noise) if times > 1 else copied


def open_bench(options: Options) -> SharedScene:
    """The run's scene with the number of Gaussians of the options."""
    field = load(options.run, device=options.device)
    if not field.has_features:
        raise UserError(f"{options.run}: expected a run that can be queried; train it with a teacher")
    if options.gaussians is not None:
        field = replace(field, gaussians=resample(field.gaussians, options.gaussians))
    return open_shared_scene(field)


class Asking:
    """A connection that poses as a page."""

    def __init__(self, socket: ClientConnection, options: Options, camera: Camera):
        self.socket, self.options, self.camera = socket, options, camera
        self.num_asked = 0

    def ask(self, kind: str, **fields: Any) -> None:
        """Sends a request."""
        self.num_asked += 1
        self.socket.send(json.dumps({"type": kind, "id": self.num_asked, **fields}))

    def draw(self, turn: int, scenery: dict[str, Any]) -> None:
        """Asks for what is seen after another turn of the camera, by a degree."""
        R = self.camera.viewmat[:3, :3].T.double() @ axis_angle_to_matrix((0.0, 1.0, 0.0), float(turn)).double()
        width, height = self.options.size
        focal = float(self.camera.K[1, 1]) / self.camera.height
        window = {
            "position": self.camera.position.tolist(),
            "wxyz": matrices_to_quats(R.float()).tolist(),
            "focal": [focal * height / width, focal],
            "centre": [0.5, 0.5],
            "width": width,
            "height": height,
        }
        self.ask("draw", window=window, scenery=scenery)

    def search(self, text: str) -> None:
        """Asks as a page does for a word that it has not got: for its vector, then for a picture."""
        self.ask("encode", texts=[text])
        assert json.loads(self.socket.recv())["type"] == "vectors"
        question = {
            "positives": [text],
            "negatives": [],
            "threshold": 0.5,
            "score_range": [0, 1],
            "colors": [[0, 0, 0], [1, 1, 1]],
        }
        self.draw(0, {"mode": "relevancy", "question": question})

    def measure(self, what: str, act: Callable[[int], None]) -> list[str]:
        """A row: times of the first and of the whole picture after `act`, and the share of the width of the first."""
        first, whole, shares = [], [], []
        for i in range(self.options.repeats + 2):  # two to warm up, and to learn what a pixel costs
            time.sleep(PAUSE)
            started, seen = time.perf_counter(), []
            act(i)
            while not seen or not seen[-1][0]["is_whole"]:
                data = self.socket.recv()
                assert isinstance(data, bytes), data
                answer = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
                seen.append((answer, 1000 * (time.perf_counter() - started)))
            if i > 1:
                first.append(seen[0][1])
                whole.append(seen[-1][1])
                shares.append(seen[0][0]["width"] / self.options.size[0])
        times = [f"{median(values):.0f} ± {spread(values):.0f} ms" for values in (first, whole)]
        return [what, *times, f"{median(shares):.2f}"]


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=Options.__doc__)
    shared = open_bench(options)
    answers, started = Answers(shared), time.perf_counter()
    page = make_app_page(answers)
    built = time.perf_counter() - started
    load = os.getloadavg()[0]
    with AppServer(answers, lambda: page, find_address("127.0.0.1", 8080)) as server:
        origin = Origin(server.address.url)
        with connect(server.url.replace("http", "ws"), origin=origin, max_size=None, proxy=None) as socket:
            socket.recv()
            asking = Asking(socket, options, choose_cameras(shared.field)[0])
            rows = [
                asking.measure(f"move, {mode}", lambda i, mode=mode: asking.draw(i % 5, {"mode": mode}))
                for mode in ("colour", "depth")
            ]
            vocabulary = shared.field.vocabulary
            texts = (
                options.texts or list(vocabulary.vectors if vocabulary else ()) or ("teapot", "mug", "chair", "lamp")
            )
            rows.append(asking.measure("question", lambda i: asking.search(texts[i % len(texts)])))
    size = f"{len(shared.gaussians):,} Gaussians on {shared.device}, a page of {len(page.columns) / 2**20:.1f} MiB"
    print(f"{size}, built in {built:.1f} s; {torch.get_num_threads()} threads, load {load:.1f}\n")
    print(markdown_table(["what", "first picture", "whole picture", "width of the first"], rows))


if __name__ == "__main__":
    run_door(main)
