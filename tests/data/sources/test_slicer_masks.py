"""Segmentations of 3D Slicer: segments are told by their names, whatever numbers they have."""

import numpy as np
import pytest
from support.layouts import write_nrrd
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError
from meddistill.data.findings import Findings
from meddistill.data.formats.slicer_segments import segments_of
from meddistill.data.formats.volume_slices import MaskSlice
from meddistill.data.masks import INSTANCES, FindingValues
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings

SIDE, SLICES = 24, 5
LEFT, RIGHT = (slice(3, 9), slice(4, 12)), (slice(14, 22), slice(10, 20))
BOXES = {"tumor": [3, 4, 9, 12], "organ": [14, 10, 22, 20]}


def drawn(*where):
    """Voxels (X, Y, Z) with the areas as 1, 2, ... in the middle slice."""
    found = np.zeros((SIDE, SIDE, SLICES), np.uint8)
    for value, place in enumerate(where, start=1):
        found[(*place, 2)] = value
    return found


def save_segments(path, voxels, segments, more=""):
    """`voxels` ([layers,] X, Y, Z) uint8; `segments`: name, value and layer of each."""
    fields = "".join(
        f"Segment{place}_LabelValue:={value}\nSegment{place}_Layer:={layer}\nSegment{place}_Name:={name}\n"
        for place, (name, value, layer) in enumerate(segments)
    )
    layers = voxels.ndim - 3
    head = (
        f"NRRD0004\n# made for a test\ntype: unsigned char\ndimension: {voxels.ndim}\n"
        f"space: left-posterior-superior\nsizes: {' '.join(map(str, voxels.shape))}\n"
        f"space directions: {'none ' * layers}(0.5,0,0) (0,2,0) (0,0,3)\n"
        f"kinds: {'list ' * layers}domain domain domain\nencoding: raw\nspace origin: (0,0,0)\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"{head}{fields}{more}\n".encode() + voxels.tobytes(order="F"))


def scan(folder, seed):
    voxels = np.random.default_rng(seed).integers(0, 900, (SLICES, SIDE, SIDE)).astype(np.int16)
    write_nrrd(folder / "CT.nrrd", voxels)


def exchanged(root):
    """Four patients; in every other one the segments were made in the other order."""
    for number in range(4):
        scan(root / f"p{number}", number)
        names = ("tumor", "organ") if number % 2 else ("organ", "tumor")
        places = (LEFT, RIGHT) if number % 2 else (RIGHT, LEFT)
        segments = [(name, value, 0) for value, name in enumerate(names, start=1)]
        save_segments(root / f"p{number}" / "Segmentation.seg.nrrd", drawn(*places), segments)
    return root


def layered(root, segments=(("tumor", 1, 0), ("organ", 1, 1)), places=(LEFT, RIGHT)):
    """Four patients whose segments are in layers of their own."""
    for number in range(4):
        scan(root / f"p{number}", number)
        layers = np.stack([drawn(each) for each in places])
        save_segments(root / f"p{number}" / "Segmentation.seg.nrrd", layers, segments)
    return root


def boxes_of(out, cases):
    """The boxes of the annotated slices, of each patient, by finding."""
    names = read_findings(out).names
    found = {}
    for case in cases.values():
        if case.annotation == "boxes":
            boxes, which = annotated_findings(out, case)
            told = {names[each]: box for each, box in zip(which, boxes.tolist(), strict=True)}
            found[case.source.partition("/")[0]] = told
    return found


@pytest.mark.parametrize("findings", [[], ["auto"], ["organ", "tumor"], ["organ"], ["Tumor"]])
def test_segments_are_findings_by_their_names(tmp_path, prepare, findings):
    out, cases, _ = prepare(exchanged(tmp_path / "s"), findings=findings, **ALL_IN_TRAINING)
    names = tuple(findings) if findings not in ([], ["auto"]) else ("organ", "tumor")
    assert read_findings(out) == Findings(names, exclusive=True)
    wanted = {name: BOXES[name.lower()] for name in names}
    assert boxes_of(out, cases) == {f"p{number}": wanted for number in range(4)}


@pytest.mark.parametrize("more", [{"label": "1"}, {"findings": ["tumor=1", "organ=2"]}])
def test_a_number_that_means_other_segments_stops(tmp_path, prepare, more):
    source = exchanged(tmp_path / "s")
    told = r"structure 1 is 'organ' in p0/Seg\S+, 'tumor' in p1/\S+: choose by name"
    with pytest.raises(InputError, match=told):
        prepare(source, **more, **ALL_IN_TRAINING)
    _, cases, _ = prepare(source, accept=["structures"], **more, **ALL_IN_TRAINING)
    assert sum(case.annotation == "boxes" for case in cases.values()) == 4


def test_a_name_of_no_segment_stops(tmp_path, prepare):
    with pytest.raises(
        InputError, match=r"'tumr' is the name of no structure; did you mean 'tumor'"
    ):
        prepare(exchanged(tmp_path / "s"), findings=["tumr"], **ALL_IN_TRAINING)


@pytest.mark.parametrize("findings", [[], ["lesion"]])
def test_one_segment_is_the_lesion_whatever_it_is_called(tmp_path, prepare, findings):
    for number in range(4):
        scan(tmp_path / "s" / f"p{number}", number)
        path = tmp_path / "s" / f"p{number}" / "Segmentation.seg.nrrd"
        save_segments(path, drawn(LEFT), [(f"Segment_{number}", 1, 0)])
    out, cases, _ = prepare(tmp_path / "s", findings=findings, **ALL_IN_TRAINING)
    assert read_findings(out) == Findings()
    assert boxes_of(out, cases)["p3"] == {"lesion": BOXES["tumor"]}


def test_segments_that_overlap_lie_in_layers(tmp_path, prepare):
    inner = (slice(4, 8), slice(5, 11))
    source = layered(tmp_path / "s", places=(inner, LEFT))
    out, cases, _ = prepare(source, **ALL_IN_TRAINING)
    assert read_findings(out) == Findings(("organ", "tumor"), exclusive=False)
    assert boxes_of(out, cases)["p1"] == {"tumor": [4, 5, 8, 11], "organ": BOXES["tumor"]}


def test_masks_without_names_beside_them_are_read_by_values(tmp_path, prepare):
    for number in range(4):
        folder = tmp_path / "s" / f"p{number}"
        scan(folder, number)
        if number % 2:
            save_segments(folder / "CT_seg.nrrd", drawn(LEFT, RIGHT), ())
        else:
            segments = [("tumor", 1, 0), ("organ", 2, 0)]
            save_segments(folder / "CT_seg.nrrd", drawn(LEFT, RIGHT), segments)
    out, _, _ = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    assert read_findings(out).names == ("value 1", "value 2")


def test_layers_are_taken_by_number_together_and_apart(tmp_path):
    path = layered(tmp_path / "s") / "p0" / "Segmentation.seg.nrrd"
    marked = {}
    both = FindingValues(Findings(("a", "b")), ((2.0,), (1.0,)))
    for labels in (None, "any", (1.0,), (2.0,), (7.0,), INSTANCES, both):
        found = MaskSlice(path, 2, 2, labels).load()
        marked[str(labels)] = [int((found == value).sum()) for value in (1, 2)]
    left, right = 6 * 8, 8 * 10
    assert list(marked.values())[:6] == [
        [left + right, 0],
        [left + right, 0],
        [left, 0],
        [right, 0],
        [0, 0],
        [left, right],
    ]
    assert [int(plane.sum()) for plane in MaskSlice(path, 2, 2, both).load()] == [right, left]


@pytest.mark.parametrize("layer", [5, -1])
def test_a_layer_that_is_not_there_is_one_line(tmp_path, layer):
    path = layered(tmp_path / "s", (("a", 1, 0), ("b", 1, layer))) / "p0" / "Segmentation.seg.nrrd"
    with pytest.raises(InputError, match=rf"seg.nrrd names a segment in layer {layer} and holds 2"):
        MaskSlice(path, 2, 2).load()


def test_headers_may_be_long_and_old(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    more = "".join(f"Segment0_Tags:={'x' * 900}\n" for _ in range(200))
    save_segments(path, drawn(LEFT), [], f"{more}Segment0_Name:=Läsion a\n")
    found = segments_of(path)
    assert (found.segments, found.places, found.layered) == ({1: "Läsion a"}, {1: (0, 1)}, False)
    old = "Segment0_Name:=a\nSegment1_Name:=b\n"  # each in a layer of its own, of 0 and 1
    save_segments(path, np.stack([drawn(LEFT), drawn(RIGHT)]), [], old)
    assert segments_of(path).places == {1: (0, 1), 2: (1, 1)}
    save_segments(path, drawn(LEFT, RIGHT), [], old)
    with pytest.raises(InputError, match="without their LabelValue"):
        segments_of(path)
