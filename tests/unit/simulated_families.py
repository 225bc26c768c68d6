"""Made-up models in families, and how often intervals of their correlation hold the truth.

python -m tests.unit.simulated_families [DRAWS]      prints the table of docs/validation.md
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from zooalign.results import correlation as module
from zooalign.results.correlation import correlation
from zooalign.results.partial import partial_correlation
from zooalign.results.resampling import alignment_draws

SIZES = {"4 each": (4,), "1 to 9": (1, 2, 3, 5, 9), "1 each": (1,)}
SAMPLES = 200


class Setting(NamedTuple):
    """Families of models whose capability and alignment are a normal pair.

    `shared` is the part of both variances that a family has in common; `reliability` that of both sides where
    errors are independent between models (1: none); `tilt` the standard deviation of the slope of alignment on
    capability over draws of the dataset's samples; `covariate` adds one that both sides depend on.
    """

    families: int
    sizes: str
    correlation: float
    shared: float
    reliability: float = 1.0
    tilt: float = 0.0
    covariate: bool = False

    @property
    def member(self):
        pattern = SIZES[self.sizes]
        return np.repeat(np.arange(self.families), np.resize(pattern, self.families))

    def truth(self, kind):
        r = self.correlation
        return r if kind == "pearson" else 6 / np.pi * np.arcsin(r / 2)


def drawn(setting, rng):
    """Noise-free (2, n), a covariate (n,) that nothing depends on yet."""
    member = setting.member
    mix = np.linalg.cholesky([[1, setting.correlation], [setting.correlation, 1]])
    own = mix @ rng.standard_normal((2, len(member)))
    common = (mix @ rng.standard_normal((2, setting.families)))[:, member]
    part = setting.shared
    covariate = np.sqrt(part) * rng.standard_normal(setting.families)[member]
    covariate += np.sqrt(1 - part) * rng.standard_normal(len(member))
    return np.sqrt(part) * common + np.sqrt(1 - part) * own, covariate


def measured(setting, rng):
    """Keyword arguments of `correlation`: what is measured of a draw, with what is known of its errors."""
    (x, y), covariate = drawn(setting, rng)
    names = [f"family {i}" for i in setting.member]
    if setting.covariate:
        x, y = (x + covariate) / np.sqrt(2), (y + covariate) / np.sqrt(2)
    found = {"capability": x, "alignment": y, "families": names}
    if setting.covariate:
        found["covariates"] = [covariate]
    if setting.reliability < 1 or setting.tilt:
        error = np.sqrt(1 / setting.reliability - 1)
        terms = y[:, None] + np.sqrt(SAMPLES) * (
            error * rng.standard_normal((len(x), SAMPLES)) + setting.tilt * x[:, None] * rng.standard_normal(SAMPLES)
        )
        found["capability"] = x + error * rng.standard_normal(len(x))
        found["capability_errors"] = np.full(len(x), error)
        found["alignment"] = terms.mean(axis=1)
        found["alignment_draws"] = alignment_draws(terms, 200, seed=int(rng.integers(2**31)))
    return found


def coverage(setting, kind, draws, replicates=1000, change=None):
    """Share of the intervals that hold the truth, and of draws that have one.

    `change` alters what is measured, to leave something out.
    """
    rng = np.random.default_rng([setting.families, int(100 * setting.correlation), int(100 * setting.shared)])
    inside = there = 0
    for draw in range(draws):
        given = measured(setting, rng)
        if change is not None:
            change(given)
        estimate = partial_correlation if setting.covariate else correlation
        found = estimate(**given, kind=kind, replicates=replicates, seed=draw)
        there += bool(found.method)
        inside += found.low <= setting.truth(kind) <= found.high
    return inside / max(there, 1), there / draws


def percentile(setting, kind, draws, replicates=1000):
    """The same of plain quantiles of the clustered bootstrap, for comparison; no errors."""
    rng = np.random.default_rng([setting.families, int(100 * setting.correlation), int(100 * setting.shared)])
    inside = 0
    for draw in range(draws):
        sample = module.checked(list(drawn(setting, rng)[0]), [str(i) for i in setting.member])
        weights = module.drawn_families(sample.member, replicates, draw)
        found = module.correlate(sample.columns, weights, kind)
        low, high = np.quantile(found[np.isfinite(found)], [0.025, 0.975])
        inside += low <= setting.truth(kind) <= high
    return inside / draws


PLAIN = [
    Setting(families, sizes, r, shared)
    for families in (5, 6, 8, 15, 30)
    for sizes in SIZES
    for r in (0.0, 0.3, 0.6, 0.9)
    for shared in ((0.3, 0.9) if sizes != "1 each" else (0.3,))
]
NOISY = [
    Setting(families, sizes, r, 0.5, reliability, tilt)
    for families, sizes in ((5, "4 each"), (8, "1 to 9"), (15, "4 each"), (30, "4 each"), (30, "1 each"))
    for r in (0.0, 0.6, 0.9)
    for reliability, tilt in ((0.9, 0.0), (0.7, 0.0), (0.98, 0.2))
]
PARTIAL = [
    Setting(families, sizes, r, shared, covariate=True)
    for families in (6, 9, 15)
    for sizes in SIZES
    for r in (0.0, 0.6)
    for shared in ((0.3, 0.9) if sizes != "1 each" else (0.3,))
]


def main(draws):
    for settings in (PLAIN, NOISY, PARTIAL):
        for setting in settings:
            cells = []
            for kind in ("pearson", "spearman"):
                inside, there = coverage(setting, kind, draws)
                cells.append(f"{inside:.3f}" + ("" if there == 1 else f" (of {there:.2f})"))
                if settings is PLAIN:
                    cells.append(f"{percentile(setting, kind, draws):.3f}")
            label = [setting.families, setting.sizes, setting.correlation, setting.shared]
            label += [setting.reliability, setting.tilt, "given one" if setting.covariate else ""]
            print("|", " | ".join(map(str, [*label, *cells])), "|", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
