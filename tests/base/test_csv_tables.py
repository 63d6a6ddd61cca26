"""Tables of dataclass rows: what is required, what may be missing, and what a row is hashed by."""

import dataclasses

import pytest

from meddistill.base.csv_tables import columns, read_table, text_of_row, write_table
from meddistill.base.errors import InputError


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    share: float
    class_name: str


@dataclasses.dataclass(frozen=True)
class Later(Row):
    kept: bool = True
    note: str = ""


def test_a_column_with_a_default_may_be_missing(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, Row, [Row("a", 0.5, "ring")])
    assert read_table(path, Later) == [Later("a", 0.5, "ring", True, "")]
    write_table(path, Later, [Later("a", 0.5, "ring", False, "x")])
    assert read_table(path, Later) == [Later("a", 0.5, "ring", False, "x")]
    assert read_table(path, Row) == [Row("a", 0.5, "ring")]
    assert columns(Later) == ["name", "share", "class", "kept", "note"]


def test_one_without_is_required(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,class,kept\na,ring,1\n")
    with pytest.raises(
        InputError, match=r"lacks the column\(s\) share; expected name, share, class"
    ):
        read_table(path, Later)


def test_one_that_is_there_must_be_whole(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,share,class,kept\na,0.5,ring\n")
    with pytest.raises(InputError, match="line 2, column kept: the row is too short"):
        read_table(path, Later)
    path.write_text("name,share,class,kept\na,0.5,ring,yes\n")
    with pytest.raises(InputError, match="expected 0 or 1, got 'yes'"):
        read_table(path, Later)


def test_the_text_of_a_row_is_that_of_the_table_it_came_from():
    row = Row("a", 0.5, "ring")
    assert text_of_row(row) == repr(row) == "Row(name='a', share=0.5, class_name='ring')"
    assert text_of_row(Later("a", 0.5, "ring")) == repr(row).replace("Row", "Later")
    assert text_of_row(Later("a", 0.5, "ring", note="x")).endswith("class_name='ring', note='x')")
