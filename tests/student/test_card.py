"""The model card says what is known of a student, and no more."""

import json

import pytest
from omegaconf import OmegaConf

from meddistill.base.errors import InputError
from meddistill.data.findings import Findings
from meddistill.data.frames import Preprocessing
from meddistill.run.fingerprints import fingerprint_file, fingerprint_stage
from meddistill.student.card import renew_model_card, write_model_card
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.student import build_student, save_student


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def run(tmp_path):
    save_student(tmp_path / "student", NestedUNet([4, 6]), Preprocessing(image_size=64))
    return tmp_path


def card_of(run, **directories):
    write_model_card(run / "student", **directories)
    return (run / "student" / "README.md").read_text()


def test_a_bare_student_says_that_nobody_measured_it(run):
    card = card_of(run)
    _, front, body = card.split("---\n", 2)
    matter = OmegaConf.create(front)
    assert matter.pipeline_tag == "image-segmentation"
    assert matter.license == "agpl-3.0"
    assert "not a medical device" in body
    assert "has not been measured against true masks" in body
    assert "load_student" in body
    assert "from_pretrained" not in body


def test_an_smp_student_says_how_smp_loads_it(tmp_path):
    module = build_student(
        "unet", encoder="resnet18", encoder_weights="none", decoder_channels=[8, 8, 8, 8, 8]
    )
    save_student(tmp_path / "student", module, Preprocessing(image_size=96))
    card = card_of(tmp_path)
    assert "library_name: segmentation-models-pytorch" in card
    assert "resized to 96 px" in card
    assert "encoder `resnet18`" in card


def test_several_findings_are_named_with_their_thresholds_and_numbers(tmp_path):
    both = Findings(("liver", "cyst|x"), exclusive=False)
    told = Preprocessing(image_size=64, findings=both, thresholds=(0.5, 0.25))
    save_student(tmp_path / "student", NestedUNet([4, 6], findings=2), told)
    spread = {"mean": 0.8, "ci95": [0.7, 0.9], "median": 0.85}
    own = {"n": 5, "n_missed": 1, "metrics": {"dice": spread, "hd95_px": {"mean": 4.0}}}
    student = {**own, "n": 10, "by_finding": {"liver": own, "cyst|x": {**own, "metrics": {}}}}
    summary = {"methods": {"student": student}, "split": "test", "n_scored": 6}
    write(tmp_path / "eval" / "summary.json", summary)
    card = card_of(tmp_path, eval_dir=tmp_path / "eval")
    assert "Finds liver and cyst_x in single images" in card
    assert "They may overlap" in card
    assert "| 2 | cyst_x | 0.25 |" in card
    assert "a bit a finding" in card
    assert "float32 (2, height, width)" in card
    assert "On the 6 cases" in card
    assert "| &nbsp;&nbsp;liver | 0.800 [0.700, 0.900] | 0.850 | 4.0 | 1 |" in card


def test_another_tool_is_called_as_the_evaluation_calls_it(run):
    scores = {"n": 2, "n_missed": 0, "metrics": {"dice": {"mean": 0.5}}}
    methods = {"student": scores, "teacher_student": scores, "other": scores}
    summary = {"methods": methods, "labels": {"other": "nnU-Net"}, "split": "test"}
    write(run / "eval" / "summary.json", summary)
    card = card_of(run, eval_dir=run / "eval")
    assert "| this student | 0.500 " in card
    assert "| nnU-Net | 0.500 " in card
    assert "| teacher, prompted by the student's box | 0.500 " in card


def test_numbers_data_and_supervision_come_from_the_stages(run):
    write(
        run / "student" / "run.json",
        {
            "settings": {
                "student": "nested_unet",
                "teacher": "sam2.1-large",
                "weighting": "fixed",
                "seed": 3,
            },
            "results": {
                "parameters": 9163329,
                "train_cases": 20,
                "epochs": 7,
                "prompt_sources": {"annotated": 15, "detected": 5},
            },
        },
    )
    counts = {
        "cases": 20,
        "groups": 4,
        "boxes": 18,
        "none": 2,
        "unknown": 0,
        "classes": {"<b>glioma|`": 20},
    }
    write(
        run / "data" / "run.json", {"results": {"dataset": "folder", "splits": {"train": counts}}}
    )
    dice = {"mean": 0.7312, "median": 0.8, "ci95": [0.7, 0.76]}
    scores = {"n": 9, "n_missed": 2, "metrics": {"dice": dice, "hd95_px": {"mean": 12.34}}}
    write(
        run / "eval" / "summary.json",
        {"split": "test", "threshold": 0.5, "methods": {"student": scores}},
    )
    card = card_of(run, data_dir=run / "data", eval_dir=run / "eval")
    assert "| this student | 0.731 [0.700, 0.760] | 0.800 | 12.3 | 2 |" in card
    assert "the 9 cases of the split `test`" in card
    assert "9,163,329 parameters" in card
    assert "teacher `sam2.1-large`" in card
    assert "15 annotated, 5 detected" in card
    assert "20 images of 4 groups, 18 with boxes, 2 without lesion, 0 not annotated" in card
    assert "_b_glioma__" in card
    assert "<b>" not in card


def test_a_student_that_says_nothing_of_itself_is_said_to(run):
    card = " ".join(card_of(run).split())
    assert "On others its output means nothing, and it does not say so." in card
    assert "It sees one slice at a time. Probabilities were not calibrated" in card


