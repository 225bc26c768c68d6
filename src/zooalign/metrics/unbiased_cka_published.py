"""Unbiased CKA with the published code's 1e-6 in the denominator; for comparison only.

Below 1 at identity: by 2e-5, 7e-4 and .42 at mean cosine .5, .9 and .997. Prefer `unbiased_cka`.

Huh et al. 2024, arXiv 2405.07987, public code; Song et al. 2012, equation 5.
"""

from zooalign.metrics._cka import chance_of_unbiased, matrix_of

VERSION = 2
NEEDS = frozenset({"gram"})
TAKES_K = False
SYMMETRIC = True
RANGE = (-1.0, 1.0)
IDENTITY = None
HAS_TERMS = False
QUANTITY = "centred kernel alignment, unbiased estimator, as published"

matrix = matrix_of("gram", unbiased=True, added=1e-6)
chance = chance_of_unbiased
