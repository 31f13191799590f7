"""What holds a scene of few photos back from fitting them alone, at the cost of all other views.

In every step some Gaussians are left out and the others made up for it, so that none can be the answer to one photo
(DropGaussian, Park et al. 2025); and small multiples of the mean opacity and the mean scale are added to the loss, so
that what no photo needs fades (3DGS-MCMC, Kheradmand et al. 2024). In docs/training.md is what each brings.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.config.options import Stage1Config
from gsdff.gaussians import Gaussians

DROPPED = 0.2
"""Share of the Gaussians that is left out at the end of the stage; it rises from none. All three are the papers'."""
OPACITY_WEIGHT, SCALE_WEIGHT = 0.01, 0.01
FAINTEST = 1e-4
"""Share of its opacity that a Gaussian keeps which is left out: no pixel gets that little."""


class FewPhotos:
    """Leaves out and fades Gaussians in stage 1, unless ranks hold parts of a scene, which are made for many photos.

    Draws from torch's global generators, if it does anything.
    """

    def __init__(self, config: Stage1Config):
        self.is_on = config.few_photos
        self._steps = config.steps

    def draw(self, gaussians: Gaussians, step: int) -> Float[Tensor, "N"] | None:
        """Factors on the opacities in this step: almost none for those that are left out; None for no factors."""
        if not self.is_on or step >= self._steps or gaussians.is_part:
            return None
        dropped = DROPPED * step / self._steps
        kept = torch.rand(len(gaussians), device=gaussians.means.device) >= dropped
        return torch.where(kept, 1 / (1 - dropped), FAINTEST)

    def prior(self, gaussians: Gaussians) -> Tensor:
        """Term of the loss; zero without `few_photos`."""
        if not self.is_on or gaussians.is_part:
            return gaussians.means.new_zeros(())
        return OPACITY_WEIGHT * gaussians.opacities.mean() + SCALE_WEIGHT * gaussians.scales.mean()
