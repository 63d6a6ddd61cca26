"""Targets on disk: one file a case, found by what it depends on, its key.

`making` fills a folder, everyone else reads it by the rows of quality.csv.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.base.files import DAMAGED_ARCHIVE, atomic_path
from meddistill.run.tables import QualityRow
from meddistill.targets.asking import Answer
from meddistill.targets.prompts import STUDENT
from meddistill.targets.scores import Scores

_TARGETS = "targets"
_FEATURES = "features"


@dataclasses.dataclass(frozen=True)
class Target:
    """What the student learns from, in its frame (S, S); 0 in the padding.

    `probs` float32 in [0, 1]: mean over the jittered copies. `uncertainty` float32 in [0, 1/4]:
    their variance. `v`: the published scalar. `features`: level -> (C, h, w) float16 on a grid that
    spans the whole frame.
    """

    probs: np.ndarray
    uncertainty: np.ndarray
    v: float
    features: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TargetFolders:
    """Where the target of a row lies: what the student's boxes gave in `rounds_dir`, all else in
    `teacher_dir`.

    `feature_keys`: case id -> key of the first target of the case; it holds the features, which
    depend on the image alone.
    """

    teacher_dir: Path
    rounds_dir: Path | None = None
    feature_keys: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def of(self, row: QualityRow) -> Path:
        asked_again = self.rounds_dir is not None and row.prompt_source == STUDENT
        return self.rounds_dir if asked_again and self.rounds_dir else self.teacher_dir

    def load(self, row: QualityRow) -> Target:
        """The row's target, with the features of its file. Raises: as `load_target`."""
        return load_target(self.of(row), row.case_id, row.key)

    def features(self, row: QualityRow) -> Mapping[str, np.ndarray]:
        """The features of the row's case, whichever target it has now. Raises: as `load_target`."""
        key = self.feature_keys.get(row.case_id, row.key)
        return load_target(self.teacher_dir, row.case_id, key).features


def load_target(out_dir: Path, case_id: str, key: str) -> Target:
    """Read a target. Raises: InputError where it is missing or damaged."""
    path = _file(out_dir, _TARGETS, case_id, key)
    features: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            probs = arrays["probs"].astype(np.float32) / 255
            uncertainty = arrays["uncertainty"].astype(np.float32) / 1020
            v = json.loads(str(arrays["scores"]))["v"]
        beside = _file(out_dir, _FEATURES, case_id, key)
        if beside.exists():
            with beside.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                features = {level: arrays[level] for level in arrays.files if level != "basis"}
    except DAMAGED_ARCHIVE as error:
        raise InputError(
            f"{path} cannot be read ({error}); remove it if it is there, and run `meddistill distill` "
            "again to make it"
        ) from error
    return Target(probs, uncertainty, v, features)


def missing_targets(out_dir: Path, rows: Sequence[QualityRow]) -> int:
    """How many of the rows have no file of theirs, which somebody removed. Of several findings those
    that are not there need none."""
    return sum(
        not _file(out_dir, _TARGETS, row.case_id, row.key).exists()
        for row in rows
        if row.key and (row.n_boxes or (not row.finding and row.accepted))
    )


def write_target(out_dir: Path, case_id: str, key: str, answer: Answer) -> None:
    """Keep the teacher's answer: probabilities in 1/255, uncertainty in 1/1020, and its scores.

    Args:
        out_dir: where targets lie.
        case_id: of the case.
        key: what the target depends on.
        answer: (S, S) maps and scores.
    """
    with atomic_path(_file(out_dir, _TARGETS, case_id, key)) as temporary:
        np.savez_compressed(
            temporary,
            probs=(answer.probs * 255).round().byte().cpu().numpy(),
            uncertainty=(answer.uncertainty * 1020).round().byte().cpu().numpy(),
            scores=np.array(json.dumps(dataclasses.asdict(answer.scores))),
        )


def write_features(
    out_dir: Path, case_id: str, key: str, maps: Mapping[str, np.ndarray], basis: str
) -> None:
    """Keep feature maps, level -> (C, h, w) float16, beside the target with this key.

    Args:
        out_dir: where targets lie.
        case_id: of the case.
        key: of its target.
        maps: by level.
        basis: identity of the basis that they were projected with.
    """
    with atomic_path(_file(out_dir, _FEATURES, case_id, key)) as temporary:
        np.savez(temporary, basis=np.array(basis), **maps)  # type: ignore[arg-type]


def read_scores(out_dir: Path, case_id: str, key: str, basis: str | None) -> Scores | None:
    """Scores of a target that is there and whole; else None.

    Args:
        out_dir: where targets lie.
        case_id: of the case.
        key: of its target.
        basis: where features are asked for, too, the identity of the basis that they must be
            of.
    """
    try:
        if basis is not None:
            path = _file(out_dir, _FEATURES, case_id, key)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if str(arrays["basis"]) != basis:
                    return None
        path = _file(out_dir, _TARGETS, case_id, key)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Scores(**json.loads(str(arrays["scores"])))
    except DAMAGED_ARCHIVE:
        return None


def _file(out_dir: Path, kind: str, case_id: str, key: str) -> Path:
    return out_dir / kind / f"{case_id}.{key}.npz"
