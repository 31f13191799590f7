"""Published network weights: their files, origins and local copies."""

import os
from dataclasses import dataclass
from pathlib import Path

from gsdff.errors import UserError
from gsdff.files.reading import check_file


@dataclass(frozen=True)
class Weights:
    """A file of weights."""

    name: str
    """Name in scripts/download_weights.py."""
    file: str
    url: str
    size: int
    """Size of the file in bytes."""
    sha256: str
    page: str
    """Address of the page on which its authors publish it."""
    option: str
    """Dotted name of the option that takes a copy of it."""


_LSEG = "https://github.com/isl-org/lang-seg"
_SAM = "https://github.com/facebookresearch/segment-anything"
_SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything"
# the download page of Google Drive that needs no confirmation for a file too large for its virus scan
_LSEG_FILE = (
    "https://drive.usercontent.google.com/download?id=1ayk6NXURI_vIPlym16f_RG3ffxBWHxvb&export=download&confirm=t"
)

# The authors publish no checksums except for the ends of SAM's file names, the first digits of an MD5. SAM's checksums
# here are stated by many projects (such as micro-sam); LSeg's checksum and size by the Git LFS pointer of one fork,
# 3d-vision-project/lang-seg.
WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            "lseg",
            "demo_e200.ckpt",
            _LSEG_FILE,
            3_095_944_292,
            "f21aeb5532f53a5109d453d7d0d10320701ea11ece9a002291f84f95bda73af4",
            _LSEG,
            "teacher.checkpoint",
        ),
        Weights(
            "sam_vit_b",
            "sam_vit_b_01ec64.pth",
            f"{_SAM_FILES}/sam_vit_b_01ec64.pth",
            375_042_383,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            _SAM,
            "masks.checkpoint",
        ),
        Weights(
            "sam_vit_l",
            "sam_vit_l_0b3195.pth",
            f"{_SAM_FILES}/sam_vit_l_0b3195.pth",
            1_249_524_607,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            _SAM,
            "masks.checkpoint",
        ),
        Weights(
            "sam_vit_h",
            "sam_vit_h_4b8939.pth",
            f"{_SAM_FILES}/sam_vit_h_4b8939.pth",
            2_564_550_879,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            _SAM,
            "masks.checkpoint",
        ),
    )
}
"""Every file of weights by name."""


def weights_folder() -> Path:
    """Folder of downloaded weights: `gsdff` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gsdff"


def is_downloaded(name: str) -> bool:
    """Whether scripts/download_weights.py has downloaded these weights."""
    return (weights_folder() / WEIGHTS[name].file).is_file()


def find_weights(name: str, given: Path | None) -> Path:
    """Path of the given file, or of the downloaded one. Raises `UserError` if there is none, with ways to get it."""
    weights = WEIGHTS[name]
    if given is not None:
        if given.exists():
            check_file(given, weights.file)
            return given
        raise UserError(f"{given}: no such file; `{weights.option}` expects {weights.file}, see {weights.page}")
    cached = weights_folder() / weights.file
    if cached.is_file():
        return cached
    raise UserError(
        f"{cached}: missing; download it ({weights.size / 1e9:.1f} GB) with "
        f"`python scripts/download_weights.py {name}`, or pass a copy with `{weights.option}`; it is published at "
        f"{weights.page}"
    )
