"""Whole volumes of one evaluation: scored, drawn and summed up as their slices come in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.data.case_ids import unique_names
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import write_png
from meddistill.evaluation.answers import AnsweredCase
from meddistill.evaluation.baselines import STUDENT
from meddistill.evaluation.judged_cases import JudgedCases
from meddistill.evaluation.report.volume_pictures import (
    Thumbnail,
    sheet,
    three_planes,
    thumbnail,
    worst,
)
from meddistill.evaluation.scores import Judging
from meddistill.evaluation.text_tables import align, format_interval
from meddistill.evaluation.volumes import (
    VOLUME_METRICS,
    VolumeGatherer,
    VolumeRow,
    summarise_volumes,
)
from meddistill.run.layout import PER_VOLUME_CSV, VOLUMES_PNG

VOLUMES = "volumes"
_NAMED = 3


class VolumeJudge:
    """`rows`: of per_volume.csv; none where no volume is whole."""

    def __init__(
        self, judged: JudgedCases, findings: Findings, judging: Judging, out: Path
    ) -> None:
        self._gatherer = VolumeGatherer(judged.cases)
        self._findings, self._judging, self._out = findings, judging, out
        names = list(dict.fromkeys(case.volume for case in judged.cases if case.volume))
        self._file_names = dict(zip(names, unique_names(names, names), strict=True))
        self._thumbnails: list[Thumbnail] = []
        self._places: set[int] = set()
        self.rows: list[VolumeRow] = []

    def add(self, answered: AnsweredCase) -> None:
        """Count a slice; the last one of a volume has it scored and drawn."""
        whole = self._gatherer.add(answered)
        if whole is None or not whole.places:
            return
        rows = list(whole.rows(self._findings, self._judging.tolerance_mm))
        self.rows += rows
        dice = float(np.mean([row.dice for row in rows if row.method == STUDENT]))
        # Of thousands of volumes no more is held than is drawn.
        self._thumbnails = worst([*self._thumbnails, thumbnail(whole, self._findings, dice)])
        self._places |= set(whole.places)
        name = self._file_names[whole.case.volume]
        write_png(self._out / VOLUMES / f"{name}.png", three_planes(whole, self._findings))

    def write(self, seed: int) -> dict[str, Any]:
        """Write the table and the sheet; returns what summary.json says of volumes, {} of none."""
        drawn = sheet(self._thumbnails, self._findings, sorted(self._places))
        if drawn is None:
            return {}
        write_png(self._out / VOLUMES_PNG, drawn)
        write_table(self._out / PER_VOLUME_CSV, VolumeRow, self.rows)
        self._tell_left_out()
        tolerance = self._judging.tolerance_mm
        definitions = {
            name: {"name": title, "unit": unit, "definition": text.format(tolerance_mm=tolerance)}
            for name, (title, unit, text) in VOLUME_METRICS.items()
        }
        return {"methods": summarise_volumes(self.rows, seed=seed), "definitions": definitions}

    def _tell_left_out(self) -> None:
        whole = {row.volume for row in self.rows}
        left = [name for name in self._gatherer.with_masks if name not in whole]
        if left:
            console.warn(
                f"{len(left)} of {len(left) + len(whole)} volumes are judged by their slices alone, as some "
                f"are missing, without a mask or of another size: {', '.join(left[:_NAMED])}"
                f"{', ...' if len(left) > _NAMED else ''}"
            )


def format_volumes(whole: Mapping[str, Any]) -> str:
    """What summary.json says of volumes as aligned lines; millimetres where they are known."""
    lines = [["whole volumes", "Dice 3-D [95 % CI]", "surface Dice", "HD95 mm", "error ml"]]
    for method, scores in whole["methods"].items():
        for name, own in {method: scores, **scores.get("by_finding", {})}.items():
            metrics = own["metrics"]
            if "dice" not in metrics:
                continue
            dice = f"{metrics['dice']['mean']:.3f} {format_interval(metrics['dice']['ci95'])}"
            others = [("nsd_mm", 3), ("hd95_mm", 1), ("error_ml", 2)]
            cells = [
                f"{metrics[key]['mean']:.{digits}f}" if key in metrics else "-"
                for key, digits in others
            ]
            lines.append([name if name == method else f"  {name}", dice, *cells])
    return align(lines)
