"""The classifier of a linear probe: multinomial logistic regression, and how near its fit is to the minimum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zooalign.capability._record import CapabilityError

if TYPE_CHECKING:
    import numpy as np

# Greatest absolute entry of the gradient of the mean loss at which lbfgs stops.
GRADIENT_TOLERANCE = 1e-7
MAX_ITERATIONS = 5_000
# Nats per sample that the loss may at most lie above its minimum, or the fit is refused. The penalised
# loss is strongly convex in the weights: loss - minimum <= |gradient|^2 / (2 strength).
LARGEST_EXCESS = 1e-5
_NOT_CONVERGED = (
    "linear_probe: the solver did not converge at strength {strength:g}; leave the weakest `strengths` out."
)


class Choice(NamedTuple):
    """The strength that does best on the validation part, and how well."""

    strength: float
    accuracy: float


class Fit(NamedTuple):
    """A tested classifier."""

    predicted: list[str]  # a class per test sample
    iterations: int
    excess: float  # bound on loss - minimum, nats per sample


def choose(
    x: np.ndarray,
    labels: np.ndarray,
    inner: np.ndarray,
    held_out: np.ndarray,
    strengths: Sequence[float],
    score: Callable[[np.ndarray, np.ndarray], float],
) -> Choice:
    """Choose the strength with the highest score on the samples held out; the stronger one of equals.

    Parameters
    ----------
    x : ndarray, shape (n, d), float64
        Features.
    labels : ndarray of str, shape (n,)
        Classes.
    inner, held_out : ndarray of int
        Rows that classifiers are fitted to, and those that they are compared on.
    strengths : sequence of float
        strength / 2 * |weights|^2 is added to the mean loss per sample.
    score : callable
        Takes which of the samples held out are right, and their classes.
    """
    strongest_first = sorted(set(strengths), reverse=True)
    inner_x, held_out_x = standardise(x[inner], x[held_out])
    truth = labels[held_out]
    best = Choice(strongest_first[0], -1.0)
    for strength, classifier in path(inner_x, labels[inner], strongest_first):
        accuracy = score(classifier.predict(held_out_x) == truth, truth)
        if accuracy > best.accuracy:
            best = Choice(strength, accuracy)
    return best


def fit(x: np.ndarray, labels: np.ndarray, known: np.ndarray, test: np.ndarray, strength: float) -> Fit:
    """Fit to the rows `known` and predict the rows `test`; otherwise as :func:`choose`.

    Raises
    ------
    CapabilityError
        If the solver does not converge.
    """
    train_x, test_x = standardise(x[known], x[test])
    # From zero, not along the path: the result depends on the chosen strength alone.
    [(_, classifier)] = path(train_x, labels[known], [strength])
    above = excess(classifier, train_x, labels[known], strength)
    if not above <= LARGEST_EXCESS:
        raise CapabilityError(_NOT_CONVERGED.format(strength=strength))
    return Fit(classifier.predict(test_x).tolist(), int(classifier.n_iter_[0]), above)


def standardise(train: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean, unit deviation by the train part; then at most as many columns as train rows."""
    import numpy as np

    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # A feature that never varies in training says nothing: it becomes 0 instead of a division by 0.
    scale = np.where(deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300), deviation, np.inf)
    train, other = (train - mean) / scale, (other - mean) / scale
    if train.shape[1] <= train.shape[0]:
        return train, other
    basis, triangle = np.linalg.qr(train.T)  # (d, m), (m, m)
    return np.ascontiguousarray(triangle.T), other @ basis


def path(x: np.ndarray, labels: np.ndarray, strengths: Sequence[float]) -> Iterator[tuple[float, Any]]:
    """Classifiers of falling strength, each started from the last: (strength, fitted classifier)."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(solver="lbfgs", tol=GRADIENT_TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True)
    for strength in strengths:
        classifier.C = 1.0 / (strength * x.shape[0])  # scikit-learn weighs the sum of losses by C
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                classifier.fit(x, labels)
            except ConvergenceWarning as error:
                raise CapabilityError(_NOT_CONVERGED.format(strength=strength)) from error
        yield strength, classifier


def excess(classifier: Any, x: np.ndarray, labels: np.ndarray, strength: float) -> float:
    """Bound on loss - minimum in nats per sample, from a gradient computed apart from the solver."""
    import numpy as np

    probability = classifier.predict_proba(x)  # (m, c)
    residual = (probability - (labels[:, None] == classifier.classes_[None, :])) / x.shape[0]  # (m, c)
    weights = classifier.coef_
    if weights.shape[0] == 1:  # two classes: scikit-learn keeps one row
        residual = residual[:, 1:]
    gradient = residual.T @ x + strength * weights  # (c, d)
    # Strong convexity covers the weights. The intercept is not penalised, so its gradient is held to the
    # same measure as if it were: not a bound, but as strict a demand.
    squared = float(np.square(gradient).sum() + np.square(residual.sum(axis=0)).sum())
    return squared / (2 * strength)
