"""`meddistill export`: a student as one file for other programs, checked against PyTorch on real
images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import meddistill
from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError, MedDistillError, nearest
from meddistill.base.files import atomic_path, write_json
from meddistill.base.hashing import sha256_file
from meddistill.data.findings import as_planes
from meddistill.data.frames import Preprocessing, preprocess
from meddistill.data.grid import Grid
from meddistill.data.scans import Cut, find_scans, read_scan
from meddistill.data.tiles import OVERLAP, cut_tile
from meddistill.run.dataset import Dataset
from meddistill.run.layout import CASES_CSV, MODEL_SAFETENSORS, TRUST_JSON
from meddistill.student.card import renew_model_card
from meddistill.student.export.export_format import Exported, ExportFormat, ExportJob, TellsOfItself
from meddistill.student.export.known_exports import EXPORTS
from meddistill.student.student import Student, input_tensor, load_student
from meddistill.student.trust.reading import NUMBERS

MAX_DIFFERENCE = 1e-3
"""Largest difference of any pixel's probability from PyTorch's that is put down to rounding."""
_CHECKED, _CALIBRATED = 32, 64


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How an exported student compares with PyTorch over `images` pictures.

    `max_difference`: of any pixel's probability, in [0, 1]. `dice`: mean Dice of its masks with
    PyTorch's at the student's thresholds, over all findings at once, 1 where both are empty;
    `lowest_dice`: of the worst picture.
    """

    images: int
    max_difference: float
    dice: float
    lowest_dice: float


