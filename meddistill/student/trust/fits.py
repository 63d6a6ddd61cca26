"""From validation cases to the few numbers of a map: odds by signals, an interval around them, and
what probabilities mean. Arrays alone; what they come from is `training/trusting.py`'s business."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

SIGNALS = ("own_dice", "firm_share", "doubt", "log_area", "peak", "log_spread")
"""What `signals.mask_signals` tells of a mask, in the order of its last axis."""
RISES = (1, 1, -1, 1, 1, -1)
"""1 where a mask is the better the higher the signal, -1 where the lower."""
FEW_CASES = 30
"""Below this many validation cases nothing is promised."""
COVERAGE = 0.9
KNOTS = 9
_FOLDS = 5
_PULL = 2.0
"""With 30 cases it counts, with 300 hardly."""
_LEAST_SCALE = 0.05
"""A signal that hardly varies on validation must not decide on images where it does."""


@dataclasses.dataclass(frozen=True)
class Line:
    """sigmoid(bias + sum(weights x signals)): `weights` (K,) in the signals' own units."""

    weights: np.ndarray
    bias: float

    def __call__(self, signals: np.ndarray) -> np.ndarray:
        """(N,) in (0, 1) of signals (N, K)."""
        return np.asarray(_sigmoid(signals @ self.weights + self.bias))


def fit_line(
    signals: np.ndarray, target: np.ndarray, rises: Sequence[int], pull: float = _PULL
) -> Line:
    """The line that is nearest to `target` by cross-entropy, monotone in every signal.

    Signals (N, K) float, target (N,) in [0, 1]; `rises` (K,): 1 or -1, the only sign that a
    signal's weight may have, 0 for either; `pull`: weight of the squared weights against one case's
    cross-entropy. A signal that never changes gets no weight; with all targets equal the line is about
    flat.
    """
    mean, scale = signals.mean(0), np.maximum(signals.std(0), _LEAST_SCALE)
    unit = (signals - mean) / scale

    def loss(given: np.ndarray) -> tuple[float, np.ndarray]:
        logit = unit @ given[1:] + given[0]
        odds = _sigmoid(logit)
        cost = np.logaddexp(0, logit) - target * logit
        slope = np.r_[(odds - target).sum(), unit.T @ (odds - target) + 2 * pull * given[1:]]
        return float(cost.sum() + pull * (given[1:] ** 2).sum()), slope

    bounds = [(-8.0, 8.0)] + [
        {1: (0.0, 8.0), -1: (-8.0, 0.0), 0: (-8.0, 8.0)}[sign] for sign in rises
    ]
    found = _minimum(loss, np.zeros(len(bounds)), bounds)
    weights = found[1:] / scale
    return Line(weights, float(found[0] - weights @ mean))


def cross_fitted(
    signals: np.ndarray, target: np.ndarray, groups: Sequence[str], rises: Sequence[int]
) -> np.ndarray:
    """What lines that have not seen a case's group say of it, (N,): of five folds of groups.

    With fewer than two groups the line has seen them all.

    Args:
        signals: (N, K).
        target: (N,) in [0, 1].
        groups: of each case.
        rises: as `fit_line`.
    """
    names = sorted(set(groups))
    order = np.random.default_rng(0).permutation(len(names))
    fold_of = {names[place]: rank % _FOLDS for rank, place in enumerate(order)}
    fold = np.array([fold_of[group] for group in groups])
    found = np.zeros(len(target))
    for each in np.unique(fold):
        held = fold == each
        learnt = ~held if (~held).any() else held
        found[held] = fit_line(signals[learnt], target[learnt], rises)(signals[held])
    return found


