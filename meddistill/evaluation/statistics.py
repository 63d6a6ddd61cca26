"""From a number a case to a number with its uncertainty: quantiles, intervals resampled by group,
paired differences.

Slices of one patient are alike, so the unit that is resampled is the group (patient, or what stands
for it), never the case: an interval over cases would be too narrow. All functions are pure and
seeded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK_ENTRIES = 4_000_000  # resamples x groups held at a time


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """A sample of cases in short. `ci95` bounds the mean; None for fewer than two groups."""

    n: int
    n_groups: int
    mean: float
    ci95: tuple[float, float] | None
    median: float
    q1: float
    q3: float


@dataclasses.dataclass(frozen=True, slots=True)
class PairedDifference:
    """First minus second over the same cases.

    `p_wilcoxon`: two-sided signed-rank test over the groups' mean differences (cases of one group
    are not independent); 1 where all are zero. `n_better`, `n_worse`: cases in which the first has
    the larger or the smaller value.
    """

    n: int
    n_groups: int
    mean: float
    ci95: tuple[float, float] | None
    median: float
    p_wilcoxon: float
    n_better: int
    n_worse: int


def describe(
    values: Sequence[float], groups: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> Spread:
    """Mean, interval, median and quartiles of one value a case.

    Raises: ValueError for no values, values that are not finite, or lists of two lengths.

    Args:
        values: one a case.
        groups: each case's group: resampled whole.
        seed: of the resampling.
        resamples: how many.
    """
    array = _checked(values, groups)
    q1, median, q3 = (float(q) for q in np.percentile(array, [25, 50, 75]))
    interval = bootstrap_ratio(array, np.ones_like(array), groups, seed=seed, resamples=resamples)
    return Spread(array.size, len(set(groups)), float(array.mean()), interval, median, q1, q3)


def bootstrap_ratio(
    parts: Sequence[float] | np.ndarray,
    wholes: Sequence[float] | np.ndarray,
    groups: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """95 % percentile interval of sum(parts) / sum(wholes), resampling whole groups with
    replacement.

    With `wholes` all 1 this is the mean; with counts it is a pooled ratio, such as an F1. None for
    fewer than two groups: one patient says nothing of the next. Resamples whose wholes sum to 0 are
    left out.

    Args:
        parts: one a case, such as a count of hits.
        wholes: one a case, such as a count of all.
        groups: each case's group.
        seed: of the resampling.
        resamples: how many.
    """
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if names.size < 2:
        return None
    part_sums = np.bincount(index, weights=np.asarray(parts, dtype=np.float64))
    whole_sums = np.bincount(index, weights=np.asarray(wholes, dtype=np.float64))
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_ENTRIES // names.size)
    drawn = []
    for start in range(0, resamples, chunk):
        # How often each group is drawn in a resample: (chunk, groups).
        times = rng.multinomial(
            names.size, np.full(names.size, 1 / names.size), size=min(chunk, resamples - start)
        )
        numerator, denominator = times @ part_sums, times @ whole_sums
        drawn.append(numerator[denominator > 0] / denominator[denominator > 0])
    ratios = np.concatenate(drawn)
    if not ratios.size:
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def compare_paired(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Difference first - second of two methods on the same cases, in the same order.

    Raises: ValueError for no values, values that are not finite, or lists of different lengths.

    Args:
        first: one value a case.
        second: the other method's.
        groups: each case's group.
        seed: of the resampling.
        resamples: how many.
    """
    difference = _checked(first, groups) - _checked(second, groups)
    spread = describe(difference.tolist(), groups, seed=seed, resamples=resamples)
    return PairedDifference(
        n=spread.n,
        n_groups=spread.n_groups,
        mean=spread.mean,
        ci95=spread.ci95,
        median=spread.median,
        p_wilcoxon=_signed_rank_p(_group_means(difference, groups)),
        n_better=int(np.count_nonzero(difference > 0)),
        n_worse=int(np.count_nonzero(difference < 0)),
    )


def _signed_rank_p(differences: np.ndarray) -> float:
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def _group_means(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    _, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    means: np.ndarray = np.bincount(index, weights=values) / np.bincount(index)
    return means


def _checked(values: Sequence[float], groups: Sequence[str]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError("a statistic needs at least one value")
    if array.size != len(groups):
        raise ValueError(f"{array.size} values, but {len(groups)} groups")
    if not np.isfinite(array).all():
        raise ValueError(
            "a value is not finite; the metrics never give NaN, so this is a mistake upstream"
        )
    return array
