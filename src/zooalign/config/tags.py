"""What a row says of how a model came to be: the populations that results are split into, and whom it stands for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from zooalign.closed import Closed


class Training(Closed):
    """What a model was trained on."""

    corpora: tuple[str, ...] = Field(default=(), description="Names of the training data, as its authors give them.")
    cross_modal: bool = Field(
        default=False,
        description="Whether the other modality supervised it: captions a vision model, images a language model.",
    )
    fine_tuned_on: str | None = Field(default=None, description="Labels or tasks that it was fine-tuned on.")


class Slot(Closed):
    """Place of a row in a published list of models."""

    of: str = Field(description="The published model, or group of models.")
    status: Literal["exact", "stand-in"] = Field(description="Whether the row is that model, or stands in for it.")
    reason: str | None = Field(default=None, description="Why another model stands in.")

    @model_validator(mode="after")
    def _explained(self) -> Slot:
        if (self.status == "stand-in") != (self.reason is not None):
            raise ValueError("a stand-in needs `reason`, an exact model has none")
        return self


class Unavailable(Closed):
    """A place in a published list that no row fills."""

    of: str = Field(description="The published model, or group of models.")
    n: int = Field(ge=1, description="How many models of the group are missing.")
    needs: str = Field(description="What would be needed to have them.")
