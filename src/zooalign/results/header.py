"""What the numbers of a sweep depend on, as every table says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zooalign import metrics
from zooalign.provenance import package_versions
from zooalign.results.frames import n_samples, where

if TYPE_CHECKING:
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines


def settings(findings: Findings) -> dict[str, str]:
    """Settings by name, for people: what is compared, how features were prepared, and which version made the table."""
    config = findings.sweep.config
    preparation = config.preparation.model_dump()
    samples = {d: where(findings.alignment, "dataset", d) for d in findings.shown.datasets}
    return {
        "Alignment": f"{metrics.label(findings.metric, findings.k or None)}, the best of all layer pairs of two models",
        "Datasets": ", ".join(f"{name} ({n_samples(rows):,} samples)" for name, rows in samples.items() if len(rows)),
        "Preparation": ", ".join(f"{key} {value}" for key, value in preparation.items()),
        "Text": config.extraction.text,
        "Made by": f"zooalign {package_versions(('zooalign',)).get('zooalign', '')}".strip(),
    }
