"""`boxes`, and `prepare` on what it wrote."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.layouts import image, make_nifti, save
from support.prepared import ALL_IN_TRAINING, prepare_into

from meddistill.base.errors import ConfigError, StageError
from meddistill.data.findings import Findings
from meddistill.data.formats.known_annotation_formats import ANNOTATION_FORMATS
from meddistill.data.formats.known_annotation_writers import ANNOTATION_WRITERS
from meddistill.data.frames import Preprocessing
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_boxes, annotated_findings
from meddistill.run.layout import RunDir
from meddistill.stages.boxes import run_boxes
from meddistill.stages.status import run_status
from meddistill.stages.verify import run_verify

SIZE = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six images: two classes, one image with two boxes, one looked at, one unknown."""
    root = tmp_path_factory.mktemp("boxes")
    for number, name in enumerate("abcdef"):
        pixels = np.random.default_rng(number).integers(0, 255, (SIZE, SIZE + number))
        save(root / "source" / f"{name}.png", pixels.astype(np.uint8))
    rows = [
        "image,x1,y1,x2,y2,class,group",
        "a,1.25,2,9.5,8,mass,p1",
        "b,3,4,20,30,cyst,p2",
        "b,22,4,30,30,cyst,p2",
        "c,,,,,,p3",
        "d,0,0,40,40,mass,p4",
        "e,5,5,6,6,mass,p5",
    ]
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    (root / "groups.csv").write_text("id,group\n" + "".join(f"{n},p{n}\n" for n in "abcdef"))
    prepare_into(
        root,
        root / "source",
        boxes=str(root / "boxes.csv"),
        groups=str(root / "groups.csv"),
        test_fraction=0.3,
        val_fraction=0.3,
    )
    return RunDir(root / "run")


def content(out, cases):
    return {
        name: (
            case.annotation,
            case.group,
            case.class_name,
            np.sort(annotated_boxes(out, case), axis=0).tolist(),
        )
        for name, case in cases.items()
    }


@pytest.mark.parametrize("tool", ANNOTATION_WRITERS)
def test_a_run_comes_back_from_every_tool(run, tool, tmp_path):
    out = run_boxes(run, tool, out=tmp_path / "out")
    before = prepare_into(run.root.parent, run.root.parent / "source", **_settings(run))
    after = prepare_into(tmp_path, out, test="split=test", val="split=val")
    assert after.reasons == {}
    assert content(after.out, after.cases) == content(before.out, before.cases)
    splits = {name: case.split for name, case in before.cases.items()}
    assert {name: case.split for name, case in after.cases.items()} == splits
    assert {case.annotation for case in after.cases.values()} == {"boxes", "none", "unknown"}


@pytest.mark.parametrize("tool", ["coco", "voc"])
def test_slices_come_back_with_their_volume_and_millimetres(tool, tmp_path):
    make_nifti(tmp_path / "source")
    before = prepare_into(tmp_path, tmp_path / "source", **ALL_IN_TRAINING)
    out = run_boxes(RunDir(tmp_path / "run"), tool)
    after = prepare_into(tmp_path / "again", out, **ALL_IN_TRAINING)

    def places(cases):
        return {
            name: (case.volume, case.slice, case.spacing_mm, case.slice_mm, case.group)
            for name, case in cases.items()
        }

    assert any(case.volume and case.slice_mm for case in before.cases.values())
    assert places(after.cases) == places(before.cases)


def _settings(run):
    root = run.root.parent
    return {
        "boxes": str(root / "boxes.csv"),
        "groups": str(root / "groups.csv"),
        "test_fraction": 0.3,
        "val_fraction": 0.3,
    }


def test_every_writer_has_a_reader():
    assert {each.source for each in ANNOTATION_WRITERS.values()} <= ANNOTATION_FORMATS.keys()


def test_what_a_person_corrected_is_not_written_over(run, tmp_path):
    out = run_boxes(run, "csv", out=tmp_path / "out")
    (out / "boxes.csv").write_text("mine")
    run_boxes(run, "csv", out=out)
    assert (out / "boxes.csv").read_text() == "mine"
    with pytest.raises(StageError, match="other settings"):
        run_boxes(run, "coco", out=out)


