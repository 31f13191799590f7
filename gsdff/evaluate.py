"""`python -m gsdff.evaluate RUN`: scores of a run's held-out views."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gsdff.cli import run_door


@dataclass(frozen=True)
class EvaluateArguments:
    """Scores a run's held-out views: PSNR, SSIM, LPIPS, and features where it has them; writes RUN/evaluation/."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder, as `python -m gsdff.train` made it."""
    labels: Path | None = None
    """Folder of label images `<stem>.png` and classes.json to score features on; by default the data's `labels`."""
    classes: tuple[str, ...] = ()
    """Texts that compete for every pixel (`--classes dog cat background`); of labelled scenes, the classes to score."""
    download: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Fetch AlexNet's weights for LPIPS (233 MB) where they are missing; without them it is left out."""


def main() -> None:
    """Evaluates the run named on the command line."""
    arguments = tyro.cli(EvaluateArguments, prog="python -m gsdff.evaluate")
    from gsdff.evaluation import evaluate_run, format_evaluation

    evaluation = evaluate_run(
        arguments.run, labels=arguments.labels, classes=arguments.classes, download=arguments.download
    )
    print(format_evaluation(evaluation))
    print(f"\nwritten to {evaluation.folder}")


if __name__ == "__main__":
    run_door(main)
