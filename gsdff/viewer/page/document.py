"""The page: the built app, the packed scene and its words, in one HTML file or served in two parts."""

import base64
import html
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import gsdff
from gsdff.cameras import Camera
from gsdff.editing.edit import EditList
from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.files.places import make_folder
from gsdff.files.writing import write_text
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import label_palette
from gsdff.viewer.page.comparison import Comparison, compare
from gsdff.viewer.page.dictionary import Dictionary, list_words, make_dictionary
from gsdff.viewer.page.loss import measure_answers, measure_picture
from gsdff.viewer.page.packing import PackedScene, pack, unpack
from gsdff.viewer.page.start import choose_cameras, describe_start, find_up
from gsdff.viewer.page.things import describe_things, has_things, number_gaussians
from gsdff.viewer.page.tour import describe_cameras, make_tour

WORDS_SHARE = 0.9
"""Share of the time that encoding the words takes, if there are many."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob: data:; worker-src blob: data:; "
    "connect-src blob: data:{sources}; style-src 'unsafe-inline'; img-src blob: data:"
)
"""Content-Security-Policy of the page: it asks nothing of a network, or of its own server's `sources` alone."""
POLICY_ELEMENT = '<meta http-equiv="Content-Security-Policy" content="{}">'


@dataclass(frozen=True)
class PageOptions:
    """Contents of a page besides the scene."""

    words: Sequence[str] | None = None
    """Words to search for, and `classes` of the legend, as in `make_dictionary`."""
    classes: Sequence[str] = ()
    has_features: bool = True
    """Without features the page only shows the scene, and its things."""
    has_harmonics: bool = True
    """Without harmonics the page draws Gaussians in one colour from all sides."""
    has_things: bool = True
    edits: EditList | None = None
    """Edits to show the scene before and after."""
    start: Camera | None = None
    """View that the page begins with, in the working frame; None is that of `choose_cameras`."""
    tour: str | Path | None = None
    """Camera path, as in `make_tour`, and its length in seconds."""
    tour_seconds: float = 12.0


@dataclass(frozen=True, eq=False)
class Page:
    """What the app shows: a header, and columns of numbers."""

    header: dict[str, Any]
    columns: bytes
    """All columns, one after another; the header says where each begins. Those of a file are deflated."""

    def file(self) -> str:
        """The text of a file that needs no server; it has the page's policy in it, as no server sends one."""
        policy = POLICY_ELEMENT.format(POLICY.format(sources=""))
        return self._fill(policy, base64.b64encode(self.columns).decode())

    def served(self) -> str:
        """The text that a server sends, without the columns, for which the app asks then."""
        return self._fill("", "")

    def _fill(self, policy: str, columns: str) -> str:
        home = files("gsdff.viewer.page")
        bundle = home / "bundle"
        licences = [
            place.read_text(encoding="utf-8") for place in (bundle / "LICENSES.txt", home / "wordnet_licence.txt")
        ]
        texts = {
            "title": html.escape(self.header["title"]),
            "policy": policy,
            "licences": html.escape("\n----\n\n".join(licences)),
            # nothing in a name may end the element that holds it
            "header": json.dumps(self.header).replace("<", "\\u003c"),
            "columns": columns,
            "app": base64.b64encode((bundle / "app.js.gz").read_bytes()).decode(),
        }
        shell = (bundle / "shell.html").read_text(encoding="utf-8")
        return re.sub(r"\{\{(\w+)\}\}", lambda match: texts[match[1]], shell)


def write_page(
    field: Field,
    path: Path,
    options: PageOptions = PageOptions(),  # frozen
    report: Callable[[float], None] = lambda _share: None,
) -> Path:
    """Writes a field as one HTML file; returns the path. `report` is told the share that is done, again and again."""
    text = make_page(field, options, report=lambda share: report(WORDS_SHARE * share)).file()
    make_folder(path.parent)
    write_text(path, text)
    return path


