"""What the phase `build` looks at in processes of its own; each prints one line of JSON last.

python -m gpu_phases.probe lacking NAME.whl ... | packages | card | gsplat
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "open-clip-torch": "open_clip", "pillow": "PIL", "pyyaml": "yaml", "scikit-image": "skimage",
    "huggingface-hub": "huggingface_hub", "segment-anything": "segment_anything", "tomli-w": "tomli_w",
    "imageio-ffmpeg": "imageio_ffmpeg", "pytest-timeout": "pytest_timeout",
}  # fmt: skip
"""Distributions whose module is called otherwise."""
OPTIONAL = ("pycolmap", "imageio-ffmpeg")
"""Only camera poses, lens models and videos need these."""
FOR_TESTS = ("pytest", "pytest-timeout", "beartype", "hypothesis")


def lacking(wheels: list[str]) -> list[str]:
    """Wheels of distributions that this interpreter has not, or has too old for gsdff."""
    floors = {name.lower(): floor for name, floor in read_requirements()}
    found = []
    for wheel in wheels:
        name = wheel.split("-")[0].replace("_", "-").lower()
        try:
            present = version(name)
        except PackageNotFoundError:
            found.append(wheel)
            continue
        if not is_enough(present, floors.get(name, "")):
            found.append(wheel)
    return found


def read_requirements() -> list[tuple[str, str]]:
    """Names and specifiers of gsdff's dependencies, as pyproject.toml lists them."""
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("\ndependencies = [") :]
    lines = re.findall(r'^ {4}"([A-Za-z0-9_.-]+)([^";]*)(;[^"]*)?"', block[: block.index("\n]")], re.MULTILINE)
    return [(name, specifier) for name, specifier, marker in lines if not marker]


def is_enough(present: str, specifier: str) -> bool:
    """Whether a version satisfies a specifier of `>=`, `==` and `<`; by packaging's rules."""
    if not specifier:
        return True
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # pip brings it along
        from pip._vendor.packaging.specifiers import SpecifierSet
    return SpecifierSet(specifier).contains(present, prereleases=True)


def packages() -> dict:
    """Versions of what gsdff needs; what cannot be imported or is too old makes this fail."""
    found, missing = {}, []
    for name, specifier in [*read_requirements(), *((name, "") for name in FOR_TESTS)]:
        try:
            importlib.import_module(MODULES.get(name, name))
            found[name] = version(name)
        except Exception as error:  # any failure of a foreign module is what this looks for
            if name not in OPTIONAL:
                missing.append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
            continue
        if not is_enough(found[name], specifier):
            missing.append(f"{name} {found[name]}: gsdff needs {specifier}")
        for need in unmet_needs(name):
            missing.append(f"{name} {need}")
    import gsdff

    return {"versions": found | {"gsdff": gsdff.__version__}, "missing": missing, "gsdff": str(gsdff.__file__)}


def unmet_needs(name: str) -> list[str]:
    """Requirements of an installed distribution that are not met; those of its extras aside."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement
    unmet = []
    for requirement in map(Requirement, requires(name) or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            present = version(requirement.name)
        except PackageNotFoundError:
            unmet.append(f"needs {requirement}, which is missing")
            continue
        if not requirement.specifier.contains(present, prereleases=True):
            unmet.append(f"needs {requirement}, found {present}")
    return unmet


def card() -> dict:
    """Card, driver, toolkit; `wrong` lists what does not fit."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    wrong = []
    facts: dict = {"python": sys.version.split()[0], "torch": torch.__version__, "cuda_of_torch": torch.version.cuda}
    facts |= {"cpus": os.cpu_count(), "cuda_home": CUDA_HOME, "commit": read_commit()}
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        properties = torch.cuda.get_device_properties(0)
        facts |= {"card": torch.cuda.get_device_name(), "capability": f"{major}.{minor}"}
        facts |= {"memory_gib": properties.total_memory / 2**30, "multiprocessors": properties.multi_processor_count}
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        facts["driver"] = _output(asked).splitlines()[0] if shutil.which("nvidia-smi") else "unknown"
    else:
        why = "is built without CUDA" if torch.version.cuda is None else "cannot use a card: no card, or no driver"
        wrong.append(f"torch {torch.__version__} (CUDA {torch.version.cuda}) {why}")
    nvcc = shutil.which("nvcc", path=f"{CUDA_HOME}/bin") if CUDA_HOME else None
    if nvcc is None:
        wrong.append(f"gsplat needs nvcc to be compiled: install CUDA {torch.version.cuda} and set CUDA_HOME to it")
    else:
        facts["nvcc"] = _output([nvcc, "--version"]).partition("release ")[2].partition(",")[0]
        if facts["nvcc"].partition(".")[0] != str(torch.version.cuda).partition(".")[0]:
            wrong.append(f"{nvcc} is CUDA {facts['nvcc']}, torch is built for {torch.version.cuda}: set CUDA_HOME")
        if not Path(str(CUDA_HOME), "include", "cuda_runtime.h").is_file():
            wrong.append(f"{CUDA_HOME} has nvcc and no headers: set CUDA_HOME to the toolkit's own folder")
    wrong += [f"gsplat needs {tool} to be compiled" for tool in ("c++", "ninja") if shutil.which(tool) is None]
    return facts | {"wrong": wrong}


