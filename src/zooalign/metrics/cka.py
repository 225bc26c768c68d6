"""Centred kernel alignment, linear kernel, biased estimator; without the published 1e-6.

HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with HSIC = tr(KHLH): 1 at identity. Biased upwards: unrelated wide features
score far above 0.

Kornblith, Norouzi, Lee, Hinton 2019, arXiv 1905.00414, section 3.
"""

from zooalign.metrics._cka import chance_of_biased, matrix_of, terms_of

VERSION = 1
NEEDS = frozenset({"gram"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = True
QUANTITY = "centred kernel alignment, biased estimator, 0 to 1"

matrix = matrix_of("gram")
terms = terms_of("gram")
chance = chance_of_biased
