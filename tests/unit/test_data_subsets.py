"""Which samples are taken: stratified parts, and uniform rows of a stream."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooalign.data.subsets import Split, UniformRows, check_classes, stratified, stratified_order
from zooalign.errors import DatasetError


def chosen(n, limit, seed=1337):
    """Rows that are left when n have been offered, as a family keeps them."""
    rows, choice = [], UniformRows(limit, seed)
    for row in range(n):
        taken, dropped = choice.offer()
        if taken:
            rows.append(row)
        if dropped is not None:
            rows.remove(dropped)
    return rows


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 2**31))
def test_uniform_rows_are_those_of_the_lowest_numbers(n, limit, seed):
    """The same from the definition: sort all numbers, take the first."""
    generator = random.Random(seed)
    numbers = [generator.random() for _ in range(n)]
    assert chosen(n, limit, seed) == sorted(sorted(range(n), key=numbers.__getitem__)[:limit])


def test_the_published_seed_chooses_these_rows():
    """Written down once: another choice would be another dataset, whatever Python it is built with."""
    assert chosen(1000, 8) == [226, 319, 442, 451, 514, 753, 754, 833]


def test_without_a_limit_or_below_it_all_rows_are_taken():
    assert chosen(30, None) == chosen(30, 30) == chosen(30, 31) == list(range(30))


def test_a_lower_limit_takes_a_part():
    assert set(chosen(500, 20)) < set(chosen(500, 21))


def test_every_row_is_as_likely_as_any_other():
    times = Counter(row for seed in range(4000) for row in chosen(20, 5, seed))
    # 4,000 x 5 / 20 = 1,000 times each, deviation 27.
    assert all(abs(times[row] - 1000) < 130 for row in range(20))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=80), st.integers(0, 1000), st.data())
def test_every_beginning_and_every_end_holds_the_classes_in_proportion(labels, seed, data):
    order = stratified_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    n = data.draw(st.integers(0, len(labels)))
    for part in (order[:n], order[len(labels) - n :]):
        held = Counter(labels[i] for i in part)
        # Each class within one of its share, and a further one for the order of equals.
        assert all(abs(held[c] - n * times / len(labels)) <= 2 for c, times in Counter(labels).items())


def test_parts_are_disjoint_and_complete_without_n_train():
    labels = [str(i % 10) for i in range(100)]
    parts = Split(n_train=None, n_test=30, seed=3).parts(labels, "mine")
    assert sorted(parts["train"] + parts["test"]) == list(range(100))
    assert Counter(labels[i] for i in parts["test"]) == Counter({str(c): 3 for c in range(10)})
    assert parts != Split(n_train=None, n_test=30, seed=4).parts(labels, "mine")


def test_too_many_are_refused():
    with pytest.raises(DatasetError, match=r"mine: n_train 80 \+ n_test 30 is more than 100, which is all there are"):
        Split(n_train=80, n_test=30).parts(["a", "b"] * 50, "mine")
    with pytest.raises(DatasetError, match=r"mine: n_test 11 is more than 10, which is all there are; lower it"):
        stratified(["a"] * 10, 11, 0, "mine: n_test")


def test_a_class_that_is_tested_and_never_trained_on_is_refused():
    labels = ["a"] * 50 + ["b"] * 50 + ["rare"]
    with pytest.raises(
        DatasetError, match=r"mine: class 'rare' has no train sample \(1 of 3 classes .*raise n_train"
    ):
        Split(n_train=2, n_test=99).parts(labels, "mine")
    check_classes({"train": {"a", "b"}, "test": {"a"}}, "mine", "nothing")


def test_a_part_that_is_given_keeps_its_shares():
    labels = list(np.repeat(["a", "b"], [90, 30]))
    rows = stratified(labels, 40, 0, "mine: n_train")
    assert Counter(labels[i] for i in rows) == Counter({"a": 30, "b": 10})
    assert stratified(labels, None, 0, "mine: n_train") == list(range(120))
