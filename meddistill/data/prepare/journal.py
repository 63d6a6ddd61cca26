"""What was converted already: an interrupted or later run does not do it again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base import console
from meddistill.base.errors import InputError
from meddistill.data.prepare.case_key import case_key
from meddistill.data.prepare.conversion_pool import convert_all
from meddistill.data.prepare.convert import Converted, ConvertSettings
from meddistill.data.prepare.placing import take_back
from meddistill.data.raw_case import RawCase
from meddistill.run.layout import CONVERTED_JSONL, STAGING
from meddistill.run.tables import Case


@dataclasses.dataclass(frozen=True)
class Conversion:
    """How the cases of a run are converted: by which settings, in how many processes (0 = one a
    core), and whether a case that cannot be read stops the run (`strict`)."""

    settings: ConvertSettings
    workers: int = 0
    strict: bool = False


def convert_cases(
    cases: Sequence[RawCase],
    hashes: Mapping[Path, str],
    out: Path,
    conversion: Conversion,
    previous: Sequence[Case],
) -> list[Converted]:
    """Results in the order of the cases, with their files in the staging folder; what an
    interrupted or earlier run has done already is not done again.

    Raises: InputError for a case that cannot be read where the conversion is `strict`.

    Args:
        cases: what to convert.
        hashes: of the files of the source.
        out: RUN/data.
        conversion: how.
        previous: the cases of an earlier run, whose files lie in `out`.
    """
    settings = conversion.settings
    keys = [case_key(case, hashes, settings) for case in cases]
    staging = out / STAGING
    staging.mkdir(exist_ok=True)
    with (
        Journal(out / CONVERTED_JSONL) as journal,
        console.progress("reading images", len(cases)) as bar,
    ):
        key_by_source = dict(zip([case.source for case in cases], keys, strict=True))
        take_back(out, key_by_source, journal.results, previous)
        todo = []
        for key, case in zip(keys, cases, strict=True):
            known = journal.results.get(key)
            if known is None or not (
                known.reason or known.skipped or (staging / f"{key}.png").exists()
            ):
                todo.append((key, case))
        bar.resume(len(cases) - len(todo))
        by_key = dict(todo)
        for result in convert_all(todo, staging, settings, conversion.workers):
            journal.add(result)
            bar.advance()
            if result.reason and conversion.strict:
                raise InputError(f"--strict: {by_key[result.key].source}: {result.reason}")
    return [journal.results[key] for key in keys]


class Journal:
    """Results of `convert`, one JSON line each, so that an interrupted or later run need not repeat
    them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.results: dict[str, Converted] = {}
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                result = Converted(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the line that was being written when the run was killed
            self.results[result.key] = result

    def __enter__(self) -> Journal:
        self._file = self._path.open("a", encoding="utf-8")
        # After a killed run the last line may lack its end.
        if self._path.stat().st_size:
            self._file.write("\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, result: Converted) -> None:
        self.results[result.key] = result
        # As `dataclasses.asdict`, which copies every box first.
        self._file.write(json.dumps(vars(result)) + "\n")
        self._file.flush()
