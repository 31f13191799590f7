"""Projection and colour of stored parameters on the CPU, for training: one pass forward, and one backward.

What `gsdff.render.cpu` does in steps (activate, join the bands, project, evaluate the harmonics), each with a copy in
autograd, is done here per Gaussian in view. Gradients of the stored parameters are added to their `.grad` in place, and
only for Gaussians in view and bands in use, so that nothing of the size of all parameters is written or cleared.
"""

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from gsdff.cameras import Camera
from gsdff.gaussians import Gaussians
from gsdff.kernels import kernel, run_parts, split_range
from gsdff.render.harmonics import basis, direction, slopes
from gsdff.render.project import differentiate_projection, open_view, project, row_of_3, row_of_4

ATTRIBUTES = ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN")


class ProjectStored(torch.autograd.Function):
    """Projections [1, N, ...] of stored parameters: means2d, depths, conics, opacities, colors, radii.

    The backward pass adds to `.grad` of the parameters, which autograd itself does not see; depths pass no gradient.
    """

    @staticmethod
    def forward(ctx, probe, parameters: Gaussians, camera: Camera, degree: int, settings):
        """`probe` is any tensor that needs a gradient, so that the backward pass is called."""
        num = len(parameters)
        means2d, depths, conics, compensations = (torch.zeros(1, num, *shape) for shape in ((2,), (), (3,), ()))
        radii = torch.zeros(1, num, 2, dtype=torch.int32)
        colors = torch.zeros(1, num, 3)
        stored = tuple(getattr(parameters, name).detach() for name in ATTRIBUTES)
        scales, opacities = stored[2].exp(), stored[3].sigmoid()
        means, quats, sh0, shN = (stored[index].numpy() for index in (0, 1, 4, 5))
        viewmat = camera.viewmat.double()
        pose, K, position = viewmat.numpy(), camera.K.double().numpy(), torch.linalg.inv(viewmat)[:3, 3].numpy()
        size = (settings.width, settings.height)
        limits = (settings.near_plane, settings.far_plane, settings.eps2d, settings.radius_clip)
        outputs = tuple(out[0].numpy() for out in (means2d, depths, conics, compensations, radii))
        shape = (means, quats, scales.numpy(), opacities.numpy())
        fixed = (*shape, pose, K, size, limits, settings.antialiased, outputs)
        parts = split_range(num)
        run_parts(project, [(*part, *fixed) for part in parts])
        flat_shN = shN.reshape(num, 3 * shN.shape[1])
        fixed = (means, position, sh0.reshape(num, 3), flat_shN, degree, radii[0].numpy(), colors[0].numpy())
        run_parts(color_stored, [(*part, *fixed) for part in parts])
        seen_opacities = opacities * compensations[0] if settings.antialiased else opacities
        ctx.parameters, ctx.camera, ctx.degree, ctx.settings = parameters, (pose, K, position), degree, settings
        ctx.save_for_backward(scales, opacities, compensations, radii, colors)
        ctx.mark_non_differentiable(radii, depths)
        return means2d, depths, conics, seen_opacities[None], colors, radii

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        """Adds to the parameters' gradients."""
        scales, opacities, compensations, radii, colors = (tensor.detach() for tensor in ctx.saved_tensors)
        parameters: Gaussians = ctx.parameters
        num = len(parameters)
        stored = [getattr(parameters, name) for name in ATTRIBUTES]
        for tensor in stored:
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        means, quats, _, _, _, shN = (tensor.detach().numpy() for tensor in stored)
        outputs = tuple(tensor.grad.numpy() for tensor in stored[:4])
        bands = tuple(tensor.grad.numpy().reshape(num, 3 * tensor.shape[1]) for tensor in stored[4:])
        pose, K, position = ctx.camera
        settings = ctx.settings
        incoming = tuple(grads[index][0].contiguous().numpy() for index in (0, 2, 3, 4))
        seen = (radii[0].numpy(), compensations[0].numpy(), colors[0].numpy())
        size = (settings.width, settings.height)
        view = (pose, K, position, size, settings.eps2d, settings.antialiased, ctx.degree)
        shape = (means, quats, scales.numpy(), opacities.numpy(), shN.reshape(num, 3 * shN.shape[1]))
        fixed = (shape, view, seen, incoming, outputs, bands)
        run_parts(differentiate_stored, [(*part, *fixed) for part in split_range(num)])
        return None, None, None, None, None


