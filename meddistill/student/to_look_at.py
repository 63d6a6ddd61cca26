"""What is said of a prediction's answers as a whole: how many a person should look at, of how many."""

from __future__ import annotations

from collections.abc import Sequence

from meddistill.student.predictions_table import UNKNOWN, PredictionRow


def what_to_look_at(rows: Sequence[PredictionRow]) -> str:
    """In words, for the terminal and the sheet alike. "0 of N" is said of answers that were judged: of
    others no reason to look is no promise."""
    wanted = sum(row.review == "yes" for row in rows)
    silent = [row for row in rows if row.review != "yes" and not row.is_judged]
    if rows and len(silent) == len(rows):
        return f"what to look at is unknown: of {_counted(rows)} {_measured(silent)}"
    others = f"; of {len(silent)} more {_measured(silent)}" if silent else ""
    return f"{wanted} of {_counted(rows)} to be looked at{others}"


def order_of_review(rows: Sequence[PredictionRow]) -> str:
    """What `urgency` puts first, in words; empty where it can rank nothing."""
    if any(row.badness for row in rows):
        return "worst first"
    return "least familiar first" if any(row.familiarity != UNKNOWN for row in rows) else ""


def urgency(row: PredictionRow) -> tuple[float, float]:
    """Sorts the answers that deserve a look before the others."""
    return -row.badness, 1.0 if row.familiarity == UNKNOWN else float(row.familiarity)


def _counted(rows: Sequence[PredictionRow]) -> str:
    images = len({(row.source, row.slice) for row in rows})
    findings = len({row.finding for row in rows})
    if findings < 2:
        return f"{images} image(s)"
    return f"{len(rows)} answer(s) ({images} image(s), {findings} findings)"


def _measured(silent: Sequence[PredictionRow]) -> str:
    if all(row.familiarity == UNKNOWN for row in silent):
        return "nothing was measured"
    # `no` of a row without expected Dice: how familiar it is could have been a reason, and was not.
    known = ", which is as of own images" if all(row.review == "no" for row in silent) else ""
    return f"only familiarity was measured{known}"
