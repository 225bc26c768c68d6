"""Features of prepared images from a vision model of timm, as a sweep extracts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from zooalign.config.manifest import VISION_POOLINGS
from zooalign.config.schema import ExtractionConfig
from zooalign.errors import FeatureError, WeightsError, unknown

if TYPE_CHECKING:
    import numpy as np
    import torch


class ImageFeatures:
    """Every block or stage of a timm network on fixed images, pooled to a row per image.

    Parameters
    ----------
    pixels : torch.Tensor or ndarray, shape (n, 3, H, W), floating
        Preprocessed as the network is meant to be fed, in the order of the reference's samples.
    pooling : str
        "mean" over patches or positions, or "cls", the class token.
    storage_dtype : str
        What features are rounded to, as in a feature store: "float16" or "float32".
    batch_mem_mb : int
        MB that the layer outputs of a batch may take.
    max_batch : int
        Most images in one batch; on a CPU 8 at most.

    Raises
    ------
    FeatureError
        For an unknown pooling, or another shape.

    Notes
    -----
    A sweep lays weights out with channels last, which a training need not: features then differ from a sweep's in
    the last bits.
    """

    def __init__(
        self,
        pixels: Any,
        pooling: str = "mean",
        *,
        storage_dtype: str = "float16",
        batch_mem_mb: int = 384,
        max_batch: int = 32,
    ) -> None:
        import torch

        if pooling not in VISION_POOLINGS:
            raise FeatureError(unknown("vision pooling", pooling, VISION_POOLINGS))
        self._pixels = torch.as_tensor(pixels)
        if self._pixels.ndim != 4 or self._pixels.shape[1] != 3:
            raise FeatureError(f"pixels have shape {tuple(self._pixels.shape)}: expected (n, 3, height, width).")
        self.pooling, self._storage_dtype = pooling, storage_dtype
        self._settings = ExtractionConfig(batch_mem_mb=batch_mem_mb, max_batch=max_batch)

    def __len__(self) -> int:
        return len(self._pixels)

    def __call__(self, model: Any) -> dict[str, np.ndarray]:
        """Features of every layer.

        Parameters
        ----------
        model : torch.nn.Module
            A network of timm in evaluation mode.

        Returns
        -------
        dict of str to ndarray, shape (n, d_l)
            By the names that timm gives; "pooled" last where there is no class token.

        Raises
        ------
        FeatureError
            If timm cannot give the layers of the model.
        """
        from zooalign.features.extract import features_in_memory
        from zooalign.sources._preprocessing import Preprocessing
        from zooalign.sources._vision import TimmVisionModel

        _, _, height, width = self._pixels.shape
        as_given = Preprocessing(
            input_size=(3, height, width), interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1), crop_mode="squash"
        )
        try:
            read = TimmVisionModel(model, as_given)
        except WeightsError as error:
            raise FeatureError(f"{error}: give features=callable(model).") from error
        reader = _PixelReader(self._pixels)
        return features_in_memory(read, reader, self.pooling, self._settings, self._storage_dtype)


class _PixelReader:
    """Feeds pixels that are in memory already."""

    unit = "images"

    def __init__(self, pixels: torch.Tensor) -> None:
        self._pixels = pixels

    def warning(self) -> str:
        """Nothing."""
        return ""

    def order(self) -> list[int]:
        """The given order."""
        return list(range(len(self._pixels)))

    def cost(self, i: int) -> int:
        """Every image costs the same."""
        return 1

    def batches(self, bounds: Sequence[tuple[int, int]], order: Sequence[int]) -> Iterator[tuple[torch.Tensor, ...]]:
        """Pixels (B, 3, H, W)."""
        for start, stop in bounds:
            yield (self._pixels[list(order[start:stop])],)

    def description(self) -> dict[str, Any]:
        """The shape."""
        return {"pixels": list(self._pixels.shape)}
