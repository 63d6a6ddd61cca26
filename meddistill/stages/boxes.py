"""`meddistill boxes`: the boxes of RUN/data as files of a label tool, beside the images, for a person
to correct; `prepare` reads them back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, StageError, nearest
from meddistill.base.files import atomic_path, read_json
from meddistill.data.annotations import AnnotatedImage, AnnotatedObject, classes_of
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.findings import SEPARATOR, Findings, as_planes
from meddistill.data.formats.annotation_writer import AnnotationWriter
from meddistill.data.formats.known_annotation_writers import ANNOTATION_WRITERS
from meddistill.data.formats.tables import write_rows
from meddistill.data.mask_outlines import object_with_mask
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import GROUPS_CSV, QUALITY_CSV, RUN_JSON, RunDir, require
from meddistill.run.record import Stage
from meddistill.run.tables import Case, QualityRow
from meddistill.student.predictor import Predictor

MASKS_OF = ("student", "teacher")
_LESION = "lesion"
"""What a box is called whose case has no class."""
_SMALLEST_PX = 10
_ALWAYS_TOLD = ("id", "group", "split", "class")

MaskOf = Callable[[Case], np.ndarray | None]
"""A case's mask, bool (H, W); None where there is none."""


def run_boxes(
    run: RunDir,
    to: str,
    *,
    masks_of: str = "",
    out: Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    predictor: Predictor | None = None,
) -> Path:
    """Write images, boxes and groups for a label tool, and return the folder.

    An unknown case stays unknown: what a student or teacher sees there is written for tools that
    know predictions, as such.

    Args:
        run: the RUN, whose data are written.
        to: a name in `ANNOTATION_WRITERS`.
        masks_of: `student` or `teacher`, whose masks give the objects their shapes; '' for none.
        out: the folder to write; None is RUN/boxes-TO.
        device: where a student runs.
        overwrite: replace what the folder holds.
        predictor: stands in for the student that would be loaded.

    Raises: ConfigError for a tool that is not known or holds no masks; StageError for what the RUN
    lacks.
    """
    writer = _writer(to, masks_of)
    out = out or run.root / f"boxes-{to}"
    dataset = Dataset.open(run.data)
    findings = read_findings(run.data)
    settings = {"to": to, "masks_of": masks_of}
    stage = Stage.open(out, "boxes", settings, _inputs(run, masks_of), overwrite)
    if stage.finished:
        console.say(f"{out} is up to date; what was corrected there is left as it is")
        return out
    mask_of = _masks(run, masks_of, dataset, findings, device, predictor)
    images = _place(out, dataset, writer, mask_of, findings)
    names = classes_of(images) or (_LESION,) if findings.is_one else findings.names
    writer.write(out, images, names)
    _warn_of_parts(images, to)
    if read_json(run.data / RUN_JSON).get("results", {}).get("groups_known"):
        write_rows(out / GROUPS_CSV, _facts(dataset.cases))
    counts = {
        "images": len(images),
        "boxes": sum(len(image.objects) for image in images if image.looked_at),
        "unknown": sum(not image.looked_at for image in images),
    }
    stage.finish(counts, [], device)  # no file is vouched for: a person is to change them
    console.say(
        f"{counts['boxes']} boxes of {counts['images']} images are in {out}: {writer.next_step}; "
        f"then `meddistill prepare NEW_RUN --source {out} --dataset {writer.source}`"
    )
    return out


def _facts(cases: Sequence[Case]) -> list[list[str]]:
    """groups.csv with its header: what a label tool does not know of a case."""
    columns = {
        "id": [case.case_id for case in cases],
        "group": [case.group for case in cases],
        "split": [case.split for case in cases],
        "class": [case.class_name for case in cases],
        "volume": [case.volume for case in cases],
        "slice": ["" if case.slice is None else str(case.slice) for case in cases],
        "spacing": [_spacing(case) for case in cases],
    }
    told = {name: values for name, values in columns.items() if name in _ALWAYS_TOLD or any(values)}
    return [list(told), *map(list, zip(*told.values(), strict=True))]


def _spacing(case: Case) -> str:
    """Row, column and, of a volume's slice, the distance to the next one in mm; '' where not known."""
    step = "" if case.slice_mm is None else f",{case.slice_mm:g}"
    return f"{case.spacing_mm}{step}" if case.spacing_mm else ""


def _place(
    out: Path, dataset: Dataset, writer: AnnotationWriter, mask_of: MaskOf, findings: Findings
) -> list[AnnotatedImage]:
    """Copy every image to where the tool looks for it; returns what is annotated there.

    Args:
        out: the folder that is written.
        dataset: the cases.
        writer: of the tool.
        mask_of: what gives the objects their shapes.
        findings: of the RUN.
    """
    images = []
    with console.progress("boxes", len(dataset)) as bar:
        for case in dataset.cases:
            place = writer.place(f"{case.case_id}.png", case.split)
            with atomic_path(out / place) as temporary:
                shutil.copyfile(dataset.image_path(case), temporary)
            images.append(_annotated(case, place, dataset, mask_of(case), writer, findings))
            bar.advance()
    return images


