"""`meddistill predict`: a student's masks of new images, with a table of what was found."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.base.processes import launched
from meddistill.data.case_ids import file_names, unique_names
from meddistill.data.scans import ScanFiles, find_scans, group_scans
from meddistill.run.fingerprints import fingerprint_file
from meddistill.run.layout import (
    PREDICTIONS_CSV,
    REVIEW_HTML,
    RUN_JSON,
    SUMMARY_JSON,
    TRUST_JSON,
    RunDir,
)
from meddistill.student.left_over import FOLDERS, tell_of_left_over
from meddistill.student.predicted_journal import Done, Journal, read_journals, stamp_of
from meddistill.student.prediction_job import (
    PREDICTED_JSONL,
    SHARDS,
    PredictionJob,
    PredictOptions,
    results_of,
)
from meddistill.student.predictions_table import UNKNOWN, PredictionRow
from meddistill.student.predictor import KnowsItself, Predictor
from meddistill.student.review_sheet import write_review_sheet
from meddistill.student.scan_masks import predict_scans
from meddistill.student.scan_writing import write_scan
from meddistill.student.silent_student import what_is_silent
from meddistill.student.to_look_at import what_to_look_at

if TYPE_CHECKING:
    from meddistill.colearning.second_opinion import TeacherOpinion

_WRITES_WAITING = 8


_MASKS_ALONE = PredictOptions()


def run_predict(
    student_dir: Path,
    patterns: Sequence[str],
    out: Path,
    options: PredictOptions = _MASKS_ALONE,
    *,
    device: str = "cpu",
    overwrite: bool = False,
    predictor: Predictor | None = None,
) -> Path:
    """Segment files, folders and globs; returns `out` with masks/ and predictions.csv.

    Each kind of file has its own mask writer: a volume's masks are a volume that lies where it does.
    Of a volume only slices with a lesion get an overlay.

    Args:
        student_dir: the directory of the student.
        patterns: files, folders and globs.
        out: the directory to write.
        options: what is predicted and written.
        device: where the student runs.
        overwrite: replace what `out` holds of another prediction.
        predictor: stands in for the student that would be loaded.

    Raises: InputError at the end, when all others are done, where a file could not be read.
    """
    scans, failures = _find(patterns, out)
    part, parts = options.part()
    job = PredictionJob(out, scans, options, student_dir)
    known, ready = job.done(overwrite), None
    if job.todo(known):  # before anything is written or removed: a student may be none
        ready = _ready(job, device, predictor)
    stage, done = job.open(known, overwrite)
    mine = job.todo(done)
    if stage.finished and not failures and not mine:
        console.say(f"{stage.out} is up to date")
        if parts == 1:
            tell_of_left_over(out, done.values())
        return out
    if mine:
        predictor, opinion = ready or _ready(job, device, predictor)
        journal = Journal(stage.out / PREDICTED_JSONL)
        done |= _predict(mine, predictor, job, journal, failures, opinion)
        if opinion is not None:
            console.say(opinion.cost)
    rows = job.rows(done, scans if parts == 1 else scans[part - 1 :: parts])
    write_table(stage.out / PREDICTIONS_CSV, PredictionRow, rows)
    measured = _measured(student_dir)
    if options.review_sheet:
        write_review_sheet(stage.out / REVIEW_HTML, out, rows, measured)
    _say_what_was_found(rows, stage.out)
    _say_what_to_look_at(rows, student_dir, measured)
    if parts == 1:
        tell_of_left_over(out, done.values())
    if failures and not options.skip_broken:
        raise _refused(failures, rows)
    stage.finish(results_of(rows), [stage.out / PREDICTIONS_CSV], device)
    if parts > 1:
        _join(job, parts, device, measured)
    return out


def _join(job: PredictionJob, parts: int, device: str, measured: Sequence[str]) -> None:
    """Write what tells of all shares, where this one was the last."""
    every = job.join(parts, device)
    if not every:
        return
    if job.options.review_sheet:
        rows = job.rows(every, job.scans)
        write_review_sheet(job.out / REVIEW_HTML, job.out, rows, measured)
    tell_of_left_over(job.out, every.values())


def _find(patterns: Sequence[str], out: Path) -> tuple[list[tuple[str, ScanFiles]], list[str]]:
    """The scans meant with what each is called, and a line for each pattern that means none. What a
    prediction wrote into `out`, which may lie among them, is no scan."""
    files, failures = find_scans(patterns)
    written = [(out / folder).resolve() for folder in FOLDERS]
    mine = {file for file in files if any(file.resolve().is_relative_to(each) for each in written)}
    if mine:
        console.say(f"{len(mine)} files in {out} are predictions, and are left out")
        files = [file for file in files if file not in mine]
    scans, left = group_scans(files)
    for line in (*failures, *left):
        console.warn(line)
    if not scans:
        first = (*failures, *left, "no path was given")[0]
        raise InputError(f"nothing to predict: {first}")
    return list(zip(_names(scans, out), scans, strict=True)), failures


def _names(scans: Sequence[ScanFiles], out: Path) -> list[str]:
    """What each scan's files are called: as it is, or as before where an earlier version began `out`."""
    own, sources = [scan.name for scan in scans], [str(scan.path) for scan in scans]
    names, before = file_names(own, sources), unique_names(own, sources)
    if names == before:
        return names
    journals = [out / PREDICTED_JSONL, *out.glob(f"{SHARDS}/*/{PREDICTED_JSONL}")]
    begun = read_journals(journals)
    differ = {old for old, new in zip(before, names, strict=True) if old != new}
    return before if differ & begun.keys() else names


