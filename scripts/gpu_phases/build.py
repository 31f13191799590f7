"""The phase `build`: wheels into a folder of their own, then torch, card and compiler, then gsplat's kernels."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from gpu_phases.work import Options, Phase, environment, open_phase, site_of, write_json

NEVER = ("torch-", "torchvision-", "triton-", "nvidia_")
"""Wheels that are never installed: the machine's own torch stays as it is."""


def build(options: Options) -> Phase:
    """Installs, looks and compiles, as far as it has not been done."""
    phase = open_phase(options, "build")
    forget_other_machine(phase)
    steps = {"wheels": install_wheels, "packages": check_packages, "card": find_card, "gsplat": compile_gsplat}
    for name, step in steps.items():
        if not phase.is_done(name) or not is_there(phase, name):
            step(phase)
    return phase


def is_there(phase: Phase, name: str) -> bool:
    """Whether what a finished step has made still lies in the folder, and is of the wheels that are given."""
    if name == "wheels":
        stamp = site_of(phase.options) / "wheels.json"
        return phase.options.wheels is None or (
            stamp.is_file() and json.loads(stamp.read_text())["wheels"] == list_wheels(phase.options)
        )
    if name == "gsplat" and phase.items[name]["status"] == "ok":
        return Path(phase.items[name]["library"]).is_file()
    return True


def forget_other_machine(phase: Phase) -> None:
    """Drops the items if they are of another interpreter or card."""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    cards = subprocess.run(asked, capture_output=True, text=True).stdout.split("\n") if shutil.which(asked[0]) else [""]
    mine = f"{sys.executable}, Python {sys.version.split()[0]}, {cards[0].strip() or 'no card'}"
    if phase.items.get("interpreter", {}).get("detail") != mine:
        phase.items.clear()
        phase.record("interpreter", "ok", detail=mine)


def list_wheels(options: Options) -> list[str]:
    """Names of the wheels that are given."""
    return sorted(wheel.name for wheel in options.wheels.glob("*.whl")) if options.wheels else []


def install_wheels(phase: Phase) -> None:
    """Unpacks the wheels that the interpreter lacks into a folder that its children's PYTHONPATH names."""
    options, site = phase.options, site_of(phase.options)
    if options.wheels is None:
        phase.record("wheels", "ok", detail="none given: the interpreter's own packages are used")
        return
    names = list_wheels(options)
    if not names:
        phase.record("wheels", "failed", detail=f"{options.wheels}: no wheels there; see scripts/pack_wheels.sh")
        return
    partial = site.with_name("site.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(site, ignore_errors=True)  # before looking: what lies in it does not count as the interpreter's
    phase.log_of("lacking").unlink(missing_ok=True)
    asked = phase.run("lacking", [sys.executable, "-m", "gpu_phases.probe", "lacking", *names])
    lacking = json.loads(asked.detail.splitlines()[-1]) if asked.status == "ok" else names
    chosen = [name for name in lacking if not name.startswith(NEVER)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-compile", "--no-cache-dir", "--target", partial]
    ended = phase.run("wheels", [*command, *(options.wheels / name for name in chosen)]) if chosen else asked
    if ended.status == "ok":
        partial.mkdir(parents=True, exist_ok=True)
        if (partial / "gsplat").is_dir():
            shutil.copy(Path(__file__).with_name("compiled_gsplat.py"), partial / "gsplat" / "csrc.py")
        write_json(partial / "wheels.json", {"wheels": names, "installed": chosen})
        partial.rename(site)
    skipped = sorted({*names} - {*chosen})
    facts = {"installed": chosen, "there_already": skipped, "detail": ended.fault}
    phase.record("wheels", ended.status, seconds=ended.seconds, **facts)


def check_packages(phase: Phase) -> None:
    """Imports everything that gsdff needs, and compares versions with what it asks for."""
    _probe(phase, "packages")


def find_card(phase: Phase) -> None:
    """Finds out whether torch, card, driver and compiler fit."""
    _probe(phase, "card")


def compile_gsplat(phase: Phase) -> None:
    """Compiles gsplat's kernels, or goes on where a killed call has stopped."""
    if not environment(phase.options).get("TORCH_CUDA_ARCH_LIST"):
        phase.record("gsplat", "failed", detail="no card to compile for; TORCH_CUDA_ARCH_LIST=9.0 names one's kind")
        return
    _probe(phase, "gsplat")


def _probe(phase: Phase, name: str) -> None:
    ended = phase.run(name, [sys.executable, "-m", "gpu_phases.probe", name])
    try:
        facts = json.loads(ended.detail.splitlines()[-1])
    except (ValueError, IndexError):
        facts = {}
    facts = {"detail": ended.fault} | (facts if isinstance(facts, dict) else {})
    seconds = ended.seconds + phase.items.get(name, {}).get("seconds", 0.0) * (name == "gsplat")
    phase.record(name, ended.status, seconds=seconds, **facts)
