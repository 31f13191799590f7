"""View-dependent colour: real spherical harmonics up to degree 3 in 3DGS's order and signs, forward and backward."""

import numpy as np

from gsdff.kernels import kernel

_C0, _C1 = 0.28209479177387814, 0.4886025119029199
_C2A, _C2B, _C2C = 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
_C3A, _C3B, _C3C, _C3D, _C3E = (
    0.5900435899266435,
    2.890611442640554,
    0.4570457994644658,
    0.3731763325901154,
    1.445305721320277,
)


@kernel
def basis(x, y, z, degree, Y):
    """Values of the bands 0..degree in the unit direction (x, y, z)."""
    Y[0] = _C0
    if degree > 0:
        Y[1], Y[2], Y[3] = -_C1 * y, _C1 * z, -_C1 * x
    if degree > 1:
        Y[4], Y[5], Y[6] = _C2A * x * y, -_C2A * y * z, _C2B * (3 * z * z - 1)
        Y[7], Y[8] = -_C2A * x * z, _C2C * (x * x - y * y)
    if degree > 2:
        Y[9], Y[10] = -_C3A * y * (3 * x * x - y * y), _C3B * x * y * z
        Y[11], Y[12] = -_C3C * y * (5 * z * z - 1), _C3D * z * (5 * z * z - 3)
        Y[13], Y[14] = -_C3C * x * (5 * z * z - 1), _C3E * z * (x * x - y * y)
        Y[15] = -_C3A * x * (x * x - 3 * y * y)


@kernel
def slopes(x, y, z, degree, dY):
    """Derivatives [16, 3] of the polynomials in `basis`; rows of higher bands than `degree` are left as they are."""
    if degree > 0:
        dY[1, 1], dY[2, 2], dY[3, 0] = -_C1, _C1, -_C1
    if degree > 1:
        dY[4, 0], dY[4, 1] = _C2A * y, _C2A * x
        dY[5, 1], dY[5, 2] = -_C2A * z, -_C2A * y
        dY[6, 2] = 6 * _C2B * z
        dY[7, 0], dY[7, 2] = -_C2A * z, -_C2A * x
        dY[8, 0], dY[8, 1] = 2 * _C2C * x, -2 * _C2C * y
    if degree > 2:
        dY[9, 0], dY[9, 1] = -6 * _C3A * x * y, -3 * _C3A * (x * x - y * y)
        dY[10, 0], dY[10, 1], dY[10, 2] = _C3B * y * z, _C3B * x * z, _C3B * x * y
        dY[11, 1], dY[11, 2] = -_C3C * (5 * z * z - 1), -10 * _C3C * y * z
        dY[12, 2] = _C3D * (15 * z * z - 3)
        dY[13, 0], dY[13, 2] = -_C3C * (5 * z * z - 1), -10 * _C3C * x * z
        dY[14, 0], dY[14, 1], dY[14, 2] = 2 * _C3E * x * z, -2 * _C3E * y * z, _C3E * (x * x - y * y)
        dY[15, 0], dY[15, 1] = -3 * _C3A * (x * x - y * y), 6 * _C3A * x * y


@kernel
def direction(mean, position):
    """Unit vector from the camera's centre to the Gaussian's, and the distance."""
    x, y, z = float(mean[0]) - position[0], float(mean[1]) - position[1], float(mean[2]) - position[2]
    length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
    return x / length, y / length, z / length, length


@kernel
def evaluate(begin, end, means, position, sh, degree, radii, colors):
    """colors [N, 3] = max(0.5 + sum of bands, 0) of the visible Gaussians begin..end; sh [N, A, 3]."""
    Y = np.empty(16)
    for n in range(begin, end):
        if radii[n, 0] == 0 or radii[n, 1] == 0:
            continue
        x, y, z, _ = direction(means[n], position)
        basis(x, y, z, degree, Y)
        red = green = blue = 0.5
        for band in range((degree + 1) ** 2):
            red += Y[band] * sh[n, band, 0]
            green += Y[band] * sh[n, band, 1]
            blue += Y[band] * sh[n, band, 2]
        colors[n, 0], colors[n, 1], colors[n, 2] = max(red, 0.0), max(green, 0.0), max(blue, 0.0)


@kernel
def evaluate_backward(begin, end, means, position, sh, degree, radii, colors, grad_colors, grad_sh, grad_means):
    """Adds dL/dsh [N, A, 3] and dL/d(mean - position) [N, 3] of begin..end; clamped channels have none."""
    Y, dY = np.empty(16), np.zeros((16, 3))
    for n in range(begin, end):
        if radii[n, 0] == 0 or radii[n, 1] == 0:
            continue
        x, y, z, length = direction(means[n], position)
        basis(x, y, z, degree, Y)
        slopes(x, y, z, degree, dY)
        red = float(grad_colors[n, 0]) if colors[n, 0] > 0 else 0.0
        green = float(grad_colors[n, 1]) if colors[n, 1] > 0 else 0.0
        blue = float(grad_colors[n, 2]) if colors[n, 2] > 0 else 0.0
        dx = dy = dz = 0.0
        for band in range((degree + 1) ** 2):
            grad_sh[n, band, 0] += Y[band] * red
            grad_sh[n, band, 1] += Y[band] * green
            grad_sh[n, band, 2] += Y[band] * blue
            through = red * sh[n, band, 0] + green * sh[n, band, 1] + blue * sh[n, band, 2]
            dx, dy, dz = dx + through * dY[band, 0], dy + through * dY[band, 1], dz + through * dY[band, 2]
        # the direction has unit length: only the part tangent to the sphere counts
        along = dx * x + dy * y + dz * z
        grad_means[n, 0] += (dx - along * x) / length
        grad_means[n, 1] += (dy - along * y) / length
        grad_means[n, 2] += (dz - along * z) / length
