"""`meddistill calibrate`: fit again what a finished student says of itself, without training.

No mask is read here, and nothing that is imported here can read one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError, naming
from meddistill.base.files import read_json
from meddistill.colearning.asked_trust import fit_asked
from meddistill.colearning.belief_files import load_beliefs
from meddistill.colearning.second_opinion import opinion_of_run
from meddistill.data.context import grey
from meddistill.data.scans import Cut, find_scans, group_scans, read_scan
from meddistill.run.dataset import Dataset
from meddistill.run.fingerprints import is_of_other_data, looked_at_once
from meddistill.run.layout import BELIEFS_NPZ, QUALITY_CSV, RUN_JSON, RunDir, require
from meddistill.run.tables import QualityRow, fingerprint_targets
from meddistill.student.card import renew_model_card
from meddistill.student.export.onnx_student import outdated_files
from meddistill.student.scan_masks import as_taken
from meddistill.student.silent_student import refuse_student_as_run
from meddistill.student.student import Student, load_network
from meddistill.student.trust.trust import Trust, load_trust, save_trust
from meddistill.targets.cache import TargetFolders
from meddistill.targets.packing import Packing, pack_targets, teaches
from meddistill.teachers.teacher import Teacher
from meddistill.training.packed_cases import PackedCases
from meddistill.training.trust_facts import say_facts
from meddistill.training.trusting import (
    ENOUGH_HELD,
    Load,
    fit_trust,
    own_images,
)


@looked_at_once()
def run_calibrate(
    run: RunDir,
    *,
    student_dir: Path | None = None,
    images: Sequence[str] = (),
    ask_teacher: bool = False,
    device: str = "auto",
    teacher: Teacher | None = None,
) -> Trust:
    """Fit expected Dice, calibration and familiarity of RUN's student and write them beside it.

    Args:
        run: where data and targets lie.
        student_dir: of a student elsewhere than RUN/student.
        images: files, folders or patterns of own images that taught it nothing, to be familiar
            with in place of RUN's; they need no box. Those that it learnt from or was chosen by
            are left out.
        ask_teacher: ask the teacher about each validation image, too: what its opinion adds.
        device: where student and teacher run.
        teacher: stands in for the one that would be loaded.

    Raises: as `load_teacher`; StageError for a RUN that lacks an earlier stage; InputError for a student that is none,
    or whose features or answers are not finite; for `images` of which too few taught it nothing.
    """
    directory = student_dir or run.student
    refuse_student_as_run(run)
    dataset = Dataset.open(run.data)
    require(run.teacher / RUN_JSON, "distill")
    student = load_network(directory, device)
    if student.preprocessing.tiled:
        raise InputError(
            f"{directory} sees images in tiles; such a student says nothing of itself, and nothing is "
            "calibrated: judge it by its masks"
        )
    # Before minutes go by: the teacher's weights may be missing.
    second = opinion_of_run(directory, device, teacher) if ask_teacher else None
    rows = read_table(run.teacher / QUALITY_CSV, QualityRow)
    _warn_of_others(run, directory, rows)
    taught = _taught(directory, dataset, rows)
    own = own_images(dataset, taught, student.preprocessing.context)
    if images:
        given = _not_learnt(_given(images, student), dataset, taught, student, len(own.held))
        own = dataclasses.replace(own, held=given, held_are="images given with --images")
    targets = _targets(run, dataset, student, rows)
    trust = fit_trust(student, dataset, own, targets)
    if second is not None:
        opinion, about = second
        knows = Student(student.module, student.preprocessing, student.device, trust)
        trust = fit_asked(knows, dataset, targets, opinion, about)
    _save(directory, trust)
    renew_model_card(directory, run)
    if 0 < trust.facts["held"] < ENOUGH_HELD:
        console.warn(
            f"only {trust.facts['held']} own images were held back; give others that taught it "
            "nothing with --images, which need no box"
        )
    console.say(f"{directory} knows what it was calibrated on: {directory / 'trust.json'}")
    return trust


def _save(directory: Path, trust: Trust) -> None:
    """Write what was fitted and tell it, and what was known before and is not any more."""
    try:
        before = load_trust(directory)
    except InputError:  # damaged, and replaced
        before = None
    save_trust(directory, trust)
    say_facts(trust)
    if before is not None and before.teacher is not None and trust.teacher is None:
        console.warn(
            "what the teacher's opinion adds had been fitted and is not any more; calibrate "
            "--ask-teacher fits it again"
        )
    for path in outdated_files(directory):
        console.warn(
            f"{path} still gives what was known before; run `meddistill export {directory} --overwrite`"
        )


def _warn_of_others(run: RunDir, directory: Path, rows: Sequence[QualityRow]) -> None:
    """Tell where the RUN holds something else now than what taught the student."""
    if not (directory / RUN_JSON).is_file():
        return
    taught_by = (read_json(directory / RUN_JSON).get("inputs") or {}).get("targets")
    if is_of_other_data(directory, run.data):
        console.warn(
            f"{directory} learned from other data than {run.data} holds now: images that taught it may "
            "count as ones that did not"
        )
    elif taught_by not in (None, fingerprint_targets(rows)):
        console.warn(
            f"{run.teacher} holds other targets now than those that taught {directory}, which is "
            "calibrated against these"
        )


def _taught(directory: Path, dataset: Dataset, rows: Sequence[QualityRow]) -> list[str]:
    """The cases that the student learned from, boxed and believed."""
    taught = {row.case_id for row in rows if row.split == "train" and teaches(row)}
    if (directory / BELIEFS_NPZ).exists():
        taught |= set(load_beliefs(directory))
    return [case.case_id for case in dataset.of_split("train") if case.case_id in taught]


def _targets(
    run: RunDir, dataset: Dataset, student: Student, rows: Sequence[QualityRow]
) -> PackedCases:
    stored, folders = student.preprocessing, TargetFolders(run.teacher)
    packing = Packing(dataset, folders, stored.image_size, stored.findings, stored.context)
    return pack_targets([row for row in rows if row.split == "val"], packing)


def _given(patterns: Sequence[str], student: Student) -> list[Load]:
    """Images as `predict` would show them to the student: series of files as the volumes they are."""
    files, problems = find_scans(patterns)
    if problems:
        raise InputError(problems[0])
    stored = student.preprocessing
    scans, left = group_scans(files)
    for line in left:
        console.warn(line)

    @functools.lru_cache(maxsize=1)  # the slices of a volume follow each other
    def taken(scan: int) -> Sequence[np.ndarray]:
        return as_taken(read_scan(scans[scan], stored.intensity, Cut(stored.axis)), stored)

    def load(scan: int, number: int) -> np.ndarray:
        return taken(scan)[number]

    given: list[Load] = []
    broken: list[str] = []
    for scan, files_of in enumerate(scans):
        try:
            given += [functools.partial(load, scan, number) for number in range(len(taken(scan)))]
        except InputError as error:
            broken.append(str(naming(files_of.path, error)))
            console.warn(broken[-1])
    if not given:
        raise InputError(
            f"none of the {len(scans)} image(s) of --images can be read; first: {broken[0]}"
        )
    return given


def _not_learnt(
    given: Sequence[Load],
    dataset: Dataset,
    taught: Sequence[str],
    student: Student,
    otherwise: int,
) -> list[Load]:
    """Those of the images that are none of the student's training and validation cases, by their pixels:
    a file may have another name or format here.

    Args:
        given: the images.
        dataset: where the cases lie.
        taught: ids of the training cases.
        student: says what an image is to it.
        otherwise: how many images of RUN would be held back in their place.

    Raises: InputError where some are left out, and none is left or fewer than RUN would do with.
    """
    context, ids = student.preprocessing.context, set(taught)
    keys = [
        _pixels(image[..., context] if context else image)
        for image in console.track((load() for load in given), "images given", len(given))
    ]
    sizes = {size_hw for size_hw, _ in keys}
    cases = [
        case
        for case in dataset.of_split("train", "val")
        if (case.split == "val" or case.case_id in ids) and (case.height, case.width) in sizes
    ]
    known = {
        _pixels(dataset.image(case)) for case in console.track(cases, "own images", len(cases))
    }
    kept = [load for load, key in zip(given, keys, strict=True) if key not in known]
    out = len(given) - len(kept)
    if not out:
        return kept
    told = (
        f"{out} of {len(given)} images of --images are training or validation images of the student"
    )
    if len(kept) < max(1, min(otherwise, ENOUGH_HELD)):
        raise InputError(
            f"{told}, and {len(kept)} are not: too few to tell what is familiar. Give images that taught it "
            f"nothing, or leave --images away: RUN has {otherwise} of its own"
        )
    console.warn(f"{told} and are left out")
    return kept


def _pixels(image: np.ndarray) -> tuple[tuple[int, int], str]:
    """What is equal of two images that show the same: size and a digest of their grey values."""
    plain = grey(image)
    return (plain.shape[0], plain.shape[1]), hashlib.sha256(plain.tobytes()).hexdigest()
