"""Files of every label tool as they come from other machines and from nowhere good: read right, or
refused by one line."""

import json

import pytest
from support.layouts import BOX, MAKERS
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError, MedDistillError
from meddistill.data.formats.known_annotation_formats import ANNOTATION_FORMATS
from meddistill.data.prepare.listing import list_source
from meddistill.data.sources.walking import walk_files
from meddistill.run.labels import annotated_boxes
from meddistill.settings.prepare import PrepareConfig

NAMED = [name for name, each in ANNOTATION_FORMATS.items() if not each.per_image]
NASTY = "<script>\x1b[31m\u202emass"


def annotation_files(root, name):
    """The files of the tool below `root` that hold anything."""
    endings = ANNOTATION_FORMATS[name].suffixes
    files = [path for path in walk_files(root, root)[0] if path.name.lower().endswith(endings)]
    return [path for path in files if path.stat().st_size]


def made(root, name, change):
    """The tool's miniature with `change` done to the text of each of its files."""
    MAKERS[name](root)
    for path in annotation_files(root, name):
        changed = change(path.read_text(encoding="utf-8"))
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    return root


def boxes_by_image(root, name):
    listed = list_source(root, PrepareConfig(source=str(root), dataset=name), 0)
    return {case.name: case.boxes_xyxy_px for case in listed.cases}


def refusal(root, name, allowed=lambda boxes: True):
    """What the error says, '' where there is none and the boxes are `allowed`."""
    try:
        boxes = boxes_by_image(root, name)
    except MedDistillError as error:
        return str(error)
    assert allowed(boxes)
    return ""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the miniatures say as they are."""
    root = tmp_path_factory.mktemp("plain")
    return {name: boxes_by_image(made(root / name, name, str), name) for name in ANNOTATION_FORMATS}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("name", ANNOTATION_FORMATS)
def test_any_encoding_is_read(tmp_path, name, encoding, expected):
    root = made(tmp_path / "s", name, lambda text: text.encode(encoding))
    assert boxes_by_image(root, name) == expected[name]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ANNOTATION_FORMATS)
def test_a_file_cut_short_is_one_line(tmp_path, name, share):
    root = made(tmp_path / "s", name, lambda text: text[: int(len(text) * share)])
    assert "\n" not in refusal(root, name)


@pytest.mark.parametrize("name", ANNOTATION_FORMATS)
def test_an_archive_under_the_name_of_a_file_is_refused_or_passed_over(tmp_path, name):
    root = made(tmp_path / "s", name, lambda text: b"PK\x03\x04\x14\0" + bytes(range(256)) * 4)
    assert "\n" not in refusal(root, name, lambda boxes: not any(boxes.values()))


@pytest.mark.parametrize(
    "folder",
    ["C:\\\\Users\\\\Dr. M\\\\scans\\\\", "/home/other/set/", "../../elsewhere/", "file:///D:/x/"],
)
@pytest.mark.parametrize("name", NAMED)
def test_paths_of_another_machine_mean_the_picture_at_their_end(tmp_path, name, folder, expected):
    in_json = (
        folder if ".json" in ANNOTATION_FORMATS[name].suffixes else folder.replace("\\\\", "\\")
    )

    def change(text):
        for stem, ending in (("a", "png"), ("b", "png"), ("1", "jpg"), ("2", "jpg")):
            for mark in ('"', "\n"):
                text = text.replace(f"{mark}{stem}.{ending}", f"{mark}{in_json}{stem}.{ending}")
        return text.replace("\na,", f"\n{in_json}a.png,")

    root = made(tmp_path / "s", name, change)
    assert boxes_by_image(root, name) == expected[name]


@pytest.mark.parametrize("name", ANNOTATION_FORMATS)
def test_codes_in_the_names_of_classes_reach_neither_terminal_nor_page(
    tmp_path, name, prepare, capsys
):
    def change(text):
        written = NASTY
        if ".json" in ANNOTATION_FORMATS[name].suffixes or name == "qupath":
            written = json.dumps(NASTY)[1:-1]
        elif ".xml" in ANNOTATION_FORMATS[name].suffixes:  # has no way to hold ESC
            written = "&lt;script&gt;\u202emass"
        for word in ("mass", "polyp", "tumour"):
            text = text.replace(word, written)
        return text

    root = made(tmp_path / "s", name, change)
    if name == "yolo":
        table = root / "data.yaml"
        table.write_text(table.read_text().replace("tumour", json.dumps(NASTY)))
    out, cases, _ = prepare(root, dataset=name, **ALL_IN_TRAINING)
    assert any(annotated_boxes(out, case).tolist() == [BOX] for case in cases.values())
    told = capsys.readouterr()
    texts = [told.out, told.err, (out / "report.html").read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in out.glob("*.csv")]
    assert not any("\x1b" in text.replace("\x1b[K", "") for text in texts)
    assert "<script>\\x1b" not in texts[2]
    assert "<script>\u202e" not in texts[2]


def test_codes_in_a_table_of_cases_reach_no_table_of_ours(tmp_path, prepare, capsys):
    MAKERS["folder"](tmp_path / "s")
    rows = f"image,mask,class,patient,note\na.png,masks/a.png,{NASTY},\x1b[2Jp1,\x1b[1mx\n"
    (tmp_path / "s" / "cases.csv").write_text(rows, encoding="utf-8")
    out, _, _ = prepare("", table=str(tmp_path / "s" / "cases.csv"), **ALL_IN_TRAINING)
    told = capsys.readouterr()
    texts = [told.out, told.err, *(path.read_text(encoding="utf-8") for path in out.glob("*.csv"))]
    assert not any("\x1b" in text.replace("\x1b[K", "") for text in texts)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("yolo", lambda text: text.replace(".", ",")),
        ("voc", lambda text: text.replace("<xmin>7", "<xmin>7,5")),
        ("cvat", lambda text: text.replace(".00", ",00")),
    ],
)
def test_a_comma_for_a_point_is_never_misread(tmp_path, name, change, expected):
    try:
        found = boxes_by_image(made(tmp_path / "s", name, change), name)
    except InputError:
        return
    assert all(boxes in ((), None, expected[name][image]) for image, boxes in found.items())


def test_a_comma_for_a_point_is_one_in_tables(tmp_path, expected):
    root = made(
        tmp_path / "s",
        "boxes-csv",
        lambda text: "\n".join(
            line.replace(",", ";").replace(";6;", ";6,0;") for line in text.splitlines()
        ),
    )
    assert boxes_by_image(root, "boxes-csv") == expected["boxes-csv"]


def test_a_link_to_a_file_outside_is_read_and_leads_no_further(tmp_path, expected):
    MAKERS["labelme"](tmp_path / "s")
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "s" / "a.json").rename(outside / "a.json")
    (outside / "secret.png").write_bytes((tmp_path / "s" / "c.png").read_bytes())
    (tmp_path / "s" / "a.json").symlink_to(outside / "a.json")
    assert boxes_by_image(tmp_path / "s", "labelme") == expected["labelme"]
