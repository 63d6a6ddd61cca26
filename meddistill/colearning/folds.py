"""Cross-validation over the boxed images: the only judge where boxes are few and masks are none."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence


def group_folds(groups: Sequence[str], count: int, seed: int) -> list[int]:
    """The fold, from 0, of each case; whole groups, folds of nearly equal size.

    `groups`: a name a case; an empty one is a group of its own. Fewer groups than folds give as
    many folds as groups. Source: the greedy rule of scikit-learn's GroupKFold.
    """
    names = [name or f" {index}" for index, name in enumerate(groups)]
    sizes = Counter(names)

    def order(name: str) -> tuple[int, bytes]:
        return -sizes[name], hashlib.sha256(f"{seed} {name}".encode()).digest()

    filled = [0] * max(1, min(count, len(sizes)))
    fold_of = {}
    for name in sorted(sizes, key=order):
        fold = filled.index(min(filled))
        fold_of[name] = fold
        filled[fold] += sizes[name]
    return [fold_of[name] for name in names]
