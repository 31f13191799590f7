"""Changes the colours of the selection until CLIP reads them as a text."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from gsdff.editing.context import EditContext
from gsdff.editing.edit import Edit
from gsdff.editing.stylize import stylize
from gsdff.editing.values import Number, check, check_between
from gsdff.gaussians import Gaussians


@dataclass(frozen=True)
class Stylize(Edit):
    """Changes the colours so that CLIP reads pictures of the selection as a text (`gsdff.editing.stylize`)."""

    prompt: str
    """Text that describes the result: "a wooden chair"."""
    source: str | None = None
    """Text that describes the selection before; None takes the target's texts, "" takes none (`gsdff.editing.stylize`
    says why)."""
    steps: int = 200
    rate: Number = 0.01
    """Change of a colour in one step, about, in the range 0..1."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.prompt.strip()), "prompt", "a text", self.prompt)
        check_between(1, self, "steps", 100_000)
        check_between(1e-6, self, "rate", 1)
        check(0 <= self.seed < 2**63, "seed", "0 or more, in 63 bits", self.seed)

    @property
    def needs_judge(self) -> bool:
        """Always: colours follow it."""
        return True

    @property
    def sources(self) -> tuple[str, ...]:
        """Texts that describe the selection before; () leaves the prompt alone.

        A text of the target becomes "a TEXT" if it has no article: a prompt is a phrase too, and the difference between
        the two should not be an article.
        """
        if self.source is not None:
            return (self.source.strip(),) if self.source.strip() else ()
        articles = ("a ", "an ", "the ")
        return tuple(text if text.lower().startswith(articles) else f"a {text}" for text in self.positives)

    def perform(
        self, gaussians: Gaussians, mask: Bool[Tensor, "N"], context: EditContext | None
    ) -> tuple[Gaussians, str]:
        """The scene with other colours of the selected Gaussians, and how the loss fell.

        Without a judge nothing is changed, and the remark says what would be done.
        """
        assert context is not None, "an edit that needs photos gets them"
        styled, remark = stylize(
            gaussians.to_working_frame(context.frame),
            mask,
            context.cameras,
            context.judge,
            prompt=self.prompt,
            sources=self.sources,
            steps=self.steps,
            rate=self.rate,
            seed=self.seed,
        )
        return replace(gaussians, sh0=styled.sh0, shN=styled.shN), remark

    @classmethod
    def parse_value(cls, value: str) -> Mapping[str, Any]:
        """A prompt: "a wooden chair, carved"."""
        return {"prompt": value}
