"""The weightings that `distill.weighting` names. To add one: its module, and its line here."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from meddistill.base.errors import ConfigError, nearest
from meddistill.training.weighting.fixed import FixedWeighting
from meddistill.training.weighting.learned import LearnedWeighting
from meddistill.training.weighting.paper import PaperWeighting
from meddistill.training.weighting.ulwr import UlwrWeighting
from meddistill.training.weighting.weighting import Weighting

WEIGHTINGS: dict[str, Callable[[float, float, float, Tensor], Weighting]] = {
    "fixed": FixedWeighting,
    "paper": PaperWeighting,
    "learned": LearnedWeighting,
    "ulwr": UlwrWeighting,
}
"""Name -> from the base weights of mask, probability and feature level, and the doubt of the
training targets (N,), to the weighting."""


def build_weighting(
    name: str, *, mask: float, probability: float, feature: float, training_doubt: Tensor
) -> Weighting:
    """The weighting called `name`. Raises: ConfigError with the nearest right name.

    Args:
        name: a key of `WEIGHTINGS`.
        mask: base weight of the mask level, 0 for off; so `probability` and `feature`.
        probability: of the squared error of probabilities.
        feature: of the feature level.
        training_doubt: (N,), the doubt of all training targets.
    """
    if name not in WEIGHTINGS:
        raise ConfigError(f"weighting is '{name}'{nearest(name, WEIGHTINGS)}")
    return WEIGHTINGS[name](mask, probability, feature, training_doubt)
