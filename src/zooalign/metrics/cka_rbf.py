"""Centred kernel alignment with the Gaussian kernel of bandwidth 1, biased estimator.

K_ij = exp(-|x_i - x_j|^2 / 2). On unit rows this bandwidth is wide: values are near linear CKA. See `cka_rbf_median`
for a scaled one. Biased upwards: unrelated wide features score far above 0.

Kornblith, Norouzi, Lee, Hinton 2019, arXiv 1905.00414, section 3. The published alignment code uses bandwidth 1.
"""

from zooalign.metrics._cka import chance_of_biased, matrix_of, terms_of

VERSION = 2
NEEDS = frozenset({"gram_rbf"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = True
QUANTITY = "Gaussian kernel alignment (bandwidth 1), biased estimator, 0 to 1"

matrix = matrix_of("gram_rbf")
terms = terms_of("gram_rbf")
chance = chance_of_biased
