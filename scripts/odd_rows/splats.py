"""Rows about Gaussians, colours of points, and files that are read back: A4, A10 and A12."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from fuzz_splats import make_gaussians

import gsdff
from gsdff.config.options import FeatureConfig, Stage1Config, TeacherConfig
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
from gsdff.io.ply import write_ply
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.latents import Basis
from gsdff.masks.store import make_masks
from gsdff.teachers.precomputed import PrecomputedTeacher
from gsdff.teachers.store import FeatureStore, open_store
from gsdff.training.trainer import Trainer
from odd_rows.make import (
    flip,
    load,
    make_run,
    put,
    train,
    training,
    write_cloud,
    write_maps,
    write_model,
    write_transforms,
)
from odd_rows.table import Here, Table, code, expect

TABLE = Table()
row = TABLE.row


# --- A4


def write_infinite(path: Path, num: int = 300) -> Gaussians:
    """A PLY as Scaniverse and SuperSplat write it: half are opaque (inf), a third flat (-inf), some invisible."""
    gaussians = make_gaussians(num, features=False)
    gaussians.logit_opacities[::2] = torch.inf
    gaussians.logit_opacities[1::50] = -torch.inf
    gaussians.log_scales[::3, 2] = -torch.inf
    names = ["x", "y", "z", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(9)), "opacity"]
    names += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    columns = (gaussians.means, gaussians.sh0[:, 0], gaussians.shN.mT.flatten(1), gaussians.logit_opacities[:, None])
    values = torch.cat([*columns, gaussians.log_scales, gaussians.quats], 1).numpy().astype("<f4")
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {num}\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    path.write_bytes(header.encode() + values.tobytes())
    return gaussians


def all_finite(gaussians: Gaussians) -> bool:
    return all(bool(tensor.isfinite().all()) for _, tensor in gaussians.items())


@row(
    "A4",
    "a PLY of 300 Gaussians, half of them opaque (∞), a third flat (−∞), exported in every format",
    "test_opaque_and_flat_gaussians_are_read_as_finite_ones_that_look_the_same",
    "test_lossy_formats_keep_opaque_and_flat_gaussians",
)
def infinite(here: Here) -> str:
    given = write_infinite(here.folder / "theirs.ply")
    field = gsdff.load(here.folder / "theirs.ply", device="cpu")
    counts = {"read": len(field)}
    for name in ("a.ply", "a.splat", "a.compressed.ply"):
        again = gsdff.load(field.save(here.folder / name), device="cpu").gaussians
        expect(all_finite(again), f"{name} holds what is not finite")
        counts[name.removeprefix("a")] = len(again)
    visible = int((given.opacities > 1 / 255).sum())
    expect(counts["read"] == counts[".ply"] == counts[".splat"] == 300, f"Gaussians {counts}")
    expect(counts[".compressed.ply"] >= visible, f"Gaussians {counts}, visible are {visible}")
    off = float((field.gaussians.opacities - given.opacities).abs().max())
    expect(off < 1e-6 and all_finite(field.gaussians), f"opacities differ by {off}")
    shown = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"all finite: {shown} ({300 - visible} are invisible); opacities differ by at most {off:.1g}"


@row(
    "A4",
    "training goes on from such a PLY",
    "test_a_ply_in_the_photos_frame_is_taken_into_the_working_frame",
    "test_opaque_and_flat_gaussians_are_read_as_finite_ones_that_look_the_same",
)
def train_infinite(here: Here) -> str:
    write_transforms(here.folder / "data", shift=(-0.5, 0, -2.5))
    write_infinite(here.folder / "theirs.ply")
    config = training(
        here.folder / "data", here.folder / "run", write_maps(here.folder / "maps"), stage1=Stage1Config(steps=0)
    )
    run = train(replace(config, stage1_from=here.folder / "theirs.ply"))
    gaussians = gsdff.load(run / "scene.ply", device="cpu").gaussians
    expect(len(gaussians) == 300 and all_finite(gaussians), f"{len(gaussians)} Gaussians, or not finite")
    return f"{len(gaussians)} Gaussians with features, all finite"


@row(
    "A4",
    "a parameter becomes infinite while training",
    "test_a_gaussian_that_is_not_finite_stops_the_run_before_it_is_saved",
    "test_a_loss_that_is_no_number_stops_the_run_and_keeps_its_checkpoints",
)
def breaks_down(here: Here) -> str:
    write_transforms(here.folder / "data")
    advance = Trainer.advance

    def break_down(trainer: Trainer) -> dict[str, torch.Tensor]:
        scalars = advance(trainer)
        if trainer.step == 5:
            trainer.gaussians.log_scales.data[3] = torch.inf
        return scalars

    config = training(here.folder / "data", here.folder / "run")
    with mock.patch.object(Trainer, "advance", break_down):
        said = here.refused(lambda: train(config), "log_scales", "infinite or NaN")
    kept = list_checkpoints(here.folder / "run/checkpoints")
    expect([load_checkpoint(path)["step"] for path in kept] == [4], f"checkpoints {kept}")
    return f"{said}; the checkpoint of step 4 is kept"


@row(
    "A4",
    "`edit --scale` by 1e300, `--move` by 1e300",
    "test_an_edit_that_would_make_what_cannot_be_drawn_is_named",
    "test_absurd_numbers_are_refused_by_the_option_or_the_edit_and_nothing_is_written",
)
def absurd_edits(here: Here) -> str:
    make_run(here.folder)
    said = []
    for option, value in (("--scale", "chair:1e300"), ("--move", "chair:1e300,0,0"), ("--scale", "chair:nan")):
        words = here.run_door("edit", "run", option, value, "--out", "out.ply", "--threshold", "0", expected=1)
        said.append(words.rpartition("error: ")[2])
        expect(not (here.folder / "out.ply").exists(), "a file was written")
    return f"{'; '.join(map(code, said))}; nothing is written"


@row("A4", "a writer is given Gaussians that are not finite", "test_no_writer_writes_what_is_not_finite")
def write_broken(here: Here) -> str:
    gaussians = make_gaussians(features=False)
    gaussians.means[:10, 1] = torch.nan
    write_ply(here.folder / "out.ply", gaussians)
    again = gsdff.load(here.folder / "out.ply", device="cpu").gaussians
    expect(len(again) == 20 and all_finite(again), f"{len(again)} Gaussians written")
    return here.said("left out 10 of 30")


# --- A10


@row(
    "A10",
    "colour (200, 100, 50) of points as 16-bit, float 0–255, float 0–1, `diffuse_red` or `f_dc_*`",
    "test_colours_of_any_kind_are_the_same_bytes",
    "test_a_3dgs_scene_gives_the_colours_of_its_gaussians",
)
def colours(here: Here) -> str:
    rgb, plain = (200, 100, 50), ("red", "green", "blue")
    kinds = {
        "ushort": (plain, "ushort", [value * 257 for value in rgb]),
        "float 0-255": (plain, "float", rgb),
        "float 0-1": (plain, "float", [value / 255 for value in rgb]),
        "diffuse": (tuple(f"diffuse_{name}" for name in plain), "uchar", rgb),
        "f_dc": (tuple(f"f_dc_{i}" for i in range(3)), "float", [(v / 255 - 0.5) / 0.28209479177387814 for v in rgb]),
    }
    found = {}
    for kind, (names, type_name, values) in kinds.items():
        put(here.folder, write_transforms(here.folder, ply_file_path="points.ply"))
        write_cloud(here.folder / "points.ply", names, type_name, values)
        colors = load(here.folder).point_colors
        expect((colors == colors[0]).all() and len(colors) == 8, f"{kind}: several colours")
        found[kind] = tuple(colors[0].tolist())
    expect(set(found.values()) == {rgb}, f"colours {found}")
    return f"(200, 100, 50) from all {len(found)}; {here.said('16-bit')}"


@row(
    "A10",
    "colours that are none (NaN, negative), or no colours",
    "test_what_is_no_colour_is_grey_and_said",
    "test_no_colours_are_said",
)
def no_colours(here: Here) -> str:
    put(here.folder, write_transforms(here.folder, ply_file_path="points.ply"))
    write_cloud(here.folder / "points.ply", ("red", "green", "blue"), "float", (np.nan, -1, 0.5))
    first = load(here.folder).point_colors
    write_cloud(here.folder / "points.ply", (), "float", ())
    second = load(here.folder).point_colors
    expect((first == 128).all() and (second == 128).all(), "other colours than grey")
    return f"grey; {here.said('start grey', '8 of 8')}; {here.said('no colours')}"


# --- A12


@row(
    "A12",
    "stored teacher maps of a run or a cache: other dtype, other height, a flipped bit, another photo's",
    "test_a_stored_map_that_is_not_the_one_written_is_refused_and_made_again",
    "test_no_flipped_bit_goes_unnoticed",
)
def damaged_maps(here: Here) -> str:
    write_model(here.folder)
    views = load(here.folder).views
    teacher = PrecomputedTeacher(TeacherConfig("precomputed", write_maps(here.folder / "maps")))
    store = open_store(teacher, views, here.folder / "store", FeatureConfig(3))
    right, path = [store.load(view) for view in views], store.path(views[1])
    stored, whole = np.load(path), path.read_bytes()
    said = []
    for number in range(44):
        path.write_bytes(whole)
        if number < 40:
            flip(path, number * (len(whole) - 1) // 39, 1 << number % 8)
        elif number == 43:
            path.write_bytes(store.path(views[2]).read_bytes())
        else:
            np.save(path, {40: stored.astype(np.float32), 41: stored[:-1], 42: stored}[number])
        damaged = FeatureStore(store.folder, store.basis)
        said.append(here.refused(partial(damaged.load, views[1]), "v1.npy"))
        store = open_store(teacher, views, here.folder / "store", FeatureConfig(3))
        same = all(torch.equal(store.load(view), latents) for view, latents in zip(views, right, strict=True))
        expect(same, f"damage {number}: made again, the maps differ")
    return f"{len(said)} of 44 are refused ({said[30]}), and made again by the next run to the same bits"


class Stripes:
    """A segmenter that cuts every photo in two."""

    name = fingerprint = "stripes"

    def fingerprint_of(self, view: object) -> str:
        return ""

    def segment(self, view: object, image: torch.Tensor) -> torch.Tensor:
        labels = torch.ones(image.shape[:2], dtype=torch.int32)
        labels[:, 5:] = 2
        return labels


@row("A12", "a flipped bit in a stored mask", "test_no_flipped_bit_of_a_map_goes_unnoticed")
def damaged_masks(here: Here) -> str:
    write_model(here.folder)
    views = load(here.folder).views
    make_masks(Stripes(), views, here.folder / "masks")
    path = here.folder / "masks/v1.png"
    whole = path.read_bytes()
    for number in range(40):
        path.write_bytes(whole)
        flip(path, number * (len(whole) - 1) // 39, 1 << number % 8)
        store = make_masks(Stripes(), views, here.folder / "masks")
        expect(
            torch.equal(store.load(views[1]), Stripes().segment(None, views[1].image)), f"flip {number}: other masks"
        )
    return "40 of 40 flips: right masks, made again where a flip changed them"


@row(
    "A12",
    "a flipped bit in a run's checkpoint, basis or the file beside a PLY",
    "test_a_flipped_bit_is_refused_wherever_the_values_are",
    "test_no_flipped_bit_of_a_safetensors_file_gives_other_values",
    "test_a_damaged_checkpoint_gives_way_to_the_one_before_it",
)
def damaged_run(here: Here) -> str:
    run = make_run(here.folder)
    gsdff.load(run, device="cpu").save(run / "scene.ply")
    newest = list_checkpoints(run / "checkpoints")[-1]
    readers = {
        newest: load_checkpoint,
        run / "basis.safetensors": Basis.load,
        sidecar_path(run / "scene.ply"): Sidecar.load,
    }
    shown, samples = [], []
    for path, read in readers.items():
        whole, right, refusals = path.read_bytes(), values_of(read(path)), 0
        for number in range(60):
            flip(path, number * (len(whole) - 1) // 59, 1 << number % 8)
            try:
                same = values_of(read(path)) == right
                expect(same, f"{path.name}: flip {number} gives other values")
            except UserError as error:
                refusals += 1
                samples.append(here.shorten(error))
            path.write_bytes(whole)
        shown.append(f"{refusals} of 60 of {path.name} are refused")
    flip(newest, newest.stat().st_size // 2)
    gsdff.load(run, device="cpu")
    taken = here.said("taking this older checkpoint")
    return f"{', '.join(shown)}, the others change no value; with a damaged newest checkpoint {taken}"


def values_of(result: object) -> object:
    """All values of a result, to be compared."""
    if isinstance(result, torch.Tensor):
        return result.numpy().tobytes(), str(result.dtype), tuple(result.shape)
    if isinstance(result, dict):
        return {name: values_of(value) for name, value in result.items()}
    if isinstance(result, list | tuple):
        return [values_of(value) for value in result]
    return values_of(vars(result)) if isinstance(result, Basis | Sidecar) else result
