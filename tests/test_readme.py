"""The README: whoever pastes its commands in order gets what it says, and everything it names exists."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from test_architecture import RANKS

from gsdff.cli.doors import DOORS
from gsdff.cli.help import options_of
from gsdff.data.demo import write_demo_scene

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
"""Language and text of the fenced blocks."""
SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE))
"""Code inside sentences."""
NUM_PHOTOS = 8


def flags(door: str) -> set[str]:
    """Options of a command, `--help` included."""
    arguments = getattr(import_module(f"gsdff.{door}"), DOORS[door].arguments)
    return {"--help", *(option.flag for option in options_of(arguments))}


def command_lines() -> Iterator[str]:
    """Shell commands of the blocks, then those of the sentences."""
    for language, text in BLOCKS:
        if language == "bash":
            yield from text.replace("\\\n", " ").splitlines()
    yield from (span for span in SPANS if span.startswith(("gsdff ", "bash ", "python ")))


# --- what it names


def test_links_and_pictures_exist():
    targets = re.findall(r"\]\(([^)#]+)", TEXT)
    assert len(targets) >= 10
    assert [target for target in targets if ":" not in target and not (ROOT / target).exists()] == []


def test_every_command_is_a_door_with_these_options():
    lines = [shlex.split(line, comments=True) for line in command_lines()]
    ours = [words for words in lines if words[:1] == ["gsdff"]]
    assert {words[1] for words in ours} == set(DOORS)
    for words in ours:
        assert {word for word in words if word.startswith("--")} <= flags(words[1]), words


def test_options_in_sentences_exist():
    known = set().union(*map(flags, DOORS))
    used = {word for span in SPANS if span.startswith("--") for word in span.split() if word.startswith("--")}
    assert "--teacher.pretrained" in used and used <= known


def test_scripts_exist():
    named = {word for line in command_lines() for word in line.split() if word.startswith("scripts/")}
    assert {"scripts/demo.sh", "scripts/bench_rasterizer.py"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_the_picture_of_the_house_has_every_package_at_its_rank():
    (picture,) = (text for language, text in BLOCKS if not language)
    rows = [set(row.split()) for row in picture.splitlines()]
    assert len(rows) <= 15 and set(DOORS) <= rows[0]
    for row, packages in zip(rows, reversed(RANKS), strict=True):
        assert packages - {"doors"} <= row, packages


# --- what its commands do


@pytest.fixture
def checkout(tmp_path: Path, shared: Path) -> Path:
    """A fresh folder with the photos and the scripts that the README's commands start from.

    Replaced here: `scripts/setup.sh` makes an environment whose `gsdff` is tests/short_gsdff.py, instead of installing
    one, and the built-in scene is there already, with fewer and smaller views.
    """
    photos, scripts = tmp_path / "my_photos", tmp_path / "scripts"
    photos.mkdir()
    scripts.mkdir()
    for photo in sorted((shared / "assets/scenes/fox/images").iterdir())[:NUM_PHOTOS]:
        shutil.copy(photo, photos)
    write_demo_scene(tmp_path / "runs/demo/data", views=9, width=64, height=48)
    shutil.copy(ROOT / "scripts/demo.sh", scripts)
    gsdff = f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tests/short_gsdff.py"}" "$@"\n'
    (tmp_path / "gsdff").write_text(gsdff)
    (tmp_path / "gsdff").chmod(0o755)
    (scripts / "setup.sh").write_text(f'"{sys.executable}" -m venv --without-pip .venv && cp gsdff .venv/bin/\n')
    return tmp_path


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables of the shell, among them the tiny CLIP that tests/short_gsdff.py takes."""
    from teachers.tiny_clip import TINY, tiny_clip

    folder = tmp_path_factory.mktemp("clip")
    with tiny_clip(folder) as weights:
        clip = {"": TINY, "_CONFIG": folder / f"{TINY}.json", "_WEIGHTS": weights}
        places = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}  # no `gsdff` but the one that the README makes
        yield os.environ | places | {f"TINY_CLIP{end}": str(value) for end, value in clip.items()}


@pytest.mark.slow
def test_pasting_the_blocks_in_order_gives_what_the_text_says(checkout, environment):
    commands = []
    for i, (language, text) in enumerate(BLOCKS):
        if language == "bash":
            commands += text.replace("\\\n", " ").splitlines()
        elif language == "python":
            (checkout / f"block{i}.py").write_text(text)
            commands.append(f"gsdff block{i}.py")
    script = "".join(f"{line}\necho $? >>statuses\n" for line in commands)
    done = subprocess.run(["bash", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True)

    statuses = (checkout / "statuses").read_text().split()
    stopped = "130"  # by Ctrl-C
    expected = [stopped if line.startswith("gsdff view ") else "0" for line in commands]
    assert list(zip(commands, statuses, strict=True)) == list(zip(commands, expected, strict=True)), done.stderr[-2000:]
    assert f"{NUM_PHOTOS} of {NUM_PHOTOS} photos have poses" in done.stdout
    assert done.stdout.count(": open http://127.0.0.1:") == 2
    run = checkout / "runs/my_photos_scene"
    for made in (
        checkout / "runs/demo/scene.ply", checkout / "runs/demo/evaluation/metrics.json", run / "scene.ply",
        run / "evaluation/metrics.json", checkout / "chair_mask.png", checkout / "chair_overlay.png",
        run / "segmentation/coco.json", run / "edited.ply", run / "scene.splat", checkout / "edited.basis.safetensors",
        checkout / "runs/from_python/scene.ply",
    ):  # fmt: skip
        assert made.is_file(), made
    assert len(list(run.glob("edited_*.png"))) == 1
