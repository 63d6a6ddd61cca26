"""What becomes of training images without a box where nobody said so, and which settings go with
it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from meddistill.base import console
from meddistill.base.errors import ConfigError
from meddistill.run.dataset import Dataset
from meddistill.run.few_boxes import boxed_training_images, has_few_boxes
from meddistill.run.findings import read_findings
from meddistill.run.volumes import within_reach
from meddistill.settings.distill import DistillConfig

_PLAIN = DistillConfig()


def with_unboxed_decided(config: DistillConfig, dataset: Dataset) -> DistillConfig:
    """The config with `auto` decided: boxes are carried where most unboxed slices lie in volumes that
    have some; else a head proposes wherever training images are unboxed and at most `MOST_FEW` are
    boxed, no table of boxes is given and nothing else was asked for that goes with a detector's
    boxes.

    With few boxes training has a step size and decay of its own, its own choice of epoch and
    threshold, and the feature level is off: features are cached for boxed images alone, and a batch has
    them of all its cases or of none.
    Raises: ConfigError for box priors with several findings or with the recipe of few boxes, and for
    rounds of students where a head proposes.
    """
    if config.prior_weight > 0 and not read_findings(dataset.directory).is_one:
        raise ConfigError(
            "distill.prior_weight above 0 goes with one finding, and this RUN has several"
        )
    unboxed = config.colearning.unboxed
    if unboxed == "auto":
        unboxed = _of_auto(config, dataset)
    config = dataclasses.replace(
        config, colearning=dataclasses.replace(config.colearning, unboxed=unboxed)
    )
    recipe = config.colearning
    if recipe.carries:
        _warn_of_what_is_out_of_reach(dataset)
    if not recipe.few_boxes:
        return config
    _check_goes_together(config)
    ours: dict[str, Any] = {
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "feature_weight": 0.0,
        "keep": recipe.keep,
        "threshold": recipe.threshold,
        "patience": 0 if recipe.keep == "last" else config.patience,
    }
    _say_what_is_replaced(config, ours)
    share = recipe.share_of_boxed(boxed_training_images(dataset.cases))
    return dataclasses.replace(
        config, **ours, colearning=dataclasses.replace(recipe, boxed_share=share)
    )


def _of_auto(config: DistillConfig, dataset: Dataset) -> str:
    asked = ("boxes_file", "boxes", "no_box", "rounds")
    others = any(getattr(config, name) != getattr(_PLAIN, name) for name in asked)
    proposes = has_few_boxes(dataset.cases) and not others
    near, far = within_reach(dataset.cases)
    if near and not config.boxes_file and (near >= far or not proposes):
        return "carry"
    return "propose" if proposes else "detected"


def _warn_of_what_is_out_of_reach(dataset: Dataset) -> None:
    _, far = within_reach(dataset.cases)
    if far:
        console.warn(
            f"boxes are carried through volumes that have some; {far} unboxed training images lie in "
            "none and teach nothing: box a slice of each volume, or let heads propose "
            "(--set distill.colearning.unboxed=propose)"
        )


def _say_what_is_replaced(config: DistillConfig, ours: Mapping[str, Any]) -> None:
    """Name what the user or a preset set and training with few boxes does otherwise, as `ours`
    says."""
    recipe = config.colearning
    instead = {"epochs": f"distill.colearning.steps={recipe.steps}"} | {
        name: f"distill.colearning.{name}={_written(ours[name])}"
        for name in ("lr", "weight_decay", "keep", "threshold")
    }
    instead |= {"feature_weight": "no feature level", "patience": "a number of steps"}
    told = [
        f"{what} in place of distill.{name}={_written(found)}"
        for name, what in instead.items()
        if (found := getattr(config, name)) not in (getattr(_PLAIN, name), ours.get(name))
    ]
    if told:
        console.say(f"with few boxes: {', '.join(told)}")


def _written(value: object) -> str:
    if value is None:
        return "(chosen)"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _check_goes_together(config: DistillConfig) -> None:
    unboxed = config.colearning.unboxed
    if config.prior_weight > 0:
        raise ConfigError(
            f"distill.prior_weight above 0 does not go with distill.colearning.unboxed={unboxed}: no "
            "view of a case is left unwarped there; set it to 0, or unboxed=detected"
        )
    if config.rounds > 1 and unboxed == "propose":
        raise ConfigError(
            f"distill.rounds={config.rounds} does not go with distill.colearning.unboxed=propose, "
            "which has rounds of its own (distill.colearning.rounds); set it to 1, or unboxed=detected"
        )
    if config.batch_size == 1 and unboxed == "propose":
        raise ConfigError(
            "distill.batch_size=1 does not go with distill.colearning.unboxed=propose, whose steps draw "
            "boxed and unboxed images; set it to 2 or more, or unboxed=ignore"
        )
