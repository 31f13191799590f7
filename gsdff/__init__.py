"""gsdff: 3D Gaussian scenes that carry a feature vector per Gaussian, distilled from a 2D teacher.

Conventions, everywhere in the package:

- Letters: N Gaussians, C cameras, H W pixels, K latent channels, T teacher channels, D rendered channels, M masks,
  Q queries.
- Names of the field: means, quats (wxyz), scales, opacities, sh0, shN, features, viewmats (world to camera), Ks,
  camtoworlds. Stored parameters are pre-activation and say so: log_scales, logit_opacities.
- Cameras are OpenCV's: x right, y down, z forward. Pixel centres are at +0.5; Ks and means2d are in pixels.
- Images are [H, W, 3] float32 in [0, 1]; kept in memory they are uint8. Teacher maps have unit norm per pixel.
- A scene lives in its own *working frame*, the input's world frame shifted and scaled so that the cameras lie around
  the origin at about unit distance (`gsdff.cameras.WorldFrame`). What is written for others is in the input's frame.

Layers, and imports point down only: doors (`python -m gsdff.X`) -> wholes -> tools -> nouns.
"""

import os

# Must be set before torch is loaded: torch's OpenMP threads would otherwise spin between operations on the cores that
# our own kernels are running on (a training step took 1.3 times as long on an idle machine, 4 times on a busy one).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
