"""The phase `report`: a page of Markdown from the JSON files of the others; needs no card and nothing installed."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_phases.work import Options, Phase

MACHINE = (
    "card", "capability", "memory_gib", "driver", "torch", "cuda_of_torch", "nvcc", "python", "cpus",
)  # fmt: skip
TRAINING = (
    "scene", "size", "teacher", "steps", "step", "seconds", "pilot_ms", "gaussians", "training_views",
    "held_out_views", "psnr", "ssim", "cosine_to_teacher", "miou", "miou_of_teacher",
)  # fmt: skip
"""Figures of the report; the files have more."""
WELL = ("ok", "skipped")


def report(options: Options) -> Phase:
    """Writes report.md, and with `pages` adds it to the page of the card."""
    phase = Phase(options, "report")
    found = {name: read_phase(options.out, name) for name in ("build", "tests", "bench", "train")}
    facts = found["build"].get("items", {}).get("card", {})
    card = facts.get("card", "no card")
    days = sorted({content["date"] for content in found.values() if content})
    title = f"{' to '.join(dict.fromkeys((days or ['?'])[:1] + days[-1:]))}, commit {facts.get('commit', 'unknown')}"
    text = f"## {title}\n\n" + "\n\n".join(
        part for name, content in found.items() for part in PARTS[name](content.get("items", {}))
    )
    write_text(options.out / "report.md", f"# {card}\n\n{text}\n")
    print(text)
    if options.pages is not None:
        append(options.pages / f"{slug(card)}.md", card, f"{text}\n")
        print(f"figures added to {options.pages / slug(card)}.md")
    phase.items["report"] = {"status": "ok"}
    return phase


def read_phase(folder: Path, name: str) -> dict[str, Any]:
    """Content of a phase's file; empty if it has not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def show_build(items: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Machine, versions, and what did not build."""
    if not items:
        return ["Build: not run."]
    versions = items.get("packages", {}).get("versions", {})
    row = {key: items.get("card", {}).get(key) for key in MACHINE} | {"gsplat": versions.get("gsplat")}
    row |= {"gsplat compiled in s": items.get("gsplat", {}).get("seconds")}
    row |= {"largest difference of a picture to the CPU": items.get("gsplat", {}).get("picture_difference")}
    return ["### Machine", markdown_table([row]), *list_faults(items)]


def show_tests(items: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Numbers of tests by outcome, and a line for each that is not well."""
    tests = {name: item for name, item in items.items() if "::" in name}
    rest = {name: item for name, item in items.items() if "::" not in name}
    if not tests:
        return ["### Tests", "Not run.", *list_faults(rest)]
    counts: dict[str, int] = {}
    for item in tests.values():
        counts[item["status"]] = counts.get(item["status"], 0) + 1
    words = ", ".join(f"{count:,} {'passed' if name == 'ok' else name}" for name, count in sorted(counts.items()))
    reasons = {str(item.get("detail", "")).strip() for item in tests.values() if item["status"] == "skipped"}
    skipped = [f"Skipped because: {'; '.join(sorted(map(first_line, reasons)))}."] if reasons else []
    return ["### Tests", f"{words}.", *skipped, *list_faults(rest | tests)]


def show_bench(items: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every table of the benchmarks, with its title."""
    parts = ["### Benchmarks"] if items else ["### Benchmarks", "Not run."]
    for item in items.values():
        for title, rows in item.get("tables", {}).items():
            parts += [f"#### {title}", markdown_table(rows)]
    return [*parts, *list_faults(items)]


def show_train(items: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A column for every scene that has scores."""
    rows = [{key: item.get(key) for key in TRAINING} for item in items.values() if "psnr" in item]
    parts = [markdown_table(rows)] if rows else ["Not run."] if not items else []
    return ["### Training", *parts, *list_faults(items)]


PARTS = {"build": show_build, "tests": show_tests, "bench": show_bench, "train": show_train}


def list_faults(items: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One list with a line for each item that is not well."""
    lines = [
        f"- **{item['status']}** `{name}`: {first_line(str(item.get('detail', '')))}"
        for name, item in items.items()
        if item["status"] not in WELL
    ]
    return ["\n".join(lines)] if lines else []


def first_line(detail: str) -> str:
    """The line of a message that says most: the last error of a traceback, else the last line."""
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(E +)?[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or [""])[-1].removeprefix("E ").strip().replace("|", "/")[:300]


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


def append(page: Path, heading: str, text: str) -> None:
    """Appends `text` to the page, which starts with `heading` if it is new; atomically."""
    before = page.read_text() if page.exists() else f"# {heading}\n\nWritten by `bash scripts/gpu_check.sh report`.\n"
    write_text(page, f"{before}\n{text}")


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one go."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def slug(card: str) -> str:
    """Name of a card as a file name: `NVIDIA H200` is nvidia-h200."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
