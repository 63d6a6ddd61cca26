"""`meddistill eval --compare` and `--aggregate`: evaluations that are finished, side by side or
taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json, write_json
from meddistill.evaluation.baselines import (
    BOXES,
    LABELS,
    OTHER,
    STUDENT,
    TEACHER,
    TEACHER_BY_HEAD,
    TEACHER_BY_STUDENT,
)
from meddistill.evaluation.comparison import aggregate, compare, format_comparison
from meddistill.evaluation.metrics import DEFINITIONS
from meddistill.evaluation.scores import ScoreRow, by_finding, by_method, read_scores
from meddistill.evaluation.text_tables import align, format_table
from meddistill.run.layout import (
    AGGREGATE_JSON,
    COMPARISON_JSON,
    PER_CASE_CSV,
    RUN_JSON,
    SUMMARY_JSON,
    UNFINISHED_JSON,
    RunDir,
    require,
)

METHODS = (STUDENT, TEACHER, BOXES, OTHER, TEACHER_BY_STUDENT, TEACHER_BY_HEAD)


def run_compare(
    first: str, second: str, *, seed: int, run: RunDir | None = None, out: Path | None = None
) -> dict[str, object]:
    """Compare two methods on the same cases; print the table, write comparison.json to `out` if
    given.

    A side is a RUN or an evaluation's directory (its student), DIR:METHOD, or a METHOD of `run`:
    student, teacher, boxes, other. Raises: StageError for an evaluation that is not there, ConfigError for
    a side that says nothing.

    Args:
        first: a side.
        second: the other side.
        seed: of the resampled intervals.
        run: the RUN whose methods a side may name.
        out: directory of comparison.json.
    """
    sides = [_side(text, run) for text in (first, second)]
    rows = [_rows_of(*side) for side in sides]
    comparison = compare(*rows, seed=seed)
    names = [f"{directory} {method}" for directory, method in sides]
    for name, count in zip(
        names, (comparison["n_only_first"], comparison["n_only_second"]), strict=True
    ):
        if count:
            console.warn(f"{count} case(s) are in {name} alone and are left out")
    if "dice" not in comparison["metrics"]:
        raise InputError("no case that both evaluations have holds a finding: nothing to compare")
    n_groups = comparison["metrics"]["dice"]["n_groups"]
    console.answer(
        f"A: {names[0]}\nB: {names[1]}\n{comparison['n']} cases of {n_groups} groups, paired\n"
    )
    console.answer(format_comparison(comparison, DEFINITIONS))
    result = {"first": names[0], "second": names[1], **comparison}
    if out is not None:
        write_json(out / COMPARISON_JSON, result)
    return result


def run_aggregate(runs: Sequence[Path], *, seed: int, out: Path | None = None) -> dict[str, object]:
    """Take the evaluations of several RUNs together; print the table, write aggregate.json to `out`
    if given.

    Raises: StageError for a RUN that is not evaluated, ConfigError for fewer than two or one named
    twice, InputError where they judge other findings.
    """
    directories = [_evaluation(path) for path in runs]
    if len(directories) < 2 or len(set(directories)) != len(directories):
        raise ConfigError(
            "--aggregate takes at least two different RUNs, got "
            f"{', '.join(map(str, runs)) or 'none'}"
        )
    scores = {str(directory): read_scores(directory / PER_CASE_CSV) for directory in directories}
    _check_findings(scores)
    result = aggregate(scores, seed=seed)
    lines = [["Dice mean by run", *result["between_runs"]]]
    for name, methods in result["per_run"].items():
        cells = [
            f"{methods[method]['dice']:.3f}" if method in methods else "-"
            for method in result["between_runs"]
        ]
        lines.append([name, *cells])
    spread = [
        f"{found['mean']:.3f} +- {found['sd']:.3f}" for found in result["between_runs"].values()
    ]
    lines.append(["mean +- sd of the runs", *spread])
    console.answer(align(lines) + "\n\nall cases of all runs")
    console.answer(format_table(result["pooled"], _labels(directories)))
    if result["n_repeated"]:
        console.say(
            f"{result['n_repeated']} cases were tested by more than one run: seeds or settings, "
            "not folds"
        )
    if out is not None:
        write_json(out / AGGREGATE_JSON, result)
    return result


def _check_findings(scores: Mapping[str, Sequence[ScoreRow]]) -> None:
    """Raise InputError where a mean of the evaluations would be of other findings each; warn where that
    can only be guessed by their names, or a run's own mean lacks some.

    Args:
        scores: the rows of each evaluation, by its directory.
    """
    judged = {name: tuple(by_finding(rows)) for name, rows in scores.items()}
    (first, of_first), *others = judged.items()
    for name, findings in others:
        if set(findings) != set(of_first):
            raise InputError(
                f"{first} judges {_named(of_first)} and {name} {_named(findings)}, of which no mean says "
                "anything; take RUNs of the same findings together, or evaluate the same of each with "
                "--findings NAME"
            )
    if of_first == ("",):
        called = {name: _called(Path(name)) for name in scores}
        if len(set(called.values()) - {""}) > 1:
            told = ", ".join(f"{finding} ({name})" for name, finding in called.items())
            console.warn(f"the mean is of findings with other names: {told}")
    for name, rows in scores.items():
        shown = {row.finding for row in rows if row.true_px}
        if lacking := [each for each in judged[name] if each and each not in shown]:
            console.warn(f"no case of {name} shows {', '.join(lacking)}: its mean is without")


def _named(findings: Sequence[str]) -> str:
    return ", ".join(findings) or "one finding"


def _called(directory: Path) -> str:
    """What an evaluation of one finding calls it; '' where it does not say."""
    summary = directory / SUMMARY_JSON
    return str(read_json(summary).get("finding", "")) if summary.is_file() else ""


def _labels(directories: Sequence[Path]) -> dict[str, str]:
    """What the methods are called: another tool as the evaluations call it, where they agree."""
    summaries = [path for each in directories if (path := each / SUMMARY_JSON).is_file()]
    told = [read_json(path).get("labels", {}).get(OTHER) for path in summaries]
    names = {name for name in told if name}
    return {**LABELS, OTHER: names.pop()} if len(names) == 1 else LABELS


def _side(text: str, run: RunDir | None) -> tuple[Path, str]:
    if text in METHODS:
        if run is None:
            raise ConfigError(
                f"'{text}' of which RUN? type `meddistill eval RUN --compare ...`, or DIR:{text}"
            )
        return _evaluation(run.root), text
    directory, colon, method = text.rpartition(":")
    if colon and method in METHODS:
        return _evaluation(Path(directory)), method
    named = method if colon and Path(directory).is_dir() else text
    if not Path(text).exists() and Path(named).name == named:
        raise ConfigError(
            f"'{named}' is neither a directory nor a method; methods are {', '.join(METHODS)}, and "
            f"'{OTHER}' are the masks of --masks-from, whatever their --name"
        )
    return _evaluation(Path(text)), STUDENT


def _evaluation(path: Path) -> Path:
    """The directory that holds per_case.csv: the path itself, or its `eval`."""
    directory = path if (path / PER_CASE_CSV).exists() else RunDir(path).eval
    require(directory / PER_CASE_CSV, f"eval {path}")
    if (directory / UNFINISHED_JSON).exists() and not (directory / RUN_JSON).exists():
        console.warn(f"{directory} is not finished: cases may be missing in its figures")
    return directory


def _rows_of(directory: Path, method: str) -> list[ScoreRow]:
    rows = by_method(read_scores(directory / PER_CASE_CSV))
    if method not in rows:
        raise InputError(
            f"{directory / PER_CASE_CSV} has no scores of '{method}', only of {', '.join(rows)}"
        )
    return rows[method]
