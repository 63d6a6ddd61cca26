"""A detector of several findings: each has its own boxes, threshold and measures."""

import dataclasses

import numpy as np
import pytest
from support.label_maps import label_maps

from meddistill.base.errors import WeightsError
from meddistill.base.files import read_json
from meddistill.data.findings import LESION, Findings
from meddistill.detector.training_view import looked_for_in_view
from meddistill.detector.yolo import Detections, TrainingSettings, _ultralytics_settings
from meddistill.run.layout import METRICS_JSON, RUN_JSON, RunDir
from meddistill.run.tables import read_cases
from meddistill.settings.detect import DetectConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.detect import _training_settings, measure_findings, run_detect
from meddistill.stages.prepare import run_prepare

AB = Findings(("a", "b"))
NUMBERS = np.array([0, 1])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A RUN of two findings, the second looked for in half of the cases."""
    root = tmp_path_factory.mktemp("two")
    source = label_maps(root / "source", count=8)
    rows = (f"c{index},g{index},{'a' if index % 2 else 'a;b'}" for index in range(8))
    (source / "groups.csv").write_text("id,group,findings\n" + "\n".join(rows) + "\n")
    run = RunDir(root / "run")
    config = PrepareConfig(source=str(source), val_fraction=0.3, findings=["a=1", "b=2"])
    run_prepare(run, config, seed=0)
    return run


def _two_boxes():
    boxes = np.array([[4, 5, 16, 15], [5, 5, 17, 15]], np.float32)
    return boxes, Detections(boxes, np.array([0.9, 0.8]), ("a", "b"))


def test_one_training_learns_all_of_them_and_nothing_of_what_nobody_looked_for(run):
    quick = DetectConfig(weights="yolo11n.yaml", epochs=1, image_size=32, batch_size=4)
    out = run_detect(run, quick, seed=0, device="cpu")
    metrics = read_json(out / METRICS_JSON)
    assert set(metrics["findings"]) == {"a", "b"}
    assert set(read_json(out / RUN_JSON)["results"]["confidence"]) == {"a", "b"}
    seen = [metrics["findings"][name]["splits"]["train"]["n_annotated_boxes"] for name in "ab"]
    assert seen[0] > seen[1] > 0


def test_an_image_says_which_findings_were_looked_for(run, tmp_path):
    cases = read_cases(run.data)
    looked = looked_for_in_view(tmp_path, cases, AB)
    assert looked is not None
    for case in cases:
        path = str((tmp_path / "images" / case.split / f"{case.case_id}.png").resolve())
        assert looked[path] == [True, case.findings == ""]


def test_boxes_of_two_findings_may_lie_on_each_other_and_have_limits_of_their_own(run):
    cases = read_cases(run.data)
    boxes, found = _two_boxes()
    config = DetectConfig(max_boxes=1, confidence=0.5)
    preds, own = [found] * len(cases), [(boxes, NUMBERS)] * len(cases)
    metrics, rows = measure_findings(cases, preds, own, config, AB)
    assert [(row.case_id, row.class_name) for row in rows[:2]] == [
        (cases[0].case_id, "a"),
        (cases[0].case_id, "b"),
    ]
    assert len(rows) == 2 * len(cases)
    assert metrics["recall50_val"] == 1


def test_a_detector_of_other_names_is_refused(run):
    cases = read_cases(run.data)
    boxes, found = _two_boxes()
    other = Detections(boxes, found.confidence, ("a", "person"))
    with pytest.raises(WeightsError, match="finds 'person', which is none of the RUN's findings"):
        measure_findings(
            cases,
            [other] * len(cases),
            [(boxes, NUMBERS)] * len(cases),
            DetectConfig(),
            AB,
        )


def test_names_that_say_a_side_keep_the_detector_from_mirroring():
    plain = TrainingSettings(1, 1, 32, 4, 0.5, 1e-3, 0)
    told = dataclasses.replace(plain, keeps_sides=(True, False))
    flips = [
        [_ultralytics_settings(each)[name] for name in ("fliplr", "flipud")]
        for each in (plain, told)
    ]
    assert flips == [[0.5, 0.5], [0.0, 0.5]]


@pytest.mark.parametrize(
    ("flips", "kept"),
    [
        ("auto", (True, False)),
        ("both", (False, False)),
        ("left-right", (False, True)),
        ("top-bottom", (True, False)),
        ("none", (True, True)),
    ],
)
def test_a_setting_says_which_mirror_images_are_shown_by_axis(flips, kept):
    sides = Findings(("left lung", "right lung"))
    assert _training_settings(DetectConfig(flips=flips), 0, sides).keeps_sides == kept
    plain = (False, False) if flips == "auto" else kept
    assert _training_settings(DetectConfig(flips=flips), 0, LESION).keeps_sides == plain
