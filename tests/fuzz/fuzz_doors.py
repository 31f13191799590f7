"""Options of every command: hostile numbers and texts, through the command's own `main`."""

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from types import ModuleType

from fuzz_datasets import Stopped, write_photos
from fuzz_maps import write_lerf
from fuzz_mutations import NUMBERS
from fuzz_net import Format, expect
from fuzz_splats import HERE, read_run, write_run

from gsdff import edit, evaluate, export, prepare, query, segment, train, view
from gsdff.cli.help import options_of
from gsdff.config.file import read_config, write_config
from gsdff.editing.table import OPERATIONS

TEXTS = (
    "", " ", "x", "chair", "CHAIR ", "chair+lamp", "chair:", ":", "+", "chair:lamp", "c++ book", "a cup: red", "-x",
    "--", "é\u200b", "\udce9", "x" * 3000, "v0.png", "99999999999999999999", "cpu", "none", "{}", "%s", "`run`",
    "images", "data", "maps", "run", "run/scene.ply", "run/config.toml", "missing/file.ply", "out.ply", "out.png",
    "a/b/c.ply", "x" * 300 + ".ply", "*", "lerf-ovs", "argmax",
)  # fmt: skip
"""Values of options that are no numbers. None leaves the working folder, as some options say where to write."""
EDIT_VALUES = (
    "#2a6fdb", "red", "#zzzzzz", "0.5", "1e300", "nan", "-1", "0", "1,2,3", "1e300,0,0", "nan,0,0", "inf,0,0", "1,2",
    "1,2,3,4", "0,0,0,90", "0,0,0,inf", "1,0,0,1000000", "1,0,0,2", "1e38,1e38,1e38,3", "", ":", "1" * 400,
)  # fmt: skip
COMMANDS: dict[str, tuple[ModuleType, type, tuple[str, ...]]] = {
    "query": (query, query.QueryArguments, ("run", "--text", "chair")),
    "edit": (edit, edit.EditArguments, ("run", "--recolor", "chair:#ff0000")),
    "segment": (segment, segment.SegmentArguments, ("run", "--classes", "chair", "lamp")),
    "evaluate": (evaluate, evaluate.EvaluateArguments, ("run",)),
    "export": (export, export.ExportArguments, ("run",)),
    "view": (view, view.ViewArguments, ("run",)),
    "prepare": (prepare, prepare.PrepareArguments, ("--images", "images")),
    "train": (train, train.TrainArguments, ("--data", str(HERE / "data"), "--device", "cpu", "--stage1.steps", "2")),
}


LIKELY = {
    "out": ("out.png", "out.ply", "out", "out.splat"),
    "selection": ("some.safetensors",),
    "view": ("v0.png", "v0", "0", "9"),
    "views": ("v0.png", "v0", "0", "9"),
    "data": (str(HERE / "data"),),
    "pixel": ("v0.png", "3", "5", "99"),
    "box": ("v0.png", "3", "5", "9", "0"),
    "config": ("run/config.toml", "cpu", "cuda"),
    "stage1_from": ("run", "run/scene.ply"),
    "labels": ("lerf", "data"),
}
"""Values of options that may well be right."""
ALLOWED_NUMBERS = ("0", "1", "2", "0.5", "7", "0.01", "3000", "1000000", "1000000000")


def draw_options(random: Random, door: str) -> list[str]:
    """Some options of a command with values that they may or may not have."""
    words: list[str] = []
    options = [option for option in options_of(COMMANDS[door][1]) if option.flag.startswith("--")]
    for option in random.sample(options, min(len(options), random.choice((1, 1, 1, 2, 3)))):
        if option.name in OPERATIONS:
            text = random.choice(("chair", "lamp", "chair+lamp", *TEXTS))
            words += [option.flag, f"{text}:{random.choice(EDIT_VALUES)}" if random.random() < 0.8 else text]
            continue
        kind, is_likely = str(option.hint), random.random() < 0.5
        choices: Sequence[str] = LIKELY.get(option.name, TEXTS) if is_likely else TEXTS
        if ("int" in kind or "float" in kind) and option.name not in LIKELY:
            choices = ALLOWED_NUMBERS if is_likely else NUMBERS
        if "Literal" in kind and is_likely:
            choices = re.findall(r"'([^']+)'", kind)
        count = random.choice((0, 1, 1, 1, 1, 2, 3, 5)) if "tuple" in kind else 1
        count = {"pixel": 3, "box": 5}.get(option.name, count) if is_likely else count
        if option.hint is bool or "FlagCreatePairsOff" in kind:
            count = random.choice((0, 0, 0, 1))
        words += [option.flag, *(random.choice(choices) for _ in range(count))]
    return words


def read_door(door: str, folder: Path, random: Random) -> None:
    """Runs the command on a small run, in its working folder."""
    module, _, base = COMMANDS[door]
    if door == "evaluate" and random.random() < 0.7:
        base = (*base, "--benchmark", "lerf-ovs", "--labels", "lerf")
    words = [*base, *draw_options(random, door)]
    sys.argv = [door, *words]
    print(" ".join(map(repr, words)), file=sys.stderr)
    RUNNERS.get(door, run_main)(module, words)


def run_main(module: ModuleType, words: Sequence[str]) -> None:
    module.main()
    read_run(Path.cwd(), Random(0))  # the run is as it was


def run_train(module: ModuleType, words: Sequence[str]) -> None:
    """As far as the options go; they must survive being written."""
    arguments = module.read_arguments(list(words))
    arguments.options.check()
    write_config(Path("again.toml"), replace(arguments.options, out=None))
    expect(
        read_config(Path("again.toml")) == replace(arguments.options, out=None),
        "written and read, the options are others",
    )


def run_view(module: ModuleType, words: Sequence[str]) -> None:
    """Until the page would be served."""
    from gsdff.viewer import serve

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    serve.serve = stop
    with suppress(Stopped):
        module.main()


def run_prepare(module: ModuleType, words: Sequence[str]) -> None:
    from gsdff.data import sfm

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    sfm.run_worker = stop
    with suppress(Stopped):
        module.main()


RUNNERS: dict[str, Callable[[ModuleType, Sequence[str]], None]] = {
    "train": run_train,
    "view": run_view,
    "prepare": run_prepare,
}


def write_door(folder: Path) -> None:
    """A run, and photos."""
    write_run(folder)
    write_photos(folder / "images")
    write_lerf(folder)


WEIGHTS = {
    "query": 2,
    "edit": 2.5,
    "segment": 0.7,
    "evaluate": 0.3,
    "export": 0.7,
    "view": 0.5,
    "prepare": 0.5,
    "train": 2,
}
FORMATS = tuple(
    Format(f"options-{door}", f"gsdff/{door}.py", write_door, partial(read_door, door), (), weight)
    for door, weight in WEIGHTS.items()
)
