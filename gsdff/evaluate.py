"""`gsdff evaluate RUN`: scores of a run's held-out views, or by the protocol of a benchmark."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from gsdff.cli import choose_device, flags_of, read_options, run_door
from gsdff.errors import UserError
from gsdff.evaluation.ovs.options import OvsOptions, OvsProtocol
from gsdff.files import check_paths
from gsdff.vocabulary import check_classes


@dataclass(frozen=True)
class EvaluateArguments:
    """Scores a run's held-out views: PSNR, SSIM, LPIPS, and its features if it has any; writes RUN/evaluation/."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, made by `gsdff train`."""
    labels: Path | None = None
    """Folder of label images `<stem>.png` and classes.json to score features on; by default `labels` in the folder of
    photos. With --protocol, the benchmark's labels."""
    classes: tuple[str, ...] = ()
    """Words that compete for every pixel (`--classes dog cat background`); of a labelled scene, those to score."""
    download: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Fetch AlexNet's weights for LPIPS (233 MB) if they are missing; without them there is no LPIPS."""
    protocol: OvsProtocol | None = None
    """Score segmentation by words on --labels instead, as published: lerf-ovs (frame_00041.json, ...), 3d-ovs
    (classes.txt, 00/<class>.png, ...); writes RUN/evaluation/<protocol>.json. RUN may be an exported PLY."""
    data: Path | None = None
    """With --protocol, folder of photos in place of the run's; needed for a PLY."""
    ovs: OvsOptions = field(default_factory=OvsOptions)
    """Settings of --protocol."""


def main() -> None:
    """Evaluates the run that the command line names."""
    arguments = read_options(EvaluateArguments, "evaluate")
    check_paths({"run": arguments.run, "labels": arguments.labels, "data": arguments.data})
    check_classes(arguments.run, arguments.classes, labels=arguments.labels)
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
    """Raises `UserError` for options that exclude each other."""
    if arguments.protocol is None:
        if arguments.data is not None or arguments.ovs != OvsOptions():
            raise UserError("--data and --ovs go with --protocol, lerf-ovs or 3d-ovs; name one")
    elif arguments.labels is None:
        raise UserError(f"--protocol {arguments.protocol}: expected the folder of its labels, --labels DIR")
    elif arguments.classes or arguments.download:
        raise UserError("--classes and --download: go without --protocol, whose labels say what is asked for")


if __name__ == "__main__":
    run_door(main, flags_of(EvaluateArguments))