def test_it_lies_in_the_run_and_does_not_disturb_it(run, capsys):
    out = run_boxes(run, "coco")
    assert out == run.root / "boxes-coco"
    (out / "annotations.json").write_text("corrected")
    run_verify(run)
    run_status(run)
    assert "boxes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "masks_of", "message"),
    [
        ("coko", "", "--to is 'coko'; did you mean 'coco'"),
        ("coco", "nobody", "--masks-of is 'nobody'; choose from student, teacher"),
        ("voc", "student", "'voc' holds boxes alone; with masks choose from coco, yolo"),
    ],
)
def test_what_cannot_be_written_is_one_clear_line(run, to, masks_of, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run_boxes(run, to, masks_of=masks_of, out=tmp_path / "out")


def test_masks_need_who_makes_them(run, tmp_path):
    with pytest.raises(StageError, match="run `meddistill distill` first"):
        run_boxes(run, "coco", masks_of="student", out=tmp_path / "out")


def test_masks_of_the_student_are_shapes_and_predictions(run, tmp_path, monkeypatch):
    student = SimpleNamespace(
        preprocessing=Preprocessing(),
        predict_probs=lambda images, batch_size=16: [
            np.pad(np.ones((6, 7), np.float32), ((4, each.shape[0] - 10), (3, each.shape[1] - 10)))
            for each in images
        ],
    )
    monkeypatch.setattr("meddistill.stages.boxes._inputs", lambda run, masks_of: {})
    out = run_boxes(run, "labelstudio", masks_of="student", out=tmp_path / "out", predictor=student)
    (path,) = out.glob("tasks.json")
    images = {each.image: each for each in ANNOTATION_FORMATS["labelstudio"].read(path).images}
    boxed = images["/data/local-files/?d=images/d.png"]
    assert boxed.objects[0].box_xyxy_px == pytest.approx((3, 4, 10, 10))
    assert boxed.objects[0].has_shape
    unknown = images["/data/local-files/?d=images/f.png"]
    assert not unknown.looked_at
    assert '"predictions": [\n      {' in path.read_text()


def test_masks_of_a_student_of_several_findings_are_each_boxs_own(run, tmp_path, monkeypatch):
    source = run.root.parent / "source"
    made = prepare_into(tmp_path / "first", source, findings=["auto"], **_settings(run))
    several = RunDir(made.out.parent)
    both = Findings(("cyst", "mass"), exclusive=False)
    monkeypatch.setattr("meddistill.stages.boxes._inputs", lambda run, masks_of: {})

    def predict_probs(images, batch_size=16):
        probs = [np.zeros((2, *each.shape[:2]), np.float32) for each in images]
        for each in probs:
            each[0, 5:9, 4:9], each[1, 3:7, 2:8] = 0.9, 0.8
        return probs

    student = SimpleNamespace(
        preprocessing=Preprocessing(findings=both), predict_probs=predict_probs
    )
    out = run_boxes(
        several, "labelstudio", masks_of="student", out=tmp_path / "o", predictor=student
    )
    (path,) = out.glob("tasks.json")
    images = {
        Path(each.image).name: each for each in ANNOTATION_FORMATS["labelstudio"].read(path).images
    }
    (mass,) = images["a.png"].objects
    assert (mass.class_name, mass.has_shape) == ("mass", True)
    assert mass.box_xyxy_px == pytest.approx((2, 3, 8, 7))
    assert {name for name in ("cyst", "mass") if f'"{name}"' in path.read_text()} == {
        "cyst",
        "mass",
    }
    other = SimpleNamespace(
        preprocessing=Preprocessing(findings=Findings(("mass", "stone"))), predict_probs=None
    )
    with pytest.raises(StageError, match=r"the student finds mass, stone, and .* has cyst, mass"):
        run_boxes(several, "coco", masks_of="student", out=tmp_path / "p", predictor=other)


def test_images_are_copies(run, tmp_path):
    out = run_boxes(run, "csv", out=tmp_path / "out")
    save(out / "images" / "a.png", image())
    run_verify(run)


@pytest.mark.parametrize("tool", ANNOTATION_WRITERS)
def test_several_findings_keep_their_names(run, tool, tmp_path):
    settings = {**_settings(run), "findings": ["auto"]}
    before = prepare_into(tmp_path / "first", run.root.parent / "source", **settings)
    assert read_findings(before.out).names == ("cyst", "mass")
    out = run_boxes(RunDir(tmp_path / "first" / "run"), tool, out=tmp_path / "out")
    after = prepare_into(
        tmp_path / "second", out, test="split=test", val="split=val", findings=["cyst", "mass"]
    )
    for name, case in before.cases.items():
        boxes, places = annotated_findings(before.out, case)
        again, same = annotated_findings(after.out, after.cases[name])
        wanted = sorted((place, *box) for place, box in zip(places, boxes.tolist(), strict=True))
        found = sorted((place, *box) for place, box in zip(same, again.tolist(), strict=True))
        assert found == wanted
        assert after.cases[name].annotation == case.annotation


def test_findings_that_were_looked_for_in_part_are_kept_by_coco_and_said_of_others(
    run, tmp_path, capsys
):
    settings = {**_settings(run), "findings": ["auto"], "complete": False}
    before = prepare_into(tmp_path / "first", run.root.parent / "source", **settings)
    assert before.cases["a"].findings == "mass"
    first = RunDir(tmp_path / "first" / "run")
    out = run_boxes(first, "coco", out=tmp_path / "out")
    assert "only some findings" not in capsys.readouterr().err
    after = prepare_into(tmp_path / "second", out, findings=["cyst", "mass"], complete=False)
    assert {name: case.findings for name, case in after.cases.items()} == {
        name: case.findings for name, case in before.cases.items()
    }
    run_boxes(first, "voc", out=tmp_path / "voc")
    assert "only some findings were looked for: " in capsys.readouterr().err