@kernel
def color_stored(begin, end, means, position, sh0, shN, degree, radii, colors):
    """`harmonics.evaluate` of bands stored apart: sh0 [N, 3] and shN [N, 3 B]."""
    Y = np.empty(16)
    for n in range(begin, end):
        if radii[n, 0] == 0 or radii[n, 1] == 0:
            continue
        x, y, z, _ = direction(means[n], position)
        basis(x, y, z, degree, Y)
        red, green, blue = 0.5 + Y[0] * sh0[n, 0], 0.5 + Y[0] * sh0[n, 1], 0.5 + Y[0] * sh0[n, 2]
        for band in range(1, (degree + 1) ** 2):
            place = 3 * (band - 1)
            red += Y[band] * shN[n, place]
            green += Y[band] * shN[n, place + 1]
            blue += Y[band] * shN[n, place + 2]
        colors[n, 0], colors[n, 1], colors[n, 2] = max(red, 0.0), max(green, 0.0), max(blue, 0.0)


@kernel(fastmath={"contract", "nsz"})
def differentiate_stored(begin, end, shape, view, seen, incoming, outputs, bands):
    """Adds the gradients of begin..end, through projection, harmonics and activation, to those of the parameters.

    shape: means, quats, scales, opacities, shN [N, 3 B]; view: pose, K, position, size, eps2d, antialiased, degree;
    seen: radii, compensations, colors; incoming: of means2d, conics, opacities as seen, colors; outputs: of means,
    quats, log scales, logits of opacities; bands: of sh0 [N, 3] and shN [N, 3 B].
    """
    means, quats, scales, opacities, shN = shape
    pose, K, position, size, eps2d, antialiased, degree = view
    radii, compensations, colors = seen
    grad_means2d, grad_conics, grad_opacities, grad_colors = incoming
    out_means, out_quats, out_scales, out_opacities = outputs
    out_sh0, out_shN = bands
    camera = open_view(pose, K, size)
    Y, dY = np.empty(16), np.zeros((16, 3))
    for n in range(begin, end):
        if radii[n, 0] == 0 or radii[n, 1] == 0:
            continue
        opacity, grad_opacity = opacities[n], grad_opacities[n]
        given = abs(grad_opacity) + abs(grad_colors[n, 0]) + abs(grad_colors[n, 1]) + abs(grad_colors[n, 2])
        if given == 0 and grad_conics[n, 0] == 0 and grad_conics[n, 2] == 0:
            continue  # hidden behind others
        through_blur = grad_opacity * opacity if antialiased else 0.0
        here = (grad_means2d[n, 0], grad_means2d[n, 1]), 0.0, row_of_3(grad_conics, n), through_blur
        stored = row_of_3(means, n), row_of_4(quats, n), row_of_3(scales, n)
        mean, quat, scale, _, _ = differentiate_projection(stored, camera, eps2d, here)
        x, y, z, length = direction(means[n], position)
        basis(x, y, z, degree, Y)
        slopes(x, y, z, degree, dY)
        red = float(grad_colors[n, 0]) if colors[n, 0] > 0 else 0.0
        green = float(grad_colors[n, 1]) if colors[n, 1] > 0 else 0.0
        blue = float(grad_colors[n, 2]) if colors[n, 2] > 0 else 0.0
        out_sh0[n, 0] += Y[0] * red
        out_sh0[n, 1] += Y[0] * green
        out_sh0[n, 2] += Y[0] * blue
        dx = dy = dz = 0.0
        for band in range(1, (degree + 1) ** 2):
            place = 3 * (band - 1)
            out_shN[n, place] += Y[band] * red
            out_shN[n, place + 1] += Y[band] * green
            out_shN[n, place + 2] += Y[band] * blue
            through = red * shN[n, place] + green * shN[n, place + 1] + blue * shN[n, place + 2]
            dx, dy, dz = dx + through * dY[band, 0], dy + through * dY[band, 1], dz + through * dY[band, 2]
        # the direction has unit length: only the part tangent to the sphere counts
        along = dx * x + dy * y + dz * z
        out_means[n, 0] += mean[0] + (dx - along * x) / length
        out_means[n, 1] += mean[1] + (dy - along * y) / length
        out_means[n, 2] += mean[2] + (dz - along * z) / length
        out_quats[n, 0] += quat[0]
        out_quats[n, 1] += quat[1]
        out_quats[n, 2] += quat[2]
        out_quats[n, 3] += quat[3]
        out_scales[n, 0] += scale[0] * scales[n, 0]
        out_scales[n, 1] += scale[1] * scales[n, 1]
        out_scales[n, 2] += scale[2] * scales[n, 2]
        factor = compensations[n] if antialiased else 1.0
        out_opacities[n] += grad_opacity * factor * opacity * (1 - opacity)
