"""The ways to see a scene: every mode as colours of Gaussians, for the browser to draw, and as pictures drawn here.

A browser blends the colours of Gaussians ("3D" answers); a picture drawn here blends features first and asks then
("2D"), as training did. Both use one range and one colour basis for the whole scene, so colours hold still.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.field.relevancy import classify
from gsdff.field.search import score
from gsdff.io.pictures import PcaBasis, heat, label_colors, label_palette, pca_colors
from gsdff.io.runs import RunFolder
from gsdff.latents import MIN_NORM, text_cosine
from gsdff.masks.store import MaskStore
from gsdff.render import render_depth, render_features, render_rgb
from gsdff.scene import View
from gsdff.teachers.store import FeatureStore
from gsdff.viewer.document import Shown
from gsdff.viewer.world import World

Image = Float[Tensor, "H W 3"]
Painter = Callable[[World, Shown, Camera], Image]
ALL_ROWS = slice(None)

HIGHLIGHT = (1.0, 0.62, 0.05)
"""The colour of what is selected."""
TINT = 0.55
"""How much of it a selected Gaussian gets."""
UNSELECTED = 0.3
"""How bright is, in the relevancy mode, what is not selected."""


# --- colours of Gaussians


def splat_colors(world: World, shown: Shown, mode: str, *, marks: bool) -> Float[Tensor, "M 3"]:
    """Colours for the browser to blend, in [0, 1]; `marks` shows what is selected. Modes of `SPLAT_MODES`."""
    plain = shown.gaussians.base_colors.clamp(0, 1)
    if mode == "relevancy" and shown.scores is not None:
        return _spot(_heat_of(shown, shown.scores), plain, shown.selected) if marks else _heat_of(shown, shown.scores)
    colors = plain
    if mode == "features" and world.pca is not None:
        colors = pca_colors(shown.gaussians.features, world.pca)[0].to(plain)
    elif mode == "classes" and shown.labels is not None:
        palette = label_palette(len(shown.classes.query.classes))
        colors = label_colors(shown.labels[:, None], palette)[:, 0].to(plain) / 255
    if marks and shown.any_selected:
        colors = torch.where(shown.selected[:, None], torch.lerp(colors, colors.new_tensor(HIGHLIGHT), TINT), colors)
    return colors


# --- pictures


def paint(
    world: World, shown: Shown, mode: str, camera: Camera, *, marks: bool, rows: slice = ALL_ROWS
) -> UInt8[Tensor, "h W 3"]:
    """Some rows of a picture in a mode of `PAINTERS`, on the CPU; `marks` shows what is selected."""
    if mode in FLAT_PAINTERS:
        return (FLAT_PAINTERS[mode](world, camera)[rows].clamp(0, 1) * 255).round().byte().cpu()
    top, bottom, _ = rows.indices(camera.height)
    camera = camera.cropped(0, top, camera.width, bottom - top).to(world.device)
    with torch.no_grad():
        if not len(shown.gaussians):
            return torch.zeros(camera.height, camera.width, 3, dtype=torch.uint8)
        if mode == "relevancy":
            image = _paint_relevancy(world, shown, camera, marks=marks)
        else:
            image = PAINTERS[mode](world, shown, camera)
        if marks and shown.any_selected and mode in MARKED:
            image = _mark(image, _share(world, shown, camera))
    return (image.clamp(0, 1) * 255).round().byte().cpu()


def _paint_colors(world: World, shown: Shown, camera: Camera) -> Image:
    background = torch.tensor(world.field.background, device=world.device)
    return render_rgb(shown.gaussians, camera, background=background).image.clamp(0, 1)


def _paint_depth(world: World, shown: Shown, camera: Camera) -> Image:
    """Near is bright; disparity, so that what is near has most of the colours."""
    rendered = render_depth(shown.gaussians, camera)
    depth, alpha = rendered.image[..., 0], rendered.alpha[..., 0]
    near = (0.5 * world.depth / depth.clamp_min(1e-3)).clamp(max=1.0)
    return _as_image(heat(near * (alpha > 0.5)), depth)


def _paint_opacity(world: World, shown: Shown, camera: Camera) -> Image:
    return _blend(world, shown, camera, torch.ones(len(shown.gaussians), 1, device=world.device)).expand(-1, -1, 3)


def _paint_features(world: World, shown: Shown, camera: Camera) -> Image:
    """The PCA is linear, so three channels are blended instead of K: the picture is the same."""
    pca = world.pca
    if pca is None:
        return _paint_colors(world, shown, camera)
    features = shown.gaussians.features
    directions = pca.directions.to(features)
    columns = torch.cat([features @ directions, torch.ones_like(features[:, :1])], dim=1)
    blended = _blend(world, shown, camera, columns)
    alpha = blended[..., 3:]
    flat = PcaBasis(pca.mean @ pca.directions, torch.eye(3), pca.low, pca.high)
    colors = pca_colors(blended[..., :3] / alpha.clamp_min(MIN_NORM), flat)[0].to(blended)
    return colors * alpha


def _paint_relevancy(world: World, shown: Shown, camera: Camera, *, marks: bool = False) -> Image:
    """Black where nothing is; with marks, the heat where it is over the threshold, the scene elsewhere."""
    if shown.asked is None:
        return _paint_colors(world, shown, camera)
    grey = shown.gaussians.base_colors.clamp(0, 1).mean(-1, keepdim=True)
    # in one pass: to project the scene again for the grey would cost as much as the features
    columns = torch.cat([shown.gaussians.features, grey, torch.ones_like(grey)], dim=1)
    blended = _blend(world, shown, camera, columns)
    latents, grey, alpha = blended[..., :-2], blended[..., -2:-1], blended[..., -1:]
    scores = score(world.field, shown.asked, latents)[0]
    scores = scores.masked_fill(latents.norm(dim=-1) < MIN_NORM, torch.nan)
    image = _heat_of(shown, scores)
    behind = (1 - alpha) * sum(world.field.background) / 3
    return _spot(image, (grey + behind).expand_as(image), scores >= shown.threshold) if marks else image


def _paint_classes(world: World, shown: Shown, camera: Camera) -> Image:
    if shown.classes is None:
        return _paint_colors(world, shown, camera)
    latents = _blend(world, shown, camera, shown.gaussians.features)
    cosines = text_cosine(latents, shown.classes.positives, world.field.B)
    labels = classify(cosines, latents.norm(dim=-1) >= MIN_NORM)
    palette = label_palette(len(shown.classes.query.classes))
    colors = _as_image(label_colors(labels, palette), latents)
    return torch.lerp(_paint_colors(world, shown, camera), colors, 0.75)


def _paint_photo(world: World, camera: Camera) -> Image:
    view = world.nearest_view(camera)
    return _fitted(None if view is None else view.target, camera, world)


def _paint_teacher(world: World, camera: Camera) -> Image:
    """The teacher's map of the photo taken from nearest by, in the scene's colours for features."""
    view = world.nearest_view(camera)
    latents = None if view is None else load_teacher_map(world, view)
    if latents is None or world.pca is None:
        return _fitted(None, camera, world)
    colors = pca_colors(latents, world.pca)[0] * latents.any(-1, keepdim=True)
    return _fitted(colors, camera, world, aspect=view.camera.width / view.camera.height)


def _paint_segments(world: World, camera: Camera) -> Image:
    """The masks of the photo taken from nearest by, in colours over it."""
    view = world.nearest_view(camera)
    segments = None if view is None else load_segments(world, view)
    if segments is None:
        return _fitted(None, camera, world)
    palette = label_palette(int(segments.max()) + 1)
    colors = label_colors(segments, palette, void=0).float() / 255
    photo = F.interpolate(view.target.permute(2, 0, 1)[None], segments.shape, mode="area")[0].permute(1, 2, 0)
    return _fitted(torch.lerp(photo, colors, 0.55), camera, world)


PAINTERS: dict[str, Painter] = {
    "colour": _paint_colors,
    "depth": _paint_depth,
    "opacity": _paint_opacity,
    "features": _paint_features,
    "relevancy": _paint_relevancy,
    "classes": _paint_classes,
}
"""By the name of the mode."""
FLAT_PAINTERS: dict[str, Callable[[World, Camera], Image]] = {
    "photo": _paint_photo,
    "teacher": _paint_teacher,
    "masks": _paint_segments,
}
"""Of modes that show what belongs to a photo."""
SPLAT_MODES = ("colour", "features", "relevancy", "classes")
"""Those that are colours of Gaussians, so that a browser can draw them."""
MARKED = ("colour", "depth", "opacity", "features", "classes")
"""Those in which the selection is tinted."""


def modes_of(world: World) -> tuple[str, ...]:
    """The modes that this scene has something to show in."""
    modes = ["colour", "depth", "opacity"]
    if world.gaussians.features is not None:
        modes.append("features")
    if world.field.has_features:
        modes += ["relevancy", "classes"]
    if world.views:
        modes.append("photo")
        if world.field.run is not None:
            if any(load_teacher_map(world, view) is not None for view in world.views):
                modes.append("teacher")
            if any(load_segments(world, view) is not None for view in world.views):
                modes.append("masks")
    return tuple(modes)


def load_teacher_map(world: World, view: View) -> Float[Tensor, "h w K"] | None:
    """The latents that the run was distilled from; None where it keeps none of this photo."""
    run = world.field.run
    if run is None or not world.field.has_features:
        return None
    folder = run.config.features.cache or run.folder / "features"
    store = FeatureStore(folder, world.field.require_features())
    try:
        latents = store.load(view)
    except (OSError, ValueError):
        return None
    return latents if latents.shape[-1] == world.field.B.shape[1] else None  # a cache may be another run's by now


def load_segments(world: World, view: View) -> Tensor | None:
    """The masks that the run was smoothed with; None where it has none of this photo."""
    run = world.field.run
    folder = None if run is None else run.config.masks.cache or RunFolder(run.folder).masks
    if folder is None:
        return None
    try:
        return MaskStore(folder).load(view)
    except UserError:  # missing or damaged
        return None


def _blend(world: World, shown: Shown, camera: Camera, values: Float[Tensor, "M D"]) -> Float[Tensor, "H W D"]:
    return render_features(shown.gaussians, camera, features=values).image


def _share(world: World, shown: Shown, camera: Camera) -> Float[Tensor, "h W"]:
    """How much of a pixel is of selected Gaussians, with a row more above and below: strips meet without a line."""
    more = camera.cropped(0, -1, camera.width, camera.height + 2)
    return _blend(world, shown, more, shown.selected.float()[:, None])[..., 0]


def _mark(image: Image, share: Float[Tensor, "h W"]) -> Image:
    """Tints what is selected and draws a line around it."""
    inside = share >= 0.5
    padded = F.pad(inside[None, None].float(), (1, 1, 0, 0), mode="replicate")
    edge = (F.max_pool2d(padded, 3, 1) - (1 - F.max_pool2d(1 - padded, 3, 1)))[0, 0] > 0
    color = image.new_tensor(HIGHLIGHT)
    tinted = torch.lerp(image, color.expand_as(image), (0.35 * share[1:-1].clamp(0, 1))[..., None])
    return torch.where(edge[..., None], color, tinted)


def _spot(colors: Float[Tensor, "*S 3"], plain: Float[Tensor, "*S 3"], lit: Bool[Tensor, "*S"]) -> Tensor:
    """The colours where lit, the scene in dark grey elsewhere."""
    grey = (UNSELECTED * plain.mean(-1, keepdim=True)).expand_as(plain)
    return torch.where(lit[..., None], colors, grey)


def _heat_of(shown: Shown, scores: Float[Tensor, "*S"]) -> Float[Tensor, "*S 3"]:
    low, high = shown.asked.score_range
    values = (scores.nan_to_num(low) - low) / max(high - low, 1e-6)
    flat = values if values.ndim == 2 else values[:, None]
    colors = _as_image(heat(flat), scores)
    return colors if values.ndim == 2 else colors[:, 0]


def _as_image(picture: UInt8[Tensor, "*S 3"], like: Tensor) -> Float[Tensor, "*S 3"]:
    return picture.to(like.device, torch.float32) / 255


def _fitted(picture: Image | None, camera: Camera, world: World, aspect: float | None = None) -> Image:
    """A picture as large as fits into the window, on black; black where there is none."""
    canvas = torch.zeros(camera.height, camera.width, 3, device=world.device)
    if picture is None:
        return canvas
    aspect = aspect or picture.shape[1] / picture.shape[0]
    height = min(camera.height, round(camera.width / aspect))
    width = min(camera.width, round(height * aspect))
    smaller = height < picture.shape[0]
    resized = F.interpolate(
        picture.permute(2, 0, 1)[None].float(), (max(height, 1), max(width, 1)), mode="area" if smaller else "bilinear"
    )[0].permute(1, 2, 0)
    top, left = (camera.height - resized.shape[0]) // 2, (camera.width - resized.shape[1]) // 2
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized.to(world.device)
    return canvas


def halves(left: UInt8[Tensor, "H W 3"], right: UInt8[Tensor, "H W 3"]) -> UInt8[Tensor, "H W 3"]:
    """The left half of one picture beside the right half of another, a white line between them."""
    middle = left.shape[1] // 2
    joined = torch.cat([left[:, :middle], right[:, middle:]], dim=1)
    joined[:, max(middle - 1, 0) : middle + 1] = 255
    return joined


def to_numpy(picture: UInt8[Tensor, "H W 3"]) -> np.ndarray:
    """As the browser's library takes it."""
    return np.ascontiguousarray(picture.numpy())