def run_export(
    student_dir: Path,
    *,
    file_format: str = "onnx",
    int8: bool = False,
    images: Sequence[str] = (),
    out: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Export a student and return the file; beside it lies FILE.json with what it was made of and
    how it compares.

    Args:
        student_dir: the directory of the student.
        file_format: a name in `EXPORTS`.
        int8: weights and activations of 8 bits, where the format knows them.
        images: files, folders or patterns to check it on (and to calibrate int8 with); none takes
            the data set that lies beside the student in its RUN.
        out: the file to write; None is STUDENT/student with the format's suffix.
        overwrite: replace a file that is there.

    Raises: MedDistillError where the exported student says something else than PyTorch: then there
    is no file.
    """
    kind = _format(file_format, int8)
    path = out or student_dir / f"student{'.int8' if int8 else ''}{kind.suffix}"
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} is there already; pass --overwrite to replace it or --out for another file"
        )
    student = load_student(student_dir)
    pictures = _as_seen(student, _pictures(student_dir, images, student.preprocessing))
    checked, calibration = _share(pictures) if int8 else (pictures[:_CHECKED], [])
    facts = _facts(student_dir, student, int8) | _of_trust(student_dir, student, file_format, int8)
    stored = student.preprocessing
    frames = [preprocess(input_tensor(each, stored.context), stored) for each in calibration]
    job = ExportJob(student.module, stored, facts, frames, student.trust)
    try:
        of_itself = None
        with atomic_path(path) as temporary:
            kind.write(job, temporary)
            exported = kind.open(temporary)
            agreement = compare(student, exported, checked)
            if not int8:
                _refuse_difference(agreement)
                of_itself = compare_readings(student, exported, checked)
            sha256 = sha256_file(temporary)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    about = {"file": path.name, "sha256": sha256}
    compared = {"agreement": dataclasses.asdict(agreement)}
    write_json(path.with_name(f"{path.name}.json"), {**about, **facts, **compared})
    if out is None:
        renew_model_card(student_dir)
    _say_agreement(path, agreement, of_itself)
    return path


def _format(name: str, int8: bool) -> ExportFormat:
    if name not in EXPORTS:
        raise ConfigError(f"format is '{name}'{nearest(name, EXPORTS)}")
    if int8 and not EXPORTS[name].takes_int8:
        able = " or ".join(each for each, kind in EXPORTS.items() if kind.takes_int8)
        raise ConfigError(f"--int8 goes with --format {able} only")
    return EXPORTS[name]


def _say_agreement(path: Path, agreement: Agreement, of_itself: float | None) -> None:
    console.say(
        f"{path} ({path.stat().st_size / 2**20:.1f} MiB) on {agreement.images} image(s) against "
        "PyTorch: Dice "
        f"{agreement.dice:.4f} (lowest {agreement.lowest_dice:.4f}), largest difference "
        f"{agreement.max_difference:.2g}"
        + ("" if of_itself is None else f"; of what it says of itself {of_itself:.2g}")
    )


def _refuse_difference(agreement: Agreement) -> None:
    if not agreement.max_difference <= MAX_DIFFERENCE:  # NaN is none
        raise MedDistillError(
            f"the exported student differs from PyTorch by {agreement.max_difference:.2g} "
            f"in probability (at most {MAX_DIFFERENCE:g} is rounding; Dice {agreement.dice:.4f}); "
            "nothing was written"
        )


def compare(student: Student, exported: Exported, images: Sequence[np.ndarray]) -> Agreement:
    """Run both on uint8 images (H, W) or (H, W, 3), at least one, each at its own size."""
    findings, cuts = student.preprocessing.findings, student.preprocessing.cuts
    differences, scores = [], []
    for image in console.track(images, "check", len(images)):
        expected = as_planes(student.predict_probs([image])[0])
        pixels = input_tensor(image, student.preprocessing.context).numpy()
        found = exported.predict_probs(pixels)[0]
        differences.append(float(np.abs(found - expected).max()))
        masks = [findings.masks(probs, cuts) for probs in (found, expected)]
        total = int(masks[0].sum() + masks[1].sum())
        scores.append(2 * int((masks[0] & masks[1]).sum()) / total if total else 1.0)
    largest = float(np.max(differences))
    return Agreement(len(images), largest, float(np.mean(scores)), min(scores))


def compare_readings(
    student: Student, exported: Exported, images: Sequence[np.ndarray]
) -> float | None:
    """The largest difference of what both say of their answers; None where the file says nothing.

    Raises: MedDistillError where it is no rounding any more.
    """
    if (
        student.trust is None
        or not isinstance(exported, TellsOfItself)
        or not exported.knows_itself
    ):
        return None
    largest = 0.0
    for image in images:
        (seen,) = student.look([image])
        pixels = input_tensor(image, student.preprocessing.context).numpy()
        _, familiarity, numbers = exported.read(pixels)
        assert seen.reading is not None
        ours = [seen.reading.familiarity]
        theirs = [float(familiarity[0]), *numbers[0].ravel().tolist()]
        for of in seen.reading.findings:
            ours += [getattr(of, name) for name in NUMBERS[1:]]
        pairs = zip(ours, theirs, strict=True)
        gaps = [
            abs(own - other) if own is not None else float(np.isfinite(other))
            for own, other in pairs
        ]
        largest = float(np.max([largest, *gaps]))
    if not largest <= MAX_DIFFERENCE:
        raise MedDistillError(
            f"the exported student says of itself what differs from PyTorch by {largest:.2g} (at "
            f"most {MAX_DIFFERENCE:g} is rounding); nothing was written"
        )
    return largest


def _pictures(
    student_dir: Path, patterns: Sequence[str], stored: Preprocessing
) -> list[np.ndarray]:
    """Images to check and calibrate with: those given, else of the RUN that the student lies in."""
    if patterns:
        files, problems = find_scans(patterns)
        if problems:
            raise InputError(problems[0])
        cut = Cut(stored.axis)
        return [
            image
            for path in files[: _CHECKED + _CALIBRATED]
            for image in read_scan(path, stored.intensity, cut).images
        ]
    data_dir = student_dir.resolve().parent / "data"
    if not (data_dir / CASES_CSV).is_file():
        raise InputError(
            f"{student_dir} lies in no RUN with data; give images to check the export on with "
            "--images"
        )
    dataset = Dataset.open(data_dir)
    cases = dataset.of_split("train", "val")
    step = max(
        1, len(cases) // (_CHECKED + _CALIBRATED)
    )  # spread over the set: neighbours look alike
    if not cases:
        raise InputError(f"{data_dir} has no training or validation case; give --images")
    return [dataset.seen(case, stored.context) for case in cases[::step][: _CHECKED + _CALIBRATED]]


def _as_seen(student: Student, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the exported graph is given: images whole, or of each the tile in its middle."""
    if not student.preprocessing.tiled:
        return list(pictures)
    side = student.preprocessing.image_size
    middle = [tuple(max(0, (length - side) // 2) for length in each.shape[:2]) for each in pictures]
    return [
        cut_tile(picture, (top, left), side)
        for picture, (top, left) in zip(pictures, middle, strict=True)
    ]


def _share(pictures: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pictures to check int8 on and others to calibrate it with: every third, and the rest; a
    single one does both."""
    checked = [picture for index, picture in enumerate(pictures) if index % 3 == 0]
    rest = [picture for index, picture in enumerate(pictures) if index % 3]
    return checked[:_CHECKED], (rest or checked)[:_CALIBRATED]


def _input_of(student: Student) -> str:
    context = student.preprocessing.context
    if not context:
        return "image: uint8 (batch, 3, height, width), RGB"
    return (
        f"image: uint8 (batch, {2 * context + 1}, height, width), grey: the slice in the middle of "
        f"{context} neighbours on each side; where there is none, the nearest slice again"
    )


def _of_trust(student_dir: Path, student: Student, file_format: str, int8: bool) -> dict[str, str]:
    """What the file gives besides, where it gives anything: `threshold` is of `probability`."""
    if student.trust is None or int8 or file_format != "onnx":
        return {}
    cuts = student.preprocessing.cuts
    meant = [
        float(meaning(np.array([cut], np.float32))[0])
        for meaning, cut in zip(student.trust.meanings, cuts, strict=True)
    ]
    return {
        "trust_sha256": sha256_file(student_dir / TRUST_JSON),
        "outputs_besides": "calibrated: what probability means, its shape; familiarity (batch); "
        "expected_dice, expected_dice_low, expected_dice_high, p_finding (batch, findings); NaN "
        "where unknown",
        "calibrated_threshold": ", ".join(repr(each) for each in meant),
    }


def _facts(student_dir: Path, student: Student, int8: bool) -> dict[str, Any]:
    side = student.preprocessing.image_size
    tiles = f"the image at its own resolution, {side} x {side} px each, {OVERLAP:.0%} in common"
    return {
        **({"tiles": tiles} if student.preprocessing.tiled else {}),
        "meddistill": meddistill.__version__,
        "torch": str(torch.__version__),
        "student_sha256": sha256_file(student_dir / MODEL_SAFETENSORS),
        "input": _input_of(student),
        **_output_facts(student.preprocessing),
        "image_size": str(student.preprocessing.image_size),
        **(
            {"context": str(student.preprocessing.context)} if student.preprocessing.context else {}
        ),
        **_grid_facts(student.preprocessing.grid),
        "weights": "int8" if int8 else "float32",
        "use": "research use; not a medical device",
    }


def _grid_facts(grid: Grid | None) -> dict[str, str]:
    if grid is None:
        return {}
    return {
        "spacing_mm": repr(grid.spacing_mm),
        "grid_side_px": str(grid.side_px),
        "grid": "the image resampled to spacing_mm in both directions, then padded with 0 at the bottom "
        "and right to grid_side_px on both sides",
    }


def _output_facts(preprocessing: Preprocessing) -> dict[str, str]:
    """What a program must know to make masks of the probabilities; JSON where it is a list."""
    findings = preprocessing.findings
    if findings.is_one:
        return {
            "output": "probability: float32 (batch, 1, height, width), lesion from the threshold "
            "on",
            "threshold": repr(preprocessing.cuts[0]),
        }
    given = "the most probable of those" if findings.exclusive else "each"
    return {
        "output": f"probability: float32 (batch, {len(findings)}, height, width), a channel a "
        f"finding; a pixel has {given} from its threshold on",
        "findings": json.dumps(list(findings.names), ensure_ascii=False),
        "thresholds": json.dumps(list(preprocessing.cuts)),
        "exclusive": json.dumps(findings.exclusive),
    }
