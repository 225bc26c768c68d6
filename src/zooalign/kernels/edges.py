"""Kernels over the weighted edges i -> j of two k-nearest-neighbour graphs, all layer pairs at once.

`a`, `b` (n, layers, k) are neighbour lists, `wa`, `wb` float32 of the same shapes the kernel values on those
edges, `ta`, `tb` the same with 0 where the edge is not there in the other direction too.
"""

from __future__ import annotations

import numpy as np

from zooalign.kernels import F32, F64, Int, compiled


@compiled()
def two_way_weights(a: Int, wa: F32, weights: F32) -> None:
    """weights[i, layer, t] = wa[i, layer, t] if i is in the list of its t-th neighbour, else 0."""
    n, layers, k = a.shape
    for i in range(n):
        for w in range(layers):
            for t in range(k):
                j = a[i, w, t]
                hit = False
                for s in range(k):
                    hit |= a[j, w, s] == i
                weights[i, w, t] = wa[i, w, t] if hit else np.float32(0)


@compiled()
def masked_hsic(a: Int, wa: F32, ta: F32, b: Int, wb: F32, tb: F32, out: F64) -> None:
    """Unbiased HSIC of (mask K, mask L), mask = edges in both graphs, for every layer pair; out (La, Lb).

    [sum over two-way common edges of K_ij L_ij + S_K S_L / ((n-1)(n-2)) - 2 <column sums of K, row sums of
    L> / (n-2)] / (n(n-3)), all sums over common edges, in float64 in the order of the samples. ta, tb hold
    the weights of two-way edges and 0 elsewhere. Edges that are not common add zeros: cheaper than asking.
    """
    n, layers_a, k = a.shape
    layers_b = b.shape[1]
    # For the current sample and layer of `a`: is j a neighbour, its weight, its weight if two-way.
    here = np.zeros((n, 3))
    columns = np.zeros((layers_b, n))
    rows = np.zeros((layers_b, n))
    twoway = np.zeros(layers_b)
    m = float(n)
    for la in range(layers_a):
        columns[:] = 0.0
        twoway[:] = 0.0
        for i in range(n):
            for t in range(k):
                j = a[i, la, t]
                here[j, 0] = 1.0
                here[j, 1] = wa[i, la, t]
                here[j, 2] = ta[i, la, t]
            for lb in range(layers_b):
                row_even = 0.0
                row_odd = 0.0
                both_even = 0.0
                both_odd = 0.0
                for s in range(k // 2):
                    j = b[i, lb, 2 * s]
                    row_even += here[j, 0] * wb[i, lb, 2 * s]
                    columns[lb, j] += here[j, 1]
                    both_even += here[j, 2] * tb[i, lb, 2 * s]
                    j = b[i, lb, 2 * s + 1]
                    row_odd += here[j, 0] * wb[i, lb, 2 * s + 1]
                    columns[lb, j] += here[j, 1]
                    both_odd += here[j, 2] * tb[i, lb, 2 * s + 1]
                if k % 2:
                    j = b[i, lb, k - 1]
                    row_even += here[j, 0] * wb[i, lb, k - 1]
                    columns[lb, j] += here[j, 1]
                    both_even += here[j, 2] * tb[i, lb, k - 1]
                rows[lb, i] = row_even + row_odd
                twoway[lb] += both_even + both_odd
            for t in range(k):
                j = a[i, la, t]
                here[j, 0] = 0.0
                here[j, 1] = 0.0
                here[j, 2] = 0.0
        for lb in range(layers_b):
            total_k = 0.0
            total_l = 0.0
            mixed = 0.0
            for i in range(n):
                total_k += columns[lb, i]
                total_l += rows[lb, i]
                mixed += columns[lb, i] * rows[lb, i]
            out[la, lb] = (twoway[lb] + total_k * total_l / ((m - 1.0) * (m - 2.0)) - 2.0 * mixed / (m - 2.0)) / (
                m * (m - 3.0)
            )


@compiled()
def masked_products(a: Int, wa: F32, b: Int, wb: F32, out: F64) -> None:
    """out[la, lb] = sum over edges in both graphs of K_ij L_ij, float64 in the order of the samples."""
    n, layers_a, k = a.shape
    layers_b = b.shape[1]
    place = np.zeros(n, np.int32)
    for la in range(layers_a):
        for i in range(n):
            for t in range(k):
                place[a[i, la, t]] = t + 1
            for lb in range(layers_b):
                total = 0.0
                for t in range(k):
                    p = place[b[i, lb, t]]
                    if p:
                        total += np.float64(wa[i, la, p - 1]) * np.float64(wb[i, lb, t])
                out[la, lb] += total
            for t in range(k):
                place[a[i, la, t]] = 0


@compiled()
def masked_product_terms(a: Int, wa: F32, b: Int, wb: F32, terms: F64) -> None:
    """The same per sample for one layer pair; all (n, k), terms (n,) float64."""
    n, k = a.shape
    place = np.zeros(n, np.int32)
    for i in range(n):
        for t in range(k):
            place[a[i, t]] = t + 1
        terms[i] = 0.0
        for t in range(k):
            p = place[b[i, t]]
            if p:
                terms[i] += np.float64(wa[i, p - 1]) * np.float64(wb[i, t])
        for t in range(k):
            place[a[i, t]] = 0
