"""One distillation: what its steps share, and how its student learns, round after round.

No mask is read here.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from meddistill.base.console import say
from meddistill.base.csv_tables import read_table, write_table
from meddistill.colearning.joining import Colearning
from meddistill.colearning.questions import detector_box_iou, load_questioned, who_proposes
from meddistill.colearning.rounds import refresh_targets
from meddistill.data.findings import Findings
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.layout import RunDir
from meddistill.run.tables import QualityRow
from meddistill.settings.distill import DistillConfig
from meddistill.settings.flips import AUTO, told_of_sides
from meddistill.targets.cache import TargetFolders
from meddistill.targets.making import TargetMaker
from meddistill.targets.packing import Packing, pack_targets
from meddistill.targets.prompts import ANNOTATED, Prompt
from meddistill.targets.tiling import ALWAYS
from meddistill.teachers.loading import load_teacher
from meddistill.teachers.teacher import Teacher
from meddistill.training.fabric import precision_of
from meddistill.training.fitting import Learned, build_and_train, preparation_of
from meddistill.training.packed_cases import PackedCases, TrainingData
from meddistill.training.warm_start import load_start


@dataclasses.dataclass
class Distillation:
    """What the steps of one distillation share. `given`: a teacher to use instead of loading
    `config.teacher` by name. `start`: a student's directory to go on from."""

    run: RunDir
    dataset: Dataset
    config: DistillConfig
    fabric: Fabric
    given: Teacher | None = None
    start: Path | None = None

    @functools.cached_property
    def teacher(self) -> Teacher:
        """Loaded when it is asked for: a RUN whose targets are all there needs none."""
        if self.given is not None:
            return self.given
        return load_teacher(
            self.config.teacher,
            checkpoint=self.config.teacher_checkpoint,
            device=self.fabric.device,
            precision=precision_of(self.fabric),
        )

    @functools.cached_property
    def findings(self) -> Findings:
        return read_findings(self.dataset.directory)

    @property
    def teacher_name(self) -> str:
        """What RUN/teacher is recognised by: a name, or the fingerprint of a teacher given."""
        return self.config.teacher if self.given is None else self.given.fingerprint

    @property
    def colearns(self) -> bool:
        """Whether unboxed training images are proposed on and answered."""
        return self.config.colearning.unboxed == "propose"

    def maker(self, directory: Path) -> TargetMaker:
        return TargetMaker(self.teacher, self.dataset, directory, self.config.targets)


@dataclasses.dataclass(frozen=True)
class Learning:
    """The student of the last round, with the cases and the rows of quality.csv that it learnt
    from."""

    student: Learned
    data: TrainingData
    quality: Sequence[QualityRow]


LEAST_JUDGES = 5
"""Validation cases with a target from which few boxes have a validation at all; the threshold takes more
of them (`fitting.LEAST_TO_CHOOSE`)."""


