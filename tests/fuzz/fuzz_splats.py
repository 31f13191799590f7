"""Gaussians: PLY, .splat, compressed PLY, sidecars, bases, checkpoints and runs, through `gsdff.load`."""

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from fuzz_datasets import NAMES, write_nerfstudio
from fuzz_net import Format, expect

import gsdff
from gsdff.cli.vocabulary import check_words
from gsdff.config.file import read_config, read_presets, write_config
from gsdff.config.options import FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.config.smoothing import GraphConfig, SmoothingConfig
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.io.ply import write_compressed_ply, write_ply, write_splat
from gsdff.io.sidecar import Sidecar
from gsdff.latents import Basis
from gsdff.run_folder import RunFolder
from gsdff.training.logger import drop_lines_after, last_line
from gsdff.training.run import train_run
from gsdff.viewer.training_progress import Curves, thin_out

WORDS = ("chair", "lamp", "wall")


def make_gaussians(num: int = 30, *, features: bool = True) -> Gaussians:
    """Blobs in a cube, half of which say chair and half lamp."""
    generator = torch.Generator().manual_seed(0)
    says = torch.eye(3)[(torch.arange(num) % 2)]
    return Gaussians(
        means=torch.rand(num, 3, generator=generator) - 0.5,
        quats=torch.randn(num, 4, generator=generator),
        log_scales=torch.rand(num, 3, generator=generator) - 3,
        logit_opacities=torch.rand(num, generator=generator) * 4,
        sh0=torch.randn(num, 1, 3, generator=generator),
        shN=torch.randn(num, 3, 3, generator=generator) * 0.2,
        features=says if features else None,
    )


def make_basis() -> Basis:
    return Basis(
        torch.linalg.qr(torch.randn(5, 3, generator=torch.Generator().manual_seed(1))).Q.contiguous(),
        0.9,
        "precomputed",
        "f",
    )


def write_scene(folder: Path) -> None:
    """A PLY with its sidecar, and beside them the other formats."""
    gaussians, basis = make_gaussians(), make_basis()
    write_ply(folder / "scene.ply", gaussians)
    texts = dict(zip(WORDS, basis.B.T, strict=True))
    Sidecar(basis, TeacherConfig("precomputed"), texts).save(folder / "scene.basis.safetensors")


def write_other(folder: Path) -> None:
    bare = make_gaussians(features=False)
    write_compressed_ply(folder / "compressed.ply", bare)
    write_splat(folder / "scene.splat", bare)
    write_ply(folder / "plain.ply", replace(bare, shN=torch.zeros(len(bare), 0, 3)))


def check_gaussians(gaussians: Gaussians) -> None:
    expect(len(gaussians) > 0, "no Gaussians")
    for name, tensor in gaussians.items():
        expect(
            tensor.dtype == torch.float32 and len(tensor) == len(gaussians), f"{name} of {tensor.dtype}, {tensor.shape}"
        )
        expect(bool(tensor.isfinite().all()), f"{name} that are not finite")
    expect(bool((gaussians.quats != 0).any(-1).all()), "zero quaternions")


def use(field: gsdff.Field, folder: Path) -> None:
    """What every command does with a scene: query, edit, write in every format and read back."""
    check_gaussians(field.gaussians)
    if field.basis is not None:
        expect(bool(field.basis.B.isfinite().all()), "a basis that is not finite")
        hit = field.query("chair")
        expect(bool(hit.scores.isfinite().all()), "scores that are not finite")
        try:
            field.edit(gsdff.Recolor("chair", "#ff0000", threshold=0.5))
        except UserError as error:
            if "select" not in str(error):
                raise
    for name, form in (("out.ply", "ply"), ("out.splat", "splat"), ("small.ply", "compressed")):
        try:
            path = field.save(folder / name, format=form, features="none" if form != "ply" else "latent")
        except UserError as error:
            if "nothing to write" not in str(error):
                raise
            continue
        expect(path.stat().st_size > 0, f"an empty {name}")
    again = gsdff.load(folder / "out.ply", device="cpu").gaussians
    expect(len(again) == len(field.gaussians), f"{len(again)} of {len(field.gaussians)} Gaussians after a round trip")


def read_scene(folder: Path, random: Random) -> None:
    try:
        check_words(folder / "scene.ply", {"`text`": ("chair",)})
    except UserError as error:
        if "chair" not in str(error):
            raise
    field = gsdff.load(folder / "scene.ply", device="cpu")
    use(field, folder)
    field.require_features()  # says what is wrong with the sidecar


