"""Which row holds a pair: stable under added, removed and reordered models and under the order jobs finish in."""

from hypothesis import given
from hypothesis import strategies as st

from zooalign.alignment import Pair, all_pairs, assign_pairs

COMPARISONS = ["vision-language", "vision-vision", "language-language"]
ids = st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1, max_size=8)


def held(rows):
    return {m: {(p.x, p.y) for p in pairs} for m, pairs in rows.items()}


def settled(models, state):
    """Rows after a sweep of `models` that started from `state`; every model has a row afterwards."""
    rows = assign_pairs(all_pairs(models, COMPARISONS), state)
    return {m: rows.get(m, []) for m in models}


@st.composite
def zoos(draw):
    return {m: draw(st.sampled_from(["vision", "language"])) for m in draw(ids)}


@given(zoos())
def test_every_pair_stands_in_exactly_one_row_of_its_own_models(models):
    pairs = all_pairs(models, COMPARISONS)
    rows = assign_pairs(pairs, {})
    assert sorted(p for row in rows.values() for p in row) == pairs
    assert all(m in (p.x, p.y) for m, row in rows.items() for p in row)
    n = len(models)
    assert len(pairs) == n * (n - 1) // 2


def test_vision_stands_first_in_a_cross_modal_pair():
    assert all_pairs({"z": "vision", "a": "language"}, ["vision-language"]) == [Pair("z", "a", "vision-language")]


@given(zoos(), st.sampled_from(["vision", "language"]), st.sampled_from(["0", "dd", "z"]))
def test_a_new_model_holds_all_its_pairs_and_leaves_other_rows_alone(models, modality, name):
    before = settled(models, {})
    after = settled({**models, name: modality}, held(before))
    assert {m: row for m, row in after.items() if m != name} == before
    assert len(after[name]) == len(models)


@given(zoos(), st.data())
def test_a_removed_model_moves_no_pair_of_the_others(models, data):
    gone = data.draw(st.sampled_from(sorted(models)))
    before = settled(models, {})
    after = settled({m: k for m, k in models.items() if m != gone}, held(before))
    for m, row in after.items():
        assert row == [p for p in before[m] if gone not in (p.x, p.y)]


@given(zoos(), st.randoms())
def test_neither_manifest_order_nor_finished_jobs_move_a_pair(models, random):
    before = settled(models, {})
    shuffled = list(models.items())
    random.shuffle(shuffled)
    assert settled(dict(shuffled), {}) == before
    # A job that starts later reads the rows that others have finished by then.
    finished = {m: row for m, row in held(before).items() if random.random() < 0.5}
    assert settled(models, finished) == before


@given(zoos(), st.data())
def test_a_lost_row_takes_back_the_pairs_nobody_else_holds(models, data):
    before = settled(models, {})
    lost = data.draw(st.sampled_from(sorted(models)))
    state = {m: row for m, row in held(before).items() if m != lost}
    after = settled(models, state)
    assert after == before
