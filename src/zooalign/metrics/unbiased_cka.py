"""Centred kernel alignment with the linear kernel and the unbiased HSIC, without the published 1e-6.

1 at identity, 0 by chance, negative values possible. The estimator is an inner product of U-centred kernels (Szekely
and Rizzo 2014, arXiv 1310.2926), so the ratio is between -1 and 1.

Song, Smola, Gretton, Bedo, Borgwardt 2012, JMLR 13, equation 5.
"""

from zooalign.metrics._cka import chance_of_unbiased, matrix_of, terms_of

VERSION = 2
NEEDS = frozenset({"gram"})
TAKES_K = False
SYMMETRIC = True
RANGE = (-1.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = True
QUANTITY = "centred kernel alignment, unbiased estimator, at most 1"

matrix = matrix_of("gram", unbiased=True)
terms = terms_of("gram", unbiased=True)
chance = chance_of_unbiased
