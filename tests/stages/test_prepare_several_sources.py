"""Several sources as one RUN, and folders of one mask a finding: what was not looked for stays
unknown, equal names stay apart."""

import shutil
import time

import cv2
import numpy as np
import pytest
from support.label_maps import label_maps

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.findings import LESION, Findings
from meddistill.data.formats.pictures import load_labels
from meddistill.data.sources.file_roles import Patterns
from meddistill.data.sources.finding_folders import masks_by_finding
from meddistill.data.sources.naming import name_files
from meddistill.data.sources.walking import image_files
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import RunDir
from meddistill.run.tables import read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare


def _prepare(tmp_path, *sources, **settings):
    run = RunDir(tmp_path / "run")
    first, *others = (str(source) for source in sources)
    config = PrepareConfig(source=first, more_sources=others, val_fraction=0.2, **settings)
    return run_prepare(run, config, seed=0)


@pytest.fixture
def two(tmp_path):
    return label_maps(tmp_path / "A"), label_maps(tmp_path / "B", values=(0, 1))


def test_what_was_not_looked_for_in_a_source_is_unknown_there(tmp_path, two):
    out = _prepare(tmp_path, *two, findings=["A:liver=1", "A:background=2", "B:tumour=1"])
    # Of findings that no source shows together nothing is known: they may overlap.
    assert read_findings(out) == Findings(("liver", "tumour"), exclusive=False)
    cases = read_cases(out)
    assert len({case.case_id for case in cases}) == len({case.source for case in cases}) == 12
    assert len({case.group for case in cases}) == 12
    for case in cases:
        own = "liver" if case.source.startswith("A/") else "tumour"
        assert case.findings == own
        boxes, which = annotated_findings(out, case)
        labels = load_labels(mask_path(out, case))[0]
        if own == "liver":
            assert (boxes.tolist(), which.tolist()) == ([[4, 5, 16, 15]], [0])
            assert np.unique(labels).tolist() == [0, 1]
        else:
            assert (boxes.tolist(), which.tolist()) == ([[26, 20, 40, 34]], [1])
            assert np.unique(labels).tolist() == [0, 2]


def test_sources_bring_the_colours_of_their_findings(tmp_path, two):
    names = ["A:liver=1:#00ff00", "A:background=2", "B:tumour=1"]
    out = _prepare(tmp_path, *two, findings=names)
    assert read_findings(out).as_dict()["colours"] == ["#00ff00", "#ffdd00"]
    names = ["A:a=1:#00ff00", "A:background=2", "B:a=1:#0000ff"]
    with pytest.raises(ConfigError, match="finding 'a' has two colours, #00ff00 and #0000ff"):
        _prepare(tmp_path / "other", *two, findings=names)


def test_sources_of_the_same_findings_know_all_of_them(tmp_path, two):
    first, _ = two
    third = label_maps(tmp_path / "C", values=(2, 1))
    out = _prepare(tmp_path, first, third, findings=["a=1", "b=2"])
    assert read_findings(out) == Findings(("a", "b"), exclusive=True)
    assert {case.findings for case in read_cases(out)} == {""}


def test_without_findings_two_sources_are_one_of_lesions(tmp_path):
    sources = [label_maps(tmp_path / name, count=4, values=(255, 0)) for name in "AB"]
    out = _prepare(tmp_path, *sources)
    assert read_findings(out) == LESION
    assert len(read_cases(out)) == 8
    again = _prepare(tmp_path, *sources)
    assert again == out


def test_a_value_that_means_something_in_the_other_source_alone_is_strange(tmp_path, two):
    with pytest.raises(InputError, match=r"2: 1176 px in 6 file\(s\), such as A/masks|2: 1176 px"):
        _prepare(tmp_path, *two, findings=["A:liver=1", "B:tumour=1", "B:other=2"])
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"findings": ["A:liver=1"]}, ConfigError, "says nothing of the source B: write B:NAME="),
        ({"findings": ["a=1", "AA:b=1"]}, ConfigError, "names the source 'AA'"),
        ({"boxes": "b.csv"}, ConfigError, "--boxes is meant of one source"),
    ],
)
def test_what_is_said_of_one_source_alone_is_refused(tmp_path, two, settings, error, told):
    with pytest.raises(error, match=told):
        _prepare(tmp_path, *two, **settings)
    assert not (tmp_path / "run").exists()


def test_sources_of_which_one_alone_shows_findings_are_asked_about(tmp_path, two):
    plain = label_maps(tmp_path / "C", values=(255, 255))
    told = (
        r"other findings \(A: value 1, value 2; C: lesion\), and nobody named them: --findings auto"
    )
    with pytest.raises(ConfigError, match=told):
        _prepare(tmp_path, two[0], plain)


def test_a_source_that_is_named_twice_is_refused(tmp_path, two):
    with pytest.raises(InputError, match="is named twice, or lies in"):
        _prepare(tmp_path, two[0], two[0])


LAYOUTS = (
    *("masks/{n}/c{i}.png", "masks/c{i}_{n}.png", "masks_{n}/c{i}.png", "masks/c{i}/{n}.png"),
    *("{n}/c{i}.png", "c{i}_{n}_mask.png"),
)


