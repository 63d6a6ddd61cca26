"""From a number a case to a number with its uncertainty: quantiles, intervals resampled by group,
paired differences.

Slices of one patient are alike, so the unit that is resampled is the group (patient, or what stands
for it), never the case: an interval over cases would be too narrow. All functions are pure and
seeded.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK_ENTRIES = 4_000_000  # resamples x groups held at a time

Values = Sequence[float] | np.ndarray


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
    return describe_samples([(values, groups)], seed=seed, resamples=resamples)


def describe_samples(
    samples: Sequence[tuple[Sequence[float], Sequence[str]]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Spread:
    """The mean of several samples' means (as of a value a finding), its interval, and the means of
    their medians and quartiles; `n` counts all their values.

    A sample is its values and the group of each; whole groups are drawn for all samples at once, as
    a patient's findings come together. Raises: as `describe`; ValueError for no sample.
    """
    if not samples:
        raise ValueError("a statistic needs at least one sample")
    arrays = [_checked(values, groups) for values, groups in samples]
    q1, median, q3 = np.mean([np.percentile(array, [25, 50, 75]) for array in arrays], axis=0)
    everyone = {group for _, groups in samples for group in groups}
    return Spread(
        n=sum(array.size for array in arrays),
        n_groups=len(everyone),
        mean=float(np.mean([array.mean() for array in arrays])),
        ci95=bootstrap_ratios(
            [
                (array, np.ones_like(array), groups)
                for array, (_, groups) in zip(arrays, samples, strict=True)
            ],
            seed=seed,
            resamples=resamples,
        ),
        median=float(median),
        q1=float(q1),
        q3=float(q3),
    )


def bootstrap_ratios(
    samples: Sequence[tuple[Values, Values, Sequence[str]]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """95 % percentile interval of the mean over samples of sum(parts) / sum(wholes), resampling whole
    groups with replacement; a sample is its parts, its wholes and the group of each.

    With wholes of 1 such a ratio is the mean; with counts it is a pooled ratio, such as an F1. None
    for fewer than two groups: one patient says nothing of the next. Resamples whose wholes sum to 0
    in every sample are left out; where they do in some, those samples' own ratios stand.
    """
    names = np.unique(np.concatenate([np.asarray(groups, dtype=str) for *_, groups in samples]))
    if names.size < 2:
        return None
    sums = []
    for parts, wholes, groups in samples:
        index = np.searchsorted(names, np.asarray(groups, dtype=str))
        sums.append(
            [
                np.bincount(index, weights=np.asarray(each, dtype=np.float64), minlength=names.size)
                for each in (parts, wholes)
            ]
        )
    drawn = [_mean_ratios(times, sums) for times in _draws(names.size, seed, resamples)]
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
    return compare_samples([(first, second, groups)], seed=seed, resamples=resamples)


def compare_samples(
    samples: Sequence[tuple[Sequence[float], Sequence[float], Sequence[str]]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """The mean over several samples of the difference first - second, as `describe_samples` takes
    means; a sample is the first's values, the second's and the groups. Raises: as
    `compare_paired`."""
    differences = [
        (_checked(first, groups) - _checked(second, groups), groups)
        for first, second, groups in samples
    ]
    spread = describe_samples(
        [(difference.tolist(), groups) for difference, groups in differences],
        seed=seed,
        resamples=resamples,
    )
    return PairedDifference(
        n=spread.n,
        n_groups=spread.n_groups,
        mean=spread.mean,
        ci95=spread.ci95,
        median=spread.median,
        p_wilcoxon=_signed_rank_p(_group_means(differences)),
        n_better=sum(int(np.count_nonzero(each > 0)) for each, _ in differences),
        n_worse=sum(int(np.count_nonzero(each < 0)) for each, _ in differences),
    )


def _signed_rank_p(differences: np.ndarray) -> float:
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def _draws(count: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each of `count` groups is drawn in a resample, float64 (chunk, count), some
    resamples at a time."""
    chunk = max(1, _CHUNK_ENTRIES // count)
    if chunk >= resamples:
        yield _whole_draw(count, seed, resamples)
        return
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, chunk):
        yield _draw(rng, count, min(chunk, resamples - start))


@functools.lru_cache(maxsize=4)  # every metric of every method is resampled in the same way
def _whole_draw(count: int, seed: int, resamples: int) -> np.ndarray:
    return _draw(np.random.default_rng(seed), count, resamples)


def _draw(rng: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)


def _mean_ratios(times: np.ndarray, sums: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """The mean of the samples' ratios in each resample in which any has a whole: (R,), R at most
    the resamples."""
    ratios, known = [], np.zeros(len(times), dtype=bool)
    for part_sums, whole_sums in sums:
        numerator, denominator = times @ part_sums, times @ whole_sums
        whole = whole_sums.sum()
        ratio = np.full(len(times), part_sums.sum() / whole if whole else np.nan)
        np.divide(numerator, denominator, out=ratio, where=denominator > 0)
        ratios.append(ratio)
        known |= denominator > 0
    return np.asarray(np.mean(np.stack(ratios)[:, known], axis=0))


def _group_means(samples: Sequence[tuple[np.ndarray, Sequence[str]]]) -> np.ndarray:
    """A mean a group: of its values in each sample, then of the samples that it is in."""
    means: dict[str, list[float]] = {}
    for values, groups in samples:
        names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        for name, mean in zip(
            names, np.bincount(index, weights=values) / np.bincount(index), strict=True
        ):
            means.setdefault(str(name), []).append(mean)
    return np.array([np.mean(means[name]) for name in sorted(means)])


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
