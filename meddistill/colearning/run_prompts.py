"""By which boxes the teacher is asked about the cases of a RUN, finding by finding."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meddistill.base.console import say, warn
from meddistill.base.errors import StageError
from meddistill.colearning.distillation import Distillation
from meddistill.run.dataset import Dataset
from meddistill.run.few_boxes import MOST_FEW, boxed_training_images
from meddistill.run.fingerprints import is_of_other_data
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import BOXES_CSV, RUN_JSON, RunDir
from meddistill.run.tables import Case, boxes_xyxy, read_boxes
from meddistill.run.volumes import drawn_for_training
from meddistill.settings.distill import DistillConfig
from meddistill.targets.prompts import (
    NOTHING,
    UNSEEN,
    Prompt,
    cases_needing_detector,
    choose_prompts,
)


def find_boxes(run: RunDir, config: DistillConfig, dataset: Dataset) -> Path | None:
    """The table of detected boxes, or None where there is no detector and none is needed. Raises:
    StageError where one is needed, or the given table is not there."""
    if config.boxes_file:
        path = Path(config.boxes_file)
        if not path.is_file():
            raise StageError(f"boxes_file {path} does not exist")
        return path
    if (run.detector / RUN_JSON).exists():
        if is_of_other_data(run.detector, dataset.directory):
            warn(
                f"{run.detector} looked at other data than {dataset.directory} holds now, and images that "
                f"are new have no box of it; `meddistill detect {run.root} --overwrite` looks at all"
            )
        return run.detector / BOXES_CSV
    lacking = cases_needing_detector(dataset.cases, config.boxes)
    if lacking and not config.colearning.without_detector:
        if not any(case.annotation == "boxes" for case in dataset.cases):
            raise StageError(
                f"no image of {dataset.directory} has a box: draw some with `meddistill label {run.root}`, "
                "or give a trained detector to `meddistill detect --no-train`, or --boxes FILE"
            )
        why = f"{len(lacking)} training or validation case(s) have no annotated boxes (first: {lacking[0].case_id})"
        why = why if config.boxes == "annotated" else f"distill.boxes is '{config.boxes}'"
        training = boxed_training_images(dataset.cases)
        if not training:
            raise StageError(
                f"{why}, and no training image has a box: box some, or give --boxes FILE"
            )
        propose = (
            "let heads that learn the boxed ones propose there: --set distill.colearning.unboxed"
        )
        raise StageError(
            f"{why}; run `meddistill detect {run.root}` first, give --boxes FILE, or {propose}=propose "
            f"(by itself only up to {MOST_FEW} boxed training images, here {training})"
        )
    return None


def prompts_of_run(work: Distillation, boxes_file: Path | None) -> tuple[list[Prompt], list[Case]]:
    """The prompts, and the cases left out because nobody gave them a box."""
    findings = work.findings
    training, empty = work.dataset.of_split("train"), work.config.empty_slices
    if left := len(training) - len(drawn_for_training(training, empty)):
        say(
            f"{left} of {len(training)} training slices show no finding and are not drawn for "
            f"training (distill.empty_slices={empty:g})"
        )
    prompts: list[Prompt] = []
    without: dict[str, int] = {}
    for place, name in enumerate(findings.names):
        found, skipped = _prompts_of(work, boxes_file, place)
        prompts += [dataclasses.replace(each, finding=findings.tag(place)) for each in found]
        for case in skipped:
            without[case.case_id] = without.get(case.case_id, 0) + 1
        if not findings.is_one and not any(len(each.boxes_xyxy_px) for each in found):
            warn(f"finding '{name}' has no box to prompt the teacher with: it cannot be learnt")
    order = {case.case_id: index for index, case in enumerate(work.dataset.cases)}
    prompts.sort(key=lambda prompt: order[prompt.case.case_id])  # those of one case together
    alone = {case_id for case_id, count in without.items() if count == len(findings)}
    skipped = [case for case in work.dataset.cases if case.case_id in alone]
    if skipped and not work.colearns and not work.config.colearning.carries:
        say(f"{len(skipped)} training or validation case(s) without any box are left out")
    if work.config.rounds > 1:
        # The teacher looks at them now, for their features; a later round may find them a box.
        prompts += [Prompt(case, NOTHING, UNSEEN) for case in skipped if case.split == "train"]
    return prompts, skipped


def _prompts_of(
    work: Distillation, boxes_file: Path | None, place: int
) -> tuple[list[Prompt], list[Case]]:
    """The prompts of one finding, and the cases in which nobody gave it a box."""
    config, dataset, findings = work.config, work.dataset, work.findings
    name = findings.names[place]
    annotated, seen = {}, {}
    for case in dataset.cases:
        boxes, which = annotated_findings(dataset.directory, case)
        own = boxes if findings.is_one else boxes[which == place]
        if case.split != "test":
            annotated[case.case_id] = own
        seen[case.case_id] = case if findings.is_one else case.of_finding(name, len(own))
    detected = None
    if boxes_file is not None:
        rows = read_boxes(boxes_file, dataset.cases)
        detected = {
            case_id: boxes_xyxy([row for row in found if findings.is_one or row.class_name == name])
            for case_id, found in rows.items()
        }
    if config.colearning.without_detector and detected is not None:
        # The baseline's alone: unboxed images are answered by what co-learning proposes.
        tested = {case.case_id for case in dataset.of_split("test")}
        detected = {case_id: boxes for case_id, boxes in detected.items() if case_id in tested}
    cases = drawn_for_training(dataset.cases, config.empty_slices)
    if not config.test_targets:
        cases = [case for case in cases if case.split != "test"]
    return choose_prompts(
        [seen[case.case_id] for case in cases],
        annotated,
        detected,
        boxes=config.boxes,
        no_box=config.no_box,
    )
