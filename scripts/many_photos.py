"""Loads and trains on thousands of photos within a limit of memory, and prints what they took.

    python scripts/many_photos.py                          # 5,000 photos of 2 megapixels within 8 GB; 30 GB of disk
    python scripts/many_photos.py --photos 200 --limit 2

The limit is one on the process's own memory (RLIMIT_DATA): an allocation beyond it fails. Pages of the temporary file
that holds the photos do not count, as the system drops them when others need the room.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from gsdff.config.options import DataConfig, Stage1Config, TeacherConfig, TrainConfig
from gsdff.data import load_scene
from gsdff.training.initialise import initial_gaussians
from gsdff.training.trainer import Trainer

DISTINCT = 20
"""Number of different pictures; the other photos are hard links to them, which are decoded and kept like any photo."""
WIDTH, HEIGHT = 1632, 1224


def write_scene(folder: Path, num_photos: int) -> None:
    """Writes a transforms.json of cameras on a ring that look at its centre, and their photos."""
    rng = np.random.default_rng(0)
    for number in range(DISTINCT):
        noise = Image.fromarray(rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8))
        noise.filter(ImageFilter.GaussianBlur(2)).resize((WIDTH, HEIGHT)).save(folder / f"picture_{number}.jpg")
    (folder / "images").mkdir()
    frames = []
    for number in range(num_photos):
        path = folder / f"images/{number:05d}.jpg"
        path.hardlink_to(folder / f"picture_{number % DISTINCT}.jpg")
        angle = 2 * np.pi * number / num_photos
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        pose[:3, 3] = 3 * pose[:3, 2]  # OpenGL axes: the camera looks along -z
        frames.append({"file_path": f"images/{path.name}", "transform_matrix": pose.tolist()})
    shared = {"fl_x": 1400.0, "w": WIDTH, "h": HEIGHT, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(shared))


def memory(field: str) -> float:
    """A field of /proc/self/status in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e9


def main() -> None:
    """Makes the photos, loads them, does some steps, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--limit", type=float, default=8.0, help="GB of memory of its own that the process may take")
    parser.add_argument("--memory", type=float, default=DataConfig.memory, help="`dataset.memory` in GB")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (int(args.limit * 1e9),) * 2)
    with tempfile.TemporaryDirectory(prefix="gsdff-many-") as name:
        write_scene(Path(name), args.photos)
        config = TrainConfig(
            Path(name),
            dataset=DataConfig(memory=args.memory),
            stage1=Stage1Config(steps=args.steps),
            teacher=TeacherConfig("none"),
        )
        start = time.perf_counter()
        scene = load_scene(Path(name), config.dataset)
        seconds = time.perf_counter() - start
        trainer = Trainer(config, scene, torch.device("cpu"), initial_gaussians(config, scene))
        own = memory("RssAnon")
        losses = []
        for _ in range(args.steps):
            losses.append(float(trainer.advance()["loss"].detach()))
            own = max(own, memory("RssAnon"))
    pixels = sum(view.image.numel() for view in scene.views) / 1e9
    print(f"{len(scene.views)} photos, {pixels:.1f} GB as pixels, loaded in {seconds:.0f} s wall, "
          f"{time.process_time():.0f} s CPU with the steps")  # fmt: skip
    print(f"memory of its own at most {own:.2f} GB of {args.limit:g} GB allowed; peak with file pages "
          f"{memory('VmHWM'):.1f} GB")  # fmt: skip
    print(f"{args.steps} steps at {WIDTH}x{HEIGHT}, loss {losses[0]:.3f} -> {losses[-1]:.3f}")


if __name__ == "__main__":
    main()
