"""Photos beyond the memory limit are read from a mapped file, and are the same photos."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gsdff.data import pixel_store
from gsdff.data.pixel_store import PixelStore
from gsdff.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def many_photos(tmp_path, write_colmap, colmap_model):
    """A scene of 120 photos, which are 92 MB as pixels."""
    names = [f"{i:03}.png" for i in range(120)]
    images = tuple((name, 1, (1.0, 0.0, 0.0, 0.0), (float(i), 0.0, 0.0)) for i, name in enumerate(names))
    cameras = ((1, "PINHOLE", 640, 400, (500.0, 500.0, 320.0, 200.0)),)
    root = write_colmap(tmp_path / "scene", colmap_model(cameras=cameras, images=images))
    for i, name in enumerate(names):
        Image.new("RGB", (640, 400), (i, 2 * i, 5)).save(root / "images" / name)
    return root


def test_kept_arrays_come_back_and_the_file_has_no_name(cache):
    store = PixelStore(10_000, 100, Path("scene"))
    arrays = [np.random.default_rng(i).integers(0, 256, (7, 5 + i, 3), np.uint8) for i in range(20)]
    kept = [store.keep(array) for array in arrays]
    masks = store.keep(np.array([[True, False]]))
    assert all((tensor.numpy() == array).all() for tensor, array in zip(kept, arrays, strict=True))
    assert masks.dtype == torch.bool and masks.tolist() == [[True, False]]
    assert list((cache / "gsdff").iterdir()) == []


def test_arrays_that_overflow_a_file_go_to_the_next(monkeypatch):
    monkeypatch.setattr(pixel_store, "BLOCK_BYTES", 1000)
    store = PixelStore(10_000, 0, Path("scene"))
    arrays = [np.full(size, i, np.uint8) for i, size in enumerate((600, 600, 3000, 64, 900))]
    kept = [store.keep(array) for array in arrays]
    assert all((tensor.numpy() == array).all() for tensor, array in zip(kept, arrays, strict=True))


def test_too_little_disk_is_said_with_the_numbers():
    with pytest.raises(
        UserError, match=r"GB are free, the photos of scene take 1000000000\.0 GB, more than `dataset.mem"
    ):
        PixelStore(10**18, 0, Path("scene"))


MEASURE = """
import gc, hashlib, logging, sys
from pathlib import Path
from gsdff.config.options import DataConfig
from gsdff.data import load_scene

def private_bytes():  # memory of this process that the system cannot drop
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

logging.basicConfig(level="INFO")
before = private_bytes()
scene = load_scene(Path(sys.argv[1]), DataConfig(memory=float(sys.argv[2])))
gc.collect()
grown = private_bytes() - before
print(grown, hashlib.sha256(b"".join(view.image.numpy().tobytes() for view in scene.views)).hexdigest())
"""


def test_many_photos_take_no_more_memory_than_the_limit(many_photos):
    grown, pictures, logs = [], [], []
    for memory in (4.0, 0.02):
        command = [sys.executable, "-c", MEASURE, str(many_photos), str(memory)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        number, pixels = done.stdout.split()
        grown.append(int(number))
        pictures.append(pixels)
        logs.append(done.stderr)
    assert grown[0] > 90e6 and grown[1] < grown[0] - 80e6, grown
    assert pictures[0] == pictures[1]
    assert "the photos take 0.1 GB, more than `dataset.memory` 0.02 GB" in logs[1] and "photos take" not in logs[0]
