"""How familiar an image is: its distance to training images in what the student itself makes of
them, as a p-value among own images that taught it nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from meddistill.base.errors import InputError
from meddistill.student.trust.likeness import LOOK_LIMIT, Likeness

MOST_REFERENCES = 256
_NEAREST = 3
_DIRECTIONS, _PULL = 32, 0.9
# Distances in which what varies together counts once are those of Mahalanobis; in full they take a
# scanner's contrast for another organ, plain ones overlook other organs at the same scanner. A tenth
# of the way there (covariance .1 S + .9 I) does neither: .github/docs/trust.md.
_LEAST_GAP, _OF_FEW = 1e-4, 1e-2
_FEW_HELD = 50
# Of few images each is a larger step of p, which the rounding of another program must not take.


def pooled(maps: Sequence[Tensor]) -> Tensor:
    """(B, D) float32: the mean of every channel of the encoder maps (B, C, h, w), fine to coarse."""
    return torch.cat([each.float().mean((2, 3)) for each in maps], dim=1)


def fit_likeness(trained: np.ndarray, held: np.ndarray, seed: int = 0) -> Likeness:
    """Of pooled features of training images (N, D) and held-back ones (n, D), N and n at least 1.

    At most `MOST_REFERENCES` training images are kept, drawn by `seed`. Raises: InputError for
    features that are not finite, or no image.
    """
    for name, features in (("training", trained), ("held-back", held)):
        if not len(features):
            raise InputError(f"no {name} image tells what is familiar")
        bad = int((~np.isfinite(features)).any(axis=1).sum())
        if bad:
            raise InputError(
                f"the student's features of {bad} of {len(features)} {name} images are not finite: "
                "its training went wrong, or its weights are damaged; train it again: `meddistill "
                "distill` with --overwrite and the settings of its run.json"
            )
    mean = trained.mean(0, dtype=np.float64).astype(np.float32)
    scale = (trained.std(0, dtype=np.float64) + 1e-4).astype(np.float32)
    unit = (trained - mean) / scale
    directions, kept = _directions(unit)
    chosen = np.arange(len(trained))
    if len(chosen) > MOST_REFERENCES:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(chosen))[:MOST_REFERENCES])
    plain = Likeness(mean, scale, directions, kept, unit[chosen], np.ones(1, np.float32))
    references = Familiarity(plain).shortened(torch.from_numpy(trained[chosen])).numpy()
    references = references.astype(np.float16).astype(np.float32)  # as they lie on disk
    plain = dataclasses.replace(plain, references=references)
    distances = Familiarity(plain).distance(torch.from_numpy(held.astype(np.float32))).numpy()
    return dataclasses.replace(plain, held=_rising(np.sort(distances)))


def _directions(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first axes (r, D) of features (N, D), and what a length along each is multiplied by."""
    count = min(_DIRECTIONS, len(unit) - 1, unit.shape[1])
    if count < 1:
        return np.zeros((1, unit.shape[1]), np.float32), np.ones(1, np.float32)
    _, sizes, axes = np.linalg.svd(unit.astype(np.float64), full_matrices=False)
    variance = sizes[:count] ** 2 / len(unit)
    kept = 1 / np.sqrt((1 - _PULL) * variance + _PULL)
    return axes[:count].astype(np.float16).astype(np.float32), kept.astype(np.float32)


def _rising(distances: np.ndarray) -> np.ndarray:
    """Sorted distances with a gap between any two, so that a p-value has no jump in it that the
    rounding of another program could cross."""
    found = np.maximum(distances.astype(np.float64), 1e-3)
    gap = _LEAST_GAP if len(found) >= _FEW_HELD else max(_LEAST_GAP, _OF_FEW / len(found))
    for place in range(1, len(found)):
        found[place] = max(found[place], found[place - 1] * (1 + gap))
    return found.astype(np.float32)


class Familiarity(nn.Module):
    """Pooled features (B, D) to distances and p-values (B,)."""

    mean: Tensor
    scale: Tensor
    directions: Tensor
    kept: Tensor
    references: Tensor
    held: Tensor

    def __init__(self, likeness: Likeness) -> None:
        super().__init__()
        for field in dataclasses.fields(likeness):
            values = torch.from_numpy(getattr(likeness, field.name).astype(np.float32))
            self.register_buffer(field.name, values)

    def looks(self, features: Tensor) -> Tensor:
        """`Likeness.looks` of features (B, D)."""
        unit = (features.float() - self.mean) / self.scale
        return unit.clamp(-LOOK_LIMIT, LOOK_LIMIT)

    def shortened(self, features: Tensor) -> Tensor:
        """Features (B, D) in the units of the references."""
        unit = ((features.float() - self.mean) / self.scale).clamp(-1e4, 1e4)
        along = (unit @ self.directions.t()) * (1 - self.kept)
        return unit - along @ self.directions

    def distance(self, features: Tensor) -> Tensor:
        """Mean root mean square distance (B,) to the three nearest training images, 0 and above."""
        unit = self.shortened(features)
        length = (unit * unit).mean(1, keepdim=True)
        theirs = (self.references * self.references).mean(1)
        products = unit @ self.references.t() / unit.shape[1]
        squares = (length + theirs - 2 * products).clamp(min=0.0)
        nearest = min(_NEAREST, self.references.shape[0])
        near = torch.topk(squares, nearest, dim=1, largest=False).values
        return torch.sqrt(near + 1e-12).mean(1)

    def p_value(self, distance: Tensor) -> Tensor:
        """Share of own images at least as far off (B,): conformal, from 1 / (n + 1) to 1, lines
        between the held-back distances (never below the p-value itself)."""
        upper = torch.cat([self.held[1:], self.held[-1:] * 1.02])
        gaps = (upper - distance[:, None]) / (upper - self.held)
        count = self.held.shape[0]
        return (1 + gaps.clamp(0.0, 1.0).sum(1)) / (count + 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """p-values and distances, (B,) each."""
        distance = self.distance(features)
        return self.p_value(distance), distance
