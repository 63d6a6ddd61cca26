"""The teacher's soft masks, made once and kept: one file a case, found by what it depends on.

A file's key covers image, boxes, teacher, settings and frame, so that a changed box makes that
case's target anew and nothing else, a second student finds all of them, and a killed pass goes on
where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import InputError
from meddistill.base.files import atomic_path
from meddistill.data.formats.pictures import read_rgb
from meddistill.data.frames import from_frame
from meddistill.run.images import image_path
from meddistill.run.layout import LEAST_TRUSTED_PNG, QUALITY_CSV
from meddistill.run.tables import Case, QualityRow
from meddistill.settings import identity
from meddistill.settings.targets import TargetsConfig
from meddistill.targets import contact_sheet, gating
from meddistill.targets.asking import (
    Answer,
    Question,
    ask_teacher,
    jittered_boxes,
    logit_shift,
)
from meddistill.targets.feature_basis import FeatureBasis, fit_basis
from meddistill.targets.prompts import ANNOTATED
from meddistill.targets.scores import Scores
from meddistill.teachers.teacher import Encoded, Teacher

_FORMAT = 1
_TARGETS = "targets"
_FEATURES = "features"


@dataclasses.dataclass(frozen=True)
class TargetRequest:
    """A case and the boxes (N, 4) float32 px that prompt the teacher.

    `prompt_source`: `annotated`, `detected`, `student` or `none`. `frame_size`: side of the square
    frame of the target, px. `guess`: (S, S) uint8 in 1/255, a student's probabilities in its frame,
    for a teacher that masks may prompt.
    """

    case: Case
    boxes_xyxy_px: np.ndarray
    prompt_source: str
    frame_size: int
    guess: np.ndarray | None = None


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
class _Job:
    """A request with its boxes inside the image, and the key of its target."""

    request: TargetRequest
    boxes: np.ndarray
    key: str


def make_targets(
    teacher: Teacher,
    requests: Sequence[TargetRequest],
    data_dir: Path,
    out_dir: Path,
    config: TargetsConfig,
    *,
    feature_levels: Sequence[str] = (),
    seed: int,
    batch_size: int,
    no_box: str = "skip",
    part: tuple[int, int] = (0, 1),
) -> list[QualityRow]:
    """Make the targets that `out_dir` does not hold yet, and write quality.csv with a row for every
    target.

    A picture of the least trusted ones is put beside it.

    Boxes are clipped to their image (counted); what is left below 1 px is dropped (named). A case
    without a box is left out (counted), or gets an empty target with `no_box='empty'`. Test cases
    get no features. `part`: (rank, ranks); with several ranks each makes its share and no table: a
    last pass with one rank writes that. Returns the rows of this part, in the order of the
    requests. Raises: InputError for an image that is unreadable or not of the size that cases.csv
    says; ConfigError for an unknown feature level.
    """
    rank, ranks = part
    jobs = _prepare_jobs(teacher, requests, config, seed, no_box)
    basis = None
    if feature_levels:
        basis = fit_basis(
            teacher,
            [request.case for request in requests],
            data_dir,
            out_dir,
            levels=feature_levels,
            budget_bytes=config.feature_bytes,
            grid=config.feature_grid,
            seed=seed,
            batch_size=batch_size,
        )
    mine = jobs[rank::ranks]
    scores = {job.key: _read_scores(out_dir, job, basis) for job in mine}
    todo = [job for job in mine if scores[job.key] is None]
    if todo:
        with console.progress(f"teacher {teacher.name}", len(mine)) as bar:
            bar.resume(len(mine) - len(todo))
            for job, made in _compute(
                teacher, todo, data_dir, out_dir, config, basis, seed, batch_size
            ):
                scores[job.key] = made
                bar.advance()
    else:
        console.say(f"teacher {teacher.name}: all {len(mine)} targets are there already")
    rows = [_to_row(job, found, config) for job in mine if (found := scores[job.key]) is not None]
    if ranks == 1:
        write_table(out_dir / QUALITY_CSV, QualityRow, rows)
        _picture_least_trusted(rows, mine, data_dir, out_dir)
    return rows


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
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({error}); run `meddistill distill` again to make it"
        ) from error
    return Target(probs, uncertainty, v, features)


def _prepare_jobs(
    teacher: Teacher,
    requests: Sequence[TargetRequest],
    config: TargetsConfig,
    seed: int,
    no_box: str,
) -> list[_Job]:
    """Clip and drop boxes, leave out what has none, and say how many of each."""
    jobs, clipped, degenerate, without = [], 0, [], 0
    for request in requests:
        case = request.case
        given = np.asarray(request.boxes_xyxy_px, np.float32).reshape(-1, 4)
        boxes = given.copy()
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, case.width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, case.height)
        whole = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
        clipped += int((boxes != given).any(1)[whole].sum())
        if not whole.all():
            degenerate.append(case.case_id)
        boxes = boxes[whole]
        if len(boxes) == 0 and no_box != "empty":
            without += 1
            continue
        jobs.append(_Job(request, boxes, _key(teacher, request, boxes, config, seed)))
    if clipped:
        console.say(f"{clipped} box(es) reached outside their image and were clipped")
    if degenerate:
        console.warn(
            f"dropped boxes smaller than 1 px of {len(degenerate)} case(s): "
            f"{', '.join(degenerate[:5])}"
        )
    if without:
        console.say(f"{without} case(s) without a box get no target")
    return jobs


def _key(
    teacher: Teacher, request: TargetRequest, boxes: np.ndarray, config: TargetsConfig, seed: int
) -> str:
    """What the target depends on, hashed. Thresholds are left out: they judge a target, they do not
    change it."""
    views = _views(request, config)
    resolved = {
        "views": views,
        "zoom": 0.0 if views == "whole" else config.zoom,
        "logit_shift": logit_shift(teacher, config),
        "seed": f"{seed} {request.case.case_id}",
    }
    content = {
        "format": _FORMAT,
        "image": request.case.sha256,
        "boxes": [[round(float(side), 2) for side in box] for box in boxes],
        "teacher": teacher.fingerprint,
        "frame_size": request.frame_size,
        **identity.of_target(config, resolved),
    }
    if request.guess is not None and teacher.takes_masks:
        content["guess"] = hashlib.sha256(request.guess.tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _compute(
    teacher: Teacher,
    jobs: Sequence[_Job],
    data_dir: Path,
    out_dir: Path,
    config: TargetsConfig,
    basis: FeatureBasis | None,
    seed: int,
    batch_size: int,
) -> Iterator[tuple[_Job, Scores]]:
    for batch, images in read_ahead(jobs, data_dir, batch_size):
        questions = [
            _question(job, image, config, seed) for job, image in zip(batch, images, strict=True)
        ]
        keep_features = [basis is not None and job.request.case.split != "test" for job in batch]
        answers, encoded = ask_teacher(teacher, questions, config, whole=any(keep_features))
        for index, (job, answer) in enumerate(zip(batch, answers, strict=True)):
            if keep_features[index]:
                assert basis is not None
                assert encoded is not None
                _write_features(out_dir, job, basis, encoded, index)
            _write_target(out_dir, job, answer)
            yield job, answer.scores


def _question(job: _Job, image: np.ndarray, config: TargetsConfig, seed: int) -> Question:
    size_hw = (image.shape[0], image.shape[1])
    boxes = jittered_boxes(
        job.boxes,
        size_hw,
        config.jitter_copies,
        config.jitter_share,
        job.request.case.case_id,
        seed,
    )
    guess = job.request.guess
    if guess is not None:
        guess = from_frame(torch.from_numpy(guess.astype(np.float32) / 255)[None, None], size_hw)[
            0, 0
        ].numpy()
    return Question(image, boxes, job.request.frame_size, _views(job.request, config), guess)


def _views(request: TargetRequest, config: TargetsConfig) -> str:
    if config.views != "auto":
        return config.views
    return "both" if request.prompt_source == ANNOTATED else "whole"


def read_ahead(
    jobs: Sequence[_Job], data_dir: Path, batch_size: int
) -> Iterator[tuple[Sequence[_Job], list[np.ndarray]]]:
    """Batches of jobs with their images; a thread reads the next batch while the caller works on
    this one."""
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]

    def read(batch: Sequence[_Job]) -> list[np.ndarray]:
        return [read_case(job.request.case, data_dir) for job in batch]

    with ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = reader.submit(read, batches[0]) if batches else None
        for number, batch in enumerate(batches):
            assert upcoming is not None
            images = upcoming.result()
            if number + 1 < len(batches):
                upcoming = reader.submit(read, batches[number + 1])
            yield batch, images


def _picture_least_trusted(
    rows: Sequence[QualityRow], jobs: Sequence[_Job], data_dir: Path, out_dir: Path
) -> None:
    wanted = contact_sheet.least_trusted(rows)
    keys = {row.key for row in wanted}
    by_key = {job.key: job for job in jobs if job.key in keys}

    def load(row: QualityRow) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        job = by_key[row.key]
        return (
            read_case(job.request.case, data_dir),
            load_target(out_dir, row.case_id, row.key).probs,
            job.boxes,
        )

    contact_sheet.write_contact_sheet(out_dir / LEAST_TRUSTED_PNG, wanted, load)


def read_case(case: Case, data_dir: Path) -> np.ndarray:
    """The case's image, uint8 RGB. Raises: InputError where it cannot be read or has another size
    than its row."""
    image = read_rgb(image_path(data_dir, case))
    if image.shape[:2] != (case.height, case.width):
        raise InputError(
            f"{image_path(data_dir, case)} is {image.shape[1]}x{image.shape[0]} px, cases.csv says "
            f"{case.width}x{case.height}; run `meddistill prepare` again"
        )
    return image


def _file(out_dir: Path, kind: str, case_id: str, key: str) -> Path:
    return out_dir / kind / f"{case_id}.{key}.npz"


def _write_target(out_dir: Path, job: _Job, answer: Answer) -> None:
    with atomic_path(_file(out_dir, _TARGETS, job.request.case.case_id, job.key)) as temporary:
        np.savez_compressed(
            temporary,
            probs=(answer.probs * 255).round().byte().cpu().numpy(),
            uncertainty=(answer.uncertainty * 1020).round().byte().cpu().numpy(),
            scores=np.array(json.dumps(dataclasses.asdict(answer.scores))),
        )


def _write_features(
    out_dir: Path, job: _Job, basis: FeatureBasis, encoded: Encoded, index: int
) -> None:
    maps = basis.project(encoded, index, job.request.frame_size)
    with atomic_path(_file(out_dir, _FEATURES, job.request.case.case_id, job.key)) as temporary:
        np.savez(temporary, basis=np.array(basis.identity), **maps)  # type: ignore[arg-type]


def _read_scores(out_dir: Path, job: _Job, basis: FeatureBasis | None) -> Scores | None:
    """Scores of a target that is there and whole, with features where they are asked for; else
    None."""
    case = job.request.case
    try:
        if basis is not None and case.split != "test":
            path = _file(out_dir, _FEATURES, case.case_id, job.key)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if str(arrays["basis"]) != basis.identity:
                    return None
        path = _file(out_dir, _TARGETS, case.case_id, job.key)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Scores(**json.loads(str(arrays["scores"])))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _to_row(job: _Job, scores: Scores, config: TargetsConfig) -> QualityRow:
    case = job.request.case
    source = job.request.prompt_source
    verdict = gating.NOTHING_ASKED
    if len(job.boxes):
        verdict = gating.grade(scores, config, source)
    measured = {name: round(value, 6) for name, value in dataclasses.asdict(scores).items()}
    return QualityRow(
        case_id=case.case_id,
        split=case.split,
        prompt_source=source,
        n_boxes=len(job.boxes),
        key=job.key,
        doubt=round(verdict.doubt, 6),
        accepted=verdict.accepted,
        reason=verdict.reason,
        weight=verdict.weight,
        **measured,
    )