def test_a_student_that_knows_itself_is_not_said_to_be_silent(tmp_path):
    module = NestedUNet([4, 6], in_channels=3)
    save_student(tmp_path / "student", module, Preprocessing(image_size=64, context=1))
    write(tmp_path / "student" / "trust.json", {})
    card = " ".join(card_of(tmp_path).split())
    assert "means nothing, which it says (`familiarity`) as far as it can tell them apart." in card
    assert "was fitted to its teacher's masks, not to true ones." in card
    assert "It sees a slice with 1 neighbour(s) on each side" in card
    assert "does not say so" not in card


@pytest.mark.parametrize(
    ("settings", "results", "told"),
    [
        ({}, {}, "The epoch was chosen by agreement"),
        ({"keep": "best"}, {"val_cases": 3}, "The epoch was chosen by agreement"),
        ({"keep": "best"}, {"val_cases": 0}, "The last epoch was kept: no validation case"),
        ({"keep": "last"}, {"val_cases": 30}, "The last epoch was kept."),
    ],
)
def test_the_epoch_is_said_to_be_chosen_only_where_it_was(run, settings, results, told):
    settings = {"teacher": "litemedsam", **settings}
    write(run / "student" / "run.json", {"settings": settings, "results": results})
    card = card_of(run)
    assert told in card
    assert ("chosen by agreement" in card) == told.startswith("The epoch was chosen")


def test_a_directory_that_is_no_student_gets_no_card(tmp_path):
    with pytest.raises(InputError, match=r"config\.json does not exist"):
        write_model_card(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_mask_trained_twin_does_not_claim_to_have_seen_no_mask(run):
    settings = {
        "student": "nested_unet",
        "teacher": "litemedsam",
    }  # the twin's settings name a teacher it never asked
    write(
        run / "student" / "run.json",
        {"stage": "supervised twin", "settings": settings, "results": {}},
    )
    card = card_of(run)
    assert "Trained on true masks" in card
    assert "No mask drawn by a person" not in card


@pytest.mark.parametrize(
    ("known", "claim"), [(True, "a group never lies"), (False, "one patient may lie")]
)
def test_groups_are_vouched_for_only_where_they_are_known(run, known, claim):
    counts = {"cases": 1, "groups": 1, "boxes": 1, "none": 0, "unknown": 0}
    write(
        run / "data" / "run.json", {"results": {"groups_known": known, "splits": {"train": counts}}}
    )
    assert claim in card_of(run, data_dir=run / "data")


def evaluated(run, name="eval", student="student", **settings):
    """An evaluation of a student of the RUN, by the files alone."""
    inputs = {"student": fingerprint_stage(run / student)}
    trust = run / student / "trust.json"
    if trust.is_file():
        inputs["trust"] = fingerprint_file(trust)
    record = {"stage": "eval", "settings": settings, "inputs": inputs, "outputs": {}}
    write(run / name / "run.json", record)
    scores = {"student": {"n": 7, "metrics": {"dice": {"mean": 0.8}}}}
    write(run / name / "summary.json", {"split": "test", "threshold": 0.5, "methods": scores})


def renewed(run, student="student"):
    renew_model_card(run / student)
    return (run / student / "README.md").read_text()


def finished(run, student="student", **inputs):
    save_student(run / student, NestedUNet([4, 6]), Preprocessing(image_size=64))
    write(run / student / "run.json", {"stage": "distill", "settings": {}, "inputs": inputs})


def test_a_renewed_card_tells_figures_that_still_hold(tmp_path):
    finished(tmp_path)
    assert "has not been measured" in renewed(tmp_path)
    write(tmp_path / "student" / "trust.json", {"fitted": 1})
    evaluated(tmp_path)
    assert "On the 7 cases" in renewed(tmp_path)
    write(tmp_path / "student" / "trust.json", {"fitted": 2})
    assert "On the 7 cases" in renewed(tmp_path)  # its own threshold cuts what no trust changes
    evaluated(tmp_path, threshold=0.4)
    assert "On the 7 cases" in renewed(tmp_path)
    write(tmp_path / "student" / "trust.json", {"fitted": 3})
    assert "has not been measured" in renewed(tmp_path)
    finished(tmp_path, other="one")
    evaluated(tmp_path, "eval-2", "student")
    assert "has not been measured" in renewed(tmp_path)


def test_a_further_student_is_told_of_by_its_own_evaluation(tmp_path):
    finished(tmp_path)
    finished(tmp_path, "student-2", other="one")
    evaluated(tmp_path)
    assert "has not been measured" in renewed(tmp_path, "student-2")
    evaluated(tmp_path, "eval-2", "student-2")
    assert "On the 7 cases" in renewed(tmp_path, "student-2")


def test_a_renewed_card_tells_no_data_that_it_did_not_learn_from(tmp_path):
    counts = {"cases": 3, "groups": 3, "boxes": 3, "none": 0, "unknown": 0, "classes": {}}
    results = {"dataset": "folder", "groups_known": True, "splits": {"train": counts}}
    write(tmp_path / "data" / "run.json", {"stage": "prepare", "results": results})
    finished(tmp_path, data=fingerprint_stage(tmp_path / "data"))
    assert "## Data" in renewed(tmp_path)
    write(tmp_path / "data" / "run.json", {"stage": "prepare", "inputs": "new", "results": results})
    assert "## Data" not in renewed(tmp_path)
