"""What extraction and capability see of a model, whatever library it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.errors import FeatureError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import torch
    from PIL import Image


class _Blocks:
    """What interventions change besides weights and input: models without a list of blocks refuse it."""

    def blocks(self) -> Sequence[torch.nn.Module]:
        """The blocks in their order, as the network runs them.

        Raises
        ------
        WeightsError
            If the network is no list of blocks.
        """
        raise WeightsError(f"{type(self).__name__} has no list of blocks: keep_blocks and reset_blocks do not apply")

    def keep_blocks(self, n: int) -> None:
        """Cut off every block after the first n; `layer_names` follow. Raises as :meth:`blocks`."""
        self.blocks()


class VisionLayer(NamedTuple):
    """One layer of a vision model, before pooling.

    Attributes
    ----------
    prefix : torch.Tensor or None
        Prefix tokens, shape (B, P, D), the class token first; None where the model has no class token.
    patches : torch.Tensor
        Patch tokens without class and register tokens, or the flattened feature map, shape (B, N, D);
        N = 1 for a feature that the model itself has pooled.
    """

    prefix: torch.Tensor | None
    patches: torch.Tensor


class VisionModel(_Blocks, ABC):
    """A vision model that yields every layer in one forward pass.

    Parameters
    ----------
    module : torch.nn.Module
        All weights; the caller moves it to its device and precision.
    layer_names : sequence of str
        Names of the layers that :meth:`layers` returns, in that order.
    preprocess : callable
        PIL image to float32 array (C, H, W); picklable, so that worker processes can run it.
    preprocessing : dict
        JSON-able description of `preprocess`, kept as provenance.
    input_size : tuple of int
        (C, H, W) of one preprocessed image.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        layer_names: Sequence[str],
        preprocess: Callable[[Image.Image], np.ndarray],
        preprocessing: dict[str, Any],
        input_size: tuple[int, int, int],
    ) -> None:
        self.module = module
        self.layer_names = list(layer_names)
        self.preprocess = preprocess
        self.preprocessing = preprocessing
        self.input_size = input_size

    @abstractmethod
    def layers(self, pixels: torch.Tensor) -> list[VisionLayer]:
        """Every layer of one forward pass.

        Parameters
        ----------
        pixels : torch.Tensor
            Preprocessed images, shape (B, C, H, W), on the device of `module`; any floating dtype.

        Returns
        -------
        list of VisionLayer
            One per name of `layer_names`.
        """

    def logits(self, pixels: torch.Tensor) -> torch.Tensor | None:
        """Class scores before softmax.

        Parameters
        ----------
        pixels : torch.Tensor
            As in :meth:`layers`.

        Returns
        -------
        torch.Tensor or None
            Shape (B, classes); None where the published weights have no classifier.
        """
        return None

    def _like_module(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels in the precision that the caller has moved `module` to."""
        return pixels.to(next(self.module.parameters()).dtype)


class LanguageModel(_Blocks, ABC):
    """A language model that yields every hidden state in one forward pass.

    Parameters
    ----------
    module : torch.nn.Module
        All weights; the caller moves it to its device and precision.
    layer_names : sequence of str
        Names of the layers that :meth:`layers` returns, the embedding output first.
    causal : bool
        True where :meth:`logits` scores the next token from the tokens before it.
    max_tokens : int or None
        Longest sequence the model was made for; None where there is no limit.
    pad_id : int
        Id to fill right padding with; masked positions never change the states of real tokens.
    bos_id, eos_id : int or None
        Ids that stand before the first and after the last token of a document, where the model has them.
    tokenizer_description : dict
        JSON-able description of the tokenizer, kept as provenance.
    unknown_id : int or None
        Id given to pieces outside the vocabulary; None where every text can be written in it. The
        likelihood of such a token says nothing: count them with :meth:`count_unknown`.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        layer_names: Sequence[str],
        *,
        causal: bool,
        max_tokens: int | None,
        pad_id: int,
        bos_id: int | None,
        eos_id: int | None,
        tokenizer_description: dict[str, Any],
        unknown_id: int | None = None,
    ) -> None:
        self.module = module
        self.layer_names = list(layer_names)
        self.causal = causal
        self.max_tokens = max_tokens
        self.pad_id = pad_id
        self.bos_id = bos_id
        self.eos_id = eos_id
        self.tokenizer_description = tokenizer_description
        self.unknown_id = unknown_id

    @abstractmethod
    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Token ids as the model is meant to be fed, special tokens and text prefix included.

        Parameters
        ----------
        texts : list of str
            Any number of texts.

        Returns
        -------
        list of list of int
            Never truncated, never padded: a text over `max_tokens` is the caller's to report.
        """

    def truncated(self, text: str, limit: int) -> list[int]:
        """Token ids of a text that is too long, as the model's own tokenizer cuts it: special tokens stay.

        Parameters
        ----------
        text : str
            A text of more than `limit` tokens.
        limit : int
            Most tokens.

        Returns
        -------
        list of int
            At most `limit`.
        """
        return self.tokenize([text])[0][:limit]

    @abstractmethod
    def tokenize_document(self, text: str) -> list[int]:
        """Token ids of a running text, without special tokens or prefix."""

    @abstractmethod
    def layers(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """Every hidden state of one forward pass.

        Parameters
        ----------
        ids : torch.Tensor
            Token ids, shape (B, T), int64, padded on the right.
        mask : torch.Tensor
            True at real tokens, shape (B, T), bool.

        Returns
        -------
        list of torch.Tensor
            Each (B, T, D); the embedding output first. Values at masked positions mean nothing.
        """

    def logits(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Scores of the NEXT token at each position, before softmax; causal models only.

        Parameters
        ----------
        ids, mask : torch.Tensor
            As in :meth:`layers`.

        Returns
        -------
        torch.Tensor
            Shape (B, T, V), float32: [b, t] scores the token at t + 1 from those up to t.

        Raises
        ------
        FeatureError
            If the model is not causal.
        """
        raise FeatureError(
            f"{type(self).__name__} is not causal: it gives no next-token scores. Set causal: false in its row."
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Text of some tokens, special tokens left out.

        Raises
        ------
        FeatureError
            If the model writes no text.
        """
        raise FeatureError(f"{type(self).__name__} has no way from tokens back to text, so it answers no questions")

    def generate(self, prompts: Sequence[list[int]], max_new_tokens: int, stop: Sequence[str]) -> list[str]:
        """The most likely next tokens, one after the other, after each prompt; causal models only.

        Parameters
        ----------
        prompts : sequence of list of int
            At least one token each.
        max_new_tokens : int
            Most tokens of a continuation.
        stop : sequence of str
            A continuation ends behind the first of these that it contains, or at the end-of-text token.

        Returns
        -------
        list of str
            The continuations as :meth:`decode` writes them.

        Notes
        -----
        Every step reads the whole prompt again; a model that keeps its keys and values overrides this.
        """
        import torch

        texts = []
        for prompt in prompts:
            ids, new = list(prompt), []
            device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
            while len(new) < max_new_tokens and not any(s in self.decode(new) for s in stop):
                fed = torch.tensor([ids[-(self.max_tokens or len(ids)) :]], device=device)
                token = int(self.logits(fed, torch.ones_like(fed, dtype=torch.bool))[0, -1].argmax())
                if token == self.eos_id:
                    break
                ids.append(token)
                new.append(token)
            texts.append(self.decode(new))
        return texts

    def count_unknown(self, text: str) -> int:
        """Count the tokens of :meth:`tokenize_document` that stand for something else than the text.

        Parameters
        ----------
        text : str
            A document.

        Returns
        -------
        int
            0 where the vocabulary can write every text.
        """
        if self.unknown_id is None:
            return 0
        return self.tokenize_document(text).count(self.unknown_id)
