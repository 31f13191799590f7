"""`python -m gsdff.evaluate RUN`: scores of a run's held-out views, or by the protocol of a benchmark."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gsdff.cli import choose_device, flags_of, run_door
from gsdff.errors import UserError
from gsdff.evaluation.ovs.options import OvsBenchmark, OvsOptions


@dataclass(frozen=True)
class EvaluateArguments:
    """Scores a run's held-out views: PSNR, SSIM, LPIPS, and features where it has them; writes RUN/evaluation/."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, as `python -m gsdff.train` made it."""
    labels: Path | None = None
    """Folder of label images `<stem>.png` and classes.json to score features on; by default the data's `labels`.
    With --benchmark, the benchmark's labels."""
    classes: tuple[str, ...] = ()
    """Texts that compete for every pixel (`--classes dog cat background`); of labelled scenes, the classes to score."""
    download: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Fetch AlexNet's weights for LPIPS (233 MB) where they are missing; without them it is left out."""
    benchmark: OvsBenchmark | None = None
    """Score answers to texts on --labels instead, as published: lerf-ovs (frame_00041.json, ...), 3d-ovs
    (classes.txt, 00/<class>.png, ...); writes RUN/evaluation/<benchmark>.json."""
    data: Path | None = None
    """The folder of photos, if it is not the run's; a PLY has none of its own."""
    ovs: OvsOptions = field(default_factory=OvsOptions)
    """With --benchmark."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA if there is a card."""


FLAGS = flags_of(EvaluateArguments)


def main() -> None:
    """Evaluates the run named on the command line."""
    arguments = tyro.cli(EvaluateArguments, prog="gsdff evaluate")
    check_options(arguments)

    from gsdff.field.field import load

    scene = load(arguments.run, data=arguments.data, device=choose_device(arguments.device))
    if arguments.benchmark is not None:
        from gsdff.evaluation.ovs.benchmarks import score_ovs
        from gsdff.evaluation.ovs.report import format_ovs

        assert arguments.labels is not None, "checked with the options"
        result, path = score_ovs(scene, arguments.benchmark, arguments.labels, options=arguments.ovs)
        print(format_ovs(result))
        print(f"\nwritten to {path}, pictures to {path.with_suffix('')}")
        return
    from gsdff.evaluation.run import format_evaluation

    evaluation = scene.evaluate(labels=arguments.labels, classes=arguments.classes, download=arguments.download)
    print(format_evaluation(evaluation))
    print(f"\nwritten to {evaluation.folder}")


def check_options(arguments: EvaluateArguments) -> None:
    """Raises `UserError` for options that do not go together."""
    if arguments.benchmark is None:
        if arguments.ovs != OvsOptions():
            raise UserError("--ovs goes with --benchmark, lerf-ovs or 3d-ovs; name one")
    elif arguments.labels is None:
        raise UserError(f"--benchmark {arguments.benchmark}: expected the folder of its labels, --labels DIR")
    elif arguments.classes or arguments.download:
        raise UserError("--classes and --download: go without --benchmark, whose labels name the classes")


if __name__ == "__main__":
    run_door(main, FLAGS)
