"""Rows about damaged and hostile files, by kind, and about memory: D and E."""

import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fuzz_splats import make_gaussians
from PIL import Image
from safetensors.torch import load_file, save_file

import gsdff
from gsdff.config.file import read_config, read_presets
from gsdff.config.options import TeacherConfig, TrainConfig
from gsdff.config.smoothing import MaskConfig
from gsdff.editing.toml_file import read_edits
from gsdff.files.reading import read_safetensors
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
from gsdff.io.ply import write_ply
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.labels import read_classes
from gsdff.latents import Basis
from gsdff.masks.precomputed import PrecomputedSegmenter
from gsdff.teachers.precomputed import PrecomputedTeacher
from gsdff.training.run import train_run
from odd_rows.make import (
    HEIGHT,
    NAMES,
    WIDTH,
    load,
    make_run,
    numbered,
    put,
    write_maps,
    write_model,
    write_photos,
    write_transforms,
)
from odd_rows.table import PATIENCE, Here, Table, code, environment, expect

TABLE = Table()
row = TABLE.row


@row(
    "D",
    "JSON, TOML and YAML nested 100,000 deep",
    "test_nesting_too_deep_is_named",
    "test_a_toml_file_has_limits",
    "test_a_yaml_file_has_limits",
)
def nested(here: Here) -> str:
    write_transforms(here.folder)
    deep, said = "[" * 100_000, []
    files = {
        "transforms.json": ('{"frames": ' + deep, lambda: load(here.folder)),
        "classes.json": (deep, lambda: read_classes(here.folder / "classes.json")),
        "config.toml": (f"seed = {deep}", lambda: read_config(here.folder / "config.toml")),
        "edits.toml": (f"edit = {deep}", lambda: read_edits(here.folder / "edits.toml")),
        "edits.yaml": (deep, lambda: read_edits(here.folder / "edits.yaml")),
    }
    for name, (text, read) in files.items():
        (here.folder / name).write_text(text)
        said.append(here.refused(read, name))
    return f"{len(said)} of {len(files)} refused, such as {said[0]} and {said[2]}"


@row(
    "D",
    "numbers too large or zero: `camera_angle_x` 0, `fl_x` 1e400, 5,000 digits, NaN",
    "test_numbers_that_no_camera_has_are_refused_in_transforms",
    "test_angles_of_view_give_focal_lengths",
)
def numbers(here: Here) -> str:
    content = write_transforms(here.folder)
    said = []
    for key, value in (("camera_angle_x", "0"), ("fl_x", "1e400"), ("fl_x", "9" * 5000), ("fl_x", "NaN"), ("w", "0")):
        shared = {name: entry for name, entry in content.items() if key != "camera_angle_x" or "fl" not in name}
        text = json.dumps(shared | {key: "HERE"}).replace('"HERE"', value)
        (here.folder / "transforms.json").write_text(text)
        said.append(here.refused(lambda: load(here.folder), "transforms.json"))
    return "; ".join(said[:3]) + f"; {len(said)} of 5 refused"


@row(
    "D",
    "checkpoints without a key, with attributes of another shape or dtype, or no dictionary at all",
    "test_missing_or_misshapen_content_is_refused",
)
def checkpoints(here: Here) -> str:
    run = make_run(here.folder)
    for older in list_checkpoints(run / "checkpoints")[:-1]:
        older.unlink()
    (path,) = list_checkpoints(run / "checkpoints")
    whole, said = path.read_bytes(), []
    changes = {
        "no Gaussians": lambda state: state.pop("gaussians"),
        "no frame": lambda state: state.pop("frame"),
        "no step": lambda state: state.pop("step"),
        "no means": lambda state: state["gaussians"].pop("means"),
        "fewer quats": lambda state: state["gaussians"].update(quats=state["gaussians"]["quats"][:-1]),
        "flat scales": lambda state: state["gaussians"].update(log_scales=torch.zeros(5)),
        "means of float64": lambda state: state["gaussians"].update(means=state["gaussians"]["means"].double()),
        "a scale of NaN": lambda state: state["frame"].update(scale=float("nan")),
        "text": lambda state: state.update(gaussians="none"),
    }
    for change in changes.values():
        path.write_bytes(whole)
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)
        said.append(here.refused(lambda: gsdff.load(run, device="cpu"), path.name))
        here.refused(lambda: load_checkpoint(path), path.name)
    torch.save([1, 2], path)
    said.append(here.refused(lambda: gsdff.load(run, device="cpu"), path.name))
    torch.save({"format": 1, "step": 10}, path)
    config = replace(read_config(run / "config.toml"), out=run)
    said.append(here.refused(lambda: train_run(config, resume=True), path.name))
    return f"{len(said)} of {len(changes) + 2} refused, such as {said[0]} and {said[4]}"


