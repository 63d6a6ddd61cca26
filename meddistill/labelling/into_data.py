"""What people drew in the browser goes into RUN/data: with a source, and by `--update` without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError, StageError
from meddistill.base.files import read_json
from meddistill.data.findings import Findings
from meddistill.data.prepare.counts import describe
from meddistill.data.prepare.relabel import Drawn, relabel
from meddistill.labelling.takeover import drawn_boxes, fingerprint_labels
from meddistill.run import lock
from meddistill.run.findings import read_findings
from meddistill.run.grid_file import read_grid
from meddistill.run.headlines import headline
from meddistill.run.layout import CASES_CSV, DATA_YAML, REJECTED_CSV, RUN_JSON, RunDir
from meddistill.run.next_commands import after_prepare, command
from meddistill.run.record import renew
from meddistill.run.tables import read_cases


def drawn_on_a_grid(run: RunDir) -> ConfigError:
    """The error of boxes that were drawn in pixels which a grid would change."""
    return ConfigError(
        f"{run.labels} holds boxes that were drawn in the browser, in pixels that prepare.spacing_mm "
        "would change; leave it empty in this RUN"
    )


def take_over(run: RunDir, out: Path, drawn: Drawn) -> Path:
    """`--update` without a source: what people drew goes into RUN/data, all else stays."""
    rows = read_cases(out)
    if drawn and read_grid(out) is not None:
        raise drawn_on_a_grid(run)
    findings = read_findings(out)
    tell_of_other_findings(run, drawn, findings)
    strangers = drawn.keys() - {row.source for row in rows}
    if strangers:
        console.warn(f"{run.labels} names {len(strangers)} images that {out} does not have")
    record = read_json(out / RUN_JSON)
    inputs = labels_input(drawn, findings)
    if not drawn:
        raise InputError(
            f"no source given, and {run.labels} holds no box; pass --source DIR, or draw some with "
            f"`{command('label', run)}`"
        )
    if inputs.items() <= record["inputs"].items():
        console.say(f"{out} has all that is in {run.labels}; nothing to do")
        return out
    lock.acquire(out)
    try:
        summary = relabel(out, rows, drawn, record["results"])
        renew(out, inputs, summary, prepare_outputs(out))
    finally:
        lock.release(out)
    for warning in summary["warnings"]:
        if warning not in record["results"].get("warnings", []):
            console.warn(warning)
    console.say(describe(summary))
    console.summary(
        "prepare", headline("prepare", summary), after_prepare(run, out, read_cases(out))
    )
    return out


def tell_of_other_findings(run: RunDir, drawn: Drawn, findings: Findings) -> None:
    """Warn of boxes whose finding is none of several of the RUN: they are left out."""
    if findings.is_one:
        return
    names = [name for image in drawn.values() for name in image.names]
    others = [name for name in names if name not in findings.names]
    if others:
        console.warn(
            f"{run.labels} holds {len(others)} boxes of findings that this RUN does not have, which "
            f"are left out: {', '.join(dict.fromkeys(others))}"
        )


def labels_input(drawn: Drawn, findings: Findings) -> dict[str, str]:
    """What drawn boxes are as an input of the stage; nothing where nobody drew."""
    return {"labels": fingerprint_labels(drawn, findings)} if drawn else {}


def drawn_since(run: RunDir, inputs: Mapping[str, str]) -> bool:
    """Whether RUN/labels holds what prepared data of these `inputs` do not. Raises: InputError for a
    damaged journal."""
    found = labels_input(drawn_boxes(run.labels), read_findings(run.data))
    return not found.items() <= inputs.items()


def check_labels(run: RunDir, out: Path, inputs: Mapping[str, str]) -> None:
    """Raise StageError where people drew boxes since `out` was finished, before the stage complains
    of an input."""
    if not (out / RUN_JSON).exists():
        return
    before = read_json(out / RUN_JSON).get("inputs", {}).get("labels")
    if before != inputs.get("labels"):
        raise StageError(
            f"boxes were drawn since {out} was finished; `{command('prepare', run)} --update` takes "
            "them over"
        )


def prepare_outputs(out: Path) -> list[Path]:
    """The files and folders by which later stages know what prepare made; images are in cases.csv."""
    folders = [folder for name in ("labels", "masks") if (folder := out / name).is_dir()]
    return [out / CASES_CSV, out / REJECTED_CSV, out / DATA_YAML, *folders]
