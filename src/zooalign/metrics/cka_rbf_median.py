"""Centred kernel alignment with a Gaussian kernel whose bandwidth is each layer's median distance.

K_ij = exp(-|x_i - x_j|^2 / (2 m^2)), m the median of all distances between two samples of that layer; where it is 0,
the least positive one. Biased upwards: unrelated wide features score far above 0.

Kornblith, Norouzi, Lee, Hinton 2019, arXiv 1905.00414, section 3.
"""

from zooalign.metrics._cka import chance_of_biased, matrix_of, terms_of

VERSION = 2
NEEDS = frozenset({"gram_rbf_median"})
TAKES_K = False
SYMMETRIC = True
RANGE = (0.0, 1.0)
IDENTITY = 1.0
HAS_TERMS = True
QUANTITY = "Gaussian kernel alignment (median bandwidth), biased estimator, 0 to 1"

matrix = matrix_of("gram_rbf_median")
terms = terms_of("gram_rbf_median")
chance = chance_of_biased