@dataclasses.dataclass(frozen=True)
class Interval:
    """Bounds by expected value: lines between the knots `at`, (M,) rising, all in [0, 1]."""

    at: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __call__(self, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Low and high (N,) of expected (N,)."""
        low = np.minimum(np.interp(expected, self.at, self.low), expected)
        return low, np.maximum(np.interp(expected, self.at, self.high), expected)


def fit_interval(expected: np.ndarray, target: np.ndarray) -> Interval:
    """Bounds that hold `COVERAGE` of cases like these: the shortest interval around each knot, then
    widened by what it takes (conformal quantiles: Romano et al. 2019).

    `expected` (N,) must come from lines that have not seen the case. Fewer than `FEW_CASES` cases
    give 0 to 1 wherever: nothing can be promised.
    """
    if len(target) < FEW_CASES:
        return Interval(np.array([0.0, 1.0]), np.zeros(2), np.ones(2))
    order = np.argsort(expected, kind="stable")
    folds = np.empty(len(target), int)
    folds[order] = np.arange(len(target)) % 2
    excess = np.empty(len(target))
    for half in (0, 1):
        held = folds == half
        low, high = _shortest(expected[~held], target[~held])(expected[held])
        excess[held] = np.maximum(low - target[held], target[held] - high)
    rank = int(np.ceil(COVERAGE * (len(target) + 1)))
    widen = float(np.sort(excess)[min(rank, len(target)) - 1])
    plain = _shortest(expected, target)
    low, high = np.clip(plain.low - widen, 0, 1), np.clip(plain.high + widen, 0, 1)
    return Interval(plain.at, np.minimum(low, high), np.maximum(low, high))


def _shortest(expected: np.ndarray, target: np.ndarray) -> Interval:
    """The shortest interval with `COVERAGE` of the nearest cases, at each knot."""
    at = np.unique(np.quantile(expected, np.linspace(0.02, 0.98, KNOTS)))
    count = max(min(len(target), 15), len(target) // 4)
    held = int(np.ceil(COVERAGE * count))
    low, high = [], []
    for knot in at:
        near = np.sort(target[np.argsort(np.abs(expected - knot), kind="stable")[:count]])
        widths = near[held - 1 :] - near[: count - held + 1]
        first = int(np.argmin(widths))
        low.append(near[first])
        high.append(near[first + held - 1])
    return Interval(at, np.array(low), np.array(high))


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a probability p means: sigmoid(a ln p - b ln(1 - p) + c), beta calibration (Kull et al.
    2017); a = b = 1, c = 0 leaves it as it is. a and b above 0: no two change places."""

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __call__(self, probs: np.ndarray) -> np.ndarray:
        """float32 in [0, 1] of probabilities of any shape, in [0, 1]."""
        if self == Meaning():
            return probs
        # In float32, as the exported graph: on whole images doubles cost a tenth of predicting them.
        # The logit is below 80 (`fit_meaning`), so that nothing overflows.
        wide = np.clip(probs.astype(np.float32), np.float32(EDGE), np.float32(1 - EDGE))
        logit = np.log(wide) * np.float32(self.a) - np.log1p(-wide) * np.float32(self.b)
        return np.asarray(1 / (1 + np.exp(-(logit + np.float32(self.c)))), dtype=np.float32)


EDGE = 1e-6
"""Probabilities nearer than this to 0 and 1 are taken for it where a logarithm is taken."""
_BINS = 4096


def fit_meaning(probs: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Meaning:
    """The meaning that makes `target` (N,), soft, in [0, 1], most likely of probabilities (N,), each
    pixel by its `weight` (N,), 0 or more.

    Millions of pixels are counted in bins of the logit first. As it is where there is nothing to
    fit: no pixel, or targets that are all equal.
    """
    wide = np.clip(probs.astype(np.float64), EDGE, 1 - EDGE)
    if not len(wide) or float(np.ptp(target)) < 1e-3:
        return Meaning()
    span = -np.log(EDGE)
    bins = ((np.log(wide / (1 - wide)) / (2 * span) + 0.5) * (_BINS - 1)).round().astype(int)
    count = np.bincount(bins, weight, minlength=_BINS)
    hit = np.bincount(bins, target * weight, minlength=_BINS)
    there = count > 0
    count, hit = count[there] / count.sum(), hit[there] / count.sum()
    places = (np.arange(_BINS)[there] / (_BINS - 1) - 0.5) * 2 * span
    log_p, log_not = -np.logaddexp(0, -places), -np.logaddexp(0, places)
    parts = np.stack([log_p, -log_not, np.ones_like(log_p)], axis=1)

    def loss(given: np.ndarray) -> tuple[float, np.ndarray]:
        logit = parts @ given
        cost = count * np.logaddexp(0, logit) - hit * logit
        return float(cost.sum()), parts.T @ (count * _sigmoid(logit) - hit)

    bounds = [(0.02, 5.0), (0.02, 5.0), (-10.0, 10.0)]
    a, b, c = _minimum(loss, np.array([1.0, 1.0, 0.0]), bounds)
    return Meaning(float(a), float(b), float(c))


def best_cut(odds: np.ndarray, present: np.ndarray) -> float:
    """The odds from which something is taken to be there: half way between the two cases where
    sensitivity and specificity together are highest; of equal ones that which misses less."""
    order = np.sort(np.unique(odds))
    cuts = np.r_[0.0, (order[1:] + order[:-1]) / 2, 1.0]
    gains = [float((odds[present] >= cut).mean() + (odds[~present] < cut).mean()) for cut in cuts]
    return float(cuts[int(np.argmax(np.round(gains, 9)))])


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -logit))


def _minimum(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    bounds: Sequence[tuple[float, float]],
) -> np.ndarray:
    from scipy.optimize import minimize  # who only reads a map needs not wait for it

    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    return np.asarray(found.x)
