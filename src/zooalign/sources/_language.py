"""Models of the transformers library as language models: every hidden state of one pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import FeatureError, WeightsError
from zooalign.models.model import LanguageModel
from zooalign.sources._quantised import quantisation_options
from zooalign.sources._torchvision import import_transformers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from zooalign.sources._quantised import Quantisation

VERSION = 2  # part of the digest of what this module determines


class TransformersLanguageModel(LanguageModel):
    """A decoder with its vocabulary head, or an encoder.

    Parameters
    ----------
    module : transformers.PreTrainedModel
        In evaluation mode; a "ForCausalLM" class where the model is causal.
    tokenizer : transformers.PreTrainedTokenizerBase
        The tokenizer that belongs to it.
    causal : bool
        Whether `module` scores next tokens.
    text_prefix : str
        Put before every text (not before documents), as some sentence encoders are meant to be fed.
    start_token : str or None
        Token that stands before a document where it is not the tokenizer's BOS: that of a model tuned
        for conversation opens a turn, after which running text is a surprise.

    Raises
    ------
    WeightsError
        If the tokenizer has no id to pad with or does not know `start_token`, or the model has two stacks.
    """

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        *,
        causal: bool,
        text_prefix: str = "",
        start_token: str | None = None,
    ) -> None:
        config = module.config.get_text_config()
        if getattr(module.config, "is_encoder_decoder", False):
            message = f"{type(module).__name__} has an encoder and a decoder: only models of one stack are read"
            raise WeightsError(message)
        pad_id = tokenizer.pad_token_id
        if pad_id is None:
            pad_id = tokenizer.eos_token_id
        if pad_id is None:
            message = f"the tokenizer {type(tokenizer).__name__} has neither a padding nor an end-of-text token"
            raise WeightsError(message)
        bos_id = tokenizer.bos_token_id
        if start_token is not None:
            bos_id = tokenizer.get_vocab().get(start_token)
            if bos_id is None:
                message = f"the tokenizer {type(tokenizer).__name__} has no token {start_token!r} (start_token)"
                raise WeightsError(message)
        tokenizer.model_max_length = int(1e30)  # its own limit only makes it warn; we report lengths ourselves
        layers = config.num_hidden_layers
        super().__init__(
            module,
            ["embedding", *(f"blocks.{i}" for i in range(layers))],
            causal=causal,
            max_tokens=_longest(module.base_model, config),
            pad_id=pad_id,
            bos_id=bos_id,
            eos_id=tokenizer.eos_token_id,
            tokenizer_description={
                "class": type(tokenizer).__name__,
                "vocabulary": len(tokenizer),
                "special_tokens": {k: str(v) for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)},
                "text_prefix": text_prefix,
                "start_token": start_token,
            },
        )
        self._tokenizer = tokenizer
        self._text_prefix = text_prefix
        self._base = module.base_model

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """See :meth:`LanguageModel.tokenize`."""
        if not texts:
            return []
        prefixed = [self._text_prefix + text for text in texts]
        return self._tokenizer(prefixed, add_special_tokens=True, truncation=False, padding=False)["input_ids"]

    def truncated(self, text: str, limit: int) -> list[int]:
        """See :meth:`LanguageModel.truncated`."""
        whole = self._text_prefix + text
        return self._tokenizer(whole, add_special_tokens=True, truncation=True, max_length=limit)["input_ids"]

    def tokenize_document(self, text: str) -> list[int]:
        """See :meth:`LanguageModel.tokenize_document`."""
        return self._tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]

    def blocks(self) -> Sequence[torch.nn.Module]:
        """See :meth:`LanguageModel.blocks`."""
        return list(self._block_list())

    def keep_blocks(self, n: int) -> None:
        """See :meth:`LanguageModel.keep_blocks`; the final norm and the head read the last block that is kept."""
        del self._block_list()[n:]
        self._base.config.get_text_config().num_hidden_layers = n
        self.layer_names = self.layer_names[: n + 1]

    def _block_list(self) -> torch.nn.ModuleList:
        import torch

        n = len(self.layer_names) - 1
        for module in self._base.modules():
            if isinstance(module, torch.nn.ModuleList) and len(module) == n:
                return module
        raise WeightsError(f"{type(self._base).__name__} has no list of {n} blocks")

    def layers(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """See :meth:`LanguageModel.layers`; the last state is after the final norm, the head is not run."""
        options = {"use_cache": False} if self.causal else {}
        out = self._base(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True, **options)
        if getattr(out, "hidden_states", None) is None:
            raise FeatureError(f"{type(self._base).__name__} gives no hidden states (output_hidden_states)")
        return list(out.hidden_states)

    def logits(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See :meth:`LanguageModel.logits`."""
        if not self.causal:
            return super().logits(ids, mask)
        return self.module(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits.float()

    def decode(self, ids: Sequence[int]) -> str:
        """See :meth:`LanguageModel.decode`."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def generate(self, prompts: Sequence[list[int]], max_new_tokens: int, stop: Sequence[str]) -> list[str]:
        """See :meth:`LanguageModel.generate`; all prompts in one batch, padded on the left."""
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList, StopStringCriteria

        network: Any = self.module
        if not self.causal or not network.can_generate():
            return super().generate(prompts, max_new_tokens, stop)
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), longest), self.pad_id)  # (B, T)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        # What a repository suggests for chats (sampling, penalties) is left out: the most likely token, always.
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=self.pad_id,
            bos_token_id=self.bos_id, eos_token_id=self.eos_id,
        )  # fmt: skip
        criteria = StoppingCriteriaList([StopStringCriteria(self._tokenizer, list(stop))] if stop else [])
        device = next(self.module.parameters()).device
        out = network.generate(
            ids.to(device), attention_mask=mask.to(device), generation_config=settings, stopping_criteria=criteria
        )
        return [self.decode(row) for row in out[:, longest:].tolist()]


def _longest(base: Any, config: Any) -> int | None:
    """Most tokens that a model has positions for."""
    longest = getattr(config, "max_position_embeddings", None)
    # RoBERTa and its like count positions from padding_idx + 1.
    positions = getattr(getattr(base, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return longest if longest is None or padding is None else longest - padding - 1


def load_folder(
    folder: Path,
    *,
    text_prefix: str = "",
    causal: bool | None = None,
    trust_remote_code: bool = False,
    start_token: str | None = None,
    pickle: bool = False,
    precision: str = "float32",
    quantisation: Quantisation | None = None,
    device: str = "cpu",
) -> TransformersLanguageModel:
    """Load a model and tokenizer saved by transformers.

    Parameters
    ----------
    folder : Path
        Holds config.json, the weights as safetensors and the tokenizer.
    text_prefix, start_token
        As in :class:`TransformersLanguageModel`.
    causal : bool or None
        None: as the configuration's architecture says.
    trust_remote_code : bool
        Whether code that lies beside the weights may run.
    pickle : bool
        Whether the weights are pytorch_model.bin, of which tensors only are read.
    precision : str
        "float32", "bfloat16" or "float16": what the weights are read into.
    quantisation : {"8bit", "4bit"} or None
        Quantise the linear layers on the way.
    device : str
        Where every shard is read to, past the host's memory.

    Returns
    -------
    TransformersLanguageModel
        Evaluation mode.

    Raises
    ------
    WeightsError
        If weights are missing from the files, which transformers would fill at random, or what quantises them.
    """
    import torch

    transformers = import_transformers()
    shared: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    try:
        if causal is None:
            causal = is_causal(transformers.AutoConfig.from_pretrained(folder, **shared))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **shared)
        kind = _text_tower(folder, shared) or (
            transformers.AutoModelForCausalLM if causal else transformers.AutoModel
        )
        dtype = getattr(torch, precision)
        shared |= quantisation_options(quantisation, dtype)
        if device != "cpu":
            shared["device_map"] = {"": device}
        module, info = kind.from_pretrained(
            folder, dtype=dtype, use_safetensors=not pickle, output_loading_info=True, **shared
        )
    except (OSError, ValueError, KeyError) as error:
        message = f"transformers cannot load the folder {folder.name!r}: {str(error).splitlines()[0]}"
        raise WeightsError(message) from error
    missing = sorted(info["missing_keys"])
    if missing and all(k.startswith("pooler.") for k in missing):
        module.pooler, missing = None, []  # no hidden state passes through it; the weights do not have it
    # Whatever else is missing would be silently random.
    wrong = missing + [str(k) for k in info["mismatched_keys"]]
    if wrong:
        raise WeightsError(f"the weight files lack or contradict {len(wrong)} parameters, the first {wrong[0]!r}")
    rows = module.get_input_embeddings().num_embeddings
    if len(tokenizer) < rows // 2:
        raise WeightsError(
            f"the tokenizer has {len(tokenizer)} tokens, the model {rows}: its files are missing or another model's "
            "(tokenizer.json, or vocab and merges, belong beside the weights)"
        )
    return TransformersLanguageModel(
        module.eval(), tokenizer, causal=causal, text_prefix=text_prefix, start_token=start_token
    )


# Models of pictures and text, and the class of their text tower, which a language row means.
_TEXT_TOWERS = {
    "clip": "CLIPTextModel",
    "siglip": "SiglipTextModel",
    "siglip2": "Siglip2TextModel",
    "metaclip_2": "MetaClip2TextModel",
}


def _text_tower(folder: Path, shared: Any) -> Any:
    """Class of the text tower, where a folder holds both towers."""
    transformers = import_transformers()
    kind = transformers.AutoConfig.from_pretrained(folder, **shared).model_type
    return getattr(transformers, _TEXT_TOWERS[kind]) if kind in _TEXT_TOWERS else None


def is_causal(config: Any) -> bool:
    """Whether a transformers configuration names a next-token architecture."""
    return any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in config.architectures or [])
