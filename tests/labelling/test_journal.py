"""The journal: what was saved stays, whatever happens to the process, the line or the disk."""

import fcntl
import json
import signal
import subprocess
import sys

import pytest
from support.label_run import EMPTY, GIVEN, box_of, make_run

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError, StageError
from meddistill.labelling.actions import Action, Box
from meddistill.labelling.book import LabelBook, RefusedActionError, read_actions
from meddistill.labelling.box_table import LabelRow
from meddistill.labelling.journal import Journal
from meddistill.labelling.labelled import LabelledSoFar
from meddistill.run.dataset import Dataset
from meddistill.run.labels import annotated_findings
from meddistill.run.lock import lock_path

# Writes a box a line and says so after each; killed or cut off by its parent.
WRITER = """
import resource, sys
from pathlib import Path
from meddistill.labelling.actions import Action, Box
from meddistill.labelling.journal import Journal

path, most = Path(sys.argv[1]), int(sys.argv[2])
journal = Journal(path)
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for number in range(100_000):
    box = Box(f"b{number}", (1, 2, 3, 4), "lesion")
    try:
        journal.append(Action(f"a{number}", "a.png", "draw", box=box))
    except OSError:
        print("full", flush=True)
        break
    print(number, flush=True)
"""


def draw(number, image="images/002.png", xyxy=(8, 8, 24, 24)):
    return Action(f"a{number}", image, "draw", box=Box(f"b{number}", xyxy, "lesion"))


def ids(path):
    return [action.action_id for action in Journal(path).actions]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Dataset.open(make_run(tmp_path_factory.mktemp("labelled"), count=4).data)


@pytest.fixture
def open_book(tmp_path, data):
    books = []

    def opened(user="me", findings=("lesion",)):
        books.append(LabelBook(tmp_path / "labels", data, findings, user))
        return books[-1]

    yield opened
    for book in books:
        book.close()


def test_what_was_appended_is_there_again(tmp_path):
    journal = Journal(tmp_path / "labels" / "anna.jsonl")
    written = [journal.append(draw(number)) for number in range(3)]
    journal.close()
    again = Journal(journal.path)
    assert again.actions == written
    assert {action.user for action in again.actions} == {"anna"}
    assert again.mended == 0


def test_moments_never_fall(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "me.jsonl")
    first = journal.append(draw(1))
    monkeypatch.setattr("meddistill.labelling.journal._now_ms", lambda: 5)  # a clock set back
    assert journal.append(draw(2)).moment_ms == first.moment_ms


@pytest.mark.parametrize("cut", [1, 20])
def test_a_cut_last_line_is_mended(tmp_path, cut):
    journal = Journal(tmp_path / "me.jsonl")
    for number in range(3):
        journal.append(draw(number))
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    mended = Journal(journal.path)
    assert mended.mended > 0
    mended.append(draw(9))
    assert ids(journal.path) == ["a0", "a1", "a9"]


def test_a_cut_first_line_is_begun_anew(tmp_path):
    path = tmp_path / "me.jsonl"
    path.write_text('{"meddist')
    Journal(path).append(draw(1))
    assert ids(path) == ["a1"]


def test_a_cut_line_is_told(open_book, tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "me.jsonl").write_text('{"meddistill_labels": 1}\n{"id": "a')
    open_book()
    assert "its last line was cut off while it was written (9 bytes)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"meddistill_labels": 2}\n', r"a journal of version 2, expected 1"),
        ('{"id": 5}\n', r"a journal of version None, expected 1"),
        ("[]\n", r"a journal of version None, expected 1"),
        ('{"meddistill_labels": 1}\nhalf\n{"id"', r"line 2 is no JSON; the journal was damaged"),
        ('{"meddistill_labels": 1}\n{"do": "burn"}\n', r"line 2: 'do' is 'burn'"),
    ],
)
def test_a_journal_that_is_not_ours_is_refused_and_left_alone(tmp_path, content, why):
    path = tmp_path / "me.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=why):
        Journal(path)
    assert path.read_text() == content


