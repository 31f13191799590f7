"""Projection of 3D Gaussians to 2D ones (EWA splatting; 3DGS eq. 5), forward and hand-written backward, in numba.

With M = R(quat) diag(scale), W = R_view M and the pinhole Jacobian J (of the centre, clamped to 1.3 times the field of
view), U = J W gives the 2D covariance U U^T + eps2d I. Vectors and rows of matrices are tuples of float64, which stay
in registers: with small arrays in their place the backward pass takes six times as long. Stored results are float32.
"""

import math

from gsdff.kernels import kernel

ALPHA_THRESHOLD = 1 / 255
"""A Gaussian contributes where its alpha is at least this (8-bit images cannot show less)."""


@kernel(forceinline=True)
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel(forceinline=True)
def _scaled(factor, a):
    return factor * a[0], factor * a[1], factor * a[2]


@kernel(forceinline=True)
def _product(a, b):
    """The elementwise product."""
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


@kernel(forceinline=True)
def _combined(factors, rows):
    """A row times a matrix of three rows."""
    p, q, r = factors
    a, b, c = rows
    return p * a[0] + q * b[0] + r * c[0], p * a[1] + q * b[1] + r * c[1], p * a[2] + q * b[2] + r * c[2]


@kernel(forceinline=True)
def row_of_3(array, n):
    """Row n of an array [N, 3]."""
    return float(array[n, 0]), float(array[n, 1]), float(array[n, 2])


@kernel(forceinline=True)
def row_of_4(array, n):
    """Row n of an array [N, 4]."""
    return float(array[n, 0]), float(array[n, 1]), float(array[n, 2]), float(array[n, 3])


@kernel(forceinline=True)
def open_view(viewmat, K, size):
    """A camera as the kernels want it: rows of its rotation, translation, focal lengths, centre, width and height."""
    rows = row_of_3(viewmat, 0), row_of_3(viewmat, 1), row_of_3(viewmat, 2)
    shift = viewmat[0, 3], viewmat[1, 3], viewmat[2, 3]
    return rows, shift, (K[0, 0], K[1, 1]), (K[0, 2], K[1, 2]), size


@kernel(forceinline=True)
def _rotation(quat):
    """Rows of the rotation matrix of a wxyz quaternion of any norm, and the norm."""
    norm = math.sqrt(quat[0] ** 2.0 + quat[1] ** 2.0 + quat[2] ** 2.0 + quat[3] ** 2.0)
    w, x, y, z = quat[0] / norm, quat[1] / norm, quat[2] / norm, quat[3] / norm
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return rows, norm


@kernel(forceinline=True)
def _to_camera(view, mean):
    """The centre in camera coordinates."""
    rows, shift = view[0], view[1]
    return _dot(rows[0], mean) + shift[0], _dot(rows[1], mean) + shift[1], _dot(rows[2], mean) + shift[2]


@kernel(forceinline=True)
def _clamped(ratio, focal, centre, side):
    """x/z or y/z kept within 1.3 fields of view, where the linearised projection still means something."""
    margin = 0.15 * side / focal
    return min(max(ratio, -(centre / focal + margin)), (side - centre) / focal + margin)


@kernel(forceinline=True)
def _project_axes(view, centre, R, scale):
    """Rows of W = R_view R diag(scale) and of U = J W, and clamped x/z, y/z."""
    rows, _, focal, middle, size = view
    w0 = _product(_combined(rows[0], R), scale)
    w1 = _product(_combined(rows[1], R), scale)
    w2 = _product(_combined(rows[2], R), scale)
    x, y, z = centre
    across = _clamped(x / z, focal[0], middle[0], size[0])
    down = _clamped(y / z, focal[1], middle[1], size[1])
    fx, fy = focal[0] / z, focal[1] / z
    u0 = fx * (w0[0] - across * w2[0]), fx * (w0[1] - across * w2[1]), fx * (w0[2] - across * w2[2])
    u1 = fy * (w1[0] - down * w2[0]), fy * (w1[1] - down * w2[1]), fy * (w1[2] - down * w2[2])
    return (w0, w1, w2), (u0, u1), across, down


