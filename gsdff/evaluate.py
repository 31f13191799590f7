"""`python -m gsdff.evaluate RUN`: scores of a run's held-out views, or by the protocol of a benchmark."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gsdff.cli import choose_device, run_door
from gsdff.errors import UserError
from gsdff.evaluation.ovs.options import OvsOptions, OvsProtocol


@dataclass(frozen=True)
class EvaluateArguments:
    """Scores a run's held-out views: PSNR, SSIM, LPIPS, and features where it has them; writes RUN/evaluation/."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, as `python -m gsdff.train` made it."""
    labels: Path | None = None
    """Folder of label images `<stem>.png` and classes.json to score features on; by default the data's `labels`.
    With --protocol, the benchmark's labels."""
    classes: tuple[str, ...] = ()
    """Texts that compete for every pixel (`--classes dog cat background`); of labelled scenes, the classes to score."""
    download: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Fetch AlexNet's weights for LPIPS (233 MB) where they are missing; without them it is left out."""
    protocol: OvsProtocol | None = None
    """Score answers to texts on --labels instead, as published: lerf-ovs (frame_00041.json, ...), 3d-ovs
    (classes.txt, 00/<class>.png, ...); writes RUN/evaluation/<protocol>.json. RUN may be an exported PLY."""
    data: Path | None = None
    """With --protocol, the folder of photos, where it is not the run's; a PLY has none of its own."""
    ovs: OvsOptions = field(default_factory=OvsOptions)
    """With --protocol."""


def main() -> None:
    """Evaluates the run named on the command line."""
    arguments = tyro.cli(EvaluateArguments, prog="python -m gsdff.evaluate")
    check_protocol(arguments)
    if arguments.protocol is not None:
        from gsdff.evaluation.ovs.protocols import evaluate_ovs
        from gsdff.evaluation.ovs.report import format_ovs

        options = {"options": arguments.ovs, "data": arguments.data, "device": choose_device("auto")}
        result, path = evaluate_ovs(arguments.run, arguments.protocol, arguments.labels, **options)
        print(format_ovs(result))
        print(f"\nwritten to {path}, pictures to {path.with_suffix('')}")
        return
    from gsdff.evaluation.run import evaluate_run, format_evaluation

    evaluation = evaluate_run(
        arguments.run, labels=arguments.labels, classes=arguments.classes, download=arguments.download
    )
    print(format_evaluation(evaluation))
    print(f"\nwritten to {evaluation.folder}")


def check_protocol(arguments: EvaluateArguments) -> None:
    """Raises `UserError` for options that do not go together."""
    if arguments.protocol is None:
        if arguments.data is not None or arguments.ovs != OvsOptions():
            raise UserError("--data and --ovs go with --protocol, lerf-ovs or 3d-ovs; name one")
    elif arguments.labels is None:
        raise UserError(f"--protocol {arguments.protocol}: expected the folder of its labels, --labels DIR")
    elif arguments.classes or arguments.download:
        raise UserError("--classes and --download: go without --protocol, whose labels say what is asked for")


if __name__ == "__main__":
    run_door(main)
