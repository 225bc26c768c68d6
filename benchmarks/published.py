"""The published algorithms, transcribed plainly in our own words: what the engine is timed and checked against.

One layer pair at a time, in torch as published, with the published choices: a full sort of all similarities
for the neighbours, matrix products with the centring matrix, dynamic programming in Python, a randomised
decomposition and an iterative CCA. Nothing is made slower than it was published, nothing faster.

References: Huh, Cheung, Wang, Isola 2024, arXiv 2405.07987 and its public code's definitions as set down in
docs/metrics.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch

CONSTANT = 1e-6


def prepare(layers: list[np.ndarray], quantile: float = 0.95) -> list[torch.Tensor]:
    """Clamp at the order statistic over all layers by a full sort, then rows of unit length."""
    flat = torch.cat([torch.from_numpy(np.asarray(x, np.float32)).flatten().abs() for x in layers])
    threshold = torch.sort(flat).values[int(quantile * flat.numel())].item()
    clamped = [torch.from_numpy(np.asarray(x, np.float32)).clamp(-threshold, threshold) for x in layers]
    return [torch.nn.functional.normalize(x, p=2, dim=-1) for x in clamped]


def neighbors(x: torch.Tensor, k: int) -> torch.Tensor:
    """Positions of the k nearest: full argsort of the inner products, (n, k)."""
    scores = x @ x.T
    scores.fill_diagonal_(-1e8)
    return scores.argsort(dim=1, descending=True)[:, :k]


def mutual_knn(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    """Mean share of common neighbours, from two n x n membership matrices."""
    n = len(x)
    rows = torch.arange(n).unsqueeze(1)
    masks = []
    for side in (x, y):
        mask = torch.zeros(n, n)
        mask[rows, neighbors(side, k)] = 1.0
        masks.append(mask)
    return float(((masks[0] * masks[1]).sum(dim=1) / k).mean())


def cycle_knn(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    """Share of samples found again in the lists of x of their neighbours in y."""
    second = neighbors(x, k)[neighbors(y, k)]  # (n, k, k)
    own = torch.arange(len(x)).view(-1, 1)
    return float((second.flatten(1) == own).any(dim=1).float().mean())


def lcs_knn(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    """Mean length of the longest common subsequence, by a table per sample."""
    return float(_per_sample(_lcs, x, y, k).float().mean())


def edit_distance_knn(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    """One minus the mean Levenshtein distance over k, by two rows of a table per sample."""
    return float(1 - _per_sample(_levenshtein, x, y, k).mean() / k)


def _per_sample(
    compare: Callable[[np.ndarray, np.ndarray], int], x: torch.Tensor, y: torch.Tensor, k: int
) -> torch.Tensor:
    """A number per sample from its two lists, which are numpy rows: their elements are numpy scalars."""
    a, b = neighbors(x, k).numpy(), neighbors(y, k).numpy()
    found = np.zeros(len(a))
    for i in range(len(a)):
        found[i] = compare(a[i], b[i])
    return torch.tensor(found)


def _lcs(a: np.ndarray, b: np.ndarray) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            if a[i - 1] == b[j - 1]:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


def _levenshtein(a: np.ndarray, b: np.ndarray) -> int:
    """As torchaudio computes it, which the published code calls: nothing is compared where two elements agree."""
    above, row = list(range(len(b) + 1)), [0] * (len(b) + 1)
    for i in range(1, len(a) + 1):
        row[0] = i
        for j in range(1, len(b) + 1):
            if a[i - 1] == b[j - 1]:
                row[j] = above[j - 1]
            else:
                row[j] = min(above[j - 1] + 1, row[j - 1] + 1, above[j] + 1)
        above, row = row, above
    return int(above[-1])


def hsic_biased(k: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """tr(KHLH) by matrix products with the centring matrix."""
    n = len(k)
    h = torch.eye(n) - torch.full((n, n), 1.0 / n)
    return torch.trace(k @ h @ m @ h)


def hsic_unbiased(k: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Song et al. 2012, equation 5."""
    n = len(k)
    k, m = k.clone().fill_diagonal_(0.0), m.clone().fill_diagonal_(0.0)
    total = (k * m.T).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2.0 * (k @ m).sum() / (n - 2)
    return total / (n * (n - 3))


def cka(x: torch.Tensor, y: torch.Tensor, unbiased: bool = False) -> float:
    """Linear CKA with the constant in the denominator."""
    hsic = hsic_unbiased if unbiased else hsic_biased
    k, m = x @ x.T, y @ y.T
    return float(hsic(k, m) / (torch.sqrt(hsic(k, k) * hsic(m, m)) + CONSTANT))


def unbiased_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """The same with the unbiased HSIC."""
    return cka(x, y, unbiased=True)


def cknna(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    """Unbiased HSIC of kernels masked to common neighbours, each self term with its own mask."""
    kernels = [x @ x.T, y @ y.T]
    masks = []
    for kernel in kernels:
        found = kernel.clone().fill_diagonal_(float("-inf")).topk(k, dim=1).indices
        masks.append(torch.zeros_like(kernel).scatter_(1, found, 1.0))

    def similarity(i: int, j: int) -> torch.Tensor:
        mask = masks[i] * masks[j]
        return hsic_unbiased(mask * kernels[i], mask * kernels[j])

    return float(similarity(0, 1) / (torch.sqrt(similarity(0, 0) * similarity(1, 1)) + CONSTANT))


def svcca(x: torch.Tensor, y: torch.Tensor, dimensions: int = 10) -> float:
    """Randomised low-rank decompositions of z-scored columns, then scikit-learn's iterative CCA."""
    from sklearn.cross_decomposition import CCA

    bases = []
    for side in (x, y):
        z = (side - side.mean(dim=0)) / (side.std(dim=0) + 1e-8)
        bases.append(torch.svd_lowrank(z, q=dimensions)[0].numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = CCA(n_components=dimensions).fit(*bases).transform(*bases)
    return float(np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(dimensions)]))


METRICS = {
    "mutual_knn": mutual_knn,
    "cycle_knn": cycle_knn,
    "lcs_knn": lcs_knn,
    "edit_distance_knn": edit_distance_knn,
    "cka": cka,
    "unbiased_cka": unbiased_cka,
    "cknna": cknna,
    "svcca": svcca,
}