def change_tensors(path: Path, change) -> None:
    """Writes a .safetensors file again with changed tensors and metadata, without a checksum of ours."""
    metadata, tensors = dict(read_safetensors(path, "a file")[1]), load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


@row(
    "D",
    "a file beside a PLY without energy or fingerprint, a basis of float64, half or bool, texts of integers",
    "test_missing_or_misshapen_content_is_refused",
    "test_texts_of_another_precision_become_float32",
)
def sidecars(here: Here) -> str:
    run = make_run(here.folder)
    gsdff.load(run, device="cpu").save(run / "scene.ply")
    path = sidecar_path(run / "scene.ply")
    whole, said, right = path.read_bytes(), [], Sidecar.load(path)

    def cast(kind: torch.dtype):
        return lambda tensors, _: tensors.update(B=tensors["B"].to(kind))

    refused = {
        "no energy": lambda _, metadata: metadata.pop("energy"),
        "no fingerprint": lambda _, metadata: metadata.pop("fingerprint"),
        "an energy of 7": lambda _, metadata: metadata.update(energy="7"),
        "bool": cast(torch.bool),
        "integer texts": lambda tensors, _: tensors.update(texts=tensors["texts"].long()),
        "texts of numbers": lambda _, metadata: metadata.update(texts="[1, 2, 3]"),
        "a downscale of 5,000 digits": lambda _, metadata: metadata.update(downscale="9" * 5000),
    }
    for change in refused.values():
        path.write_bytes(whole)
        change_tensors(path, change)
        said.append(here.refused(lambda: Sidecar.load(path), path.name))
    for kind in (torch.float64, torch.float16):
        path.write_bytes(whole)
        change_tensors(path, cast(kind))
        read = Sidecar.load(path).basis.B
        off = float((read - right.basis.B).abs().max())
        expect(read.dtype == torch.float32 and off < 1e-3, f"{kind} becomes {read.dtype}, {off} off")
        gsdff.load(run / "scene.ply", device="cpu").query("chair")
    basis = run / "basis.safetensors"
    change_tensors(basis, lambda tensors, _: tensors.update(B=tensors["B"].half()))
    expect(Basis.load(basis).B.dtype == torch.float32, "a run's basis of half")
    return (
        f"float64 and half become float32 and answer queries; {len(said)} of {len(refused)} others refused, such "
        f"as {said[0]} and {said[4]}"
    )