@kernel(forceinline=True)
def _covariance(U, eps2d):
    """(xx, xy, yy, determinant, determinant before the blur); the latter as a cross product, which cannot cancel."""
    u, v = U
    xx, yy, xy = _dot(u, u), _dot(v, v), _dot(u, v)
    cross = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
    sharp = _dot(cross, cross)
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
    view = open_view(viewmat, K, size)
    for n in range(begin, end):
        centre = _to_camera(view, row_of_3(means, n))
        x, y, z = centre
        if not (near <= z <= far):
            continue
        R, _ = _rotation(row_of_4(quats, n))
        _, U, _, _ = _project_axes(view, centre, R, row_of_3(scales, n))
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
    grad_means2d, grad_depths, grad_conics, grad_compensations = grads
    grad_means, grad_quats, grad_scales, grad_viewmat = outputs
    view = open_view(viewmat, K, size)
    for n in range(begin, end):
        if radii[n, 0] == 0 or radii[n, 1] == 0:
            continue
        given = (
            (grad_means2d[n, 0], grad_means2d[n, 1]),
            grad_depths[n],
            row_of_3(grad_conics, n),
            grad_compensations[n] if antialiased else 0.0,
        )
        shape = row_of_3(means, n), row_of_4(quats, n), row_of_3(scales, n)
        d_mean, d_quat, d_scale, d_centre, dW = differentiate_projection(shape, view, eps2d, given)
        grad_means[n, 0], grad_means[n, 1], grad_means[n, 2] = d_mean
        grad_quats[n, 0], grad_quats[n, 1], grad_quats[n, 2], grad_quats[n, 3] = d_quat
        grad_scales[n, 0], grad_scales[n, 1], grad_scales[n, 2] = d_scale
        if len(grad_viewmat):
            _grad_pose(shape, d_centre, dW, grad_viewmat)


@kernel(forceinline=True)
def differentiate_projection(shape, view, eps2d, given):
    """Gradients of a Gaussian (mean, quat, scale) from those of its 2D mean, depth, conic and compensation.

    Returns those of mean, quat and scale, and of the centre in camera coordinates and W.
    """
    mean, quat, scale = shape
    rows, _, focal, _, _ = view
    d_mean2d, d_depth, d_conic, d_compensation = given
    centre = _to_camera(view, mean)
    x, y, z = centre
    R, norm = _rotation(quat)
    W, U, across, down = _project_axes(view, centre, R, scale)
    dU = _grad_factor(U, eps2d, d_conic, d_compensation)
    # U[0] = fx/z (W[0] - across W[2]) and the like for U[1]
    dw0, dw1 = _scaled(focal[0] / z, dU[0]), _scaled(focal[1] / z, dU[1])
    dw2 = -across * dw0[0] - down * dw1[0], -across * dw0[1] - down * dw1[1], -across * dw0[2] - down * dw1[2]
    dW = dw0, dw1, dw2
    d_across = -_dot(dw0, W[2]) if across == x / z else 0.0
    d_down = -_dot(dw1, W[2]) if down == y / z else 0.0
    d_across += focal[0] * d_mean2d[0]
    d_down += focal[1] * d_mean2d[1]
    along = _dot(dU[0], U[0]) + _dot(dU[1], U[1])
    d_centre = d_across / z, d_down / z, d_depth - (d_across * x + d_down * y) / z**2 - along / z
    d_mean = _combined(d_centre, rows)
    dr0 = _combined((rows[0][0], rows[1][0], rows[2][0]), dW)
    dr1 = _combined((rows[0][1], rows[1][1], rows[2][1]), dW)
    dr2 = _combined((rows[0][2], rows[1][2], rows[2][2]), dW)
    d_scale = (
        dr0[0] * R[0][0] + dr1[0] * R[1][0] + dr2[0] * R[2][0],
        dr0[1] * R[0][1] + dr1[1] * R[1][1] + dr2[1] * R[2][1],
        dr0[2] * R[0][2] + dr1[2] * R[1][2] + dr2[2] * R[2][2],
    )
    d_quat = _grad_quat(quat, norm, (_product(dr0, scale), _product(dr1, scale), _product(dr2, scale)))
    return d_mean, d_quat, d_scale, d_centre, dW


