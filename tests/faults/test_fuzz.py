"""Damaged and hostile files at every reader: an answer or a MedDistillError, never another
exception.

Each starts from a valid file and changes it: bytes flipped, pieces cut, doubled or moved, values
made empty, huge, not a number, or paths. 100 examples each in the default suite, 2,000 in the slow
one, the same ones every time.
"""

import contextlib
import json
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.annotation_files import via_3_project
from support.evaluation_data import add_detector, make_run
from support.layouts import (
    make_box_lines,
    make_coco,
    make_createml,
    make_cvat,
    make_dicom,
    make_label_studio,
    make_labelme,
    make_nifti,
    make_qupath,
    make_rle,
    make_supervisely,
    make_via,
    make_voc,
    make_yolo,
)
from support.paths import ROOT
from support.workbooks import write_xlsx

from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import InputError, MedDistillError
from meddistill.data.formats.box_table import BoxTable
from meddistill.data.formats.pictures import load_picture
from meddistill.data.formats.slicer_markups import read_markups
from meddistill.data.formats.via import ViaFile
from meddistill.data.formats.yolo_labels import read_yolo_label
from meddistill.data.frames import Preprocessing
from meddistill.data.intensity import to_8bit
from meddistill.data.masks import read_mask
from meddistill.data.prepare.listing import list_source
from meddistill.data.scans import read_scan
from meddistill.data.sources.group_table import read_groups
from meddistill.evaluation.report.training_curves import read_history
from meddistill.run.labels import annotated_boxes
from meddistill.run.layout import BOXES_CSV, CASES_CSV, QUALITY_CSV
from meddistill.run.record import Stage
from meddistill.run.tables import QualityRow, read_boxes, read_cases
from meddistill.settings.layers import load_config
from meddistill.settings.prepare import PrepareConfig
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.student import load_student, read_preprocessing, save_student

TOKENS = (
    b"",
    b"\0",
    b",",
    b"\n",
    b"\r\n",
    b'"',
    b"'",
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e309",
    b"99999999999999999999",
    b"-0.0",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"{",
    b"]",
    b": ",
    b"- ",
    b"&a *a",
    b"!!python/object:os.system x",
    b"..",
    b"../../x",
    b"/etc/passwd",
    b"<b>",
    "é\u202e\U0001f4a9".encode(),
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"${oc.env:HOME}",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
)
PLACE = st.floats(0, 1, exclude_max=True)
CHANGE = st.one_of(
    st.tuples(st.just("flip"), PLACE, st.integers(1, 255)),
    st.tuples(st.just("cut"), PLACE, st.integers(1, 200)),
    st.tuples(st.just("double"), PLACE, st.integers(1, 200)),
    st.tuples(st.just("end"), PLACE, st.just(0)),
    st.tuples(st.just("insert"), PLACE, st.sampled_from(TOKENS)),
    st.tuples(st.just("replace"), PLACE, st.sampled_from(TOKENS)),
    st.tuples(st.just("bytes"), PLACE, st.binary(max_size=40)),
)
SEPARATORS = b",\n:\"'[]{}<> /"


def changed(data, changes):
    for kind, place, what in changes:
        at = int(place * len(data))
        if kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ what]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + what :]
        elif kind == "double":
            data = data[: at + what] + data[at:]
        elif kind == "end":
            data = data[:at]
        elif kind in ("insert", "bytes"):
            data = data[:at] + what + data[at:]
        elif kind == "replace":  # the value that this place lies in
            left = max((data.rfind(bytes([mark]), 0, at) for mark in SEPARATORS), default=-1) + 1
            rights = [found for mark in SEPARATORS if (found := data.find(bytes([mark]), at)) >= 0]
            data = data[:left] + what + data[min(rights, default=len(data)) :]
    return data


def picture(folder, suffix, depth=np.uint8, channels=3):
    pixels = (
        np.random.default_rng(0).integers(0, np.iinfo(depth).max, (24, 20, channels)).astype(depth)
    )
    cv2.imwrite(str(folder / f"a{suffix}"), pixels)
    return folder / f"a{suffix}"


def reads_picture(path):
    pixels = load_picture(path)
    assert pixels.ndim in (2, 3)
    if pixels.size < 1e7:
        to_8bit(pixels)


def of_run(folder, name, reader):
    run = make_run(folder / "run")
    add_detector(run)
    return run.root / name, lambda _: reader(run)


def reads_cases(run):
    for case in read_cases(run.data):
        assert (run.data / case.image).resolve().is_relative_to(run.data.resolve())
        with contextlib.suppress(MedDistillError):
            annotated_boxes(run.data, case)
        assert case.spacing_hw_mm is None or len(case.spacing_hw_mm) == 2


def student(folder, name, reader):
    save_student(folder / "student", NestedUNet([2, 3]), Preprocessing(image_size=32))
    return folder / "student" / name, reader


def source(make, name, dataset):
    def build(folder):
        make(folder / "source")
        config = PrepareConfig(source=str(folder / "source"), dataset=dataset)
        count = len(list_source(folder / "source", config, 0).cases)

        def reader(path):
            if len(list_source(folder / "source", config, 0).cases) < count:
                raise InputError("a case was rejected, and listed as such")

        return next((folder / "source").rglob(name)), reader

    return build


def table(folder):
    row = QualityRow(
        case_id="a",
        split="train",
        prompt_source="annotated",
        n_boxes=1,
        key="0" * 24,
        doubt=0.1,
        accepted=True,
        reason="",
        weight=1.0,
        **dict.fromkeys(SCORES, 0.5),
    )
    write_table(folder / QUALITY_CSV, QualityRow, [row, row])
    return folder / QUALITY_CSV, lambda path: read_table(path, QualityRow)


