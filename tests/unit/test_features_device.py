"""Models on their devices; one that is spread over several cards gives the same layers.

There may be no GPU where this runs. `FakeCards` pretends that there are: it keeps, for every tensor, the card that it
was moved to, and refuses any operation whose tensors lie on different ones, as CUDA would.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from zooalign.config.schema import ExtractionConfig
from zooalign.errors import FeatureError
from zooalign.features import device
from zooalign.features.device import moved, place_model, share_out, spread
from zooalign.models import loading

CARDS = [torch.device("cuda", i) for i in range(3)]
CPU = torch.device("cpu")


class FakeCards(TorchFunctionMode):
    """Tensors stay on the CPU but know the card that they would be on."""

    def __init__(self):
        super().__init__()
        self.cards, self.alive, self.used = {}, [], set()

    def put(self, tensor, card):
        self.cards[id(tensor)] = card
        self.alive.append(tensor)  # ids are reused otherwise
        return tensor

    def card(self, tensor):
        return self.cards.get(id(tensor), CPU)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        owner = getattr(func, "__self__", None)
        if name in ("_parse_to", "_has_compatible_shallow_copy_type"):  # Module.to reads its arguments, and compares
            return func(*args, **kwargs)
        if owner is torch.Tensor.device and name == "__get__":
            return self.card(args[0])
        if owner is torch.Tensor.data and name == "__set__":
            self.put(args[0], self.card(args[1]))
            return func(*args, **kwargs)
        target = next((a for a in [*args[1:], *kwargs.values()] if isinstance(a, torch.device)), None)
        if target is not None:
            args = [CPU if isinstance(a, torch.device) else a for a in args]
            kwargs = {k: CPU if isinstance(v, torch.device) else v for k, v in kwargs.items()}
            result = func(*args, **kwargs)
            # A copy, or the tensor would be on both.
            return self.put(result.clone() if name == "to" else result, target)
        # A single number may come from the CPU.
        found = {self.card(t) for t in tensors if t.ndim or self.card(t) != CPU}
        if len(found) > 1:
            raise RuntimeError(f"{name}: tensors on different devices: {sorted(map(str, found))}")
        self.used |= found
        result = func(*args, **kwargs)
        for t in tree_flatten(result)[0]:
            if isinstance(t, torch.Tensor) and id(t) not in self.cards and found:
                self.put(t, next(iter(found)))
        return result


def batch(model):
    """Three samples as extraction feeds them."""
    if hasattr(model, "preprocess"):
        rng = np.random.default_rng(0)
        return [torch.from_numpy(rng.standard_normal((3, *model.input_size)).astype(np.float32))]
    ids = [model.tokenize([text])[0] for text in ("a red square", "two circles under a tree", "blue")]
    width = max(map(len, ids))
    padded = torch.tensor([row + [model.pad_id] * (width - len(row)) for row in ids])
    return [padded, torch.tensor([[i < len(row) for i in range(width)] for row in ids])]


def tensors(layers):
    return [t for t in tree_flatten([tuple(x) if isinstance(x, tuple) else x for x in layers])[0] if t is not None]


@pytest.fixture
def load(zoo, fetched):
    """Function that loads a packaged model anew: spreading changes it."""
    from zooalign.models.loading import load_model

    def fresh(name):
        model = load_model(zoo[name], fetched(name))
        model.module.eval()
        return model

    return fresh


@pytest.mark.parametrize(
    "name", ["minilm_l6", "smollm2_135m", "random_vit_s16", "efficientnet_lite0", "random_resnet50"]
)
def test_layers_of_a_spread_model_are_those_of_the_whole(load, name):
    model = load(name)
    inputs = batch(model)
    with torch.inference_mode():
        whole = tensors(model.layers(*inputs))
        scores = model.logits(*inputs) if getattr(model, "causal", False) else None
    size = sum(p.nbytes for p in model.module.parameters())
    with FakeCards() as fake:
        places = spread(model, CARDS, [size, size // 10, size // 4], name)
        on_card = [fake.put(t, CARDS[0]) for t in inputs]
        with torch.inference_mode():
            layers = tensors(model.layers(*on_card))
            logits = None if scores is None else model.logits(*on_card)
        assert {fake.card(t) for t in layers} == {CARDS[0]}
        assert fake.card(next(model.module.parameters())) == CARDS[0]  # where extraction puts its inputs
        assert {CARDS[place] for place in places} <= fake.used
    assert places == sorted(places)
    assert len(set(places)) > 1
    assert len(layers) == len(whole)
    assert all(torch.equal(a, b) for a, b in zip(layers, whole, strict=True))
    assert scores is None or torch.equal(scores, logits)


def test_fake_cards_refuse_what_cuda_would(load):
    """The test above can fail: with one block's hook gone its inputs stay on another card."""
    model = load("minilm_l6")
    inputs = batch(model)
    with FakeCards() as fake:
        spread(model, CARDS, [10**9] * 3)
        on_card = [fake.put(t, CARDS[0]) for t in inputs]
        list(model.module.encoder.layer)[-1]._forward_pre_hooks.clear()
        with torch.inference_mode(), pytest.raises(RuntimeError, match=r"tensors on different devices: .*cuda:"):
            model.layers(*on_card)