def finding_masks(root, layout, count=5):
    """Pictures with a mask file a finding, which overlap; the last has none of `right lobe`."""
    for index in range(count):
        (root / "images").mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (32, 40), np.uint8)
        cv2.imwrite(str(root / "images" / f"c{index}.png"), noise)
        for name, left in (("left_lobe", 4), ("right_lobe", 12)):
            path = root / layout.format(i=index, n=name)
            path.parent.mkdir(parents=True, exist_ok=True)
            mask = np.zeros((32, 40), np.uint8)
            mask[4:14, left : left + 16] = 255
            if index < count - 1 or name == "left_lobe":
                cv2.imwrite(str(path), mask)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mask_a_finding_is_told_by_its_name_or_folder(tmp_path, layout):
    root = finding_masks(tmp_path / "source", layout, count=3)
    named = name_files(image_files(root, root)[0], root, ())
    found = masks_by_finding(named, root, Patterns(), ("left lobe", "right lobe"))
    assert [image.path.name for image in found.matched.images] == ["c0.png", "c1.png", "c2.png"]
    assert found.matched.problems == []
    for name, count in (("left lobe", 3), ("right lobe", 2)):
        masks = found.masks_of[name]
        assert len(masks) == count
        for image, (mask,) in masks.items():
            assert layout.format(i=image.stem[1:], n=name.replace(" ", "_")) in mask.as_posix()


@pytest.mark.parametrize("findings", [["left_lobe", "right_lobe"], ["auto"]])
def test_folders_of_one_mask_a_finding_need_no_label_map(tmp_path, findings):
    source = finding_masks(tmp_path / "source", LAYOUTS[0])
    out = _prepare(tmp_path, source, findings=findings)
    assert read_findings(out) == Findings(("left_lobe", "right_lobe"), exclusive=False)
    cases = {case.case_id: case for case in read_cases(out)}
    assert cases["c4"].findings == "left_lobe"  # nobody masked the other one there
    assert {cases[f"c{i}"].findings for i in range(4)} == {""}
    boxes, which = annotated_findings(out, cases["c0"])
    assert boxes.tolist() == [[4, 4, 20, 14], [12, 4, 28, 14]]
    assert which.tolist() == [0, 1]
    labels = load_labels(mask_path(out, cases["c0"]))[0]
    assert (labels[8, 6], labels[8, 14], labels[8, 24]) == (1, 3, 2)


def test_folders_that_name_a_split_are_no_findings(tmp_path):
    source = finding_masks(tmp_path / "source", "masks/{n}/c{i}.png")
    for index, split in enumerate(["train", "train", "train", "val", "test"]):
        for kind, path in (("images", "images"), ("masks", "masks/left_lobe")):
            place = source / "of" / kind / split / f"c{index}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path / f"c{index}.png", place)
    with pytest.raises(InputError, match="it names none"):
        _prepare(tmp_path, source / "of", findings=["auto"])
    assert read_findings(_prepare(tmp_path, source / "of")) == LESION


def test_folders_of_masks_that_are_taken_as_one_are_pointed_at(tmp_path, capsys):
    source = finding_masks(tmp_path / "source", LAYOUTS[0])
    told = "--findings auto, for folders of masks that are findings: left_lobe, right_lobe"
    for index in range(5):  # one of the two for each image
        name = ("left_lobe", "right_lobe")[index < 2]
        (source / "masks" / name / f"c{index}.png").unlink()
    _prepare(tmp_path, source)
    assert f"or else: {told}" in capsys.readouterr().err


VOLUME_LAYOUTS = {  # image, mask of a finding
    "case folders": ("s{i}/ct.nii.gz", "s{i}/segmentations/{n}.nii.gz"),
    "folder a finding": ("images/v{i}.nii.gz", "masks/{n}/v{i}.nii.gz"),
    "beside": ("v{i}.nii.gz", "v{i}_{n}.nii.gz"),
}


@pytest.mark.parametrize("layout", VOLUME_LAYOUTS.values(), ids=VOLUME_LAYOUTS)
def test_volumes_have_a_mask_a_finding_too(tmp_path, layout):
    source = tmp_path / "source"
    lobes = {"left_lobe": 2, "right_lobe": 6}  # they overlap
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 900, (16, 12, 5)).astype(np.int16)
        _save(source / layout[0].format(i=index), noise)
        for name, left in lobes.items():
            if (index, name) != (3, "right_lobe"):
                mask = np.zeros(noise.shape, np.uint8)
                mask[left : left + 8, 2:6, 1:4] = 1
                _save(source / layout[1].format(i=index, n=name), mask)
    out = _prepare(tmp_path, source, findings=list(lobes))
    assert read_findings(out) == Findings(tuple(lobes), exclusive=False)
    by_patient: dict[str, list] = {}
    for case in read_cases(out):
        by_patient.setdefault(case.group, []).append(case)
    assert [len(cases) for cases in by_patient.values()] == [5] * 4
    last = by_patient.pop(max(by_patient))
    assert {case.findings for case in last} == {"left_lobe"}  # nobody masked the other one there
    for cases in by_patient.values():
        assert [case.annotation for case in cases] == ["none", *["boxes"] * 3, "none"]
        boxes, which = annotated_findings(out, cases[2])
        # Seen as radiologists do: the patient's right side, low x, is at the right.
        assert boxes.tolist() == [[6, 6, 14, 10], [2, 6, 10, 10]]
        assert which.tolist() == [0, 1]


