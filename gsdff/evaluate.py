"""`gsdff evaluate RUN`: scores of a run's held-out views, or by the protocol of a benchmark."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from gsdff.cli import flags_of, read_options, run_door
from gsdff.cli.source import PhotoOptions, open_source
from gsdff.cli.vocabulary import check_classes
from gsdff.errors import UserError
from gsdff.evaluation.ovs.options import OvsBenchmark, OvsOptions
from gsdff.files.writing import check_paths

if TYPE_CHECKING:
    from gsdff.field.field import Field


@dataclass(frozen=True)
class EvaluateArguments:
    """Scores a run's held-out views: PSNR, SSIM, LPIPS, and its features if it has any; writes RUN/evaluation/."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run made by `gsdff train`, or a PLY."""
    labels: Path | None = None
    """Folder of label images `<stem>.png` and classes.json to score features on; by default `labels` in the folder of
    photos. With --benchmark, the benchmark's labels."""
    classes: tuple[str, ...] = ()
    """Words that compete for every pixel (`--classes dog cat background`); of a labelled scene, those to score."""
    download: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Fetch AlexNet's weights for LPIPS (233 MB) if they are missing; without them there is no LPIPS."""
    benchmark: OvsBenchmark | None = None
    """Score segmentation by words on --labels instead, as published: lerf-ovs (frame_00041.json, ...), 3d-ovs
    (classes.txt, 00/<class>.png, ...); writes RUN/evaluation/<benchmark>.json."""
    levels: tuple[Path, ...] = ()
    """Further runs on the same photos, such as LangSplat's three levels, of which every text takes the one with the
    highest relevancy (--benchmark lerf-ovs, 2D)."""
    data: Path | None = None
    """Folder of photos in place of the run's; needed for a PLY."""
    ovs: OvsOptions = field(default_factory=OvsOptions)
    """Settings of --benchmark."""
    offset: Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="X Y Z")] = None
    """Point of the world that positions are relative to, for a file that does not state it: a .splat cannot."""
    dataset: PhotoOptions = field(default_factory=PhotoOptions)
    """How to read the photos, if not as the run did."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA if there is a card."""


FLAGS = flags_of(EvaluateArguments)


def main() -> None:
    """Evaluates the run named on the command line."""
    arguments = read_options(EvaluateArguments, "evaluate")
    check_options(arguments)
    check_paths({"run": arguments.run, "labels": arguments.labels, "data": arguments.data})
    for run in arguments.levels:
        check_paths({"levels": run})
    check_classes(arguments.run, arguments.classes, labels=arguments.labels)

    from gsdff.ranks import joined

    with joined(arguments.device):
        scene = open_source(arguments)
        if arguments.benchmark is not None:
            score_benchmark(arguments, arguments.benchmark, scene)
            return
        from gsdff.evaluation.run import format_evaluation

        evaluation = scene.evaluate(labels=arguments.labels, classes=arguments.classes, download=arguments.download)
        print(format_evaluation(evaluation))
        print(f"\nwritten to {evaluation.folder}")


def score_benchmark(arguments: EvaluateArguments, benchmark: OvsBenchmark, scene: "Field") -> None:
    """Scores the scene by the protocol of a benchmark, and prints the result."""
    from gsdff.evaluation.ovs.benchmarks import score_ovs
    from gsdff.evaluation.ovs.report import format_ovs

    assert arguments.labels is not None, "checked with the options"
    levels = [open_source(replace(arguments, run=run)) for run in arguments.levels]
    result, path = score_ovs(scene, benchmark, arguments.labels, options=arguments.ovs, levels=levels)
    print(format_ovs(result))
    print(f"\nwritten to {path}, each query to {path.stem}_queries.csv, pictures to {path.with_suffix('')}")


def check_options(arguments: EvaluateArguments) -> None:
    """Raises `UserError` for options that do not go together."""
    if arguments.benchmark is None:
        if arguments.ovs != OvsOptions():
            raise UserError("--ovs goes with --benchmark, lerf-ovs or 3d-ovs; name one")
        if arguments.levels:
            raise UserError("--levels goes with --benchmark lerf-ovs")
    elif arguments.labels is None:
        raise UserError(f"--benchmark {arguments.benchmark}: expected the folder of its labels, --labels DIR")
    elif arguments.classes or arguments.download:
        raise UserError("--classes and --download: go without --benchmark, whose labels name the classes")
    elif arguments.levels and arguments.benchmark != "lerf-ovs":
        raise UserError("--levels goes with --benchmark lerf-ovs")


if __name__ == "__main__":
    run_door(main, FLAGS)