def read_other(folder: Path, random: Random) -> None:
    """Loads each; formats that this version cannot read are refused."""
    refused = []
    for name in ("compressed.ply", "scene.splat", "plain.ply"):
        try:
            use(gsdff.load(folder / name, device="cpu"), folder)
        except UserError as error:
            refused.append(error)
    if refused:
        raise refused[0]


# --- runs


def write_run(folder: Path) -> None:
    """A run of a few steps of both stages."""
    write_nerfstudio(folder / "data")
    (folder / "maps").mkdir()
    for i, name in enumerate(NAMES):
        torch.save(
            torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(i)),
            folder / "maps" / f"{name[:2]}_fmap_CxHxW.pt",
        )
    np.savez(folder / "maps" / "text_features.npz", names=np.array(WORDS), vectors=make_basis().B.T.numpy())
    train_run(run_config(folder / "run"))


HERE = Path("/proc/self/cwd")
"""The working folder, wherever that is: a run names its photos and maps by absolute paths."""


def run_config(out: Path) -> TrainConfig:
    return TrainConfig(
        data=HERE / "data",
        out=out,
        device="cpu",
        log_every=2,
        checkpoint_every=4,
        picture_every=100,
        teacher=TeacherConfig("precomputed", HERE / "maps"),
        features=FeatureConfig(3),
        stage1=Stage1Config(steps=6),
        stage2=Stage2Config(steps=4),
        smoothing=SmoothingConfig(graph=GraphConfig(form="off")),
    )


def read_run(folder: Path, random: Random) -> None:
    field = gsdff.load(folder / "run", device="cpu")
    use(field, folder)
    field.require_features()  # says what is wrong with the basis


def resume_run(folder: Path, random: Random) -> None:
    """Goes on from the newest checkpoint, by a step if the run was finished."""
    run = folder / "run"
    if random.random() < 0.5:
        for path in (run / "checkpoints").glob("step_000010.pt"):
            path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
    config = replace(read_config(RunFolder(run).config), out=run, device="cpu")
    train_run(config, resume=True)
    use(gsdff.load(run / "scene.ply", device="cpu"), folder)


def read_metrics(folder: Path, random: Random) -> None:
    """What the page and a resumed run make of metrics.jsonl."""
    path = folder / "run" / "metrics.jsonl"
    curves = Curves(path)
    curves.update()
    for points in (curves.losses, curves.psnrs, curves.heldout):
        steps, values = thin_out(points)
        expect(steps.dtype.kind == "f" and values.dtype.kind == "f", "curves that are not numbers")
    drop_lines_after(path, 4)
    if path.read_text():
        expect(isinstance(last_line(path), dict), "a last line that is no object")


def read_config_file(folder: Path, random: Random) -> None:
    """A run's own options, and a file for --config."""
    config = read_config(folder / "config.toml")
    below = read_presets([str(folder / "config.toml")], TrainConfig())
    expect(config == below, "the same file gave two configs")
    config.check()
    write_config(folder / "again.toml", config)
    expect(
        read_config(folder / "again.toml") == config or "nan" in repr(config), "written and read, it is another config"
    )


def write_config_file(folder: Path) -> None:
    write_config(folder / "config.toml", run_config(Path("/out")))


FORMATS = (
    Format("ply", "gsdff/io", write_scene, read_scene, ("scene.ply",), 3),
    Format(
        "splat", "gsdff/io", write_other, read_other, ("scene.splat", "compressed.ply", "plain.ply"), 1.5, is_new=True
    ),
    Format("sidecar", "gsdff/io", write_scene, read_scene, ("*.safetensors",), 2),
    Format("basis", "gsdff/latents", write_run, read_run, ("run/basis.safetensors",), 1),
    Format("checkpoint", "gsdff/io", write_run, read_run, ("run/checkpoints/step_000010.pt",), 2),
    Format(
        "resume",
        "gsdff/training",
        write_run,
        resume_run,
        ("run/checkpoints/*.pt", "run/metrics.jsonl", "run/basis.safetensors"),
        1,
    ),
    Format("run-config", "gsdff/config", write_run, read_run, ("run/config.toml",), 1),
    Format("config", "gsdff/config", write_config_file, read_config_file, ("config.toml",), 2),
    Format("metrics", "gsdff/training", write_run, read_metrics, ("run/metrics.jsonl",), 1),
)
