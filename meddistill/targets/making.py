"""The teacher's soft masks, made once and kept.

A second student finds all of them, and a killed pass goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.layout import LEAST_TRUSTED_PNG, QUALITY_CSV
from meddistill.run.tables import Case, QualityRow
from meddistill.settings.targets import TargetsConfig
from meddistill.targets import contact_sheet, gating
from meddistill.targets.asking import ask_teacher
from meddistill.targets.cache import load_target, read_scores, write_features, write_target
from meddistill.targets.feature_basis import BasisSpec, FeatureBasis, fit_basis
from meddistill.targets.requests import Job, TargetRequest, prepare_jobs, to_question
from meddistill.targets.scores import Scores
from meddistill.teachers.teacher import Teacher

TEACHER_BATCH = 4
"""Images that the teacher encodes at once."""


@dataclasses.dataclass(frozen=True)
class TargetMaker:
    """A teacher that is asked about the cases of a data set; its answers are kept in `directory`.

    `config`: what is asked, and how answers are judged. `batch_size`: images a forward pass, which
    changes no target.
    """

    teacher: Teacher
    dataset: Dataset
    directory: Path
    config: TargetsConfig
    batch_size: int = TEACHER_BATCH

    def make(
        self,
        requests: Sequence[TargetRequest],
        *,
        feature_levels: Sequence[str] = (),
        no_box: str = "skip",
        part: tuple[int, int] = (0, 1),
    ) -> list[QualityRow]:
        """Make the targets that the directory does not hold yet, and write quality.csv with a row
        for every target, beside a picture of the least trusted ones.

        Boxes are clipped to their image (counted); what is left below 1 px is dropped (named). Test
        cases get no features. Raises: InputError for an image that is unreadable or not of the size
        that cases.csv says; ConfigError for an unknown feature level.

        Args:
            requests: the cases, their boxes and frames.
            feature_levels: the teacher's feature maps to keep beside the masks.
            no_box: a case without a box is left out (`skip`, counted) or gets an `empty` target.
            part: (rank, ranks); with several ranks each makes its share and no table: a last pass
                with one rank writes that.

        Returns:
            The rows of this part, in the order of the requests.
        """
        rank, ranks = part
        jobs = prepare_jobs(self.teacher, requests, self.config, no_box)
        basis = None
        if feature_levels:
            basis = self.fit_basis([request.case for request in requests], feature_levels)
        mine = jobs[rank::ranks]
        scores = self._make_missing(mine, basis)
        rows = [self._to_row(job, scores[job.key]) for job in mine]
        if ranks == 1:
            write_table(self.directory / QUALITY_CSV, QualityRow, rows)
            self._picture_least_trusted(rows, mine)
        return rows

    def answer(
        self, requests: Sequence[TargetRequest], basis: FeatureBasis | None = None
    ) -> list[QualityRow]:
        """A row for each request, whose targets are made where they are not there; no table is
        written. No case may be there twice. `basis`: what the other targets' features were
        projected with; without one no features are kept. Raises: as `make`."""
        jobs = prepare_jobs(self.teacher, requests, self.config, "empty")
        missing = [job for job in jobs if self._read_scores(job, basis) is None]
        made = {job.key: scores for job, scores in self._ask(missing, basis)}
        rows = []
        for job in jobs:
            scores = made.get(job.key) or self._read_scores(job, basis)
            assert scores is not None
            rows.append(self._to_row(job, scores))
        return rows

    def fit_basis(self, cases: Sequence[Case], levels: Sequence[str]) -> FeatureBasis:
        """The basis that features are projected with, fitted once on a sample of `cases`."""
        config = self.config
        cases = list({case.case_id: case for case in cases}.values())  # of several findings once
        spec = BasisSpec(levels, config.feature_bytes, config.feature_grid, config.seed)
        return fit_basis(
            self.teacher, self.dataset, cases, self.directory, spec, batch_size=self.batch_size
        )

    def _make_missing(self, jobs: Sequence[Job], basis: FeatureBasis | None) -> dict[str, Scores]:
        """Scores of all jobs by key: read where the target is there, else asked for."""
        scores = {
            job.key: found for job in jobs if (found := self._read_scores(job, basis)) is not None
        }
        todo = [job for job in jobs if job.key not in scores]
        if not todo:
            console.say(f"teacher {self.teacher.name}: all {len(jobs)} targets are there already")
            return scores
        with console.progress(f"teacher {self.teacher.name}", len(jobs)) as bar:
            bar.resume(len(jobs) - len(todo))
            for job, made in self._ask(todo, basis):
                scores[job.key] = made
                bar.advance()
        return scores

    def _read_scores(self, job: Job, basis: FeatureBasis | None) -> Scores | None:
        if not job.is_kept:
            return Scores()
        basis = basis if job.first else None
        needed = basis.identity if basis is not None and job.case.split != "test" else None
        return read_scores(self.directory, job.case.case_id, job.key, needed)

    def _ask(self, jobs: Sequence[Job], basis: FeatureBasis | None) -> Iterator[tuple[Job, Scores]]:
        for batch, images in read_ahead(jobs, self.dataset, self.batch_size):
            questions = [
                to_question(job, image, self.config)
                for job, image in zip(batch, images, strict=True)
            ]
            keep_features = [
                basis is not None and job.case.split != "test" and job.first for job in batch
            ]
            answers, encoded = ask_teacher(
                self.teacher, questions, self.config, whole=any(keep_features)
            )
            place_of: dict[int, int] = {}
            for image in images:
                place_of.setdefault(id(image), len(place_of))
            for index, (job, answer) in enumerate(zip(batch, answers, strict=True)):
                case_id = job.case.case_id
                if keep_features[index]:
                    assert basis is not None
                    assert encoded is not None
                    place = place_of[id(images[index])]
                    maps = basis.project(encoded, place, job.request.frame_size)
                    write_features(self.directory, case_id, job.key, maps, basis.identity)
                write_target(self.directory, case_id, job.key, answer)
                yield job, answer.scores

    def _to_row(self, job: Job, scores: Scores) -> QualityRow:
        source = job.request.prompt_source
        verdict = gating.NOTHING_ASKED
        if len(job.boxes):
            verdict = gating.grade(scores, self.config, source)
        measured = {name: round(value, 6) for name, value in dataclasses.asdict(scores).items()}
        return QualityRow(
            case_id=job.case.case_id,
            split=job.case.split,
            prompt_source=source,
            n_boxes=len(job.boxes),
            key=job.key,
            doubt=round(verdict.doubt, 6),
            accepted=verdict.accepted,
            reason=verdict.reason,
            weight=verdict.weight,
            finding=job.request.finding,
            **measured,
        )

    def _picture_least_trusted(self, rows: Sequence[QualityRow], jobs: Sequence[Job]) -> None:
        wanted = contact_sheet.least_trusted(rows)
        keys = {row.key for row in wanted}
        by_key = {job.key: job for job in jobs if job.key in keys}

        def load(row: QualityRow) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            job = by_key[row.key]
            target = load_target(self.directory, row.case_id, row.key)
            return self.dataset.image(job.case), target.probs, job.boxes

        contact_sheet.write_contact_sheet(
            self.directory / LEAST_TRUSTED_PNG,
            wanted,
            load,
            read_findings(self.dataset.directory),
        )


def read_ahead(
    jobs: Sequence[Job], dataset: Dataset, batch_size: int
) -> Iterator[tuple[Sequence[Job], list[np.ndarray]]]:
    """Batches of the jobs of `batch_size` cases, with an image a job, which those of one case share;
    a thread reads the next batch while the caller works on this one."""
    by_case: dict[str, list[Job]] = {}
    for job in jobs:
        by_case.setdefault(job.case.case_id, []).append(job)
    cases = list(by_case.values())
    batches = [
        [job for case in cases[start : start + batch_size] for job in case]
        for start in range(0, len(cases), batch_size)
    ]

    def read(batch: Sequence[Job]) -> list[np.ndarray]:
        images = {job.case.case_id: job.case for job in batch}
        found = {case_id: dataset.image(case) for case_id, case in images.items()}
        return [found[job.case.case_id] for job in batch]

    with ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = reader.submit(read, batches[0]) if batches else None
        for number, batch in enumerate(batches):
            assert upcoming is not None
            images = upcoming.result()
            if number + 1 < len(batches):
                upcoming = reader.submit(read, batches[number + 1])
            yield batch, images