def _save(path, voxels):
    nibabel = pytest.importorskip("nibabel")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 3, 1])), path)


def test_masks_of_one_image_that_differ_in_size_are_rejected_by_name(tmp_path):
    source = finding_masks(tmp_path / "source", LAYOUTS[0])
    cv2.imwrite(str(source / "masks/left_lobe/c0.png"), np.full((8, 8), 255, np.uint8))
    out = _prepare(tmp_path, source, findings=["left_lobe", "right_lobe"])
    told = (out / "rejected.csv").read_text()
    assert "its masks differ in size: left_lobe 8x8, right_lobe 40x32" in told


def test_twenty_thousand_boxes_of_eighty_findings_take_seconds(tmp_path):
    images = tmp_path / "source" / "images"
    images.mkdir(parents=True)
    rows = ["image,x1,y1,x2,y2,class"]
    for index in range(40):
        noise = np.random.default_rng(index).integers(0, 256, (64, 64), np.uint8)
        cv2.imwrite(str(images / f"c{index}.png"), noise)
        rows += [
            f"c{index}.png,{n % 50},{n % 40},{n % 50 + 9},{n % 40 + 8},kind {n % 80}"
            for n in range(500)
        ]
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")
    config = {"boxes": str(tmp_path / "boxes.csv"), "findings": ["auto"]}
    with pytest.raises(ConfigError, match="80 findings that may overlap; a mask holds 1 to 16"):
        _prepare(tmp_path, images.parent, **config)
    assert not (tmp_path / "run" / "data").exists()
    started = time.process_time()
    out = _prepare(tmp_path, images.parent, overlap="exclusive", **config)
    assert time.process_time() - started < 30
    assert sum(case.n_boxes for case in read_cases(out)) == 20_000
    assert len(read_findings(out)) == 80


def test_a_finding_that_training_lacks_is_said(tmp_path, capsys):
    source = label_maps(tmp_path / "source")
    rows = (f"c{i},g{i},{'test' if i < 2 else 'train'}" for i in range(6))
    (source / "groups.csv").write_text("id,group,part\n" + "\n".join(rows) + "\n")
    for index in range(2, 6):
        path = str(source / "masks" / f"c{index}.png")
        mask = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        mask[mask == 2] = 0
        cv2.imwrite(path, mask)
    _prepare(tmp_path, source, findings=["a=1", "b=2"], test="part=test")
    told = " ".join(capsys.readouterr().err.split())
    assert "finding 'b' has no box in training, 2 elsewhere: it cannot be learnt" in told


def test_healthy_images_are_looked_at_and_empty(tmp_path, two):
    source, other = two
    healthy = tmp_path / "normal"
    healthy.mkdir()
    for number, path in enumerate(sorted((other / "images").iterdir())[:5]):
        shutil.copy(path, healthy / f"n{number}.png")
    out = _prepare(tmp_path, source, findings=["liver=1", "background=2"], healthy=[str(healthy)])
    assert read_findings(out) == Findings(("liver",))
    by_source = {case.source.partition("/")[0]: [] for case in read_cases(out)}
    for case in read_cases(out):
        by_source[case.source.partition("/")[0]].append(case)
    assert {case.annotation for case in by_source["normal"]} == {"none"}
    assert {case.annotation for case in by_source["A"]} == {"boxes"}
    assert not any(case.has_mask for case in by_source["normal"])
    assert len(by_source["normal"]) == 5


def test_healthy_images_lack_all_of_several_findings(tmp_path, two):
    source, other = two
    out = _prepare(tmp_path, source, findings=["liver=1", "spleen=2"], healthy=[str(other)])
    healthy = [case for case in read_cases(out) if case.source.startswith("B/")]
    assert healthy
    assert all(case.annotation == "none" and not case.has_mask for case in healthy)
    assert {case.findings for case in healthy} <= {"", "liver;spleen"}


def test_boxes_of_one_source_go_with_healthy_images(tmp_path, two):
    source, other = two
    boxes = tmp_path / "boxes.csv"
    names = [path.name for path in (source / "images").iterdir()]
    boxes.write_text("image,x1,y1,x2,y2\n" + "".join(f"{name},4,5,16,15\n" for name in names))
    out = _prepare(tmp_path, source, boxes=str(boxes), label="1,2", healthy=[str(other)])
    cases = read_cases(out)
    assert {case.annotation for case in cases if case.source.startswith("A/")} == {"boxes"}
    assert {case.annotation for case in cases if case.source.startswith("B/")} == {"none"}


def test_a_healthy_folder_is_no_source(tmp_path, two):
    source, _ = two
    with pytest.raises(InputError, match="is named twice"):
        _prepare(tmp_path, source, findings=["liver=1"], healthy=[str(source)])
