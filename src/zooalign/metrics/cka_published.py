"""Centred kernel alignment with the published code's 1e-6 in the denominator; for comparison only.

Below 1 at identity by 1e-6 / HSIC(K, K): nothing at common sizes.

Huh et al. 2024, arXiv 2405.07987, public code.
"""

from zooalign.metrics._cka import chance_of_biased, matrix_of

VERSION = 1
NEEDS = frozenset({"gram"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = None
HAS_TERMS = False
QUANTITY = "centred kernel alignment, biased estimator, as published"

matrix = matrix_of("gram", added=1e-6)
chance = chance_of_biased