def huge_npy(shape: tuple[int, ...]) -> bytes:
    """A .npy file whose header declares more than it holds."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64)


@row(
    "D",
    "declared sizes of terabytes: `.npy`, `.npz`, run lengths of a mask",
    "test_an_array_that_declares_terabytes_is_refused_before_memory_is_reserved",
    "test_json_files_of_something_else_are_refused",
)
def terabytes(here: Here) -> str:
    write_model(here.folder)
    view = load(here.folder).views[0]
    maps = here.folder / "maps"
    maps.mkdir()
    (maps / "v0.npy").write_bytes(huge_npy((1000, 100_000, 100_000)))
    said = [
        here.refused(
            lambda: next(iter(PrecomputedTeacher(TeacherConfig("precomputed", maps)).extract([view]))), "v0.npy"
        )
    ]
    write_maps(maps)
    with zipfile.ZipFile(maps / "text_features.npz", "w") as archive:
        archive.writestr("names.npy", huge_npy((10**12,)))
        archive.writestr("vectors.npy", huge_npy((10**6, 10**6)))
    said.append(here.refused(lambda: PrecomputedTeacher(TeacherConfig("precomputed", maps)).knows("chair"), ".npz"))
    segments = here.folder / "segments"
    segments.mkdir()
    for counts in ([10**12], "o" * 50 + "0"):
        rle = {"size": [10**6, 10**6], "counts": counts}
        (segments / "v0.json").write_text(json.dumps([{"segmentation": rle, "predicted_iou": 0.9}]))
        segmenter = PrecomputedSegmenter(MaskConfig(folder=segments))
        said.append(here.refused(partial(segmenter.segment, view, view.image), "v0.json"))
    return "; ".join(said[:3])


@row(
    "D",
    "a picture that declares 10⁹ pixels, a plain array named `.npz`, maps that require a gradient",
    "test_two_hundred_megapixels_are_opened_and_a_declared_billion_is_not",
    "test_text_features_that_are_no_npz_are_refused",
    "test_a_map_that_requires_grad_is_a_map_like_any_other",
)
def missing_exceptions(here: Here) -> str:
    write_model(here.folder)
    view = load(here.folder).views[0]
    write_maps(here.folder / "maps")
    path = here.folder / "maps/v0_fmap_CxHxW.pt"
    plain = torch.load(path, weights_only=True)
    teacher = PrecomputedTeacher(teacher_config(here))
    first = next(iter(teacher.extract([view])))
    torch.save(plain.clone().requires_grad_(), path)
    second = next(iter(teacher.extract([view])))
    expect(torch.equal(first, second) and not second.requires_grad, "another map")
    np.save(here.folder / "maps/a.npy", np.ones(3))
    (here.folder / "maps/a.npy").rename(here.folder / "maps/text_features.npz")
    said = [here.refused(lambda: PrecomputedTeacher(teacher_config(here)).knows("chair"), "text_features.npz")]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 32_000, 31_250, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (here.folder / "images/v1.png").write_bytes(bomb)
    said.append(here.refused(lambda: load(here.folder), "v1.png"))
    return f"{said[1]}; {said[0]}; the map is read as any other"


def teacher_config(here: Here) -> TeacherConfig:
    return TeacherConfig("precomputed", here.folder / "maps")


@row(
    "D",
    "a `metrics.jsonl` that is not UTF-8, and a run resumed with it",
    "test_damaged_lines_are_left_out_and_counted",
    "test_a_finished_run_resumes_without_its_metrics",
)
def metrics(here: Here) -> str:
    run = make_run(here.folder)
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\xff\xfe\xfa not utf-8\n" + b"".join(lines[:-1]) + b"\xff" + lines[-1])
    said = here.run_door("train", "--out", "run", "--resume", lines=True)
    told = [line for line in said.splitlines() if "metrics.jsonl" in line]
    expect(told, f"nothing is said of it: {said[-300:]}")
    return f"{code(told[0].removeprefix('warning: '))}, and the run is finished"


@row(
    "D",
    "an empty `config.toml`, of a run and for `--config`",
    "test_an_empty_file_changes_nothing_and_what_is_no_file_is_refused",
)
def empty_config(here: Here) -> str:
    run = make_run(here.folder)
    empty = here.folder / "empty.toml"
    empty.write_text("")
    expect(read_presets([str(empty)], TrainConfig()) == TrainConfig(), "it changes options")
    (run / "config.toml").write_text("")
    lost = here.refused(lambda: gsdff.load(run, device="cpu").encode_text("chair"), "config.toml")
    return f"for `--config` it changes nothing; of a run: {lost}"


@row(
    "D",
    "`train_filenames` that match nothing, or are integers",
    "test_a_split_that_says_nothing_is_refused",
)
def filenames(here: Here) -> str:
    content = write_transforms(here.folder)
    said = []
    for names in (["images/x.png"], [1, 2, 3], "images/v0.png", {"a": 1}):
        put(here.folder, content | {"train_filenames": names})
        said.append(here.refused(lambda: load(here.folder), "train_filenames"))
    return "; ".join(said[:2])


@row(
    "D",
    "a folder whose name is not UTF-8",
    "test_results_are_printed_and_written",
    "test_every_door_says_that_there_is_nothing",
    "test_a_path_that_the_run_would_have_to_hold_is_refused",
)
def surrogates(here: Here) -> str:
    folder = Path(os.fsdecode(bytes(here.folder) + b"/sc\xe9ne"))
    folder.mkdir()
    write_ply(folder / "scene.ply", make_gaussians(features=False))
    exported = here.run_door("export", folder / "scene.ply", "--format", "splat")
    expect((folder / "scene.splat").stat().st_size == 30 * 32, "no .splat of 30 Gaussians")
    missing = here.run_door("export", folder / "none.ply", expected=1)
    write_transforms(folder / "data")
    words = ("--data", folder / "data", "--device", "cpu", "--teacher", "none", "--stage1.steps", 4, "--out", "run")
    trained = here.run_door("train", *words, expected=1)
    expect("UTF-8" in trained, f"training says {trained}")
    last = trained.rpartition("error: ")[2]
    return f"{code(exported)}; {code(missing)}; a training, whose options would hold it: {code(last)}"


@row(
    "D",
    "a photo outside `images` with `--downscale 2`",
    "test_a_photo_outside_the_common_folder_is_read_smaller",
)
def outside_images(here: Here) -> str:
    content = write_transforms(here.folder)
    write_photos(here.folder / "more", ["x.png"])
    content["frames"].append(dict(content["frames"][0], file_path="more/x.png"))
    content["frames"][-1]["transform_matrix"][0][3] += 5
    put(here.folder, content)
    write_photos(here.folder / "images_2", NAMES, (WIDTH // 2, HEIGHT // 2))
    views = load(here.folder, downscale=2).views
    sizes = {(view.camera.width, view.camera.height) for view in views}
    expect(len(views) == 5 and sizes == {(8, 6)}, f"{len(views)} photos of {sizes}")
    return f"{len(views)} of 5 photos, all of 8x6 pixels ({', '.join(view.name for view in views)})"


@row("D", "points all at 1e300", "test_points_that_are_all_too_far_become_random_ones")
def far_points(here: Here) -> str:
    model = write_model(here.folder)
    (model / "points3D.txt").write_text("".join(f"{i} 1e300 1e300 1e300 1 2 3 0.5 1 0\n" for i in range(8)))
    scene = load(here.folder)
    expect(len(scene.points) == 50 and bool(scene.points.isfinite().all()), f"{len(scene.points)} points")
    return f"{here.said('8 of 8 points are left out')}; {here.said('random ones')}"


# --- E

MEASURE = """
import gc, hashlib, logging, sys
from pathlib import Path
from gsdff.config.options import DataConfig
from gsdff.data import load_scene

