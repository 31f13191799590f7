"""The constants of SSIM (Wang et al. 2004), as 3DGS uses it."""

import math

SIGMA = 1.5
REACH = 5
"""Pixels the window reaches to either side: 11 taps."""
C1 = 0.01**2
"""Stabilises the comparison of means, for images in [0, 1]."""
C2 = 0.03**2
"""Stabilises the comparison of variances."""

_weights = [math.exp(-(offset**2) / (2 * SIGMA**2)) for offset in range(-REACH, REACH + 1)]
TAPS = tuple(weight / sum(_weights) for weight in _weights)
"""The window along one axis, of sum 1."""
