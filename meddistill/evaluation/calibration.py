"""Do probabilities mean what they say? Of the pixels given 0.7, seven in ten should be lesion."""

from __future__ import annotations

from typing import Any

import numpy as np

N_BINS = 15
NEAR = 0.05
"""Pixels that the prediction gives at least this, or that are lesion, are `near`: plain background
is easy."""


class Calibration:
    """Pixels counted in equal-width bins of probability, over as many cases as are added.

    `near` keeps the near pixels alone, so that background cannot hide a bad calibration at the
    lesion.
    """

    def __init__(self, near: bool = False) -> None:
        self.near = near
        self.counts = np.zeros(N_BINS)
        self.prob_sums = np.zeros(N_BINS)
        self.true_sums = np.zeros(N_BINS)
        self.square_sum = 0.0

    def add(self, probs: np.ndarray, target: np.ndarray, where: np.ndarray | None = None) -> None:
        """Count a case: probabilities float (H, W) in [0, 1] and its true mask, bool (H, W); where
        given, the pixels `where` alone, bool (H, W)."""
        if where is not None:
            probs, target = probs[where], target[where]
        if self.near:
            chosen = (probs >= NEAR) | target
            probs, target = probs[chosen], target[chosen]
        probs = probs.ravel().astype(np.float64)
        bins = np.minimum((probs * N_BINS).astype(np.intp), N_BINS - 1)
        truth = target.ravel()
        self.counts += np.bincount(bins, minlength=N_BINS)
        self.prob_sums += np.bincount(bins, probs, minlength=N_BINS)
        self.true_sums += np.bincount(bins[truth], minlength=N_BINS)
        self.square_sum += float(np.square(probs - truth).sum())

    @property
    def n_pixels(self) -> int:
        return int(self.counts.sum())

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and truth, in [0, 1]; 0 without pixels."""
        return self.square_sum / self.n_pixels if self.n_pixels else 0.0

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini et al. 2015): |mean probability - lesion share|,
        weighted by pixels."""
        return (
            float(np.abs(self.prob_sums - self.true_sums).sum() / self.n_pixels)
            if self.n_pixels
            else 0.0
        )

    def as_dict(self) -> dict[str, Any]:
        """Numbers and the reliability curve: a point (mean probability, lesion share, pixels) a bin
        that has pixels."""
        filled = self.counts > 0
        curve = {
            "prob": self.prob_sums[filled] / self.counts[filled],
            "share": self.true_sums[filled] / self.counts[filled],
            "pixels": self.counts[filled],
        }
        return {
            "n_pixels": self.n_pixels,
            "brier": self.brier,
            "ece": self.ece,
            "curve": {name: values.tolist() for name, values in curve.items()},
        }
