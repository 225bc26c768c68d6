"""The text decoder of a Whisper out of CTranslate2's format, as a causal language model of what is said in silence.

It was trained to continue a transcript while it attends to speech. Here it attends to the encoder's states of thirty
seconds of silence, which are computed once: a decoder conditioned on speech, not a model of text alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.models.model import LanguageModel
from zooalign.sources._language import TransformersLanguageModel
from zooalign.sources._packages import PackagedFile, whole_file
from zooalign.sources._torchvision import import_transformers
from zooalign.sources.packaged._ctranslate2 import read_variables, whisper_config, whisper_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

VERSION = 1
_SILENCE = -1.5  # log-mel spectrogram of digital silence: (log10(1e-10) + 4) / 4
_FRAMES = 3000
_END = "<|endoftext|>"


class Options(Closed):
    """Where the weights and the tokenizer lie, and what stands before every transcript."""

    weights: tuple[PackagedFile, ...] = Field(
        min_length=1, description="The model.bin, or the parts it was cut into, in order; each in its own package."
    )
    tokenizer: PackagedFile = Field(description="Its tokenizer.json.")
    prompt: tuple[str, ...] = Field(min_length=1, description="Special tokens that open a transcript, in order.")


class SpeechDecoder(TransformersLanguageModel):
    """Whisper's decoder over silence; the prompt stands before every sequence and is no part of it.

    Parameters
    ----------
    module : transformers.WhisperForCausalLM
        With the encoder's states of silence as its buffer `speech`, shape (1, positions, width).
    tokenizer : transformers.PreTrainedTokenizerBase
        Texts get a space in front, as transcripts do.
    prompt : list of int
        Ids of the tokens that open a transcript; the last one is the start token.
    """

    def __init__(self, module: Any, tokenizer: Any, prompt: list[int]) -> None:
        super().__init__(module, tokenizer, causal=True, text_prefix=" ")
        self._whisper = module
        self._prompt = prompt
        self.bos_id = prompt[-1]
        self.max_tokens = module.config.max_target_positions - len(prompt)
        self.tokenizer_description["prompt"] = tokenizer.convert_ids_to_tokens(prompt)

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """See :meth:`LanguageModel.tokenize`."""
        return [self.tokenize_document(text) for text in texts]

    def truncated(self, text: str, limit: int) -> list[int]:
        """See :meth:`LanguageModel.truncated`."""
        return self.tokenize_document(text)[:limit]

    def tokenize_document(self, text: str) -> list[int]:
        """See :meth:`LanguageModel.tokenize_document`."""
        return super().tokenize_document(self._text_prefix + text)

    def layers(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """See :meth:`LanguageModel.layers`; the last state is after the final norm."""
        import torch

        n = len(self._prompt)
        prompt = torch.tensor(self._prompt, device=ids.device).expand(len(ids), n)
        # A document starts with the prompt's last token itself, any other sequence behind it.
        document = ids[:, :1] == self.bos_id  # (B, 1)
        fed = torch.where(document, torch.cat([prompt[:, :-1], ids, ids[:, -1:]], 1), torch.cat([prompt, ids], 1))
        out = self._base.decoder(  # (B, n + T); what is padded on the right changes nothing before it
            input_ids=fed,
            encoder_hidden_states=self._whisper.speech,
            past_key_values=self._speech_cache(len(ids)),
            use_cache=True,
            output_hidden_states=True,
        )
        return [torch.where(document[..., None], x[:, n - 1 : -1], x[:, n:]) for x in out.hidden_states]

    def logits(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See :meth:`LanguageModel.logits`."""
        return self._whisper.proj_out(self.layers(ids, mask)[-1]).float()

    def generate(self, prompts: Sequence[list[int]], max_new_tokens: int, stop: Sequence[str]) -> list[str]:
        """See :meth:`LanguageModel.generate`; transformers' own loop knows nothing of the silence."""
        return LanguageModel.generate(self, prompts, max_new_tokens, stop)

    def _speech_cache(self, batch: int) -> Any:
        """Keys and values of the silence, once for all sequences of a batch instead of once for each."""
        from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        for i, block in enumerate(self._base.decoder.layers):
            attention, layer = block.encoder_attn, DynamicLayer()
            shape = (1, -1, attention.num_heads, attention.head_dim)
            for name, projection in (("keys", attention.k_proj), ("values", attention.v_proj)):
                states = projection(self._whisper.speech).view(shape).transpose(1, 2)  # (1, heads, positions, D)
                setattr(layer, name, states.expand(batch, -1, -1, -1))
            layer.is_initialized = True
            cache.cross_attention_cache.layers.append(layer)
            cache.is_updated[i] = True
        return cache


def weight_file(options: Options, folder: Path) -> Path:
    """Where the model.bin lies; parts are joined into `folder`.

    Raises
    ------
    WeightsError
        If a package or file is missing.
    """
    return whole_file(options.weights, folder / "model.bin")


def prepare(options: Options, weight_file: Path, folder: Path) -> None:
    """Write the decoder (float32), the states of silence and the tokenizer into `folder`.

    Raises
    ------
    WeightsError
        If the file is damaged, quantised to integers, or lacks a variable.
    """
    import torch
    from safetensors.torch import save_file

    transformers = import_transformers()
    variables = read_variables(weight_file, "WhisperSpec")
    try:
        config = whisper_config(variables)
        module = transformers.WhisperForConditionalGeneration(config).eval()
        state = {name: torch.from_numpy(array) for name, array in whisper_state(variables, config).items()}
    except KeyError as error:
        raise WeightsError(f"{weight_file.name} has no variable {error}: it is no Whisper") from error
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{weight_file.name} is no Whisper: {' '.join(str(error).split())[:300]}") from error
    with torch.inference_mode():
        silence = torch.full((1, config.num_mel_bins, _FRAMES), _SILENCE)
        speech = module.model.encoder(silence).last_hidden_state  # (1, positions, width)
    decoder = {name: tensor for name, tensor in state.items() if name.startswith("model.decoder.")}
    save_file(decoder | {"speech": speech.clone()}, folder / "model.safetensors")
    config.save_pretrained(folder)
    shutil.copyfile(options.tokenizer.path(), folder / "tokenizer.json")


def load(options: Options, weight_file: Path, folder: Path) -> LanguageModel:
    """Load the converted decoder.

    Raises
    ------
    WeightsError
        If the tokenizer does not have a token of the prompt, or is another model's.
    """
    import torch
    from safetensors.torch import load_file

    transformers = import_transformers()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token=_END, pad_token=_END
    )
    state = load_file(folder / "model.safetensors")
    speech, embedding = state.pop("speech"), state["model.decoder.embed_tokens.weight"]
    known = tokenizer.get_vocab()
    unknown = [token for token in options.prompt if known.get(token, len(embedding)) >= len(embedding)]
    if unknown:
        raise WeightsError(f"the tokenizer has no token {unknown[0]!r} (prompt), or is another model's")
    with torch.device("meta"):
        module = transformers.WhisperForCausalLM(transformers.WhisperConfig.from_pretrained(folder))
    module.load_state_dict(state | {"proj_out.weight": embedding}, strict=True, assign=True)
    module.tie_weights()
    module.register_buffer("speech", speech)
    return SpeechDecoder(module.eval(), tokenizer, [known[token] for token in options.prompt])
