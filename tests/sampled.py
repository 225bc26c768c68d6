"""Random drills are sampled: one repetition in an ordinary run of the suite, all with `--full`."""

import pytest


def repetitions(n):
    """Numbers 0 to n - 1 for `parametrize`, of which an ordinary run takes the first."""
    return [0, *(pytest.param(number, marks=pytest.mark.repetition) for number in range(1, n))]
