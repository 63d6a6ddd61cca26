"""Which image comes next: by name in `ORDERS`, which the page and `--order` choose from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from meddistill.run.tables import Case

CANDIDATES = 200
"""Images that are weighed against each other: the first of the random order that the teacher has
seen. So a choice takes milliseconds in a folder of any size."""
DOUBTED = 60
"""Those of which is asked how doubtful they are: a tenth of a second each, after every few boxes."""
_AHEAD = 10
"""Images that are chosen ahead; what follows them changes with what is done meanwhile."""
_FIRST = {"train": 0, "val": 0, "test": 1}


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of images, by case id. `features`: (C,) float32 of those that the teacher has
    seen; `doubts`: in [0, 1], how unsure heads and teacher are of what they propose there; `done`:
    those that somebody is done with. `seed`: of the random order."""

    features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    doubts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    done: Sequence[str] = ()
    seed: int = 0


Order = Callable[[Sequence[Case], Known], list[Case]]
"""Takes the images that are left, gives them in the order in which they are to be looked at."""


def listed(left: Sequence[Case], known: Known) -> list[Case]:
    """As cases.csv lists them: slices of a volume one after the other."""
    return sorted(left, key=lambda case: _FIRST[case.split])


def at_random(left: Sequence[Case], known: Known) -> list[Case]:
    """Drawn by their names, so that a restart goes on in the same order."""
    return sorted(left, key=lambda case: (_FIRST[case.split], _lot(case.case_id, known.seed)))


def diverse(left: Sequence[Case], known: Known) -> list[Case]:
    """First the image that is most like those that nothing which is done is like."""
    return _chosen_first(left, known, np.ones(CANDIDATES))


def uncertain(left: Sequence[Case], known: Known) -> list[Case]:
    """The most doubtful first; before there are heads, by chance."""
    pool = candidates(left, known, DOUBTED)
    doubtful = sorted(pool, key=lambda case: -known.doubts.get(case.case_id, 0.0))
    return _before_the_rest(doubtful[:_AHEAD] if known.doubts else [], left, known)


def mixed(left: Sequence[Case], known: Known) -> list[Case]:
    """As `diverse`, and an image counts by how doubtful it is: first what stands for most doubt."""
    pool = candidates(left, known, DOUBTED)
    doubts = [known.doubts.get(case.case_id, 1.0) for case in pool]
    return _chosen_first(left, known, np.array(doubts))


def candidates(left: Sequence[Case], known: Known, count: int) -> list[Case]:
    """The first `count` of the random order that the teacher has seen and that train."""
    seen = [case for case in left if case.split != "test" and case.case_id in known.features]
    return at_random(seen, known)[:count]


@functools.cache
def _lot(case_id: str, seed: int) -> bytes:
    """What the image draws: its place in the random order."""
    return hashlib.sha256(f"label{seed or ''} {case_id}".encode()).digest()


def _chosen_first(left: Sequence[Case], known: Known, weights: np.ndarray) -> list[Case]:
    """`weights`: of the first candidates, one each, of which the best are chosen."""
    pool = candidates(left, known, len(weights))
    if not pool:
        return at_random(left, known)
    done = [known.features[each] for each in known.done if each in known.features]
    features = np.stack([known.features[case.case_id] for case in pool])
    there = np.array(done) if done else features[:0]
    chosen = cover(features, there, weights[: len(pool)], _AHEAD)
    return _before_the_rest([pool[place] for place in chosen], left, known)


def _before_the_rest(first: Sequence[Case], left: Sequence[Case], known: Known) -> list[Case]:
    there = {case.case_id for case in first}
    return [*first, *at_random([case for case in left if case.case_id not in there], known)]


def cover(features: np.ndarray, done: np.ndarray, weights: np.ndarray, count: int) -> list[int]:
    """Places of the `count` images that stand for all others best, the best first.

    Each is the one that lowers most the weighted sum of distances from every image to the nearest
    that is done or chosen: the greedy rule for k-medians, which picks typical images before odd
    ones (k-center picks the oddest first). Source: the facility location problem, Cornuejols,
    Fisher and Nemhauser 1977.

    Args:
        features: (N, C) float32 of the images to choose from, N >= 1.
        done: (M, C) of those that are done, M >= 0.
        weights: (N,), how much each image counts.
        count: at most so many; fewer where there are fewer.
    """
    everything = np.concatenate([features, done]) if len(done) else features
    scaled = (everything - everything.mean(0)) / (everything.std(0) + 1e-6)
    squares = (scaled**2).sum(1)
    squared = squares[: len(features), None] + squares - 2 * scaled[: len(features)] @ scaled.T
    apart = np.sqrt(np.maximum(squared, 0))
    to_others, to_done = apart[:, : len(features)], apart[:, len(features) :]
    nearest = to_done.min(1) if len(done) else np.full(len(features), apart.max())
    chosen: list[int] = []
    for _ in range(min(count, len(features))):
        gains = (weights[:, None] * np.maximum(nearest[:, None] - to_others, 0)).sum(0)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        nearest = np.minimum(nearest, to_others[chosen[-1]])
    return chosen


ORDERS: dict[str, Order] = {
    "random": at_random,
    "diverse": diverse,
    "uncertain": uncertain,
    "mix": mixed,
    "listed": listed,
}
"""Images for training and validation first: boxes on test images train nothing."""
DOUBTING = frozenset({"uncertain", "mix"})
"""The orders that ask how doubtful an image is."""
