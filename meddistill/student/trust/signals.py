"""What one pass tells of its own mask, without another one beside it: numbers that rise or fall with
Dice. Torch alone, and smooth, so that an exported graph gives the same."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from meddistill.student.trust.fits import SIGNALS

_SHARP = 8.0
# Two odds of four: probabilities of .8 and .2 where the threshold is .5.
_FIRM = math.log(4.0)


def mask_signals(logits: Tensor, cuts: Tensor) -> Tensor:
    """Signals (B, C, K) float32 of logits (B, C, S, S), K as in `SIGNALS`; `cuts` (C,) are the
    thresholds in (0, 1).

    With q the probability moved so that the threshold is 1/2, and m the mask with a soft edge:

    - `own_dice`: 2 sum(m q) / (sum(m) + sum(q)), the Dice to be expected if q were true odds
      (Nordstroem et al. 2022, marginal thresholds); near 0 for an empty mask;
    - `firm_share`: pixels above odds of four over those above odds of a quarter;
    - `doubt`: sum(q (1 - q)) / sum(q);
    - `log_area`: logarithm of the mask's share of the frame; `peak`: the highest q;
    - `log_spread`: how far the pixels lie apart, 0 for one disk, above for several parts.
    """
    cut = cuts.clamp(1e-4, 1 - 1e-4).view(1, -1, 1, 1)
    z = logits.float().clamp(-15.0, 15.0) - torch.log(cut / (1 - cut))
    q = torch.sigmoid(z)
    soft = torch.sigmoid(_SHARP * z)
    mass, area = q.sum((2, 3)), soft.sum((2, 3))
    firm = torch.sigmoid(_SHARP * (z - _FIRM)).sum((2, 3))
    possible = torch.sigmoid(_SHARP * (z + _FIRM)).sum((2, 3))
    found = {
        "own_dice": 2 * (soft * q).sum((2, 3)) / (area + mass + 1),
        "firm_share": firm / (possible + 1),
        "doubt": (q * (1 - q)).sum((2, 3)) / (mass + 1),
        "log_area": torch.log((area + 1) / (z.shape[-1] * z.shape[-2])),
        "peak": q.amax((2, 3)),
        "log_spread": _log_spread(q),
    }
    return torch.stack([found[name] for name in SIGNALS], dim=-1)


def _log_spread(q: Tensor) -> Tensor:
    """Variance of the pixels' places, of squared q so that haze counts little, over that of a disk
    of as many pixels, A / 2 pi."""
    weight = q * q
    total = weight.sum((2, 3)) + 1
    rows = torch.arange(q.shape[2], dtype=q.dtype, device=q.device).view(1, 1, -1)
    columns = torch.arange(q.shape[3], dtype=q.dtype, device=q.device).view(1, 1, -1)
    of_rows, of_columns = weight.sum(3), weight.sum(2)
    variance = torch.zeros_like(total)
    for places, of_places in ((rows, of_rows), (columns, of_columns)):
        middle = (of_places * places).sum(2, keepdim=True) / total[..., None]
        variance = variance + (of_places * (places - middle) ** 2).sum(2) / total
    return torch.log((variance + 1) * (2 * math.pi) / total)
