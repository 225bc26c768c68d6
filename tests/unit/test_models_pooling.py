"""Pooling: known values, and no influence of anything that is padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.errors import FeatureError
from zooalign.models.model import VisionLayer
from zooalign.models.pooling import LANGUAGE_POOLINGS, VISION_POOLINGS, pool_language, pool_vision

STATES = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [8.0, 1.0]], [[4.0, 0.0], [7.0, 7.0], [9.0, 9.0]]])
MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_language_mean_and_last_of_known_states() -> None:
    assert pool_language(STATES, MASK, "mean").tolist() == [[4.0, 3.0], [4.0, 0.0]]
    assert pool_language(STATES, MASK, "last").tolist() == [[8.0, 1.0], [4.0, 0.0]]
    assert torch.equal(pool_language(STATES, MASK, "prompt_last"), pool_language(STATES, MASK, "last"))


def test_vision_cls_and_mean_of_known_tokens() -> None:
    layer = VisionLayer(prefix=STATES[:1, :2], patches=STATES[1:])
    assert pool_vision(layer, "cls").tolist() == [[1.0, 2.0]]
    assert pool_vision(layer, "mean").tolist() == [pytest.approx([20 / 3, 16 / 3])]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_result_is_float32_and_summed_in_float32(dtype: torch.dtype) -> None:
    ones = torch.ones(1, 5000, 1, dtype=dtype)  # a sum in bfloat16 stops at 256, in float16 at 2048
    assert pool_language(ones, torch.ones(1, 5000, dtype=torch.bool), "mean").tolist() == [[1.0]]
    pooled = pool_vision(VisionLayer(None, ones), "mean")
    assert pooled.tolist() == [[1.0]]
    assert pooled.dtype == torch.float32


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    extra=st.integers(0, 5),
    left=st.booleans(),
    rubbish=st.sampled_from([0.0, -3.5, 1e30, float("nan"), float("inf")]),
    how=st.sampled_from(LANGUAGE_POOLINGS),
)
def test_padding_has_no_influence(lengths: list[int], extra: int, *, left: bool, rubbish: float, how: str) -> None:
    generator = torch.Generator().manual_seed(sum(lengths))
    rows = [torch.randn(n, 3, generator=generator) for n in lengths]
    width = max(lengths) + extra
    states, mask = torch.full((len(rows), width, 3), rubbish), torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        states[i, place], mask[i, place] = row, True
    alone = [pool_language(row[None], torch.ones(1, len(row), dtype=torch.bool), how)[0] for row in rows]
    torch.testing.assert_close(pool_language(states, mask, how), torch.stack(alone), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("how", LANGUAGE_POOLINGS)
def test_a_constant_embedding_stays_constant_and_finite(how: str) -> None:
    """The last token of a prompt is the same in every text: its embedding says nothing, but is no error."""
    states = torch.full((3, 5, 4), 0.25, dtype=torch.bfloat16)
    mask = torch.tensor([[True] * 5, [False, False, True, True, True], [False, True, True, True, True]])
    pooled = pool_language(states, mask, how)
    torch.testing.assert_close(pooled, torch.full((3, 4), 0.25), atol=0.0, rtol=0.0)


def test_row_without_tokens_is_an_error_that_names_it() -> None:
    with pytest.raises(FeatureError, match="no real token in row 1 of the batch"):
        pool_language(STATES, torch.tensor([[True, False, False], [False, False, False]]), "mean")


def test_missing_class_token_is_an_error_with_the_remedy() -> None:
    with pytest.raises(FeatureError, match=r"needs a class token.*pooling: mean"):
        pool_vision(VisionLayer(None, STATES), "cls")


def test_shapes_of_states_and_mask_are_both_named() -> None:
    with pytest.raises(FeatureError, match=r"\(2, 3, 2\).*\(2, 2\)"):
        pool_language(STATES, MASK[:, :2], "mean")


def test_unknown_poolings_name_the_known() -> None:
    with pytest.raises(FeatureError, match=r"unknown vision pooling 'men': did you mean 'mean'"):
        pool_vision(VisionLayer(None, STATES), "men")
    with pytest.raises(FeatureError, match=r"unknown language pooling 'lats': did you mean 'last'"):
        pool_language(STATES, MASK, "lats")


def test_poolings_are_those_of_the_manifest() -> None:
    from zooalign.config import manifest

    assert manifest.VISION_POOLINGS == VISION_POOLINGS
    assert manifest.LANGUAGE_POOLINGS == LANGUAGE_POOLINGS
