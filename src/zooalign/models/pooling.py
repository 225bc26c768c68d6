"""From the tokens of a layer to one vector per sample, always in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign.config.manifest import LANGUAGE_POOLINGS, VISION_POOLINGS
from zooalign.errors import FeatureError, unknown

if TYPE_CHECKING:
    import torch

    from zooalign.models.model import VisionLayer

VERSION = 1  # part of the digest of every feature


def pool_vision(layer: VisionLayer, how: str) -> torch.Tensor:
    """Pool one layer of a vision model.

    Parameters
    ----------
    layer : VisionLayer
        Prefix tokens (B, P, D) or None, patches (B, N, D); any floating dtype.
    how : str
        "cls": the class token; "mean": mean over patch tokens (class and register tokens left out) or
        over the positions of a feature map.

    Returns
    -------
    torch.Tensor
        Shape (B, D), float32.

    Raises
    ------
    FeatureError
        If `how` is unknown, the layer has no class token for "cls", or it has no patches for "mean".
    """
    if how not in VISION_POOLINGS:
        raise FeatureError(unknown("vision pooling", how, VISION_POOLINGS))
    if how == "cls":
        if layer.prefix is None or layer.prefix.shape[1] == 0:
            raise FeatureError("pooling 'cls' needs a class token, which this model does not have: set pooling: mean")
        return layer.prefix[:, 0].float()
    if layer.patches.shape[1] == 0:
        raise FeatureError(f"pooling 'mean' needs patches, the layer has shape {tuple(layer.patches.shape)}")
    return layer.patches.float().mean(dim=1)


def pool_language(states: torch.Tensor, mask: torch.Tensor, how: str) -> torch.Tensor:
    """Pool one hidden state of a language model over its real tokens.

    Parameters
    ----------
    states : torch.Tensor
        Hidden state, shape (B, T, D), any floating dtype.
    mask : torch.Tensor
        True at real tokens, shape (B, T), bool. Padding may stand on either side.
    how : str
        "mean": over real tokens, special tokens included; "last": the last real token; "prompt_last":
        the same of a text that the caller has put into a prompt.

    Returns
    -------
    torch.Tensor
        Shape (B, D), float32. Values at masked positions, NaN included, have no influence.

    Raises
    ------
    FeatureError
        If `how` is unknown, the shapes do not fit, or a row has no real token (its mean is 0/0).

    Notes
    -----
    The published code means in the model's own bfloat16; summing in float32 keeps the result from
    depending on the length of the batch.
    """
    if how not in LANGUAGE_POOLINGS:
        raise FeatureError(unknown("language pooling", how, LANGUAGE_POOLINGS))
    if states.shape[:2] != mask.shape:
        raise FeatureError(f"states of shape {tuple(states.shape)} do not fit a mask of shape {tuple(mask.shape)}")
    counts = mask.sum(dim=1)  # (B,)
    if bool((counts == 0).any()):
        rows = [i for i, c in enumerate(counts.tolist()) if c == 0]
        message = f"no real token in row {', '.join(map(str, rows))} of the batch: an empty text has no feature"
        raise FeatureError(message)
    if how == "mean":
        kept = states.float().masked_fill(~mask.unsqueeze(-1), 0.0)  # (B, T, D)
        return kept.sum(dim=1) / counts.unsqueeze(-1)
    positions = mask.long().cumsum(dim=1).argmax(dim=1)  # first place where the count is complete
    rows = positions.new_tensor(range(len(positions)))
    return states[rows, positions].float()