def test_every_tensor_lands_on_its_card_and_none_is_forgotten(load):
    model = load("random_vit_s16")
    cards = [CPU, torch.device("meta")]
    size = sum(p.nbytes for p in model.module.parameters())
    places = spread(model, cards, [size, size])
    for block, place in zip(model.module.blocks, places, strict=True):
        assert {t.device for t in [*block.parameters(), *block.buffers()]} == {cards[place]}
    inside = {id(t) for block in model.module.blocks for t in block.parameters()}
    outside = [t for t in model.module.parameters() if id(t) not in inside]
    assert {t.device for t in outside} == {CPU}
    assert places.count(0) in (5, 6)  # the embedding stands on the first card, too


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.integers(0, 60),
    st.lists(st.integers(1, 400), min_size=1, max_size=5),
)
def test_blocks_keep_their_order_and_no_card_overflows(sizes, rest, room):
    places = share_out(sizes, rest, room)
    if places is None:
        # Not even blocks in order, each card filled as far as it goes.
        left, card, used = list(sizes), 0, rest
        while left and card < len(room):
            if used + left[0] > room[card]:
                card, used = card + 1, 0
            else:
                used += left.pop(0)
        assert left or rest > room[0]
        return
    assert places == sorted(places)
    assert len(places) == len(sizes)
    for card, most in enumerate(room):
        assert (rest if card == 0 else 0) + sum(s for s, p in zip(sizes, places, strict=True) if p == card) <= most


@given(st.integers(2, 6), st.integers(2, 40))
def test_equal_blocks_are_laid_evenly(cards, blocks):
    places = share_out([10] * blocks, 0, [10 * blocks] * cards)
    counts = [places.count(card) for card in range(cards)]
    assert max(counts) == -(-blocks // cards)


def test_a_model_that_does_not_fit_says_how_to_ask_for_more(load):
    model = load("minilm_l6")
    with pytest.raises(
        FeatureError, match=r"'minilm' has 87 MB of weights; the 2 GPUs of this job have room for 40 MB"
    ):
        spread(model, CARDS[:2], [20 * 2**20, 20 * 2**20], "minilm")
    with pytest.raises(FeatureError, match=r"resources.extract_features.models.minilm.gpus"):
        spread(model, CARDS[:2], [-5, 2**20], "minilm")


def test_a_model_without_blocks_or_with_shared_weights_is_refused(load):
    with pytest.raises(FeatureError, match=r"'table' is larger than one GPU and has no chain of blocks"):
        spread(load("wordllama"), CARDS, [10**9] * 3, "table")
    model = load("random_vit_s16")
    model.module.blocks[3].mlp.fc1.weight = model.module.blocks[0].mlp.fc1.weight
    with pytest.raises(FeatureError, match="'vit' shares weights between its blocks"):
        spread(model, CARDS, [10**9] * 3, "vit")


def test_tensors_move_wherever_they_stand():
    from zooalign.models.model import VisionLayer

    meta = torch.device("meta")
    one = torch.ones(2)
    found = moved((VisionLayer(None, one), [one, {"a": one}], "text", None, 3), meta)
    assert isinstance(found[0], VisionLayer)
    assert found[0].prefix is None
    assert {found[0].patches.device, found[1][0].device, found[1][1]["a"].device} == {meta}
    assert found[2:] == ("text", None, 3)


@pytest.mark.parametrize(("free", "spreads"), [([10**10, 10**10], False), ([2_300 * 2**20, 10**10], True)])
def test_a_job_with_several_gpus_uses_them_only_for_a_model_larger_than_one(monkeypatch, zoo, load, free, spreads):
    """What torch says about its GPUs is made up; what happens to the model is recorded."""
    calls, whole = [], load("minilm_l6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (free[card.index], 10**11))
    monkeypatch.setattr(device, "spread", lambda model, cards, room, name: calls.append((cards, room, name)))
    monkeypatch.setattr(loading, "load_model", lambda spec, folder, device: whole)
    with FakeCards() as fake:
        model = place_model(zoo["minilm_l6"], Path("weights"), ExtractionConfig(device="auto"))
        where = {str(fake.card(p)) for p in model.module.parameters()}
    if spreads:
        [(cards, room, name)] = calls
        assert (cards, name) == (CARDS[:2], "minilm_l6")
        assert room[1] == free[1] - 2**20 * (1_500 + 2 * 384)
    else:
        assert calls == []
        assert where == {"cuda"}


def test_a_gpu_that_is_not_there_is_one_message(zoo, fetched):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(FeatureError, match=r"extraction.device is cuda, but torch sees no GPU"):
        place_model(zoo["minilm_l6"], fetched("minilm_l6"), ExtractionConfig(device="cuda"))


@pytest.mark.gpu
def test_a_model_on_a_gpu_and_the_cpu_gives_the_same_layers(load):
    """Two devices of which one is real: nothing is left behind on the other."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    cards = [torch.device("cuda", 0), torch.device("cuda", 1) if torch.cuda.device_count() > 1 else CPU]
    model = load("smollm2_135m")
    inputs = batch(model)
    with torch.inference_mode():
        whole = tensors(model.layers(*inputs))
        size = sum(p.nbytes for p in model.module.parameters())
        assert set(spread(model, cards, [size, size])) == {0, 1}
        found = tensors(model.layers(*(t.to(cards[0]) for t in inputs)))
    assert {t.device for t in found} == {cards[0]}
    for a, b in zip(found, whole, strict=True):
        np.testing.assert_allclose(a.cpu().numpy(), b.numpy(), rtol=1e-3, atol=1e-3 * float(b.abs().max()))