@kernel(forceinline=True)
def _grad_factor(U, eps2d, d_conic, d_compensation):
    """dL/dU from dL/dconic and dL/dcompensation: with S = U U^T + eps2d I and X = S^-1, dL/dS = -X G X."""
    xx, xy, yy, determinant, sharp = _covariance(U, eps2d)
    a, b, c = yy / determinant, -xy / determinant, xx / determinant
    ga, gb, gc = d_conic[0], 0.5 * d_conic[1], d_conic[2]
    pa, pb, qa, qb = a * ga + b * gb, a * gb + b * gc, b * ga + c * gb, b * gb + c * gc
    sxx, sxy, syy = -(pa * a + pb * b), -(pa * b + pb * c), -(qa * b + qb * c)
    if d_compensation != 0.0:
        # compensation^2 = det(U U^T) / det(S), whose derivative by S is (1 - compensation^2) X - eps2d det(X) I
        ratio = sharp / determinant
        outer = 0.5 * d_compensation / (math.sqrt(ratio) + 1e-6)
        sxx += outer * ((1 - ratio) * a - eps2d / determinant)
        sxy += outer * (1 - ratio) * b
        syy += outer * ((1 - ratio) * c - eps2d / determinant)
    u, v = U
    du = 2 * (sxx * u[0] + sxy * v[0]), 2 * (sxx * u[1] + sxy * v[1]), 2 * (sxx * u[2] + sxy * v[2])
    dv = 2 * (sxy * u[0] + syy * v[0]), 2 * (sxy * u[1] + syy * v[1]), 2 * (sxy * u[2] + syy * v[2])
    return du, dv


@kernel(forceinline=True)
def _grad_pose(shape, d_centre, dW, grad_viewmat):
    """Adds a Gaussian's share of dL/dviewmat: the centre is R_view mean + t, and W = R_view R diag(scale)."""
    mean, quat, scale = shape
    R, _ = _rotation(quat)
    for i in range(3):
        through = _product(dW[i], scale)
        for j in range(3):
            grad_viewmat[i, j] += d_centre[i] * mean[j] + _dot(through, R[j])
        grad_viewmat[i, 3] += d_centre[i]


@kernel(forceinline=True)
def _grad_quat(quat, norm, dR):
    """dL/dquat from dL/dR, through the normalisation."""
    w, x, y, z = quat[0] / norm, quat[1] / norm, quat[2] / norm, quat[3] / norm
    # sums and differences across the diagonal
    yz, zx, xy = dR[2][1] + dR[1][2], dR[0][2] + dR[2][0], dR[1][0] + dR[0][1]
    turn_x, turn_y, turn_z = dR[2][1] - dR[1][2], dR[0][2] - dR[2][0], dR[1][0] - dR[0][1]
    dw = 2 * (x * turn_x + y * turn_y + z * turn_z)
    dx = 2 * (w * turn_x - 2 * x * (dR[1][1] + dR[2][2]) + y * xy + z * zx)
    dy = 2 * (w * turn_y - 2 * y * (dR[0][0] + dR[2][2]) + x * xy + z * yz)
    dz = 2 * (w * turn_z - 2 * z * (dR[0][0] + dR[1][1]) + x * zx + y * yz)
    along = w * dw + x * dx + y * dy + z * dz
    return (dw - along * w) / norm, (dx - along * x) / norm, (dy - along * y) / norm, (dz - along * z) / norm
