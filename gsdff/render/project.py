"""Projection of 3D Gaussians to 2D ones (EWA splatting; 3DGS eq. 5), forward and hand-written backward, in numba.

With M = R(quat) diag(scale), W = R_view M and the pinhole Jacobian J (of the centre, clamped to 1.3 times the field of
view), U = J W gives the 2D covariance U U^T + eps2d I. Per Gaussian everything fits in registers, so the arithmetic is
float64 at no cost and the stored results are float32.
"""

import math

import numpy as np

from gsdff.kernels import kernel

ALPHA_THRESHOLD = 1 / 255
"""A Gaussian contributes where its alpha is at least this (8-bit images cannot show less)."""


@kernel
def _rotation(quat, matrix):
    """Rotation matrix of a wxyz quaternion of any norm; returns the norm."""
    norm = math.sqrt(quat[0] ** 2.0 + quat[1] ** 2.0 + quat[2] ** 2.0 + quat[3] ** 2.0)
    w, x, y, z = quat[0] / norm, quat[1] / norm, quat[2] / norm, quat[3] / norm
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    return norm


@kernel
def _to_camera(viewmat, mean):
    """The centre in camera coordinates."""
    x, y, z = float(mean[0]), float(mean[1]), float(mean[2])
    return (
        viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3],
        viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3],
        viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3],
    )


@kernel
def _clamped(ratio, focal, centre, side):
    """x/z or y/z kept within 1.3 fields of view, where the linearised projection still means something."""
    margin = 0.15 * side / focal
    return min(max(ratio, -(centre / focal + margin)), (side - centre) / focal + margin)


@kernel
def _project_covariance(viewmat, K, width, height, centre, quat, scale, R, W, U):
    """Fills R = R(quat), W = R_view R diag(scale) and U = J W; returns the quaternion's norm and clamped x/z, y/z."""
    norm = _rotation(quat, R)
    for i in range(3):
        for j in range(3):
            W[i, j] = (viewmat[i, 0] * R[0, j] + viewmat[i, 1] * R[1, j] + viewmat[i, 2] * R[2, j]) * scale[j]
    x, y, z = centre
    across = _clamped(x / z, K[0, 0], K[0, 2], width)
    down = _clamped(y / z, K[1, 1], K[1, 2], height)
    for j in range(3):
        U[0, j] = K[0, 0] / z * (W[0, j] - across * W[2, j])
        U[1, j] = K[1, 1] / z * (W[1, j] - down * W[2, j])
    return norm, across, down


@kernel
def _covariance(U, eps2d):
    """(xx, xy, yy, determinant, determinant before the blur); the latter as a cross product, which cannot cancel."""
    xx = U[0, 0] ** 2 + U[0, 1] ** 2 + U[0, 2] ** 2
    yy = U[1, 0] ** 2 + U[1, 1] ** 2 + U[1, 2] ** 2
    xy = U[0, 0] * U[1, 0] + U[0, 1] * U[1, 1] + U[0, 2] * U[1, 2]
    cross_x = U[0, 1] * U[1, 2] - U[0, 2] * U[1, 1]
    cross_y = U[0, 2] * U[1, 0] - U[0, 0] * U[1, 2]
    cross_z = U[0, 0] * U[1, 1] - U[0, 1] * U[1, 0]
    sharp = cross_x**2 + cross_y**2 + cross_z**2
    return xx + eps2d, xy, yy + eps2d, sharp + eps2d * (xx + yy) + eps2d**2, sharp