def learn(
    work: Distillation,
    prompts: Sequence[Prompt],
    quality: Sequence[QualityRow],
    student_dir: Path,
    seed: int,
) -> Learning:
    """All rounds of training, with the targets settled anew between them.

    Raises: InputError where co-learning is on and has nothing to go by.

    Args:
        work: what is distilled.
        prompts: whose box each case has.
        quality: the rows of quality.csv.
        student_dir: where the last round's student goes; those of earlier rounds lie below it.
        seed: of the student.
    """
    scratch = student_dir / f"packed-{work.fabric.global_rank}"
    rounds_dir = student_dir / "rounds"
    first_keys = {row.case_id: row.key for row in reversed(quality)}
    folders = TargetFolders(work.run.teacher, rounds_dir, first_keys)
    make = functools.partial(
        build_and_train,
        work.config,
        fabric=work.fabric,
        seed=seed,
        prepared=preparation_of(work.dataset.directory),
    )
    pack = functools.partial(_pack, work, folders, prompts, scratch)
    data = TrainingData(pack(quality, "train"), pack(quality, "val"), findings=work.findings)
    if work.config.colearning.few_boxes and len(data.val) < LEAST_JUDGES:
        # What two or three like best is not the best.
        data = dataclasses.replace(data, val=pack([], "val"))
    told = told_of_sides("distill", work.findings.keeps_sides())
    if told and work.config.augment and work.config.flips == AUTO:
        say(told)
    if work.colearns:
        colearning = Colearning(work.dataset, work.config, work.run.teacher, student_dir, seed)
        data = _with_unboxed(work, colearning, data, quality, folders)
    student = None if work.start is None else load_start(work.start, work.config, work.findings)
    for number in range(1, work.config.rounds):
        student = make(data, out=rounds_dir / f"student-{number}", start=student)
        table = rounds_dir / f"quality-{number + 1}.csv"
        if work.fabric.is_global_zero and not table.exists():
            maker = work.maker(rounds_dir)
            rows = refresh_targets(maker, student.student, prompts, quality, work.run.teacher)
            write_table(table, QualityRow, rows)
        work.fabric.barrier()
        quality = read_table(table, QualityRow)
        data = TrainingData(pack(quality, "train"), data.val, findings=work.findings)
    student = make(data, out=student_dir, start=student)
    shutil.rmtree(scratch, ignore_errors=True)
    return Learning(student, data, quality)


def _with_unboxed(
    work: Distillation,
    colearning: Colearning,
    boxed: TrainingData,
    quality: Sequence[QualityRow],
    folders: TargetFolders,
) -> TrainingData:
    """The boxed cases with the unboxed ones after them, once it is settled what is believed there.

    Args:
        work: what is distilled.
        colearning: settles it.
        boxed: the cases that have targets.
        quality: the rows of quality.csv.
        folders: where their targets lie.
    """
    fabric = work.fabric
    if fabric.world_size > 1:
        part = (fabric.global_rank, fabric.world_size)
        colearning.share_encodings(work.teacher, quality, part)
        fabric.barrier()
    if fabric.is_global_zero:
        if not colearning.is_settled:
            colearning.settle(work.teacher, quality, folders)
        detector = detector_box_iou(work.run.detector, work.dataset)
        say(who_proposes(load_questioned(colearning.out), detector))
    fabric.barrier()
    revise = functools.partial(_ask_student, work, colearning, quality, folders)
    again = work.config.colearning.ask_again
    train = colearning.join(boxed.train)
    return TrainingData(train, boxed.val, revise if again else None, boxed.findings)


def _ask_student(
    work: Distillation,
    colearning: Colearning,
    quality: Sequence[QualityRow],
    folders: TargetFolders,
    see: Callable[[Tensor], Tensor],
    cases: PackedCases,
) -> None:
    """Let the half-trained student propose on the unboxed cases, too, and teach what is believed
    then.

    Args:
        work: what is distilled.
        colearning: what was believed so far.
        quality: the rows of quality.csv.
        folders: where their targets lie.
        see: what the student makes of frames.
        cases: the training set, whose targets change.
    """
    if work.fabric.is_global_zero and not colearning.has_asked_student:
        images = colearning.images(work.teacher, quality, folders)
        colearning.ask_student(images, see, cases)
    work.fabric.barrier()
    colearning.teach_anew(cases)


def _pack(
    work: Distillation,
    folders: TargetFolders,
    prompts: Sequence[Prompt],
    scratch: Path,
    quality: Sequence[QualityRow],
    split: str,
) -> PackedCases:
    """The cases of a split with their targets; features and box priors for training cases alone."""
    levels, boxes = [], {}
    if split == "train":
        levels = work.config.kept_levels
        if work.config.prior_weight:
            boxes = {
                prompt.case.case_id: prompt.boxes_xyxy_px
                for prompt in prompts
                if prompt.source == ANNOTATED
            }
    return pack_targets(
        [row for row in quality if row.split == split],
        Packing(
            work.dataset,
            folders,
            work.config.image_size,
            work.findings,
            work.config.context,
            tiles=work.config.tiles == ALWAYS,
        ),
        feature_levels=levels,
        prior_boxes=boxes,
        scratch=scratch / split,
    )