def make_page(
    field: Field,
    options: PageOptions = PageOptions(),
    server: dict[str, Any] | None = None,
    *,
    report: Callable[[float], None] = lambda _share: None,
) -> Page:
    """The page of a field: for a file, or with `server`, which it is told, one that a server stands behind.

    For a server nothing is measured, nothing deflated and no word encoded, so that the page opens soon. `report` is
    told the share of the words that are encoded.
    """
    if field.device.type != "cpu":  # a copy reads its words again
        field = field.to("cpu")
    has_features = options.has_features and field.has_features
    if options.has_features and not has_features and (options.words is not None or options.classes):
        raise UserError(field.why_no_features)
    scene = field.working if has_features else replace(field.working, features=None)
    if not len(scene):
        raise UserError(f"{field.source}: expected Gaussians to show, it holds none")
    comparison = None if options.edits is None else compare(field, options.edits, scene)
    shown = scene if comparison is None else comparison.gaussians
    packed = pack(shown, has_harmonics=options.has_harmonics)
    dictionary = Dictionary()
    if has_features and server is None:
        dictionary = make_dictionary(field, options.words, options.classes, report)
    elif has_features:
        dictionary = list_words(field)
    things = list_things(field, dictionary, options) if options.has_things and has_things(field) else []
    extra = {} if comparison is None else {"sides": comparison.sides[:, None]}
    if things:
        extra["things"] = number_gaussians(field, comparison)
    if field.has_photos:
        extra["cameras"] = describe_cameras([view.camera for view in field.scene.views])
    columns, data = store_columns(packed, dictionary, extra)
    cameras = choose_cameras(field)
    facts = [("Gaussians", f"{len(shown):,}")]
    if server is None:
        data = zlib.compress(data, 9)
        facts = state_size(len(data), len(shown), has_features, extra)
    if comparison is not None:
        facts.append(("edits", f"{len(scene):,} Gaussians before, {comparison.num_after:,} after"))
    if server is None:
        unpacked = unpack(packed, shown).map(lambda tensor: tensor[: len(scene)])
        likeness = measure_picture(scene, unpacked, cameras, field)
        facts.append(
            ("picture", f"{likeness:.1f} dB from the scene before packing (mean PSNR of {len(cameras)} views)")
        )
        facts += measure_answers(field, unpacked, dictionary) if has_features else []
    if has_features:
        basis = field.require_features()
        facts.append(("features", f"{basis.B.shape[1]} latents of {len(basis.B)} channels, {basis.teacher} teacher"))
    facts.append(("made by", f"gsdff {gsdff.__version__}, drawn by Spark on three.js"))
    title = field.source.stem if field.source.is_file() else field.source.resolve().name
    header = {
        "title": title,
        "file": field.source.name if field.source.is_file() else None,
        **describe_packing(packed, scene),
        "background": field.background,
        "frame": {"centre": field.frame.centre, "scale": field.frame.scale},
        "start": describe_start(options.start or cameras[0], find_up(field), scene),
        **describe_words(dictionary),
        "things": things,
        "comparison": None if comparison is None else describe_comparison(comparison, len(scene)),
        "tour": options.tour and make_tour(field, options.tour, options.tour_seconds, cameras[0]),
        "facts": facts,
        "columns": columns,
        "server": server,
    }
    return Page(header, data)


def list_things(field: Field, dictionary: Dictionary, options: PageOptions) -> list[dict[str, Any]]:
    """Things of a run, named by the classes, or else by the words that can be searched for and are encoded."""
    is_closed = dictionary.negatives is None and options.words is None
    encoded = [name for name, row in dictionary.names.items() if row is not None]
    names = list(dictionary.classes) or ([] if is_closed else encoded)
    return describe_things(field, names)


def state_size(size: int, num: int, has_features: bool, extra: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Facts about the size of the file, per Gaussian and of what is added to it."""
    contents = " with features and words" if has_features else ""
    facts = [("Gaussians", f"{num:,}, {size / num:.1f} bytes each{contents}")]
    if "things" in extra:
        share = len(zlib.compress(extra["things"].tobytes(), 9)) / num
        facts.append(("things", f"{share:.2f} bytes of these"))
    return facts


def describe_packing(packed: PackedScene, scene: Gaussians) -> dict[str, Any]:
    """Numbers that unpack the columns."""
    return {
        "numGaussians": len(packed.splats),
        "colorRange": packed.color_range,
        "logScaleRange": packed.log_scale_range,
        "bandSteps": packed.band_steps,
        "latentStep": packed.latent_step,
        "antialiased": scene.rasterize_mode == "antialiased",
    }


def describe_words(dictionary: Dictionary) -> dict[str, Any]:
    """Words and classes with the rows of their vectors."""
    colors = (label_palette(len(dictionary.classes)) / 255).tolist()
    return {
        "words": _word_list(dictionary.names),
        "defaultNegatives": None if dictionary.negatives is None else _word_list(dictionary.negatives),
        "classes": [
            {"name": name, "vector": row, "color": color}
            for (name, row), color in zip(dictionary.classes.items(), colors, strict=True)
        ],
    }


def describe_comparison(comparison: Comparison, num_before: int) -> dict[str, Any]:
    """Text of the page about the edits."""
    return {
        "edits": comparison.titles,
        "numBefore": num_before,
        "numAfter": comparison.num_after,
        "background": comparison.background,
    }


def store_columns(
    packed: PackedScene, dictionary: Dictionary, extra: dict[str, np.ndarray]
) -> tuple[dict[str, Any], bytes]:
    """Columns one after another, and where each begins; column-wise they deflate better."""
    arrays: dict[str, np.ndarray] = {"splats": packed.splats}
    arrays |= {f"sh{band}": values for band, values in enumerate(packed.harmonics, 1)}
    if packed.latents is not None:
        arrays |= {"latents": packed.latents, "vectors": dictionary.vectors.float().numpy().astype("<f4")}
    arrays |= extra
    columns, parts, start = {}, [], 0
    for name, values in arrays.items():
        parts.append(np.ascontiguousarray(values.T).tobytes())
        rows, width = values.shape
        columns[name] = {"start": start, "type": values.dtype.name, "rows": rows, "columns": width}
        start += len(parts[-1])
    return columns, b"".join(parts)


def _word_list(names: dict[str, int | None]) -> list[dict[str, Any]]:
    return [{"name": name, "vector": row} for name, row in names.items()]