@kernel
def project(begin, end, means, quats, scales, opacities, viewmat, K, size, limits, antialiased, outputs):
    """Projects Gaussians begin..end for one camera.

    size: (width, height); limits: (near, far, eps2d, radius_clip). outputs: means2d [N, 2], depths [N], conics [N, 3],
    compensations [N], radii [N, 2]; all zero where a Gaussian cannot be seen.
    """
    width, height = size
    near, far, eps2d, radius_clip = limits
    means2d, depths, conics, compensations, radii = outputs
    R, W, U = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    for n in range(begin, end):
        x, y, z = _to_camera(viewmat, means[n])
        if not (near <= z <= far):
            continue
        _project_covariance(viewmat, K, width, height, (x, y, z), quats[n], scales[n], R, W, U)
        xx, xy, yy, determinant, sharp = _covariance(U, eps2d)
        compensation = math.sqrt(sharp / determinant) if antialiased else 1.0
        opacity = opacities[n] * compensation
        if not (determinant > 0 and opacity >= ALPHA_THRESHOLD):
            continue
        extent = min(3.33, math.sqrt(2 * math.log(opacity / ALPHA_THRESHOLD)))
        radius_x, radius_y = math.ceil(extent * math.sqrt(xx)), math.ceil(extent * math.sqrt(yy))
        u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
        if radius_x <= radius_clip and radius_y <= radius_clip:
            continue
        if u + radius_x <= 0 or u - radius_x >= width or v + radius_y <= 0 or v - radius_y >= height:
            continue
        means2d[n, 0], means2d[n, 1], depths[n] = u, v, z
        conics[n, 0], conics[n, 1], conics[n, 2] = yy / determinant, -xy / determinant, xx / determinant
        compensations[n] = compensation
        radii[n, 0], radii[n, 1] = min(radius_x, 1e9), min(radius_y, 1e9)


@kernel
def project_backward(begin, end, means, quats, scales, viewmat, K, size, eps2d, antialiased, radii, grads, outputs):
    """Gradients of Gaussians begin..end from those of their projections.

    grads: of means2d [N, 2], depths [N], conics [N, 3], compensations [N]. outputs: of means [N, 3], quats [N, 4],
    scales [N, 3], and of the camera's viewmat [4, 4] (float64, added to; [0, 4] if it is not needed).
    """
    grad_means, grad_quats, grad_scales, grad_viewmat = outputs
    space = make_space()
    for n in range(begin, end):
        if radii[n, 0] == 0 or radii[n, 1] == 0:
            continue
        shape = means[n], quats[n], scales[n]
        here = grad_means[n], grad_quats[n], grad_scales[n], grad_viewmat
        differentiate_projection(n, shape, viewmat, K, size, eps2d, antialiased, grads, space, here)


@kernel(forceinline=True)
def make_space():
    """Matrices that `differentiate_projection` works in: R, W, U, dU, dW, dR."""
    return (
        np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3)), np.empty((2, 3)), np.empty((3, 3)), np.empty((3, 3)),
    )  # fmt: skip


@kernel
def differentiate_projection(n, shape, viewmat, K, size, eps2d, antialiased, grads, space, outputs):
    """Writes the gradients of Gaussian n, given its (mean, quat, scale), to rows of 3, 4 and 3 numbers.

    `grads` and the last of `outputs` as for `project_backward`.
    """
    width, height = size
    grad_means2d, grad_depths, grad_conics, grad_compensations = grads
    grad_mean, grad_quat, grad_scale, grad_viewmat = outputs
    mean, quat, scale = shape
    R, W, U, dU, dW, dR = space
    x, y, z = _to_camera(viewmat, mean)
    norm, across, down = _project_covariance(viewmat, K, width, height, (x, y, z), quat, scale, R, W, U)
    _grad_factor(U, eps2d, grad_conics[n], grad_compensations[n] if antialiased else 0.0, dU)
    fx, fy = K[0, 0] / z, K[1, 1] / z
    # U[0] = fx/z (W[0] - across W[2]) and the like for U[1]
    d_across = d_down = along_x = along_y = 0.0
    for j in range(3):
        dW[0, j], dW[1, j] = fx * dU[0, j], fy * dU[1, j]
        dW[2, j] = -across * dW[0, j] - down * dW[1, j]
        d_across -= dW[0, j] * W[2, j]
        d_down -= dW[1, j] * W[2, j]
        along_x += dU[0, j] * U[0, j]
        along_y += dU[1, j] * U[1, j]
    d_across = d_across if across == x / z else 0.0
    d_down = d_down if down == y / z else 0.0
    d_across += K[0, 0] * grad_means2d[n, 0]
    d_down += K[1, 1] * grad_means2d[n, 1]
    dx, dy = d_across / z, d_down / z
    dz = grad_depths[n] - (d_across * x + d_down * y) / z**2 - (along_x + along_y) / z
    for j in range(3):
        grad_mean[j] = viewmat[0, j] * dx + viewmat[1, j] * dy + viewmat[2, j] * dz
    if len(grad_viewmat):
        _grad_pose(mean, R, scale, dW, (dx, dy, dz), grad_viewmat)
    for j in range(3):
        for i in range(3):
            dR[i, j] = viewmat[0, i] * dW[0, j] + viewmat[1, i] * dW[1, j] + viewmat[2, i] * dW[2, j]
        grad_scale[j] = dR[0, j] * R[0, j] + dR[1, j] * R[1, j] + dR[2, j] * R[2, j]
        for i in range(3):
            dR[i, j] *= scale[j]
    _grad_quat(quat, norm, dR, grad_quat)


