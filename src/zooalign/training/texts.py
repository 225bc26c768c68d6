"""Features of texts from a language model of transformers, as a sweep extracts them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zooalign.config.manifest import LANGUAGE_POOLINGS
from zooalign.config.schema import ExtractionConfig
from zooalign.errors import FeatureError, WeightsError, unknown

if TYPE_CHECKING:
    import numpy as np

    from zooalign.features.batches import CaptionReader


class TextFeatures:
    """Every hidden state of a language model on fixed texts, pooled to a row per text.

    Parameters
    ----------
    texts : sequence of str
        In the order of the reference's samples.
    tokenizer : transformers.PreTrainedTokenizerBase
        That of the model. It is copied, so its settings stay; its padding side does not matter.
    pooling : str
        "mean" over real tokens, or the "last" real token.
    text_prefix : str
        Put before every text.
    storage_dtype : str
        What features are rounded to, as in a feature store: "float16" or "float32".
    batch_mem_mb : int
        MB that the layer outputs of a batch may take.
    max_batch : int
        Most texts in one batch.

    Raises
    ------
    FeatureError
        For an unknown pooling.

    Notes
    -----
    Layers, order, batches, pooling and rounding are those of `zooalign.features.extract`: with the same settings, on
    the same device with as many threads, a checkpoint that a sweep extracts has the same bits. Texts are tokenised
    once; those that are too long for the model are cut off, with a warning.
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: Any,
        pooling: str = "mean",
        *,
        text_prefix: str = "",
        storage_dtype: str = "float16",
        batch_mem_mb: int = 384,
        max_batch: int = 32,
    ) -> None:
        known = [one for one in LANGUAGE_POOLINGS if one != "prompt_last"]
        if pooling not in known:
            raise FeatureError(unknown("pooling of texts", pooling, known))
        self.texts, self.pooling = list(texts), pooling
        self._tokenizer = copy.deepcopy(tokenizer)
        self._text_prefix, self._storage_dtype = text_prefix, storage_dtype
        self._settings = ExtractionConfig(batch_mem_mb=batch_mem_mb, max_batch=max_batch)
        self._reader: CaptionReader | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def __call__(self, model: Any) -> dict[str, np.ndarray]:
        """Features of every layer.

        Parameters
        ----------
        model : transformers.PreTrainedModel
            In evaluation mode; a decoder or an encoder.

        Returns
        -------
        dict of str to ndarray, shape (n, d_l)
            "embedding", "blocks.0", ...

        Raises
        ------
        FeatureError
            If the model gives no hidden states.
        """
        from zooalign.features.batches import CaptionReader
        from zooalign.features.extract import features_in_memory
        from zooalign.sources._language import TransformersLanguageModel

        if not hasattr(model, "config") or not hasattr(model, "base_model"):
            raise FeatureError(
                f"{type(model).__name__} is no model of transformers, so it gives no hidden states: give "
                "features=callable(model), or say which part of it is one."
            )
        causal = type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))
        try:
            read = TransformersLanguageModel(model, self._tokenizer, causal=causal, text_prefix=self._text_prefix)
        except WeightsError as error:
            raise FeatureError(str(error)) from error
        if self._reader is None:
            self._reader = CaptionReader(read, self.texts, None)
            if cut_off := self._reader.warning():
                warnings.warn(cut_off, stacklevel=2)
        return features_in_memory(read, self._reader, self.pooling, self._settings, self._storage_dtype)
