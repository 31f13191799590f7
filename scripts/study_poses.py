"""Poses that are a little off: what they cost, and what `stage1.refine_poses` wins back, on the built-in scene.

    python scripts/study_poses.py build/poses [--angle 0.3] [--shift 0.01] [-- OPTIONS OF THE TRAINING]

Turns the training photos' cameras by --angle degrees and shifts them by --shift of the cameras' radius, each in a
seeded direction; held-out photos keep their poses. Prints PSNR of held-out photos for exact poses, for those that are
off, and for those that are refined, and how far cameras are from the truth, in degrees and in shares of the radius.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import argparse
import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import torch

from gsdff.cli import run_door
from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.data.demo import copy_demo_scene
from gsdff.evaluation.run import score_images
from gsdff.field.load import load
from gsdff.rotation import matrices_to_quats, quats_to_matrices
from gsdff.scene import Scene
from gsdff.training.poses import rigid_motion

ARMS = {"exact": ("exact", False), "off": ("off", False), "refined": ("off", True), "exact, refined": ("exact", True)}


def disturb(folder: Path, angle: float, shift: float, seed: int) -> None:
    """Moves the training photos' cameras in the COLMAP model of a folder, in whose images.bin no photo has points."""
    scene = load_scene(folder, DataConfig())
    names = {scene.views[view_id].name for view_id in scene.train_ids}
    path = folder / "sparse" / "0" / "images.bin"
    content = bytearray(path.read_bytes())
    generator = torch.Generator().manual_seed(seed)
    place = 8
    for _ in range(struct.unpack_from("<Q", content)[0]):  # id, quaternion wxyz, shift, camera, name, no points
        pose = torch.tensor(struct.unpack_from("<7d", content, place + 4), dtype=torch.float64)
        end = content.index(b"\0", place + 64)
        name = content[place + 64 : end].decode()
        assert struct.unpack_from("<Q", content, end + 1)[0] == 0, "the built-in scene lists no points by photo"
        turn, way = (torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0) for _ in range(2))
        if name in names:
            motion = rigid_motion(torch.cat([math.radians(angle) * turn, shift * scene.frame.scale * way]).double())
            quat = matrices_to_quats((motion[:3, :3] @ quats_to_matrices(pose[:4].float()).double()).float())
            moved = [*quat.tolist(), *(motion[:3, :3] @ pose[4:] + motion[:3, 3]).tolist()]
            struct.pack_into("<7d", content, place + 4, *moved)
        place = end + 9
    path.write_bytes(content)


def compare(scene: Scene, truth: Scene) -> tuple[float, float]:
    """Median angle in degrees and median distance, in radii, between the cameras of two scenes of the same photos."""
    angles, distances = [], []
    for view_id in truth.train_ids:
        one, other = (each.views[view_id].camera.camtoworld.double() for each in (scene, truth))
        cosine = ((one[:3, :3].T @ other[:3, :3]).trace() - 1) / 2
        angles.append(math.degrees(math.acos(float(cosine.clamp(-1, 1)))))
        centres = [
            each.frame.points_to_input(pose[None, :3, 3].float()) for each, pose in ((scene, one), (truth, other))
        ]
        distances.append(float((centres[0] - centres[1]).norm()) / truth.frame.scale)
    return sorted(angles)[len(angles) // 2], sorted(distances)[len(distances) // 2]


def main() -> None:
    """Makes the scenes, trains, and prints and writes the table."""
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for scenes and runs; runs that are there are not trained again")
    parser.add_argument("--angle", type=float, default=0.3)
    parser.add_argument("--shift", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    args = parser.parse_args(words[:split])
    for name in ("exact", "off"):
        folder = args.out / "scenes" / name
        if not folder.exists():
            copy_demo_scene(folder)
            if name == "off":
                disturb(folder, args.angle, args.shift, args.seed)
    truth = load_scene(args.out / "scenes" / "exact", DataConfig())
    table = {}
    for arm in args.arms:
        scene, refines = ARMS[arm]
        run = args.out / "runs" / arm.replace(", ", "_")
        if not (run / "scene.ply").is_file():
            options = ["--data", args.out / "scenes" / scene, "--out", run, "--teacher", "none"]
            options += ["--stage1.refine-poses"] if refines else []
            command = [sys.executable, "-m", "gsdff.train", *options, *words[split + 1 :]]
            subprocess.run(list(map(str, command)), check=True)
        field = load(run, device="cpu")
        mean = score_images(field, run / "evaluation", None)["mean"]
        angle, distance = compare(field.scene, truth)
        table[arm] = {**mean, "angle_degrees": angle, "distance": distance}
        print(f"{arm:16s} PSNR {mean['psnr']:.2f} dB  off by {angle:.3f} degrees, {100 * distance:.2f} %", flush=True)
    (args.out / "poses.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    run_door(main)
