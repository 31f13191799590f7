"""Adds the figures of one `scripts/gpu_check.sh` to docs/benchmarks/<card>.md: python scripts/append_benchmark.py RUN

RUN is the folder that gpu_check.sh wrote: rasterizer_cuda.json and rasterizer_cpu.json of scripts/bench_rasterizer.py,
and the trained and evaluated `scene`.
"""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """Adds the figures of a gpu_check to the page of the graphics card."""

    run: tyro.conf.Positional[Path]
    """Folder that gpu_check.sh wrote."""
    seconds: int
    """Duration of the training in seconds."""
    pages: Path = ROOT / "docs" / "benchmarks"
    """Folder of the pages."""


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Formats rows as a Markdown table with a column each, as there are more figures than rows."""
    names, *figures = dict.fromkeys(key for row in rows for key in row)
    lines = [[names, *(_shown(row.get(names)) for row in rows)], ["---"] * (1 + len(rows))]
    lines += [[key, *(_shown(row.get(key)) for row in rows)] for key in figures]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "/")


def section(title: str, tables: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    """Formats one section of a page: a heading, then each table under its name."""
    parts = [f"## {title}", *(f"{name}\n\n{markdown_table(rows)}" for name, rows in tables.items())]
    return "\n\n".join(parts) + "\n"


def append(page: Path, heading: str, text: str) -> None:
    """Appends `text` to the page, which starts with `heading` if it is new; atomically."""
    before = page.read_text() if page.exists() else f"# {heading}\n\nWritten by `bash scripts/gpu_check.sh`.\n"
    partial = page.with_name(f".{page.name}.partial")
    partial.write_text(f"{before}\n{text}")
    os.replace(partial, page)


def slug(card: str) -> str:
    """Name of a card as a file name: `NVIDIA H200` is nvidia-h200."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")


def scene_row(run: Path, seconds: int) -> dict[str, object]:
    """Row of the training with the CUDA preset, from the evaluation of the scene."""
    report = json.loads((run / "scene" / "evaluation" / "metrics.json").read_text())
    facts = {key: report[key] for key in ("step", "gaussians", "training_views", "held_out_views")}
    size = "x".join(map(str, report["image_size"]))
    return {"scene": Path(report["data"]).name, "size": size, "seconds": seconds, **facts, **report["images"]["mean"]}


def machine_row(card: str) -> dict[str, object]:
    """Row of the versions that the figures depend on."""
    import gsplat
    import torch

    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()[0]
    versions = {"torch": torch.__version__, "CUDA": torch.version.cuda, "gsplat": gsplat.__version__}
    return {"card": card, "driver": driver, **versions, "CPU cores": os.cpu_count()}


def _commit() -> str:
    if not (ROOT / ".git").exists():
        return "unknown: no git checkout"
    changed = " with changes" if _output("git", "-C", str(ROOT), "status", "--porcelain", "-uno") else ""
    return _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") + changed


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Collects the figures and appends them to the page of the card."""
    import torch

    options = tyro.cli(Options, description=Options.__doc__)
    card = torch.cuda.get_device_name()
    benchmarks = {
        f"Rasteriser, {device}": json.loads((options.run / f"rasterizer_{device}.json").read_text())["rows"]
        for device in ("cuda", "cpu")
    }
    scene = {"Training with configs/cuda.toml": [scene_row(options.run, options.seconds)]}
    title = f"{datetime.now(timezone.utc):%Y-%m-%d}, commit {_commit()}"
    page = options.pages / f"{slug(card)}.md"
    append(page, card, section(title, {"Machine": [machine_row(card)], **benchmarks, **scene}))
    print(f"figures added to {page}")


if __name__ == "__main__":
    main()