def _writer(to: str, masks_of: str) -> AnnotationWriter:
    if to not in ANNOTATION_WRITERS:
        raise ConfigError(f"--to is '{to}'{nearest(to, ANNOTATION_WRITERS)}")
    if masks_of and masks_of not in MASKS_OF:
        raise ConfigError(f"--masks-of is '{masks_of}'{nearest(masks_of, MASKS_OF)}")
    writer = ANNOTATION_WRITERS[to]
    if masks_of and not writer.holds_masks:
        able = [name for name, each in ANNOTATION_WRITERS.items() if each.holds_masks]
        raise ConfigError(f"'{to}' holds boxes alone; with masks choose from {', '.join(able)}")
    return writer


def _inputs(run: RunDir, masks_of: str) -> dict[str, str]:
    inputs = {"data": fingerprint_stage(run.data)}
    if masks_of:
        directory = run.student if masks_of == "student" else run.teacher
        require(directory / RUN_JSON, "distill")
        inputs[masks_of] = fingerprint_stage(directory)
    return inputs


def _masks(
    run: RunDir,
    masks_of: str,
    dataset: Dataset,
    findings: Findings,
    device: str,
    predictor: Predictor | None,
) -> MaskOf:
    """Where a case's masks come from. Raises: StageError for a student of other findings.

    Args:
        run: the RUN.
        masks_of: `student`, `teacher`, or empty for no masks.
        dataset: the cases.
        findings: of the RUN.
        device: of the student.
        predictor: one to use instead of loading it.
    """
    if not masks_of:
        return lambda case: None
    if masks_of == "teacher":
        return _teacher_masks(run, findings)
    if predictor is None:
        from meddistill.student.student import load_student

        predictor = load_student(run.student, device)
    student = predictor
    known = student.preprocessing
    if len(known.findings) != len(findings) or (
        not findings.is_one and known.findings.names != findings.names
    ):
        raise StageError(
            f"the student finds {', '.join(known.findings.names)}, and {run.data} has "
            f"{', '.join(findings.names)}: distill a student of these"
        )

    def of_student(case: Case) -> np.ndarray:
        probs = student.predict_probs([dataset.seen(case, known.context)])[0]
        return known.findings.masks(as_planes(probs), known.cuts)

    return of_student


def _teacher_masks(run: RunDir, findings: Findings) -> MaskOf:
    import torch

    from meddistill.data.frames import from_frame
    from meddistill.targets.cache import TargetFolders

    table = read_table(run.teacher / QUALITY_CSV, QualityRow)
    rows = {(row.case_id, row.finding): row for row in table}
    folders = TargetFolders(run.teacher)

    def of_teacher(case: Case) -> np.ndarray | None:
        size_hw = (case.height, case.width)
        of_case = [rows.get((case.case_id, findings.tag(i))) for i in range(len(findings))]
        if not any(row is not None and row.key for row in of_case):
            return None
        planes = np.zeros((len(findings), *size_hw), bool)
        for plane, row in zip(planes, of_case, strict=True):
            # Of several findings there is no file of one that is not there.
            if row is not None and row.key and (row.n_boxes or findings.is_one):
                probs = torch.from_numpy(folders.load(row).probs)[None, None]
                plane[:] = from_frame(probs, size_hw)[0, 0].numpy() > 0.5
        return planes

    return of_teacher


def _annotated(
    case: Case,
    place: str,
    dataset: Dataset,
    masks: np.ndarray | None,
    writer: AnnotationWriter,
    findings: Findings,
) -> AnnotatedImage:
    """What is to be written of a case; an unknown one has objects where they may be written as
    predictions. Where the RUN has one finding, an object is called by the class of its case.

    Args:
        case: of the RUN.
        place: where its image lies for the tool.
        dataset: of the RUN.
        masks: of its findings, bool (C, H, W), or None.
        writer: of the tool.
        findings: of the RUN.
    """
    looked_at = case.annotation != "unknown"
    boxes, places = annotated_findings(dataset.directory, case)
    if not looked_at and masks is not None and writer.holds_predictions:
        found = [mask_to_boxes(mask, _SMALLEST_PX) for mask in masks]
        boxes = np.concatenate(found)
        places = np.repeat(np.arange(len(masks)), [len(each) for each in found])
    names = [findings.names[index] for index in places]
    if findings.is_one:
        names = [case.class_name or _LESION] * len(boxes)
    of_each = [None if masks is None else masks[index] for index in places]
    objects = _objects(boxes, names, of_each)
    size_hw = case.height, case.width
    looked_for = tuple(case.findings.split(SEPARATOR)) if case.findings else None
    return AnnotatedImage(place, objects, looked_at, size_hw, looked_for=looked_for)


def _warn_of_parts(images: Sequence[AnnotatedImage], to: str) -> None:
    """What only COCO can tell: which findings were looked for, where not all were."""
    count = sum(image.looked_for is not None for image in images)
    if count and to != "coco":
        console.warn(
            f"images in which only some findings were looked for: {count}; '{to}' cannot tell, and "
            "prepare would take the others for absent: --to coco keeps it"
        )


def _objects(
    boxes: np.ndarray, names: Sequence[str], masks: Sequence[np.ndarray | None]
) -> tuple[AnnotatedObject, ...]:
    """An object a box, with its name and, where there is one, the part of its mask."""
    found: list[AnnotatedObject] = []
    rows = np.round(np.asarray(boxes, dtype=np.float64), 2).tolist()
    for (x1, y1, x2, y2), class_name, mask in zip(rows, names, masks, strict=True):
        box = (x1, y1, x2, y2)
        plain = AnnotatedObject(class_name, box)
        found.append(plain if mask is None else object_with_mask(class_name, box, mask))
    return tuple(found)
