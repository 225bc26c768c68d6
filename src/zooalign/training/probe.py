"""What every callback does: measure the alignment of a model in training with stored references."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign import metrics
from zooalign.alignment.score import score
from zooalign.alignment.sides import asked_metrics, index_sides, lists_and_needs, preparation_of
from zooalign.errors import ConfigError, FeatureError, MetricError
from zooalign.indexes.index import Index
from zooalign.training.undisturbed import undisturbed

if TYPE_CHECKING:
    import torch

    from zooalign.alignment.scores import Scores
    from zooalign.indexes.preparation import Preparation

# Steps between two measurements; the Trainer of transformers logs as often.
EVERY = 500


class AlignmentProbe:
    """Alignment of a model with stored references, measured again and again.

    Parameters
    ----------
    references : str, Path, sequence of them, or mapping
        What to compare with: stored indexes, feature stores or files, named after their files; or a mapping of names
        to anything that `zooalign.score` takes, arrays included. Each is read and indexed once, here.
    features : callable
        From the model to the features of the reference's samples, in their order: (n, layers, d), or a sequence or
        mapping of layers (n, d_l), arrays or tensors. :class:`~zooalign.training.texts.TextFeatures` and
        :class:`~zooalign.training.images.ImageFeatures` take them as a sweep does.
    metric, k, prepare
        As :func:`zooalign.alignment.score.score`.
    every : int
        Optimiser steps between two measurements of a callback, at least 1.
    sample_ids : sequence of str, optional
        Ids of the samples that `features` reads, to be checked against those of the references.

    Attributes
    ----------
    references : dict of str to Index
        By name.
    scores : dict of str to Scores
        Of the last measurement, by reference: all layer pairs, and warnings.

    Raises
    ------
    ConfigError
        For an interval below 1, or no reference.
    MetricError
        If references, `sample_ids` and `features` (where it has a length) are not of the same samples.
    FeatureError, StoreError
        If a reference is missing or cannot be used.

    Examples
    --------
    >>> import numpy as np, torch
    >>> inputs = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 8))).float()
    >>> model = torch.nn.Linear(8, 8)
    >>> probe = AlignmentProbe({"inputs": inputs}, lambda model: model(inputs), k=5)
    >>> sorted(probe.measure(model))
    ['alignment/inputs/mutual_knn@5', 'alignment/inputs/mutual_knn@5_layer', 'alignment/seconds']
    """

    def __init__(
        self,
        references: Any,
        features: Callable[[Any], Any],
        *,
        metric: str | Sequence[str] = "mutual_knn",
        k: int | Sequence[int] = 10,
        every: int = EVERY,
        prepare: Preparation | Mapping[str, Any] | str | None = None,
        sample_ids: Sequence[str] | None = None,
    ) -> None:
        if every < 1:
            raise ConfigError(f"every is {every}: give the number of steps between two measurements, at least 1.")
        self.features, self.every, self.scores = features, every, dict[str, "Scores"]()
        self._metric, self._k = metric, k
        self._asked = asked_metrics(metric, k)
        self._preparation = preparation_of(prepare)
        named = _named(references)
        ids = None if sample_ids is None else [str(one) for one in sample_ids]
        self.references = dict(zip(named, self._index(named, ids), strict=True))
        first = next(iter(self.references.values()))
        for other in self.references.values():
            metrics.check_pair(first, other)
        if ids is not None:
            metrics.check_pair(Index({}, ids, [], {}, "sample_ids"), first)
        self._samples = first.sample_ids
        if hasattr(features, "__len__"):
            self._check_number(len(features))  # type: ignore[arg-type]

    def measure(self, model: torch.nn.Module) -> dict[str, float]:
        """Score the model against every reference; the model and all random states are left as they were.

        Parameters
        ----------
        model : torch.nn.Module
            Handed to `features` in evaluation mode, without gradients and without autocast.

        Returns
        -------
        dict of str to float
            "alignment/{reference}/{metric}": the best score over all layer pairs, as `zooalign.score` gives it for
            the features; with "_layer" behind it the position of the model's layer in that pair;
            "alignment/seconds": what the measurement took.

        Raises
        ------
        FeatureError
            If the model gives no features or such as cannot be used; names the layer and the sample.
        MetricError
            If their number is not that of the references, or no layer pair has a defined score.

        Notes
        -----
        A forward pass over the samples, one index of it, and a matrix of layer pairs per reference and metric.
        """
        begin = time.perf_counter()
        with undisturbed(model):
            layers = self.features(model)
        (index,) = self._index({"model": layers}, self._samples)
        self._check_number(index.n)
        values: dict[str, float] = {}
        for name, reference in self.references.items():
            scores = score(index, reference, self._metric, self._k, prepare=self._preparation)
            self.scores[name] = scores
            for label, best in scores.best.items():
                values[f"alignment/{name}/{label}"] = best["score"]
                values[f"alignment/{name}/{label}_layer"] = float(best["layer_x"])
        return {**values, "alignment/seconds": time.perf_counter() - begin}

    def measure_or_warn(self, model: torch.nn.Module) -> dict[str, float]:
        """As :meth:`measure`; after a first success, a model without usable features gives a warning and NaN.

        A model that collapses or diverges does not end a training that has run for days.
        """
        try:
            return self.measure(model)
        except (FeatureError, MetricError) as error:
            if not self.scores:
                raise
            warnings.warn(f"no alignment at this step: {error}", stacklevel=2)
            labels = [metrics.label(name, k) for name, k in self._asked]
            return {f"alignment/{name}/{label}": float("nan") for name in self.references for label in labels}

    def _index(self, sides: Mapping[str, Any], ids: Sequence[str] | None) -> list[Index]:
        return index_sides(sides, self._preparation, *lists_and_needs(self._asked), ids)

    def _check_number(self, n: int) -> None:
        if n != len(self._samples):
            name = next(iter(self.references))
            raise MetricError(
                f"the features are of {n} samples, the reference {name!r} is of {len(self._samples)}: give the "
                "samples of the reference, in its order."
            )


def _named(references: Any) -> dict[str, Any]:
    """References by name; paths are named after their files."""
    if isinstance(references, Mapping):
        named = {str(name): side for name, side in references.items()}
    else:
        paths = [references] if isinstance(references, str | Path) else list(references)
        if not all(isinstance(path, str | Path) for path in paths):
            raise ConfigError("references are paths, or a mapping of names to arrays: {'minilm': array}.")
        named = {Path(path).stem: path for path in paths}
        if len(named) < len(paths):
            raise ConfigError(
                f"two of the references {', '.join(map(str, paths))} have one name: give a mapping of names to them."
            )
    if not named:
        raise ConfigError("there is no reference to measure alignment with: give at least one.")
    return named