def private_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

logging.basicConfig(level="INFO", format="%(message)s")
before = private_bytes()
scene = load_scene(Path("scene"), DataConfig(memory=float(sys.argv[1])))
gc.collect()
grown = private_bytes() - before
pixels = b"".join(view.image.numpy().tobytes() for view in scene.views)
print(grown, hashlib.sha256(pixels).hexdigest())
"""


@row(
    "E",
    "160 photos that take 123 MB as pixels, with `dataset.memory` of 4 GB and of 20 MB",
    "test_many_photos_take_no_more_memory_than_the_limit",
)
def memory(here: Here) -> str:
    names = numbered(160)
    write_model(here.folder / "scene", names, camera="PINHOLE 640 400 500 500 320 200", images=None)
    (here.folder / "scene/images").mkdir()
    for i, name in enumerate(names):
        Image.new("RGB", (640, 400), (i, i, 5)).save(here.folder / "scene/images" / name)
    grown, pictures, logs = [], set(), ""
    for limit in ("4", "0.02"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, limit], cwd=here.folder, capture_output=True, text=True, check=True,
            timeout=PATIENCE, env=environment() | {"XDG_CACHE_HOME": str(here.folder / "cache")},
        )  # fmt: skip
        number, pixels = done.stdout.split()
        grown.append(int(number) / 1e6)
        pictures.add(pixels)
        logs = done.stderr
    line = next((line for line in logs.splitlines() if "dataset.memory" in line), "")
    expect(len(pictures) == 1 and line, f"other pictures, or nothing said: {logs[-300:]}")
    expect(grown[0] > 110 and grown[1] < 40, f"grown by {grown} MB")
    return (
        f"the process grows by {grown[0]:.0f} MB and by {grown[1]:.0f} MB, the pictures are the same to the bit; "
        f"{code(here.shorten(line))}; `python scripts/many_photos.py` does it with 5,000 of 2 megapixels"
    )
