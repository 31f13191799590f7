"""Photos whose exposure and white balance change: what that costs, and what `stage1.exposure` wins back.

    python scripts/study_exposure.py demo build/exposure_demo -- --stage1.steps 2000
    python scripts/study_exposure.py ../shared/assets/scenes/fox build/exposure_fox -- --downscale 2

Makes a copy of the scene with seeded changes of every photo (up to --stops of exposure, up to --balance of red and of
blue, in linear light, clipped at white), trains both without and with the correction, and prints PSNR of held-out
photos: as rendered, and of right halves after the colours were fitted in left halves. Options after -- go to training.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from gsdff.cli import run_door
from gsdff.data.demo import copy_demo_scene
from gsdff.evaluation.run import score_fitted
from gsdff.field.load import load
from gsdff.metrics import psnr
from gsdff.render import render_view

PHOTOS = {".png", ".jpg", ".jpeg"}
ARMS = {("clean", "off"), ("clean", "auto"), ("changed", "off"), ("changed", "auto")}


def to_linear(values: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: np.ndarray) -> np.ndarray:
    """sRGB values of linear light; what is brighter than white is white."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def change_photos(folder: Path, stops: float, balance: float, seed: int) -> None:
    """Changes all photos in a folder in place, in the order of their names."""
    generator = np.random.default_rng(seed)
    for path in tqdm(sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOS), desc="photos"):
        gain = 2.0 ** generator.uniform(-stops, stops) * np.ones(3)
        gain[[0, 2]] *= 1 + generator.uniform(-balance, balance, 2)
        with Image.open(path) as image:
            values = np.asarray(image.convert("RGB"), np.float64) / 255
        changed = Image.fromarray((255 * to_srgb(gain * to_linear(values))).round().astype(np.uint8))
        changed.save(path, quality=98)


def score(run: Path) -> dict[str, float]:
    """Means over the held-out views of a run."""
    field = load(run, device="cpu")
    rows = []
    for view_id in field.scene.test_ids:
        view = field.scene.views[view_id]
        image = render_view(field.trained, view, field.background).cpu()
        rows.append((psnr(image, view.target, view.mask), score_fitted(image, view)))
    return dict(zip(("psnr", "psnr_fitted"), map(statistics.fmean, zip(*rows, strict=True)), strict=True))


def main() -> None:
    """Makes the scenes, trains, and prints and writes the table."""
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a scene's folder, or demo")
    parser.add_argument("out", type=Path, help="folder for scenes and runs; runs that are there are not trained again")
    parser.add_argument("--photos", default="images", help="folder of the photos in the scene's")
    parser.add_argument("--stops", type=float, default=0.5)
    parser.add_argument("--balance", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words[:split])
    for name in ("clean", "changed"):
        folder = args.out / "scenes" / name
        if not folder.exists():
            partial = folder.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            copy_demo_scene(partial) if args.data == "demo" else shutil.copytree(args.data, partial)
            if name == "changed":
                change_photos(partial / args.photos, args.stops, args.balance, args.seed)
            partial.rename(folder)
    table: dict[str, dict[str, float]] = {}
    for scene, choice in sorted(ARMS, reverse=True):
        run = args.out / "runs" / f"{scene}_{choice}"
        if not (run / "scene.ply").is_file():
            options = ["--data", args.out / "scenes" / scene, "--out", run, "--stage1.exposure", choice]
            command = [sys.executable, "-m", "gsdff.train", *options, "--teacher", "none", *words[split + 1 :]]
            subprocess.run(list(map(str, command)), check=True)
        table[f"{scene}, {choice}"] = score(run)
        figures = "  ".join(f"{name} {value:.2f} dB" for name, value in table[f"{scene}, {choice}"].items())
        print(f"{scene:8s} {choice:6s} {figures}", flush=True)
    best, least, got = (table[name]["psnr_fitted"] for name in ("clean, off", "changed, off", "changed, auto"))
    share = (got - least) / (best - least)
    print(f"won back: {100 * share:.0f} % of {best - least:.2f} dB, fitted")
    (args.out / "exposure.json").write_text(json.dumps(table | {"won_back": share}, indent=1) + "\n")


if __name__ == "__main__":
    run_door(main)
