"""Tables that people made: CSV with any delimiter and encoding, TSV, and Excel's XLSX. Uses
python-calamine for the latter."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from meddistill.base.errors import FileError, InputError, in_one_line
from meddistill.base.files import atomic_path
from meddistill.data.formats.text_files import first_text, read_text

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_DELIMITERS = ",;\t|"
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
# Excel would otherwise allow a cell of any length; the default of the csv module is 128 kB, which a
# brush stroke in a cell exceeds.
csv.field_size_limit(16 * 1024 * 1024)

Rows = Iterator[tuple[int, list[str]]]


def header_of(path: Path) -> list[str]:
    """The column names in lower case, as far as the beginning of the file shows them; [] for a file
    that is no table."""
    try:
        if path.suffix.lower() == ".xlsx":
            return [name.lower() for name in read_table_rows(path)[0]]
        lines = first_text(path).splitlines()
        return [name.strip().lower() for name in next(_csv_lines(lines), (0, []))[1]]
    except (InputError, csv.Error):
        return []


def read_table_rows(path: Path) -> tuple[list[str], Rows]:
    """The column names as written, and the rows below with their line numbers; empty lines are
    passed over.

    Every value is text without blanks around it, a number with a decimal comma has a point.
    Raises: InputError for a file that is missing or no table, and while the rows are read for one
    of another length than the header.
    """
    if not path.exists():
        raise FileError(path, "does not exist")
    lines = _sheet(path) if path.suffix.lower() == ".xlsx" else _csv_lines(_text_lines(path))
    rows = _checked(lines, path)
    _, header = next(rows, (1, []))
    return header, rows


def _checked(lines: Rows, path: Path) -> Rows:
    width = None
    is_sheet = path.suffix.lower() == ".xlsx"
    try:
        for number, row in lines:
            if not any(row) and (width is None or len(row) < width):
                continue
            width = width or len(row)
            row += [""] * (width - len(row)) if is_sheet else []
            if len(row) > width and not any(row[width:]):  # Excel's empty columns at the right
                row = row[:width]
            if len(row) != width:
                raise FileError(path, f"line {number}: expected {width} values, got {len(row)}")
            yield number, row
    except csv.Error as error:
        raise FileError(path, f"cannot be read as a table: {in_one_line(error)}") from error


def _text_lines(path: Path) -> Iterator[str]:
    return (found[0] for found in _LINE.finditer(read_text(path)))


def _csv_lines(lines: Iterator[str] | Sequence[str]) -> Rows:
    lines = iter(lines)
    first = next(lines, "")
    before = 0
    if re.fullmatch(r"sep=.\s*", first.strip("\ufeff"), flags=re.IGNORECASE):  # Excel's hint
        first, before = next(lines, ""), 1
    delimiter = _delimiter(first)
    reader = csv.reader(_chained(first, lines), delimiter=delimiter, strict=True)
    for row in reader:
        yield (
            reader.line_num + before,
            [_plain(value.strip("\ufeff \t\r\n"), delimiter) for value in row],
        )


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _delimiter(line: str) -> str:
    """The one that cuts the first line into most parts, quoted parts left whole; a comma first."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(_DELIMITERS, key=bare.count)


def _sheet(path: Path) -> Rows:
    """The first sheet that holds anything."""
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        book = CalamineWorkbook.from_path(str(path))
        for name in book.sheet_names:
            rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
            if rows:
                break
        else:
            rows = []
    except (CalamineError, OSError, ValueError) as error:
        raise FileError(path, f"cannot be read as a workbook: {in_one_line(error)}") from error
    return ((number, [_cell(value) for value in row]) for number, row in enumerate(rows, start=1))


def _cell(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # every number of a sheet is a float
    return _plain(str(value).strip())


def _plain(text: str, delimiter: str = ";") -> str:
    # Most cells hold no comma, and tables may have millions.
    if "," not in text:
        return text
    # Where commas part the cells, one inside a quoted number parts thousands.
    if delimiter == "," and _THOUSANDS.fullmatch(text):
        return text.replace(",", "")
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text


def write_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """A CSV as `read_table_rows` reads it, UTF-8; whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
