"""The HTML file: the built app, the packed scene and its words in one text."""

import base64
import html
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import gsdff
from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.field.hit import default_view
from gsdff.files.places import make_folder
from gsdff.files.writing import write_text
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import label_palette
from gsdff.viewer.page.dictionary import Dictionary, make_dictionary
from gsdff.viewer.page.loss import measure_answers, measure_picture
from gsdff.viewer.page.packing import PackedScene, pack, unpack

MOST_CAMERAS = 3
"""Views whose pictures are compared."""
DISTANCE, SIDE, FOV = 2.5, 400, 0.9
"""Distance from the middle, image side and field of view of the start view of a scene without photos."""


def write_page(
    field: Field,
    path: Path,
    *,
    words: Sequence[str] | None = None,
    classes: Sequence[str] = (),
    has_features: bool = True,
) -> Path:
    """Writes a field as one HTML file; returns the path.

    `words` and `classes` as in `make_dictionary`; without features the page only shows the scene.
    """
    field = field.to("cpu")
    if has_features and not field.has_features:
        if words is not None or classes:
            raise UserError(field.why_no_features)
        has_features = False
    scene = field.working
    if not has_features:
        scene = replace(scene, features=None)
    if not len(scene):
        raise UserError(f"{field.source}: expected Gaussians to show, it holds none")
    packed = pack(scene)
    unpacked = unpack(packed, scene)
    dictionary = make_dictionary(field, words, classes) if has_features else Dictionary()
    columns, data = store_columns(packed, dictionary)
    deflated = zlib.compress(data, 9)
    cameras = choose_cameras(field)
    contents = " with features and words" if has_features else ""
    likeness = measure_picture(scene, unpacked, cameras, field)
    facts = [
        ("Gaussians", f"{len(scene):,}, {len(deflated) / len(scene):.1f} bytes each{contents}"),
        ("picture", f"{likeness:.1f} dB from the scene before packing (mean PSNR of {len(cameras)} views)"),
    ]
    if has_features:
        facts += measure_answers(field, unpacked, dictionary)
        basis = field.require_features()
        facts.append(("features", f"{basis.B.shape[1]} latents of {len(basis.B)} channels, {basis.teacher} teacher"))
    facts.append(("made by", f"gsdff {gsdff.__version__}, drawn by Spark on three.js"))
    title = field.source.stem if field.source.is_file() else field.source.resolve().name
    header = {
        "title": title,
        "numGaussians": len(scene),
        "colorRange": packed.color_range,
        "logScaleRange": packed.log_scale_range,
        "bandSteps": packed.band_steps,
        "latentStep": packed.latent_step,
        "antialiased": scene.rasterize_mode == "antialiased",
        "background": field.background,
        "start": describe_start(cameras[0], find_up(field), scene),
        "words": _word_list(dictionary.names),
        "defaultNegatives": None if dictionary.negatives is None else _word_list(dictionary.negatives),
        "classes": [
            {"name": name, "vector": row, "color": color}
            for (name, row), color in zip(
                dictionary.classes.items(), (label_palette(len(dictionary.classes)) / 255).tolist(), strict=True
            )
        ],
        "facts": facts,
        "columns": columns,
    }
    make_folder(path.parent)
    write_text(path, fill_shell(title, header, deflated))
    return path


def store_columns(packed: PackedScene, dictionary: Dictionary) -> tuple[dict[str, Any], bytes]:
    """Columns one after another, and where each begins; column-wise they deflate better."""
    arrays: dict[str, np.ndarray] = {"splats": packed.splats}
    arrays |= {f"sh{band}": values for band, values in enumerate(packed.harmonics, 1)}
    if packed.latents is not None:
        arrays |= {"latents": packed.latents, "vectors": dictionary.vectors.float().numpy().astype("<f4")}
    columns, parts, start = {}, [], 0
    for name, values in arrays.items():
        parts.append(np.ascontiguousarray(values.T).tobytes())
        rows, width = values.shape
        columns[name] = {"start": start, "type": values.dtype.name, "rows": rows, "columns": width}
        start += len(parts[-1])
    return columns, b"".join(parts)


def choose_cameras(field: Field) -> list[Camera]:
    """The view that the page starts with, and others to compare pictures in; in the working frame."""
    if not field.has_photos:
        viewmat = torch.eye(4)
        viewmat[2, 3] = DISTANCE
        focal = SIDE / 2 / float(np.tan(FOV / 2))
        K = torch.tensor([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]])
        return [Camera(viewmat, K, SIDE, SIDE)]
    scene = field.scene
    held_out = [scene.views[i].camera for i in scene.test_ids or range(len(scene.views))]
    return [default_view(field).camera, *held_out[1:MOST_CAMERAS]]


def find_up(field: Field) -> Float[Tensor, "3"]:
    """Mean upward direction of the photos; without photos that of COLMAP's cameras."""
    ups = [-view.camera.viewmat[1, :3] for view in field.scene.views] if field.has_photos else []
    mean = torch.stack(ups).mean(0) if ups else torch.zeros(3)
    return mean / mean.norm() if mean.norm() > 0.1 else torch.tensor([0.0, -1.0, 0.0])


def describe_start(camera: Camera, up: Float[Tensor, "3"], scene: Gaussians) -> dict[str, Any]:
    """A camera as orbit controls take it; they turn about what it sees in the middle of its image."""
    points = scene.means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    sideways = points[:, :2].norm(dim=1) / points[:, 2].clamp_min(1e-6)
    seen = points[(points[:, 2] > 0.05) & (sideways < 0.2) & (scene.opacities > 0.5), 2]
    depth = float(seen.median()) if len(seen) else 1.0
    target = camera.position + depth * camera.viewmat[2, :3]
    return {
        "position": camera.position.tolist(),
        "target": target.tolist(),
        "up": up.tolist(),
        "fovY": camera.fov_y,
    }


def fill_shell(title: str, header: dict[str, Any], deflated: bytes) -> str:
    """The text of the file."""
    bundle = files("gsdff.viewer.page") / "bundle"
    texts = {
        "title": html.escape(title),
        "licences": html.escape((bundle / "LICENSES.txt").read_text(encoding="utf-8")),
        # nothing in a name may end the element that holds it
        "header": json.dumps(header).replace("<", "\\u003c"),
        "columns": base64.b64encode(deflated).decode(),
        "app": base64.b64encode((bundle / "app.js.gz").read_bytes()).decode(),
    }
    shell = (bundle / "shell.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: texts[match[1]], shell)


def _word_list(names: dict[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "vector": row} for name, row in names.items()]
