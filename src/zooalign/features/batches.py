"""Readers: how a model is fed, captions longest first, pictures through worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from zooalign.config.schema import ExtractionConfig
from zooalign.errors import ConfigError, ZooalignError

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Dataset

    from zooalign.config.manifest import ModelSpec
    from zooalign.data.samples import Samples
    from zooalign.models.model import LanguageModel, VisionModel

VERSION = 2  # part of the digest of what this module determines


class Reader(Protocol):
    """Feeds the samples of a dataset to a model, in the order and the batches that extraction asks for."""

    unit: str

    def warning(self) -> str:
        """What the log says before the model runs; "" for nothing."""
        ...

    def order(self) -> list[int]:
        """Positions of the samples, in the order in which the model reads them."""
        ...

    def cost(self, i: int) -> int:
        """What sample i adds to a batch: tokens, or 1 for a picture."""
        ...

    def batches(self, bounds: Sequence[tuple[int, int]], order: Sequence[int]) -> Iterator[tuple[torch.Tensor, ...]]:
        """Inputs of the model for samples `order[start:stop]` of every pair in `bounds`."""
        ...

    def description(self) -> dict[str, Any]:
        """What the model read, for provenance."""
        ...


class CaptionReader:
    """Feeds captions, longest first, padded to the longest of their batch."""

    unit = "captions"

    def __init__(self, model: LanguageModel, texts: Sequence[str], prompt: str | None) -> None:
        self.texts = [prompt.replace("{caption}", t) for t in texts] if prompt else list(texts)
        self._pad = model.pad_id
        self._tokens = model.tokenize(self.texts)
        self._limit = limit = model.max_tokens
        self.truncated = [i for i, t in enumerate(self._tokens) if limit is not None and len(t) > limit]
        for i in self.truncated:
            self._tokens[i] = _shortened(model, texts[i], prompt)
        self._tokenizer = model.tokenizer_description
        self._prompt = prompt

    def warning(self) -> str:
        """What the log says before the model runs; "" for nothing."""
        if not self.truncated:
            return ""
        count = f"{len(self.truncated)} of {len(self.texts)} captions"
        return f"{count} are longer than the {self._limit} tokens that the model takes: their ends are cut off"

    def order(self) -> list[int]:
        """Longest first (a batch that does not fit into memory fails at once), then the dataset's order."""
        return sorted(range(len(self._tokens)), key=lambda i: (-len(self._tokens[i]), i))

    def cost(self, i: int) -> int:
        """Tokens of sample i."""
        return len(self._tokens[i])

    def batches(self, bounds: Sequence[tuple[int, int]], order: Sequence[int]) -> Iterator[tuple[torch.Tensor, ...]]:
        """Token ids (B, T) int64 and mask (B, T) bool, padded on the right."""
        import torch

        for start, stop in bounds:
            rows = [self._tokens[i] for i in order[start:stop]]
            width = max(map(len, rows))
            ids = torch.tensor([r + [self._pad] * (width - len(r)) for r in rows], dtype=torch.int64)
            lengths = torch.tensor([len(r) for r in rows])
            yield ids, torch.arange(width)[None, :] < lengths[:, None]

    def description(self) -> dict[str, Any]:
        """What the model read, for provenance."""
        return {
            "tokenizer": self._tokenizer,
            "prompt": self._prompt,
            "tokens": sum(map(len, self._tokens)),
            "truncated": len(self.truncated),
        }


def _shortened(model: LanguageModel, caption: str, prompt: str | None) -> list[int]:
    """Tokens of a caption that is too long: its end is cut off, never the prompt's or a special token."""
    limit = cast("int", model.max_tokens)
    if prompt is None:
        return model.truncated(caption, limit)
    # Tokens of a longer beginning are never fewer by more than the last piece: the longest beginning that fits.
    fits, too_long = 0, len(caption)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        length = len(model.tokenize([prompt.replace("{caption}", caption[:middle])])[0])
        fits, too_long = (middle, too_long) if length <= limit else (fits, middle)
    tokens = model.tokenize([prompt.replace("{caption}", caption[:fits])])[0]
    if len(tokens) > limit:
        raise ConfigError(f"extraction.prompt alone has {len(tokens)} tokens, the model takes {limit}: shorten it.")
    return tokens


class PictureReader:
    """Feeds images, decoded and resized by worker processes with the model's own preprocessing."""

    unit = "images"

    def __init__(self, model: VisionModel, samples: Samples, workers: int, precision: str) -> None:
        self._pictures: Any = Pictures(samples, model.preprocess)
        self._preprocessing = model.preprocessing
        self._workers, self._precision = workers, precision

    def warning(self) -> str:
        """Nothing."""
        return ""

    def order(self) -> list[int]:
        """The dataset's order."""
        return list(range(len(self._pictures)))

    def cost(self, i: int) -> int:
        """Every picture costs the same."""
        return 1

    def batches(self, bounds: Sequence[tuple[int, int]], order: Sequence[int]) -> Iterator[tuple[torch.Tensor, ...]]:
        """Pixels (B, C, H, W) in the model's precision."""
        import torch
        from torch.utils.data import DataLoader

        loader = DataLoader(
            # Anything with a length and items is a dataset to the loader; its annotation asks for a subclass.
            cast("Dataset[np.ndarray | ZooalignError]", self._pictures),
            batch_sampler=[list(order[start:stop]) for start, stop in bounds],
            num_workers=self._workers,
            collate_fn=_stack,
            multiprocessing_context="fork" if self._workers else None,
            prefetch_factor=2 if self._workers else None,
        )
        for pixels in loader:
            if isinstance(pixels, ZooalignError):
                raise pixels
            yield (pixels.to(getattr(torch, self._precision), memory_format=torch.channels_last),)

    def description(self) -> dict[str, Any]:
        """What the model saw, for provenance."""
        return {"preprocessing": self._preprocessing}


class Pictures:
    """Map-style dataset of preprocessed pictures: (C, H, W) float32.

    A picture that cannot be read is returned as its error, for the main process to raise: torch would wrap an error
    raised in a worker into a traceback.
    """

    def __init__(self, samples: Samples, preprocess: Any) -> None:
        self.samples, self.preprocess = samples, preprocess

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> np.ndarray | ZooalignError:
        try:
            return self.preprocess(self.samples.image(i))
        except ZooalignError as error:
            return error


def _stack(pictures: list[np.ndarray | ZooalignError]) -> torch.Tensor | ZooalignError:
    import torch

    arrays: list[np.ndarray] = []
    for picture in pictures:
        if isinstance(picture, ZooalignError):
            return picture
        arrays.append(picture)
    return torch.from_numpy(np.stack(arrays))


def make_reader(spec: ModelSpec, model: Any, samples: Samples, settings: ExtractionConfig) -> Reader:
    """Reader for a model's modality: captions of the configured density, or pictures."""
    if spec.modality == "vision":
        return PictureReader(model, samples, settings.workers, spec.precision)
    prompt = settings.prompt if spec.pooling == "prompt_last" else None
    return CaptionReader(model, samples.captions(settings.text), prompt)