SCORES = [
    name
    for name in QualityRow.__dataclass_fields__
    if name
    not in (
        "case_id",
        "split",
        "prompt_source",
        "n_boxes",
        "key",
        "doubt",
        "accepted",
        "reason",
        "weight",
    )
]


def text(name, content, reader):
    def build(folder):
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name, reader

    return build


def copied(make, pattern, reader):
    def build(folder):
        make(folder / "source")
        return next((folder / "source").rglob(pattern)), reader

    return build


def workbook(folder):
    rows = [["image", "x1", "y1", "x2", "y2"], ["a.png", 1, 2, 3, 4], ["b.png", 1, 2, 3, "4,5"]]
    write_xlsx(folder / "boxes.xlsx", rows)
    return folder / "boxes.xlsx", BoxTable().read


def raw_nifti(folder):
    import nibabel

    make_nifti(folder / "source")
    volume = nibabel.load(next((folder / "source").rglob("*.nii.gz")))
    nibabel.save(volume, folder / "a.nii")
    return folder / "a.nii", read_scan


def begun(folder):
    Stage.open(folder / "stage", "prepare", {"a": 1}, {"b": "c"}).finish({}, [])
    return folder / "stage" / "run.json", lambda _: Stage.open(
        folder / "stage", "prepare", {"a": 1}, {"b": "c"}
    )


def log(folder):
    (folder / "student").mkdir()
    path = folder / "student" / "metrics.csv"
    path.write_text("epoch,loss,agreement\n1,0.5,0.2\n2,0.4,\n")
    return path, lambda _: read_history(folder / "student")


MARKUPS = json.dumps(
    {
        "markups": [
            {
                "type": "ROI",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "center": [1.5, -2.0, 3.0],
                "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
                "size": [4.0, 5.0, 6.0],
            }
        ]
    }
)
READERS = {
    "cases.csv": lambda folder: of_run(folder, f"data/{CASES_CSV}", reads_cases),
    "run.json": begun,
    "boxes.csv": lambda folder: of_run(
        folder,
        f"detector/{BOXES_CSV}",
        lambda run: read_boxes(run.detector / BOXES_CSV, read_cases(run.data)),
    ),
    "quality.csv": table,
    "metrics.csv": log,
    "YOLO label": text(
        "a.txt",
        "0 0.5 0.5 0.25 0.25\n0 0.1 0.2 0.05 0.1\n",
        lambda p: read_yolo_label(p, (40, 48))[0],
    ),
    "YAML config": text("a.yaml", (ROOT / "configs/paper.yaml").read_text(), load_config),
    "groups.csv": text("groups.csv", "id,group,fold\na,p1,1\nb,p2,2\n", read_groups),
    "table of boxes": text(
        "b.csv", "image,x1,y1,x2,y2,class\na.png,1,2,30,40,x\nb.png,,,,,\n", BoxTable().read
    ),
    "PNG": lambda folder: (picture(folder, ".png"), reads_picture),
    "PNG, 16 bit": lambda folder: (picture(folder, ".png", np.uint16, 1), reads_picture),
    "JPEG": lambda folder: (picture(folder, ".jpg"), reads_picture),
    "TIFF": lambda folder: (picture(folder, ".tif", np.uint16), reads_picture),
    "mask": lambda folder: (picture(folder, ".png", channels=1), read_mask),
    "NIfTI": raw_nifti,
    "NIfTI, compressed": copied(make_nifti, "*.nii.gz", read_scan),
    "DICOM": copied(make_dicom, "*.dcm", read_scan),
    "COCO": source(make_coco, "*.json", "coco"),
    "VOC": source(make_voc, "*.xml", "voc"),
    "CVAT": source(make_cvat, "*.xml", "cvat"),
    "labelme": source(make_labelme, "a.json", "labelme"),
    "Label Studio": source(make_label_studio, "*.json", "labelstudio"),
    "VIA": source(make_via, "*.json", "via"),
    "Create ML": source(make_createml, "*.json", "createml"),
    "box lines": source(make_box_lines, "_annotations.txt", "boxes-txt"),
    "QuPath": source(make_qupath, "a.geojson", "qupath"),
    "Supervisely": source(make_supervisely, "a.png.json", "supervisely"),
    "run lengths": source(make_rle, "*.csv", "rle-csv"),
    "VIA 3": text("via.json", json.dumps(via_3_project()), ViaFile().read),
    "markups": text("a.mrk.json", MARKUPS, read_markups),
    "XLSX": workbook,
    "YOLO set": source(make_yolo, "data.yaml", "yolo"),
    "preprocessing.json": lambda folder: student(folder, "preprocessing.json", read_preprocessing),
    "student's config": lambda folder: student(
        folder, "config.json", lambda path: load_student(path.parent)
    ),
    "student's weights": lambda folder: student(
        folder, "model.safetensors", lambda path: load_student(path.parent)
    ),
}


def fuzz(name, folder, examples):
    path, reader = READERS[name](folder)
    valid = path.read_bytes()
    reader(path)  # as it is, it can be read
    outcomes = {"read": 0, "refused": 0}

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(changes=st.lists(CHANGE, min_size=1, max_size=4))
    def one(changes):
        path.write_bytes(changed(valid, changes))
        try:
            reader(path)
            outcomes["read"] += 1
        except MedDistillError:
            outcomes["refused"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one()
    assert outcomes["refused"], f"{json.dumps(outcomes)}: the changes never reached the reader"


@pytest.mark.parametrize("name", READERS)
def test_nothing_but_our_own_errors(name, tmp_path):
    fuzz(name, tmp_path, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_nothing_but_our_own_errors_in_2000_examples(name, tmp_path):
    fuzz(name, tmp_path, 2000)