@kernel
def _grad_factor(U, eps2d, grad_conic, grad_compensation, dU):
    """dL/dU from dL/dconic and dL/dcompensation: with S = U U^T + eps2d I and X = S^-1, dL/dS = -X G X."""
    xx, xy, yy, determinant, sharp = _covariance(U, eps2d)
    a, b, c = yy / determinant, -xy / determinant, xx / determinant
    ga, gb, gc = float(grad_conic[0]), 0.5 * grad_conic[1], float(grad_conic[2])
    pa, pb, qa, qb = a * ga + b * gb, a * gb + b * gc, b * ga + c * gb, b * gb + c * gc
    sxx, sxy, syy = -(pa * a + pb * b), -(pa * b + pb * c), -(qa * b + qb * c)
    if grad_compensation != 0.0:
        # compensation^2 = det(U U^T) / det(S), whose derivative by S is (1 - compensation^2) X - eps2d det(X) I
        ratio = sharp / determinant
        outer = 0.5 * grad_compensation / (math.sqrt(ratio) + 1e-6)
        sxx += outer * ((1 - ratio) * a - eps2d / determinant)
        sxy += outer * (1 - ratio) * b
        syy += outer * ((1 - ratio) * c - eps2d / determinant)
    for j in range(3):
        dU[0, j] = 2 * (sxx * U[0, j] + sxy * U[1, j])
        dU[1, j] = 2 * (sxy * U[0, j] + syy * U[1, j])


@kernel
def _grad_pose(mean, R, scale, dW, d_centre, grad_viewmat):
    """Adds a Gaussian's share of dL/dviewmat: the centre is R_view mean + t, and W = R_view R diag(scale)."""
    for i in range(3):
        for j in range(3):
            through_shape = 0.0
            for k in range(3):
                through_shape += dW[i, k] * R[j, k] * scale[k]
            grad_viewmat[i, j] += d_centre[i] * mean[j] + through_shape
        grad_viewmat[i, 3] += d_centre[i]


@kernel
def _grad_quat(quat, norm, dR, grad):
    """dL/dquat from dL/dR, through the normalisation."""
    w, x, y, z = quat[0] / norm, quat[1] / norm, quat[2] / norm, quat[3] / norm
    # sums and differences across the diagonal
    yz, zx, xy = dR[2, 1] + dR[1, 2], dR[0, 2] + dR[2, 0], dR[1, 0] + dR[0, 1]
    turn_x, turn_y, turn_z = dR[2, 1] - dR[1, 2], dR[0, 2] - dR[2, 0], dR[1, 0] - dR[0, 1]
    dw = 2 * (x * turn_x + y * turn_y + z * turn_z)
    dx = 2 * (w * turn_x - 2 * x * (dR[1, 1] + dR[2, 2]) + y * xy + z * zx)
    dy = 2 * (w * turn_y - 2 * y * (dR[0, 0] + dR[2, 2]) + x * xy + z * yz)
    dz = 2 * (w * turn_z - 2 * z * (dR[0, 0] + dR[1, 1]) + x * zx + y * yz)
    along = w * dw + x * dx + y * dy + z * dz
    grad[0], grad[1] = (dw - along * w) / norm, (dx - along * x) / norm
    grad[2], grad[3] = (dy - along * y) / norm, (dz - along * z) / norm
