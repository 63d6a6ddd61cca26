"""Names and places of everything in a RUN: no other module spells a file name of one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meddistill.base.errors import StageError

RUN_JSON = "run.json"
UNFINISHED_JSON = "unfinished.json"
CASES_CSV = "cases.csv"
AUDIT_CSV = "audit.csv"
CURVE_CSV = "curve.csv"
REJECTED_CSV = "rejected.csv"
BOXES_CSV = "boxes.csv"
GROUPS_CSV = "groups.csv"
QUALITY_CSV = "quality.csv"
LEAST_TRUSTED_PNG = "least_trusted.png"
COLEARNING_CSV = "colearning.csv"
COLEARNING_PNG = "colearning.png"
COLEARNING_JSON = "colearning.json"
BELIEFS_NPZ = "beliefs.npz"
BELIEFS_AGAIN_NPZ = "beliefs-again.npz"
ENCODINGS = "encodings"
TEACHER_TXT = "teacher.txt"
HEADS_NPZ = "heads.npz"
FEATURE_BASIS_NPZ = "feature_basis.npz"
METRICS_JSON = "metrics.json"
METRICS_CSV = "metrics.csv"
PREPROCESSING_JSON = "preprocessing.json"
CONFIG_JSON = "config.json"
MODEL_SAFETENSORS = "model.safetensors"
TRUST_JSON = "trust.json"
TRUST_SAFETENSORS = "trust.safetensors"
MODEL_CARD = "README.md"
PREDICTIONS_CSV = "predictions.csv"
REVIEW_HTML = "review.html"
PER_CASE_CSV = "per_case.csv"
PER_VOLUME_CSV = "per_volume.csv"
VOLUMES_PNG = "volumes.png"
PER_CASE_BOXES_CSV = "per_case_boxes.csv"
SUMMARY_JSON = "summary.json"
COMPARISON_JSON = "comparison.json"
AGGREGATE_JSON = "aggregate.json"
REPORT_HTML = "report.html"
LAST_CKPT = "last.ckpt"
PREVIOUS_CKPT = "previous.ckpt"
DATA_YAML = "data.yaml"
SOURCE_INDEX_CSV = "source_index.csv"
CONVERTED_JSONL = "converted.jsonl"
STAGING = ".staging"
PATIENTS_KEY = "patients.key"
GRID_JSON = "grid.json"
DUPLICATES_CSV = "duplicates.csv"
TRAIN_LOG = "train.log"
RESULTS_CSV = "results.csv"
BEST_PT = "weights/best.pt"
LAST_PT = "weights/last.pt"


@dataclasses.dataclass(frozen=True)
class RunDir:
    """Where each stage of one RUN puts its output. `other_data`: prepared data elsewhere, in place
    of its own."""

    root: Path
    other_data: Path | None = None

    @property
    def data(self) -> Path:
        return self.other_data or self.root / "data"

    @property
    def labels(self) -> Path:
        return self.root / "labels"

    @property
    def detector(self) -> Path:
        return self.root / "detector"

    @property
    def teacher(self) -> Path:
        return self.root / "teacher"

    @property
    def student(self) -> Path:
        return self.root / "student"

    @property
    def eval(self) -> Path:
        return self.root / "eval"


def require(path: Path, command: str) -> None:
    """Raise StageError naming the command that makes `path` unless it exists."""
    if not path.exists():
        raise StageError(f"{path} is missing; run `meddistill {command}` first")
