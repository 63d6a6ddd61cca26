"""`prepare` as tests call it: settings as keywords, and what came out by name."""

from pathlib import Path
from typing import NamedTuple

from meddistill.base.csv_tables import read_table
from meddistill.run.layout import REJECTED_CSV, RunDir
from meddistill.run.tables import Case, Rejected, read_cases
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

ALL_IN_TRAINING = {"test_fraction": 0.0, "val_fraction": 0.0, "duplicate_bits": 0}
"""Settings for tests that look at cases, not at splits."""


class Prepared(NamedTuple):
    """RUN/data, its cases by id, and the reasons of what was rejected by source."""

    out: Path
    cases: dict[str, Case]
    reasons: dict[str, str]


def prepare_into(root, source, *, overwrite=False, update=False, seed=0, **settings):
    """Prepare `source` into the RUN root/run."""
    config = PrepareConfig(source=str(source), **settings)
    out = run_prepare(RunDir(root / "run"), config, seed=seed, overwrite=overwrite, update=update)
    rows = read_table(out / REJECTED_CSV, Rejected)
    cases = {case.case_id: case for case in read_cases(out)}
    return Prepared(out, cases, {row.source: row.reason for row in rows})
