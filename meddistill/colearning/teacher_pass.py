"""RUN/teacher: the targets of a RUN's prompts, made by all ranks together, and those of slices to
which boxes are carried."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from meddistill.base.console import say
from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import ConfigError, nearest
from meddistill.colearning.carried_prompts import Carrying
from meddistill.colearning.carrying import carry
from meddistill.colearning.distillation import Distillation
from meddistill.run.fingerprints import fingerprint_file, fingerprint_stage
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import QUALITY_CSV, RUN_JSON
from meddistill.run.record import Stage
from meddistill.run.tables import Case, QualityRow
from meddistill.settings import identity
from meddistill.settings.distill import DistillConfig
from meddistill.targets.cache import missing_targets
from meddistill.targets.making import TargetMaker
from meddistill.targets.prompts import Prompt
from meddistill.targets.requests import TargetRequest
from meddistill.targets.tiling import ALWAYS
from meddistill.teachers.teacher import Teacher


def make_targets(
    work: Distillation, prompts: Sequence[Prompt], boxes_file: Path | None
) -> list[QualityRow]:
    """Fill RUN/teacher, each rank its share; returns the rows of its quality.csv."""
    out, fabric = work.run.teacher, work.fabric
    settings = identity.of_teacher(work.config, work.teacher_name)
    boxes = fingerprint_file(boxes_file) if boxes_file else "annotated only"
    inputs = {"data": fingerprint_stage(work.dataset.directory), "boxes": boxes}
    missing = 0
    if Stage.is_finished(out, "teacher", settings, inputs):
        made = read_table(out / QUALITY_CSV, QualityRow)
        if not (missing := missing_targets(out, made)):
            say(f"{out} already holds these targets")
            return made
        say(
            f"{missing} of {len(made)} targets in {out} are not there any more: they are made again"
        )
    # Before anything is touched: a teacher that cannot be had must not cost the targets of the last
    # one.
    _check_levels(work.teacher, work.config.kept_levels)
    with fabric.rank_zero_first():
        if missing and fabric.is_global_zero:
            (out / RUN_JSON).unlink(missing_ok=True)  # what it stands for is not all there
        stage = Stage.open(out, "teacher", settings, inputs, refresh=True)
    maker = work.maker(out)
    requests = [
        TargetRequest(
            prompt.case,
            prompt.boxes_xyxy_px,
            prompt.source,
            _frame_size(prompt.case, work.config),
            finding=prompt.finding,
        )
        for prompt in prompts
    ]
    make = functools.partial(
        maker.make, requests, feature_levels=work.config.kept_levels, no_box="empty"
    )
    if fabric.world_size > 1:
        if work.config.kept_levels:
            with fabric.rank_zero_first():  # the first fits the basis, the others read it
                maker.fit_basis([prompt.case for prompt in prompts], work.config.kept_levels)
        make(part=(fabric.global_rank, fabric.world_size))
        fabric.barrier()
    if fabric.is_global_zero:
        quality = make()
        if work.config.colearning.carries:
            quality += _carried(work, maker, quality, [prompt.case for prompt in prompts])
            write_table(out / QUALITY_CSV, QualityRow, quality)
        results = {"cases": len(quality), "accepted": sum(row.accepted for row in quality)}
        stage.finish(results, [out / QUALITY_CSV], device=str(fabric.device))
    fabric.barrier()
    return read_table(out / QUALITY_CSV, QualityRow)


def _carried(
    work: Distillation,
    maker: TargetMaker,
    quality: Sequence[QualityRow],
    prompted: Sequence[Case],
) -> list[QualityRow]:
    """Rows of the slices to which boxes were carried, finding by finding. `prompted`: the cases that
    the basis of the features was fitted on."""
    config, dataset, findings = work.config, work.dataset, work.findings
    levels = config.kept_levels
    basis = maker.fit_basis(prompted, levels) if levels else None
    training = dataset.of_split("train")
    drawn = {case.case_id: annotated_findings(dataset.directory, case) for case in training}
    rows: list[QualityRow] = []
    for place, name in enumerate(findings.names):
        boxes = {
            case_id: found if findings.is_one else found[which == place]
            for case_id, (found, which) in drawn.items()
        }
        seen = {
            case.case_id: case
            if findings.is_one
            else case.of_finding(name, len(boxes[case.case_id]))
            for case in training
        }
        carrying = Carrying(
            maker,
            known={case_id: case.annotation != "unknown" for case_id, case in seen.items()},
            boxes={case_id: found for case_id, found in boxes.items() if len(found)},
            finding=findings.tag(place),
            frame_size=config.image_size,
            empty_share=config.empty_slices,
            basis=basis,
        )
        rows += carry(carrying, dataset.cases, quality)
    return rows


def _check_levels(teacher: Teacher, levels: Sequence[str]) -> None:
    for level in levels:
        if level not in teacher.feature_channels:
            known = nearest(level, teacher.feature_channels)
            raise ConfigError(f"teacher '{teacher.name}' has no features '{level}'{known}")


def _frame_size(case: Case, config: DistillConfig) -> int:
    # Test targets are a baseline, judged at the image's own size.
    own_size = case.split == "test" or config.tiles == ALWAYS
    return max(case.width, case.height) if own_size else config.image_size