def _own_device(device: str) -> str:
    """Of several processes on one machine each its own GPU."""
    processes = launched()
    if processes.count == 1:
        return device
    from meddistill.student.student import torch_device

    found = torch_device(device)
    if found.type != "cuda" or found.index is not None:
        return device
    import torch

    return f"cuda:{processes.local_rank % torch.cuda.device_count()}"


def _ready(
    job: PredictionJob, device: str, given: Predictor | None
) -> tuple[Predictor, TeacherOpinion | None]:
    """The student, or what stands in for it, and the teacher where it is asked."""
    own = _own_device(device)
    predictor = given or _load(job.student_dir, job.options, own)
    return predictor, _opinion(predictor, job.student_dir, own) if job.options.asks else None


def _load(student_dir: Path, options: PredictOptions, device: str) -> Predictor:
    if options.backend == "onnx":
        from meddistill.student.export.onnx_student import OnnxPredictor

        return OnnxPredictor(student_dir)
    from meddistill.student.student import load_student

    return load_student(student_dir, device)


def _opinion(predictor: Predictor, student_dir: Path, device: str) -> TeacherOpinion | None:
    """The teacher that may be asked; None where its opinion would change nothing. Raises: as
    `opinion_of_trust`."""
    from meddistill.colearning.second_opinion import opinion_of_trust

    trust = predictor.trust if isinstance(predictor, KnowsItself) else None
    if trust is not None and trust.teacher and all(of.asked is None for of in trust.findings):
        console.warn(
            f"the teacher is not asked: {student_dir} was calibrated beside it on too few validation "
            "cases to say what its opinion is worth; box more images, then calibrate it again"
        )
        return None
    return opinion_of_trust(trust, student_dir, device)


def _predict(
    scans: Sequence[tuple[str, ScanFiles]],
    predictor: Predictor,
    job: PredictionJob,
    journal: Journal,
    failures: list[str],
    opinion: TeacherOpinion | None,
) -> dict[str, Done]:
    """Predict and write, a scan being written while the next is computed; returns what was done.

    Args:
        scans: what is to be done.
        predictor: the student.
        job: where, and with which options.
        journal: gets a line for each.
        failures: gets a line for each that cannot be read.
        opinion: the teacher, where it is asked.
    """
    options, given_of = job.options, dict(scans)
    done: dict[str, Done] = {}
    writes: deque[Future[Done]] = deque()

    def failed(reason: str) -> None:
        failures.append(reason)
        console.warn(reason)
        bar.note(f"{len(failures)} failed")

    def settle(most: int) -> None:
        while len(writes) > most:
            one = writes.popleft().result()
            journal.add(one)
            done[one.name] = one
            bar.advance()

    with console.progress("predict", len(scans)) as bar, ThreadPoolExecutor(1) as writer:
        for predicted in predict_scans(
            scans, predictor, options.masks, options.batch_size, failed, opinion
        ):
            stamp = stamp_of(given_of[predicted.name])
            writes.append(writer.submit(write_scan, predicted, stamp, job.out, options))
            settle(1 if predicted.scan.is_volume else _WRITES_WAITING)
        settle(0)
    return done


def _refused(failures: Sequence[str], rows: Sequence[PredictionRow]) -> InputError:
    count = len({row.source for row in rows})
    return InputError(
        f"{len(failures)} input(s) could not be predicted, {count} file(s) were; first: {failures[0]}"
    )


def _say_what_was_found(rows: Sequence[PredictionRow], out: Path) -> None:
    told = results_of(rows)
    console.say(
        f"a mask was drawn on {told['with_lesion']} of {told['images']} image(s); table: "
        f"{out / PREDICTIONS_CSV}"
    )


def _say_what_to_look_at(
    rows: Sequence[PredictionRow], student_dir: Path, measured: Sequence[str]
) -> None:
    if not rows:
        return
    if all(row.review == UNKNOWN for row in rows):
        is_familiar = any(row.familiarity != UNKNOWN for row in rows)
        console.say(what_is_silent(student_dir, is_familiar))
        return
    wanted = sorted((row for row in rows if row.review == "yes"), key=lambda row: -row.badness)
    told = f"; first: {wanted[0].name}, {wanted[0].review_why}" if wanted else ""
    console.say(what_to_look_at(rows) + told)
    for sentence in measured:
        console.say(f"measured by eval: {sentence}")


def _measured(student_dir: Path) -> list[str]:
    """What the evaluation of the student's RUN found of what it says of itself, as it says it now."""
    trust, run = student_dir / TRUST_JSON, RunDir(student_dir.resolve().parent)
    if not trust.is_file():
        return []
    now, told = fingerprint_file(trust), {}
    # Of a further student it lies in a folder that the user named; RUN/eval goes first.
    for record in sorted(run.root.glob(f"*/{RUN_JSON}"), key=lambda path: path.parent != run.eval):
        summary = record.with_name(SUMMARY_JSON)
        inputs = read_json(record).get("inputs", {})
        if not summary.is_file() or inputs.get("trust") != now:
            continue
        # Images that fitted what it says flatter it; of a folder of masks the split says nothing.
        if "masks" in inputs or read_json(summary).get("split") == "test":
            told = read_json(summary).get("of_itself", {}).get("sentences", {})
            break
    return [
        f"{finding}: {said}" if finding else said for finding, all_ in told.items() for said in all_
    ]