def read_commit() -> str:
    """Commit of the checkout; a copy without git has none."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return "unknown: no git checkout"
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    try:
        changed = " with changes" if _output([*git, "status", "--porcelain", "-uno"]) else ""
        return _output([*git, "rev-parse", "--short", "HEAD"]) + changed
    except subprocess.CalledProcessError:
        return "unknown: git cannot read this checkout"


def gsplat() -> dict:
    """Compiles gsplat into TORCH_EXTENSIONS_DIR, and renders a picture on the card and beside it on the CPU."""
    import torch  # noqa: F401  # before gsplat's half that is compiled, which links to it

    os.environ["VERBOSE"] = "1"  # ninja says in the log which file it is at
    place = Path(os.environ["TORCH_EXTENSIONS_DIR"], "gsplat_cuda")
    began, was_there = time.monotonic(), (place / "gsplat_cuda.so").is_file()
    # gsplat begins again from nothing unless it is finished; ninja knows which files of a killed build are whole
    remove, shutil.rmtree = shutil.rmtree, lambda path, *given, **named: None
    try:
        backend = importlib.import_module("gsplat.cuda._backend")
    finally:
        shutil.rmtree = remove
    library = place / "gsplat_cuda.so"
    facts = {"arch": os.environ.get("TORCH_CUDA_ARCH_LIST"), "was_there": was_there, "wrong": []}
    facts |= {"compile_seconds": time.monotonic() - began, "library": getattr(backend._C, "__file__", str(library))}
    if backend._C is None:
        return facts | {"wrong": ["gsplat did not build: the compiler's messages are in the log"]}
    if library.is_file():
        facts["mib"] = library.stat().st_size / 2**20
        if Path(str(gsplat_folder()), "csrc.py").is_file():  # otherwise ninja needs them, to see that nothing is to do
            for leftover in (*place.glob("*.o"), *place.glob("*.o.d")):
                leftover.unlink()
    return facts | first_picture()


def gsplat_folder() -> Path:
    """Folder of the package gsplat."""
    return Path(importlib.import_module("gsplat").__file__ or "").parent


def first_picture() -> dict:
    """Largest difference between the card's and the CPU's rendering of a few Gaussians."""
    import torch

    if not torch.cuda.is_available():
        return {"picture": "no card to render on"}
    from gsdff.render import rasterization

    generator = torch.Generator().manual_seed(0)
    means = torch.rand(200, 3, generator=generator) + torch.tensor([-0.5, -0.5, 2.0])
    quats = torch.randn(200, 4, generator=generator)
    rest = torch.full((200, 3), 0.05), torch.full((200,), 0.7), torch.rand(200, 3, generator=generator)
    K = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])[None]
    inputs = means, quats, *rest, torch.eye(4)[None], K
    cpu, cuda = (rasterization(*(one.to(device) for one in inputs), 64, 48)[0].cpu() for device in ("cpu", "cuda"))
    difference = float((cpu - cuda).abs().max())
    wrong = [] if difference < 0.02 else [f"a picture differs by {difference:.3g} between card and CPU"]
    return {"picture_difference": difference, "wrong": wrong}


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Runs one of the looks; fails if something is missing or wrong."""
    if sys.argv[1] == "lacking":
        print(json.dumps(lacking(sys.argv[2:])))
        return
    facts = {"packages": packages, "card": card, "gsplat": gsplat}[sys.argv[1]]()
    faults = facts.get("missing") or facts.get("wrong")
    print(json.dumps(facts | ({"detail": "; ".join(faults)} if faults else {})))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
