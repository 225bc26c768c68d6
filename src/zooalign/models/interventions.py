"""Interventions: a loaded model with weights or input changed on purpose, as its row says.

Noise and orders come from NumPy's PCG64 with a key of its own for every parameter, text and image: they depend on
neither the number of threads, nor the batch size, nor what else is changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zooalign.errors import WeightsError
from zooalign.models.model import VisionModel

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

    from zooalign.config.intervention import Intervention
    from zooalign.models.model import LanguageModel

VERSION = 1  # part of the digest of what this module determines

# Deviation of new weights, as GPT-2, BERT and their successors start.
_INITIAL_DEVIATION = 0.02


def intervene(model: VisionModel | LanguageModel, intervention: Intervention) -> None:
    """Change a model in place.

    Parameters
    ----------
    model : VisionModel or LanguageModel
        float32, on the CPU, as its source loads it.
    intervention : Intervention
        What to change.

    Raises
    ------
    WeightsError
        If the model has no list of blocks, or fewer than are to be kept or reset.
    """
    if intervention.keep_blocks is not None:
        _check_blocks(model, intervention.keep_blocks, "keep_blocks")
        model.keep_blocks(intervention.keep_blocks)
    if intervention.reset_blocks is not None:
        _check_blocks(model, intervention.reset_blocks, "reset_blocks")
        blocks = model.blocks()
        for number in range(len(blocks) - intervention.reset_blocks, len(blocks)):
            _reset(blocks[number], f"blocks.{number}", intervention.seed)
    if intervention.weight_noise is not None:
        add_noise(model.module, intervention.weight_noise, intervention.seed)
    if intervention.shuffle_input:
        if isinstance(model, VisionModel):
            model.preprocess = ShuffledPatches(model.preprocess, intervention.patch, intervention.seed)
        else:
            _shuffle_tokens(model, intervention.seed)


def add_noise(module: torch.nn.Module, scale: float, seed: int) -> None:
    """Add Gaussian noise to every weight matrix, in place.

    Parameters
    ----------
    module : torch.nn.Module
        Parameters of two and more dimensions are changed (embeddings, linear layers, convolutions; shared ones once),
        biases and the gains of norms are not.
    scale : float
        Deviation of the noise as a multiple of the deviation of the matrix's own values.
    seed : int
        Every parameter has its own stream, by its name.
    """
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim < 2:
                continue
            noise = torch.from_numpy(_generator(seed, name).standard_normal(parameter.shape, dtype="float32"))
            deviation = parameter.float().std(correction=0)
            parameter.add_((scale * deviation * noise).to(parameter.dtype))


class ShuffledPatches:
    """A preprocessing whose patches are in another order for every image; picklable.

    Parameters
    ----------
    preprocess : callable
        PIL image to float32 array (C, H, W).
    patch : int
        Edge in pixels; what is left at the right and the bottom stays where it is.
    seed : int
        The order also depends on the pixels, so that no two images share it.
    """

    def __init__(self, preprocess: Callable[[Image.Image], np.ndarray], patch: int, seed: int) -> None:
        self.preprocess, self.patch, self.seed = preprocess, patch, seed

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Preprocess and shuffle one image."""
        pixels, p = self.preprocess(image), self.patch
        channels, rows, columns = pixels.shape[0], pixels.shape[1] // p, pixels.shape[2] // p
        order = _generator(self.seed, pixels.tobytes()).permutation(rows * columns)
        whole = pixels[:, : rows * p, : columns * p]
        patches = whole.reshape(channels, rows, p, columns, p).transpose(1, 3, 0, 2, 4)
        patches = patches.reshape(rows * columns, channels, p, p)[order].reshape(rows, columns, channels, p, p)
        result = pixels.copy()
        result[:, : rows * p, : columns * p] = patches.transpose(2, 0, 3, 1, 4).reshape(whole.shape)
        return result


def _shuffle_tokens(model: LanguageModel, seed: int) -> None:
    """Shuffle the tokens of every text and document; the model's own tokens around a text stay where they are."""
    tokenize, truncated, tokenize_document = model.tokenize, model.truncated, model.tokenize_document
    frame = tokenize([""])[0]

    def shuffled(ids: list[int], frame: list[int]) -> list[int]:
        head, tail, most = 0, 0, min(len(frame), len(ids))
        while head < most and ids[head] == frame[head]:
            head += 1
        while tail < most - head and ids[-1 - tail] == frame[-1 - tail]:
            tail += 1
        middle = ids[head : len(ids) - tail]
        order = _generator(seed, " ".join(map(str, middle))).permutation(len(middle))
        return [*ids[:head], *(middle[i] for i in order), *ids[len(ids) - tail :]]

    changed: Any = model
    changed.tokenize = lambda texts: [shuffled(ids, frame) for ids in tokenize(texts)]
    changed.truncated = lambda text, limit: shuffled(truncated(text, limit), frame)
    changed.tokenize_document = lambda text: shuffled(tokenize_document(text), [])


def _check_blocks(model: VisionModel | LanguageModel, wanted: int, key: str) -> None:
    there = len(model.blocks())
    if wanted > there:
        raise WeightsError(f"intervention.{key} is {wanted}, the model has {there} blocks")


def _reset(block: torch.nn.Module, place: str, seed: int) -> None:
    """Draw the matrices of a block anew; gains of norms become 1 and biases 0, gains of layers (gamma) stay."""
    import torch

    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if parameter.ndim >= 2:
                drawn = _generator(seed, f"{place}.{name}").standard_normal(parameter.shape, dtype="float32")
                parameter.copy_(_INITIAL_DEVIATION * torch.from_numpy(drawn))
            elif name.endswith("bias"):
                parameter.zero_()
            elif name.endswith("weight"):
                parameter.fill_(1.0)


def _generator(seed: int, key: str | bytes) -> np.random.Generator:
    """NumPy's generator for one thing among those that a seed is used for."""
    import numpy as np

    return np.random.default_rng([seed, zlib.crc32(key.encode() if isinstance(key, str) else key)])
