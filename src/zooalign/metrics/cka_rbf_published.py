"""Gaussian CKA (bandwidth 1) with the published code's 1e-6 in the denominator; for comparison only.

Below 1 at identity by 1e-6 / HSIC(K, K).

Huh et al. 2024, arXiv 2405.07987, public code.
"""

from zooalign.metrics._cka import chance_of_biased, matrix_of

VERSION = 2
NEEDS = frozenset({"gram_rbf"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = None
HAS_TERMS = False
QUANTITY = "Gaussian kernel alignment (bandwidth 1), biased estimator, as published"

matrix = matrix_of("gram_rbf", added=1e-6)
chance = chance_of_biased