def test_what_was_told_to_be_saved_survives_a_kill(tmp_path):
    path = tmp_path / "me.jsonl"
    command = [sys.executable, "-c", WRITER, str(path), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        told = [int(writer.stdout.readline()) for _ in range(40)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout.read().split()]
    assert ids(path)[: len(told)] == [f"a{number}" for number in told]


def test_a_full_disk_loses_nothing_that_was_saved(tmp_path):
    path = tmp_path / "me.jsonl"
    command = [sys.executable, "-c", WRITER, str(path), "5000"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told[-1] == "full"
    assert path.read_bytes().endswith(b"}\n")  # the half line was taken away at once
    assert ids(path) == [f"a{number}" for number in told[:-1]]


def test_sent_twice_is_done_once(open_book):
    book = open_book()
    for _ in range(3):
        book.save(draw(1))
    assert len(book.actions(book.data.cases[2])) == 1


def test_a_restart_finds_everything(open_book, data):
    book = open_book()
    book.save(draw(1))
    book.save(Action("a2", "images/003.png", "empty"))
    before = [book.state(case) for case in data.cases]
    book.close()
    again = LabelBook(book.folder, data, ("lesion",))
    assert [again.state(case) for case in data.cases] == before
    again.save(draw(1))
    assert again.version == book.version
    again.close()
    book._journal = Journal(book.folder / "x.jsonl")  # for the fixture to close


def test_two_people(open_book, data):
    anna, ben = open_book("anna"), open_book("ben")
    anna.save(draw(1))
    ben.save(draw(2, "images/003.png"))
    ben.save(Action("a3", "images/002.png", "empty"))
    anna.refresh()
    assert anna.counts() == ben.counts()
    assert anna.status(data.cases[2]) == "empty"
    assert anna.status(data.cases[3]) == "boxed"
    assert sorted(path.name for path in anna.folder.glob("*.jsonl")) == ["anna.jsonl", "ben.jsonl"]
    assert {action.user for action in read_actions(anna.folder)} == {"anna", "ben"}


def test_who_corrects_a_person_whose_clock_is_ahead_is_not_overruled(open_book, data, monkeypatch):
    """Two machines on one shared folder: what one person saw is before what that person does."""
    ben, anna = open_book("ben"), open_book("anna")
    given = data.cases[GIVEN].source
    monkeypatch.setattr("meddistill.labelling.journal._now_ms", lambda: 9_000)
    ben.save(draw(1, given))
    anna.refresh()
    monkeypatch.setattr("meddistill.labelling.journal._now_ms", lambda: 5_000)
    anna.save(Action("a2", given, "move", box_id="b1", xyxy=(1, 1, 9, 9)))
    anna.save(Action("a3", given, "delete", box_id="given-0"))
    ben.refresh()
    for book in (anna, ben, open_book("eve")):
        assert [box.xyxy for box in book.state(data.cases[GIVEN]).boxes] == [(1, 1, 9, 9)]


def test_boxes_csv_has_what_others_drew_since(open_book, data):
    anna, ben = open_book("anna"), open_book("ben")
    anna.save(draw(1))
    anna.write_boxes()
    ben.save(draw(2, "images/003.png"))
    ben.write_boxes()
    rows = read_table(anna.folder / "boxes.csv", LabelRow)
    assert [row.image for row in rows] == ["images/002.png", "images/003.png"]


def test_a_damaged_journal_of_another_is_told_alike_each_time(open_book, tmp_path):
    book, zoe = open_book(), open_book("zoe")
    (tmp_path / "labels" / "x.jsonl").write_text('{"meddistill_labels": 1}\n{}\nhalf\n')
    zoe.save(draw(5))
    for _ in range(3):
        with pytest.raises(InputError, match=r"x\.jsonl line 2: 'do' is None"):
            book.refresh()
    assert book.version == 1  # what the others did is there
    book.save(draw(1))
    book.write_boxes()


def test_the_same_person_twice_is_refused(open_book, tmp_path):
    (tmp_path / "labels").mkdir()
    with lock_path(tmp_path / "labels" / "anna").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StageError, match=r"labelled by 'anna' already.* --user NAME"):
            open_book("anna")
    assert open_book("anna").user == "anna"


@pytest.mark.parametrize("name", ["", "../me", "a/b", "x" * 41, "anna smith"])
def test_a_user_is_a_plain_name(open_book, name):
    with pytest.raises(InputError, match="is no plain name"):
        open_book(name)


def test_what_was_known_before_is_kept_and_goes_first(open_book, data):
    book = open_book()
    given, empty = data.cases[GIVEN], data.cases[EMPTY]
    assert [list(box.xyxy) for box in book.state(given).boxes] == [box_of(GIVEN)]
    assert [book.status(case) for case in data.cases] == ["boxed", "empty", "open", "open"]
    book.save(Action("a1", given.source, "move", box_id="given-0", xyxy=(0, 0, 9, 9)))
    book.save(draw(2, empty.source))
    assert [action.kind for action in book.actions(given)] == ["given", "move"]
    assert [box.source for box in book.state(given).boxes] == ["corrected"]
    assert [action.kind for action in book.actions(empty)] == ["given", "draw"]


def test_what_is_labelled_is_gathered_once_and_anew_where_something_was_saved(
    open_book, data, monkeypatch
):
    read = []
    monkeypatch.setattr(
        "meddistill.labelling.book.annotated_findings",
        lambda *given: read.append(given) or annotated_findings(*given),
    )
    book = open_book()
    labelled = LabelledSoFar(book)
    for _ in range(3):
        assert [each.case for each in labelled()] == [data.cases[GIVEN], data.cases[EMPTY]]
        book.state(data.cases[GIVEN])
    assert len(read) == 2  # a file an image, once
    book.save(draw(1))
    assert [len(each.boxes["lesion"]) for each in labelled()] == [1, 0, 1]
    book.save(Action("a2", data.cases[GIVEN].source, "delete", box_id="given-0"))
    assert [each.case for each in labelled()] == [data.cases[EMPTY], data.cases[2]]


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (draw(1, "images/none.png"), "there is no image 'images/none.png'"),
        (draw(1, xyxy=(8, 8, 65, 24)), "outside the image of 64x64 px"),
        (draw(1, xyxy=(-1, 8, 24, 24)), "outside the image"),
        (Action("a1", "images/002.png", "empty", finding="cyst"), "'cyst' is none of lesion"),
        (Action("a1", "images/002.png", "undo", of="a9"), "nothing of me to undo"),
        (Action("a1", "images/002.png", "given"), "written by the server alone"),
    ],
)
def test_what_cannot_be_is_refused_and_not_written(open_book, action, why):
    book = open_book()
    with pytest.raises(RefusedActionError, match=why):
        book.save(action)
    assert Journal(book.folder / "me.jsonl").actions == []


def test_boxes_csv(open_book, data):
    book = open_book()
    book.save(draw(1))
    book.save(Action("a2", "images/003.png", "empty"))
    book.save(Action("a3", data.cases[GIVEN].source, "unsure"))
    book.write_boxes()
    rows = read_table(book.folder / "boxes.csv", LabelRow)
    assert rows == [
        LabelRow("images/002.png", 8, 8, 24, 24, "lesion", "drawn"),
        LabelRow("images/003.png", None, None, None, None, "lesion"),
    ]


def test_the_journal_is_plain_lines(open_book):
    book = open_book()
    book.save(draw(1))
    head, line = (book.folder / "me.jsonl").read_text().splitlines()
    assert json.loads(head)["meddistill_labels"] == 1
    plain = json.loads(line)
    assert plain.pop("t") > 0
    assert plain == {
        "id": "a1",
        "image": "images/002.png",
        "do": "draw",
        "box": {"id": "b1", "xyxy": [8, 8, 24, 24], "finding": "lesion", "source": "drawn"},
    }
