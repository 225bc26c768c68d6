"""What a row may change in another row's model, to see what that does to capability and to alignment."""

from __future__ import annotations

from pydantic import Field, model_validator

from zooalign.closed import Closed


class Intervention(Closed):
    """Changes of weights or input; several are made in the order of the keys here."""

    keep_blocks: int | None = Field(default=None, ge=1, description="Cut off every block after the first so many.")
    reset_blocks: int | None = Field(
        default=None, ge=1, description="Draw the weights of the last so many blocks anew, untrained."
    )
    weight_noise: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="Add Gaussian noise to every weight matrix; its deviation, in those of the matrix.",
    )
    shuffle_input: bool = Field(
        default=False, description="Shuffle what the model reads: the tokens of a text, the patches of an image."
    )
    patch: int = Field(default=16, ge=1, description="Edge of a shuffled patch in pixels.")
    seed: int = Field(default=0, ge=0, description="Seed of noise, new weights and orders.")

    @model_validator(mode="after")
    def _changes(self) -> Intervention:
        if not any((self.keep_blocks, self.reset_blocks, self.weight_noise, self.shuffle_input)):
            raise ValueError("changes nothing: give keep_blocks, reset_blocks, weight_noise or shuffle_input")
        return self

    def __str__(self) -> str:
        """For people.

        Examples
        --------
        >>> str(Intervention(weight_noise=0.2)), str(Intervention(keep_blocks=20, shuffle_input=True))
        ('weight noise 0.2', 'first 20 blocks, shuffled input')
        """
        said = []
        if self.keep_blocks is not None:
            said.append(f"first {self.keep_blocks} blocks")
        if self.reset_blocks is not None:
            said.append(f"last {self.reset_blocks} blocks untrained")
        if self.weight_noise is not None:
            said.append(f"weight noise {self.weight_noise:g}")
        if self.shuffle_input:
            said.append("shuffled input")
        return ", ".join(said)
