"""CSV tables whose rows are dataclasses.

A column that has been there from the start is required. One that was added later is a field with a
default: the behaviour from before it existed, which a table without the column means. A row that
does not fit is an `InputError` naming file, line and column.
"""

from __future__ import annotations

import csv
import dataclasses
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from meddistill.base.errors import InputError
from meddistill.base.files import atomic_path

Row = TypeVar("Row")

# Column names that cannot be Python identifiers.
_COLUMN = {"class_name": "class"}
_WHERE_USED = "where used"


def columns(row_type: type) -> list[str]:
    """Header of the table that holds rows of `row_type`."""
    return [_COLUMN.get(field.name, field.name) for field in dataclasses.fields(row_type)]


def where_used(default: Any) -> Any:
    """A field whose column is written only where a row has another value than `default`, so that
    tables without it keep their bytes."""
    return dataclasses.field(default=default, metadata={_WHERE_USED: True})


def write_table(path: Path, row_type: type[Row], rows: Iterable[Row]) -> None:
    """Write a CSV of dataclass rows; whole or not at all. Booleans are written as 0 and 1."""
    rows = list(rows)
    names = [
        field.name
        for field in dataclasses.fields(row_type)  # type: ignore[arg-type]
        if not field.metadata.get(_WHERE_USED)
        or any(getattr(row, field.name) != field.default for row in rows)
    ]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([_COLUMN.get(name, name) for name in names])
        for row in rows:
            writer.writerow(_to_text(getattr(row, name)) for name in names)


def text_of_row(row: Any) -> str:
    """The row as `repr` shows it, to be hashed; what was added later is in it only where it differs
    from its default, so that the text of an older table stays what it was."""
    later = _defaults(type(row))
    values = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    shown = [
        f"{name}={value!r}"
        for name, value in values.items()
        if name not in later or value != later[name]
    ]
    return f"{type(row).__qualname__}({', '.join(shown)})"


def _defaults(row_type: type) -> dict[str, Any]:
    return {
        field.name: field.default
        for field in dataclasses.fields(row_type)
        if field.default is not dataclasses.MISSING
    }


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def read_table(path: Path, row_type: type[Row]) -> list[Row]:
    """Read a CSV that `write_table` wrote (or a person, with the same columns in any order; others
    are ignored). A column with a default may be missing.

    Raises: InputError naming file, line and column for anything that does not fit.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(_parse_rows(csv.DictReader(file, strict=True), path, row_type))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV table: {error}") from error


def _parse_rows(reader: csv.DictReader[str], path: Path, row_type: type[Row]) -> Iterator[Row]:
    wanted, there = columns(row_type), reader.fieldnames or []
    later = {_COLUMN.get(name, name) for name in _defaults(row_type)}
    missing = [name for name in wanted if name not in there and name not in later]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; expected {', '.join(wanted)}"
        )
    hints = typing.get_type_hints(row_type)
    names = [field.name for field in dataclasses.fields(row_type)]  # type: ignore[arg-type]
    fields = [(name, column) for name in names if (column := _COLUMN.get(name, name)) in there]
    for record in reader:
        values = {}
        for name, column in fields:
            try:
                values[name] = _from_text(record[column], hints[name])
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{path} line {reader.line_num}, column {column}: {error}"
                ) from None
        try:
            yield row_type(**values)
        except ValueError as error:
            raise InputError(f"{path} line {reader.line_num}: {error}") from None


def _from_text(text: str | None, hint: Any) -> Any:
    if text is None:
        raise ValueError("the row is too short")
    if hint is str:
        return text
    if hint is bool:
        if text not in ("0", "1"):
            raise ValueError(f"expected 0 or 1, got {text!r}")
        return text == "1"
    if type(None) in typing.get_args(hint):
        return None if text == "" else _from_text(text, typing.get_args(hint)[0])
    return hint(text)
