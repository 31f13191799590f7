"""What is drawn of a scene: the Gaussians that are left, and what is asked about them."""

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gsdff.field.search import PreparedQuery
from gsdff.gaussians import Gaussians


@dataclass(frozen=True, eq=False)
class VisibleScene:
    """Gaussians that are neither deleted nor hidden, the marked ones among them, and the question about them.

    Immutable, so that it can be rendered in one thread while another makes the next.
    """

    gaussians: Gaussians
    """M Gaussians in the working frame."""
    selected: Bool[Tensor, "M"]
    """Gaussians that are marked."""
    prepared: PreparedQuery | None = None
    """The query whose scores are drawn, with the least score that is selected; None for none."""
    prepared_classes: PreparedQuery | None = None
    """The classes that are drawn; None for none."""
    heat_colors: Float[Tensor, "P 3"] | None = None
    """Colours of scores from the lowest to the highest, on the CPU; None for those of `heat`."""
    class_colors: UInt8[Tensor, "Q 3"] | None = None
    """Colours of the classes; None for those of `label_palette`."""
    ids: Int[Tensor, "M"] | None = None
    """Indices of the Gaussians in the scene before any edit; None if they are all there."""

    @cached_property
    def any_selected(self) -> bool:
        """Whether any Gaussian is selected."""
        return bool(self.selected.any())
