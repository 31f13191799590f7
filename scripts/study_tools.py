"""Helpers of the studies: scores that exist only for the simulated teacher, and tables."""

from collections.abc import Sequence
from statistics import fmean

import torch

from gsdff.io.runs import LoadedRun, RunFolder
from gsdff.latents import Basis, encode, teacher_cosine
from gsdff.render import render_features
from gsdff.scene import Scene
from gsdff.teachers.toy import ToyTeacher


@torch.no_grad()
def clean_cosine(run: LoadedRun, scene: Scene) -> float:
    """Mean cosine of the field to a toy teacher without errors, over the pixels of the held-out photos."""
    teacher, B, cosines = ToyTeacher(run.config.teacher, scene), Basis.load(RunFolder(run.folder).basis).B, []
    for view in (scene.views[view_id] for view_id in scene.test_ids):
        clean = teacher.clean(view).permute(1, 2, 0)
        camera = view.camera.resized(clean.shape[1], clean.shape[0]).to(run.gaussians.means.device)
        latents = render_features(run.gaussians, camera).image.cpu()
        cosines.append(float(teacher_cosine(latents, encode(clean, B))[clean.any(-1)].mean()))
    return fmean(cosines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, first: str = "---") -> str:
    """Formats a Markdown table of figures, aligned at the right except for the first column."""
    rule = [first, *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [header, rule, *rows])


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Formats mean ± half the range; a single value alone."""
    spread = (max(values) - min(values)) / 2
    return f"{fmean(values):.{digits}f}" + (f" ± {spread:.{digits}f}" if len(values) > 1 else "")
