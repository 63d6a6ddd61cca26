"""All settings of a RUN, a section a stage. `layers` lays a YAML file, typed flags and `--set` over
the defaults."""

from __future__ import annotations

import dataclasses
from typing import Any

from meddistill.settings.checks import check_at_least, check_numbers
from meddistill.settings.detect import DetectConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.roles import RESULT, setting


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a RUN: what one YAML file may hold."""

    seed: int = setting(0, RESULT)
    """Seed of every random choice."""
    prepare: PrepareConfig = dataclasses.field(default_factory=PrepareConfig)
    detect: DetectConfig = dataclasses.field(default_factory=DetectConfig)
    distill: DistillConfig = dataclasses.field(default_factory=DistillConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        check_numbers(self)
        check_at_least(self, 0, "seed")


def as_settings(config: Any) -> dict[str, Any]:
    """A config as plain values, for run.json."""
    return dataclasses.asdict(config)
