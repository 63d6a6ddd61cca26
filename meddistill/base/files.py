"""Files that appear whole or not at all: text, JSON, and CSV tables whose rows are dataclasses.

A table has a fixed header; a row that does not fit is an `InputError` naming file, line and column.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from meddistill.base.errors import InputError

Row = TypeVar("Row")

# Column names that cannot be Python identifiers.
_COLUMN = {"class_name": "class"}

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\.[A-Za-z0-9]+)?")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to `path` at the end, removed on an
    error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keep the suffix last: writers choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(directory: Path, *, below: bool = True) -> list[Path]:
    """Temporary files that a killed process left of `atomic_path` in `directory` (and `below`):
    nobody's any more."""
    found = directory.rglob(".*.tmp*") if below else directory.glob(".*.tmp*")
    return [path for path in found if _TEMPORARY.fullmatch(path.name)]


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented, with keys in the order given. Raises ValueError for NaN and
    infinity.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error


def columns(row_type: type) -> list[str]:
    """Header of the table that holds rows of `row_type`."""
    return [_COLUMN.get(field.name, field.name) for field in dataclasses.fields(row_type)]


def write_table(path: Path, row_type: type[Row], rows: Iterable[Row]) -> None:
    """Write a CSV of dataclass rows; whole or not at all. Booleans are written as 0 and 1."""
    names = [field.name for field in dataclasses.fields(row_type)]  # type: ignore[arg-type]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns(row_type))
        for row in rows:
            writer.writerow(_to_text(getattr(row, name)) for name in names)


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def read_table(path: Path, row_type: type[Row]) -> list[Row]:
    """Read a CSV that `write_table` wrote (or a person, with the same columns in any order; others
    are ignored).

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
    wanted = columns(row_type)
    missing = [name for name in wanted if name not in (reader.fieldnames or [])]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; expected {', '.join(wanted)}"
        )
    hints = typing.get_type_hints(row_type)
    names = [field.name for field in dataclasses.fields(row_type)]  # type: ignore[arg-type]
    fields = [(name, _COLUMN.get(name, name)) for name in names]
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
