"""The table that ties cases to groups: `id,group[,fold,class,...]`, one row a case."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError, nearest
from meddistill.data.raw_case import RawCase
from meddistill.run.tables import Rejected

_ID_COLUMNS = ("id", "case_id", "name", "image", "file")
_GROUP_COLUMNS = ("group", "patient", "patient_id", "pid", "series", "volume")


def read_groups(path: Path) -> dict[str, dict[str, str]]:
    """Rows by case name; every row has the columns of the file, with its group under `group`.

    Raises: InputError for a missing file, no id or group column, an id twice with different rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            records = list(reader)
            header = list(reader.fieldnames or [])
    except FileNotFoundError:
        raise InputError(f"groups file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"groups file {path} cannot be read as a CSV table: {error}") from error
    id_column, group_column = _find(header, _ID_COLUMNS), _find(header, _GROUP_COLUMNS)
    if id_column is None or group_column is None:
        raise InputError(
            f"groups file {path} has the columns {', '.join(header) or 'none'}; expected one of "
            f"{', '.join(_ID_COLUMNS)} and one of {', '.join(_GROUP_COLUMNS)}"
        )
    rows: dict[str, dict[str, str]] = {}
    for number, record in enumerate(records, start=2):
        if None in record or None in record.values():
            raise InputError(f"groups file {path} line {number}: expected {len(header)} values")
        name = record[id_column].strip()
        row = {key: value.strip() for key, value in record.items()}
        row["group"] = row[group_column]
        if rows.setdefault(name, row) != row:
            raise InputError(
                f"groups file {path} line {number}: '{name}' is there twice with different values"
            )
    return rows


def _find(header: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {name.strip().lower(): name for name in reversed(header)}
    return next((lower[name] for name in names if name in lower), None)


def apply_groups(
    cases: Sequence[RawCase], rows: Mapping[str, Mapping[str, str]]
) -> tuple[list[RawCase], list[Rejected]]:
    """The cases with group, columns (and class, where the layout has none) from the table; those
    without a row are rejected: without a group nobody can tell which split they would leak into."""
    kept, rejected = [], []
    for case in cases:
        row = rows.get(case.name) or rows.get(Path(case.source).name)
        if row is None:
            rejected.append(Rejected(case.source, f"groups file has no row '{case.name}'"))
        elif not row["group"]:
            rejected.append(
                Rejected(case.source, f"groups file has an empty group for '{case.name}'")
            )
        else:
            class_name = case.class_name or row.get("class", "")
            columns = {**case.columns, **row}
            kept.append(
                dataclasses.replace(
                    case, group=row["group"], columns=columns, class_name=class_name
                )
            )
    return kept, rejected


@dataclasses.dataclass(frozen=True)
class Selection:
    """Cases by a column of the groups file: COLUMN=VALUE[,VALUE]."""

    column: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Selection:
        column, equals, values = text.partition("=")
        parts = tuple(value.strip() for value in values.split(",") if value.strip())
        if not equals or not column.strip() or not parts:
            raise InputError(f"expected COLUMN=VALUE[,VALUE] such as fold=4, got '{text}'")
        return cls(column.strip(), parts)

    def chooses(self, case: RawCase) -> bool:
        """Raises: InputError where the case has no such column."""
        if self.column not in case.columns:
            known = list(case.columns)
            hint = nearest(self.column, known) if known else "; give a groups file with --groups"
            raise InputError(
                f"'{self.column}={','.join(self.values)}': cases have no column "
                f"'{self.column}'{hint}"
            )
        return case.columns[self.column] in self.values
