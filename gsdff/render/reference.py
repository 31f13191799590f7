"""Reference rasteriser, slow and simple: it defines the correct result of every rasteriser here.

Plain torch in the dtype it is given (float64 for comparisons), differentiable by autograd. Every Gaussian is evaluated
at every pixel, a row of pixels at a time: no tiles, no early exit. It follows the CUDA kernels of gsplat 1.5.3 (whose
`_torch_impl` differs: it has neither the opacity-aware radii nor `radius_clip`).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32
from torch import Tensor

from gsdff.rotation import quats_to_matrices, sh_basis

ALPHA_CUTOFF = 1 / 255
"""A Gaussian does not count at a pixel where its alpha is below this."""
ALPHA_MAX = 0.999
"""Alpha is clamped to this, and no gradient passes the clamp."""
TRANSMITTANCE_STOP = 1e-4
"""The Gaussian that would leave a pixel this transmittance or less is not blended, nor is any behind it."""
MAX_SIGMAS = 3.33
"""Cap on half the side of a Gaussian's bounding box, in standard deviations."""


def rasterization(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    colors: Tensor,  # [(C,) N, D], or [(C,) N, B, 3] with sh_degree
    viewmats: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Float[Tensor, "C D"] | None = None,
    render_mode: str = "RGB",
    absgrad: bool = False,
    rasterize_mode: str = "classic",
    radius_clip: float = 0.0,
) -> tuple[Float[Tensor, "C H W X"], Float[Tensor, "C H W 1"], dict]:
    """Returns renders, alphas and meta of the Gaussians in every camera, as `gsdff.render.rasterization` does.

    Opacities must be in [0, 1]. Differentiable in everything but Ks, the sizes and the radii.
    Besides gsplat's keys, meta holds `margins` [C, H, W, 3]: the relative distance of each pixel from the nearest jump
    or bend of the result: the alpha cut-off, the alpha clamp, the transmittance stop. Finite precision may put a pixel
    of small margin on the other side.
    """
    points, means2d, covars2d = project(means, quats, scales, viewmats, Ks, width, height, near_plane, far_plane)
    depths = points[..., 2]
    conics, compensations = blur_and_invert(covars2d, eps2d)
    opacities = opacities.expand(len(viewmats), -1)  # [C, N]
    if rasterize_mode == "antialiased":
        opacities = opacities * compensations
    radii = bounding_radii(means2d, covars2d, opacities, width, height, eps2d, radius_clip)
    invertible = conics[..., 0] * conics[..., 2] > conics[..., 1] ** 2
    visible = (depths >= near_plane) & (depths <= far_plane) & invertible & (radii > 0).all(-1)
    radii = radii * visible[..., None]

    if sh_degree is not None:
        directions = means - torch.linalg.inv(viewmats)[:, None, :3, 3]  # [C, N, 3]
        colors = (evaluate_sh(sh_degree, directions, colors) + 0.5).clamp_min(0)
    colors = colors.expand(len(viewmats), -1, -1)  # [C, N, D]
    if "D" in render_mode:
        colors = torch.cat([colors, depths[..., None]], dim=-1) if render_mode.startswith("RGB") else depths[..., None]
        if backgrounds is not None:
            backgrounds = F.pad(backgrounds, (0, 1))[..., -colors.shape[-1] :]  # the depth of the background is 0
    if backgrounds is None:
        backgrounds = colors.new_zeros(len(viewmats), colors.shape[-1])

    renders, alphas, margins = [], [], []
    for c in range(len(viewmats)):
        order = depths[c].argsort(stable=True)  # ties by index
        order = order[visible[c, order]]
        for y in range(height):
            centres = torch.stack([torch.arange(width) + 0.5, torch.full((width,), y + 0.5)], dim=-1).to(means)
            to_means = offsets(means2d, c, order, centres, absgrad)
            row = blend(to_means, conics[c, order], opacities[c, order], colors[c, order], backgrounds[c])
            for rows, part in zip((renders, alphas, margins), row, strict=True):
                rows.append(part)
    shape = (len(viewmats), height, width, -1)
    renders, alphas, margins = (torch.stack(rows).reshape(shape) for rows in (renders, alphas, margins))
    if "ED" in render_mode:
        expected_depths = renders[..., -1:] / alphas.clamp_min(1e-10)
        renders = torch.cat([renders[..., :-1], expected_depths], dim=-1)

    meta = {"means2d": means2d, "radii": radii, "depths": depths, "conics": conics, "opacities": opacities}
    meta |= {"width": width, "height": height, "n_cameras": len(viewmats), "margins": margins}
    return renders, alphas, meta


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float,
    far_plane: float,
) -> tuple[Float[Tensor, "C N 3"], Float[Tensor, "C N 2"], Float[Tensor, "C N 2 2"]]:
    """Centres in the cameras' frames, centres in pixels, and covariances in pixels (EWA splatting, Zwicker 2001).

    A Gaussian outside the planes is projected as if at depth 1, so that nothing is divided by zero.
    """
    rotations = viewmats[:, None, :3, :3]  # [C, 1, 3, 3]
    points = (rotations @ means[..., None])[..., 0] + viewmats[:, None, :3, 3]
    x, y, z = points.unbind(-1)
    z = torch.where((z >= near_plane) & (z <= far_plane), z, 1.0)
    fx, fy, cx, cy = (Ks[:, i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)

    # The projection is linearised at the centre, but not further outside the image than 0.3 of its half width: towards
    # the camera's plane the linearisation grows without bound.
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    slope_x = torch.clamp(x / z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    slope_y = torch.clamp(y / z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * slope_x / z, zero, fy / z, -fy * slope_y / z], dim=-1)
    root = J.unflatten(-1, (2, 3)) @ rotations @ quats_to_matrices(quats) @ torch.diag_embed(scales)  # [C, N, 2, 3]
    return points, means2d, root @ root.mT


def blur_and_invert(
    covars2d: Float[Tensor, "C N 2 2"], eps2d: float
) -> tuple[Float[Tensor, "C N 3"], Float[Tensor, "C N"]]:
    """Inverses (xx, xy, yy) of the covariances widened by eps2d, and the opacity factor of Mip-Splatting.

    Where the widened covariance is singular the "inverse" is singular too.
    """
    a, b, c = covars2d[..., 0, 0], covars2d[..., 0, 1], covars2d[..., 1, 1]
    sharp_det = a * c - b * b
    a, c = a + eps2d, c + eps2d
    det = a * c - b * b
    det = torch.where(det > 0, det, 1.0)
    ratio = sharp_det / det
    compensations = torch.where(ratio > 0, torch.where(ratio > 0, ratio, 1.0).sqrt(), 0.0)  # no infinite slope at 0
    return torch.stack([c, -b, a], dim=-1) / det[..., None], compensations


@torch.no_grad()
def bounding_radii(
    means2d: Float[Tensor, "C N 2"],
    covars2d: Float[Tensor, "C N 2 2"],
    opacities: Float[Tensor, "C N"],
    width: int,
    height: int,
    eps2d: float,
    radius_clip: float,
) -> Int32[Tensor, "C N 2"]:
    """Half sides of the box in which a Gaussian may count; 0 if it misses the image, is too faint or too small.

    Tiles do not change the result. gsplat blends a Gaussian in the 16x16 tiles that this box touches. Where
    alpha >= 1/255, sigma <= ln(255 opacity), and the ellipse of those points has half sides
    sqrt(2 ln(255 opacity) variance). The cap of 3.33 is never reached, as sqrt(2 ln 255) = 3.3291. So every pixel that
    counts is in the box, and culling by opacity or by the image's border only skips work.
    """
    sigmas = (2 * (opacities / ALPHA_CUTOFF).log()).clamp(0, MAX_SIGMAS**2).sqrt()
    variances = covars2d.diagonal(dim1=-2, dim2=-1) + eps2d
    radii = (sigmas[..., None] * variances.sqrt()).ceil()
    size = torch.tensor([width, height], device=radii.device)
    keep = (opacities >= ALPHA_CUTOFF) & (radii > radius_clip).any(-1)
    keep &= ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
    return torch.where(keep[..., None], radii, 0).to(torch.int32)


def evaluate_sh(degree: int, directions: Float[Tensor, "*B 3"], coefficients: Tensor) -> Float[Tensor, "*B D"]:
    """Real spherical harmonics up to a degree of 0 to 3, in 3DGS's order and signs, at directions of any length."""
    count = (degree + 1) ** 2
    basis = sh_basis(F.normalize(directions, dim=-1))[..., :count]
    return (basis[..., None] * coefficients[..., :count, :]).sum(-2)


def offsets(
    means2d: Float[Tensor, "C N 2"], c: int, order: Tensor, centres: Float[Tensor, "W 2"], absgrad: bool
) -> Float[Tensor, "W M 2"]:
    """Offsets from each pixel centre to each ordered Gaussian of camera c; `absgrad` collects `means2d.absgrad`."""
    per_pixel = means2d[c, order].expand(len(centres), -1, -1)

    def collect(grad: Tensor) -> None:
        means2d.absgrad[c].index_add_(0, order, grad.abs().sum(0))  # pyright: ignore[reportAttributeAccessIssue]

    if absgrad and per_pixel.requires_grad:
        if not hasattr(means2d, "absgrad"):
            # gsplat keeps it as an attribute, too
            means2d.absgrad = torch.zeros_like(means2d)  # pyright: ignore[reportAttributeAccessIssue]
        per_pixel.register_hook(collect)
    return per_pixel - centres[:, None]


def blend(
    to_mean: Float[Tensor, "W M 2"],
    conics: Float[Tensor, "M 3"],
    opacities: Float[Tensor, "M"],
    colors: Float[Tensor, "M D"],
    background: Float[Tensor, "D"],
) -> tuple[Float[Tensor, "W D"], Float[Tensor, "W 1"], Float[Tensor, "W 3"]]:
    """Colours, alphas and margins of W pixels under M Gaussians, nearest first (3DGS, equation 3)."""
    dx, dy = to_mean.unbind(-1)
    a, b, c = conics.unbind(-1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    raw = opacities * torch.exp(-sigma)
    alphas = raw.clamp(max=ALPHA_MAX)
    alphas = torch.where((sigma >= 0) & (alphas >= ALPHA_CUTOFF), alphas, 0)

    after = (1 - alphas).cumprod(-1)
    before = after / (1 - alphas)
    alphas = torch.where(after > TRANSMITTANCE_STOP, alphas, 0)  # `after` only falls, so all behind are left out too
    left = (1 - alphas).prod(-1, keepdim=True)
    renders = (alphas * before) @ colors + left * background

    with torch.no_grad():
        distances = torch.stack([raw / ALPHA_CUTOFF, raw / ALPHA_MAX, after / TRANSMITTANCE_STOP], dim=-1).sub(1).abs()
        reached = torch.where((before > TRANSMITTANCE_STOP)[..., None], distances, torch.inf)
        margins = F.pad(reached, (0, 0, 0, 1), value=torch.inf).amin(-2)
    return renders, 1 - left, margins
