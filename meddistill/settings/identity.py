"""The settings by which a stage recognises its own earlier output, and a target its file: all that
change it, by their roles.

A stage's identity goes to run.json, so the order counts there, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meddistill.settings.detect import DetectConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.roles import (
    BASELINE,
    CHOICE,
    CONTENT,
    NOTHING,
    RESULT,
    TARGETS,
    in_use,
    of_role,
    with_befores,
    without_role,
)
from meddistill.settings.targets import TargetsConfig

SCHEMAS: dict[str, type] = {
    "prepare": PrepareConfig,
    "detect": DetectConfig,
    "teacher": DistillConfig,
    "distill": DistillConfig,
    "eval": EvalConfig,
}
"""By the name of a stage, where its settings are defined."""

# Names that the key of a target has had since before the settings had theirs.
_NAMES_IN_KEY = {
    "jitter_copies": "copies",
    "jitter_share": "share",
    "logit_shift": "shift_of_mean",
    "seed": "jitter_seed",
}


def of_prepare(config: PrepareConfig, seed: int, dataset: str) -> dict[str, Any]:
    """`dataset`: the layout as it was recognised."""
    return {**without_role(config, CONTENT, NOTHING), "dataset": dataset, "seed": seed}


def of_detect(config: DetectConfig, seed: int) -> dict[str, Any]:
    """Without training nothing is drawn, and what goes for training alone does not count."""
    if config.train:
        return {**without_role(config, CONTENT, NOTHING), "seed": seed}
    return of_role(config, RESULT)


def of_teacher(config: DistillConfig, teacher: str) -> dict[str, Any]:
    """`teacher`: its name, or the fingerprint of one that was handed in."""
    return {
        **of_role(config, TARGETS, CHOICE),
        "teacher": teacher,
        "feature_levels": config.kept_levels,
        "targets": without_role(config.targets, NOTHING),
        **of_role(config, BASELINE),
        "unseen": config.rounds > 1,
        # Said where unboxed images get no box of a detector's; before, they always did.
        **({"colearning": "few boxes"} if config.colearning.few_boxes else {}),
        **({"colearning": "carried"} if config.colearning.carries else {}),
    }


def of_distill(config: DistillConfig, seed: int) -> dict[str, Any]:
    """All that changes the student; of `boxes_file` the name, too, as it always has."""
    return {"seed": seed, **without_role(config, BASELINE, NOTHING)}


def of_eval(config: EvalConfig, seed: int) -> dict[str, Any]:
    """All that changes the figures."""
    return {**without_role(config, NOTHING), "seed": seed}


def of_target(config: TargetsConfig, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a target's key that the settings make up.

    `resolved`: those that mean something else for this case than they say, such as `auto`. What was
    added after targets had been kept is there only where it is used.
    """
    settings = {**of_role(config, TARGETS), **resolved}
    return {
        _NAMES_IN_KEY.get(name, name): value
        for name, value in in_use(type(config), settings).items()
    }


def as_of_now(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a stage as an earlier version wrote it down, with what was left unsaid
    then."""
    return with_befores(SCHEMAS[stage], settings) if stage in SCHEMAS else dict(settings)
