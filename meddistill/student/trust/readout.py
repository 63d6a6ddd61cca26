"""The numbers that go with a mask, out of the same pass: for PyTorch and for an exported graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from meddistill.base.errors import InputError
from meddistill.student.trust.familiarity import Familiarity, pooled
from meddistill.student.trust.fits import SIGNALS, Interval, Line
from meddistill.student.trust.reading import NUMBERS, Reading, readings_of
from meddistill.student.trust.signals import mask_signals
from meddistill.student.trust.trust import Expected, Trust


class Readings(NamedTuple):
    """Of B images: `familiarity` (B,); the others (B, C). NaN: unknown."""

    familiarity: Tensor
    expected_dice: Tensor
    expected_dice_low: Tensor
    expected_dice_high: Tensor
    p_finding: Tensor
    signals: Tensor
    """(B, C, K): `SIGNALS` and the logarithm of the distance, for what is asked besides."""


class Readout(nn.Module):
    """Logits and encoder maps of a pass to `Readings`."""

    cuts: Tensor
    looks: Tensor | None

    def __init__(self, trust: Trust, cuts: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("cuts", torch.tensor(cuts, dtype=torch.float32))
        self.familiarity = None if trust.likeness is None else Familiarity(trust.likeness)
        self.expected = _Odds([of.expected.line if of.expected else None for of in trust.findings])
        self.present = _Odds([of.present for of in trust.findings])
        self.register_buffer("looks", _looks(trust))
        self.bounds = _Bounds([of.expected for of in trust.findings])

    def forward(self, logits: Tensor, maps: Sequence[Tensor]) -> Readings:
        """Logits (B, C, S, S) and the encoder maps of the same pass."""
        signals = mask_signals(logits, self.cuts)
        beside = None
        if self.familiarity is None:
            p_value = torch.full_like(signals[:, 0, 0], torch.nan)
            far = torch.zeros_like(signals[..., :1])
        else:
            features = pooled(maps)
            p_value, distance = self.familiarity(features)
            far = torch.log(distance)[:, None, None].expand(-1, signals.shape[1], 1)
            if self.looks is not None:
                beside = self.familiarity.looks(features) @ self.looks.t()
        signals = torch.cat([signals, far], dim=-1)
        expected = self.expected(signals)
        low, high = self.bounds(expected)
        present = self.present(signals[..., : len(SIGNALS)], beside)
        return Readings(p_value, expected, low, high, present, signals)


class _Odds(nn.Module):
    """A `Line` a finding: signals (B, C, K) to (B, C)."""

    weights: Tensor
    bias: Tensor

    def __init__(self, lines: Sequence[Line | None]) -> None:
        super().__init__()
        size = max((len(line.weights) for line in lines if line is not None), default=1)
        weights, bias = np.zeros((len(lines), size)), np.full(len(lines), np.nan)
        for place, line in enumerate(lines):
            if line is not None:
                weights[place], bias[place] = line.weights, line.bias
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))
        self.register_buffer("bias", torch.from_numpy(bias.astype(np.float32)))

    def forward(self, signals: Tensor, beside: Tensor | None = None) -> Tensor:
        """`beside` (B, C) is added to the logarithm of the odds."""
        known = signals[..., : self.weights.shape[1]]
        logit = (known * self.weights).sum(-1) + self.bias
        return torch.sigmoid(logit if beside is None else logit + beside)


def _looks(trust: Trust) -> Tensor | None:
    """What the look of an image adds to the odds of each finding, (C, D); None where none does."""
    looks = [of.present_look for of in trust.findings]
    known = [look for look in looks if look is not None]
    if not known or trust.likeness is None:
        return None
    none = np.zeros_like(known[0])
    rows = [none if look is None else look for look in looks]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


class _Bounds(nn.Module):
    """An `Interval` a finding: expected (B, C) to low and high (B, C)."""

    at: Tensor
    steps: Tensor
    slopes: Tensor
    first: Tensor

    def __init__(self, expected: Sequence[Expected | None]) -> None:
        super().__init__()
        intervals = [
            Interval(np.array([0.0, 1.0]), np.zeros(2), np.ones(2)) if of is None else of.interval
            for of in expected
        ]
        most = max(len(of.at) for of in intervals)
        at, low, high = (
            np.stack([_to_length(getattr(of, name), most, name == "at") for of in intervals])
            for name in ("at", "low", "high")
        )
        steps = np.diff(at, axis=1)
        values = np.stack([low, high])  # (2, C, M)
        buffers = {
            "at": at[:, :-1],
            "steps": steps,
            "slopes": np.diff(values, axis=2) / steps,
            "first": values[:, :, 0],
        }
        for name, array in buffers.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.float32)))

    def forward(self, expected: Tensor) -> tuple[Tensor, Tensor]:
        zero = torch.zeros_like(self.steps)
        along = torch.minimum(torch.maximum(expected[..., None] - self.at, zero), self.steps)
        low = self.first[0] + (self.slopes[0] * along).sum(-1)
        high = self.first[1] + (self.slopes[1] * along).sum(-1)
        return torch.minimum(low, expected), torch.maximum(high, expected)


def _to_length(values: np.ndarray, length: int, rising: bool) -> np.ndarray:
    """Knots repeated at the end, up to `length`; at least two."""
    missing = max(length, 2) - len(values)
    tail = np.repeat(values[-1:], missing) + (np.arange(1, missing + 1) if rising else 0)
    return np.concatenate([values, tail])


def as_readings(found: Readings, trust: Trust) -> list[Reading]:
    """A `Reading` an image; what is not finite is unknown."""
    numbers = torch.stack(found[1 : len(NUMBERS)], dim=-1).cpu().numpy()
    cuts = [of.present_cut for of in trust.findings]
    familiarity, signals = found.familiarity.cpu().numpy(), found.signals.cpu().numpy()
    return readings_of(familiarity, numbers, cuts, signals, trust.least_familiarity)


def check_fits(trust: Trust, features: int, findings: int, where: str) -> None:
    """Raise InputError where statistics are of another network than the student's."""
    likeness = trust.likeness
    if likeness is not None and likeness.mean.shape != (features,):
        raise InputError(
            f"{where} has statistics of {len(likeness.mean)} features, the student has {features}: "
            "run `meddistill calibrate` for it again"
        )
    if len(trust.findings) != findings:
        raise InputError(
            f"{where} knows {len(trust.findings)} finding(s), the student has {findings}: run "
            "`meddistill calibrate` for it again"
        )
