"""SentencePiece's Unigram models as tokenizers of the tokenizers library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import WeightsError
from zooalign.sources._torchvision import import_transformers

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def unigram_tokenizer(file: Path) -> Tokenizer:
    """Tokenizer of a SentencePiece model whose first pieces are unknown, start and end.

    Parameters
    ----------
    file : Path
        The .model file.

    Returns
    -------
    tokenizers.Tokenizer
        A text gets <s> and </s>.

    Raises
    ------
    WeightsError
        If the file is damaged or no Unigram model of that layout.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    import_transformers()
    from transformers.utils import sentencepiece_model_pb2_new as sentencepiece

    made: Any = sentencepiece  # its classes are made when it is imported
    model = made.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
    except Exception as error:  # protobuf's own
        message = f"{file.name} is no SentencePiece model: {error}. Install its package again"
        raise WeightsError(message) from error
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    if [piece for piece, _ in pieces[:3]] != ["<unk>", "<s>", "</s>"]:
        raise WeightsError(f"{file.name} starts with other pieces than <unk>, <s>, </s>: {pieces[:3]}")
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap),
            normalizers.Replace(Regex(" +"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    ends = [("<s>", 1), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer
