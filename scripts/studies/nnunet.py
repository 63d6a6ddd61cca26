"""nnU-Net beside the student: trained on the same images, judged in the same tables.

Needs a RUN that `distill` finished, and nnU-Net in an environment of its own. Takes minutes to days,
as long as the trainer asked for.

    python3 -m venv envs/nnunet && envs/nnunet/bin/pip install nnunetv2
    .venv/bin/python scripts/studies/nnunet.py RUN --bin envs/nnunet/bin --labels masks --epochs 100

Writes the RUN's training and validation images as an nnU-Net raw data set, with the true masks as
labels (`--labels masks`: the yardstick, it has what the student never had) or with the teacher's
targets (`--labels teacher`: the fair rival, it has what the student had); plans and trains the 2-D
configuration on that split with the trainer of that many epochs; brings the masks of the test
images back, and judges them: RUN/eval-nnunet-LABELS-EPOCHS, with the student beside. What is there
is not made again: type the command again to go on after an interruption.

A trainer that was cut short is named with its epochs wherever its figures stand.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import numpy as np
import torch
import typer

from meddistill.base.console import console, say, track
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, InputError, MedDistillError
from meddistill.base.files import atomic_path, read_json, write_json
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import encode_png
from meddistill.data.frames import from_frame
from meddistill.evaluation.judged_cases import read_planes
from meddistill.evaluation.request import EvalRequest, OtherMasks
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.layout import QUALITY_CSV, RUN_JSON, RunDir, require
from meddistill.run.tables import Case, QualityRow
from meddistill.run.true_masks import mask_path
from meddistill.settings.evaluate import EvalConfig
from meddistill.stages.evaluate import run_eval
from meddistill.student.predictor import Predictor
from meddistill.targets.cache import load_target
from meddistill.targets.packing import settle_masks, teaches
from meddistill.training.fabric import resolve_device

DATASET = "Dataset501_meddistill"
EPOCHS = (1, 5, 10, 20, 50, 100, 250, 500, 750, 1000, 2000, 4000, 8000)
"""Trainers that nnU-Net has; 1000 is its own default."""
PROGRAMS = ("nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict")
DEVICES = ("cpu", "cuda", "mps")
"""Those that nnU-Net takes."""
_EPOCH = re.compile(r": Epoch (\d+)\s*$")
_PSEUDO_DICE = re.compile(r"Pseudo dice (\[.*\])")


@dataclasses.dataclass(frozen=True)
class Rival:
    """One nnU-Net beside a RUN's student. `labels`: `masks` or `teacher`. `programs`: the folder of
    its commands; None: where the shell finds them. `out`: where its files lie."""

    run: RunDir
    labels: str
    epochs: int
    out: Path
    programs: Path | None = None
    device: str = "cpu"

    @property
    def trainer(self) -> str:
        if self.epochs == 1000:
            return "nnUNetTrainer"
        return f"nnUNetTrainer_{self.epochs}epoch{'s' if self.epochs > 1 else ''}"

    @property
    def name(self) -> str:
        """What tables and page call it: never bare where its training was cut short."""
        of = "true masks" if self.labels == "masks" else "the teacher's masks"
        return f"nnU-Net 2-D of {of}, {self.epochs} epoch{'s' if self.epochs > 1 else ''}"

    @property
    def raw(self) -> Path:
        return self.out / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.out / "preprocessed" / DATASET

    @property
    def masks(self) -> Path:
        return self.out / f"masks-{self.epochs}"


def run_rival(rival: Rival, predictor: Predictor | None = None) -> Path:
    """All of it; returns the evaluation's folder. `predictor`: stands in for the RUN's student.
    Raises: MedDistillError for what a user can mend."""
    require(rival.run.student / RUN_JSON, "distill")
    for name in PROGRAMS:
        program(rival, name)  # said now, not after the images are written
    rival.out.mkdir(parents=True, exist_ok=True)
    dataset = Dataset.open(rival.run.data)
    findings = read_findings(rival.run.data)
    if not findings.is_one and not findings.exclusive:
        raise InputError("findings that overlap have no label map, which nnU-Net learns from")
    done = rival.out / "raw.done"
    if not done.exists():
        write_raw(rival, dataset, findings)
        done.write_text(rival.labels, encoding="utf-8")
    elif (labels := done.read_text("utf-8")) not in (rival.labels, ""):  # earlier ones were empty
        raise InputError(
            f"{rival.out} was written with --labels {labels}; give another folder as --out"
        )
    trained = train(rival, dataset)
    out = rival.run.root / f"eval-nnunet-{rival.labels}-{rival.epochs}"
    other = OtherMasks(rival.masks, rival.name)
    request = EvalRequest(out=out, device=rival.device, other=other)
    run_eval(rival.run, EvalConfig(), request, seed=0, predictor=predictor)
    told = {
        "trainer": rival.trainer,
        "epochs": rival.epochs,
        "labels": rival.labels,
        "device": rival.device,
        "seconds": float(trained["seconds"]),
        "resumed": bool(trained["resumed"]),
        "learning_curve": learning_curve(rival),
        "dice": read_json(out / RUN_JSON)["results"]["dice"],
    }
    write_json(rival.out / f"result-{rival.epochs}.json", told)
    say(f"{rival.name}: {rival.out / f'result-{rival.epochs}.json'}; page: {out}")
    return out


def write_raw(rival: Rival, dataset: Dataset, findings: Findings) -> None:
    """The RUN's images as an nnU-Net raw data set: PNG, RGB as three channels, grey as one."""
    shutil.rmtree(rival.raw, ignore_errors=True)
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (rival.raw / name).mkdir(parents=True)
    grey = all(_is_grey(dataset.image(case)) for case in dataset.cases)
    labelled = list(_labelled(rival, dataset, findings))
    for case, labels in track(labelled, "write nnU-Net's images", len(labelled)):
        _write_png(rival.raw / "labelsTr" / f"{case.case_id}.png", labels)
        _write_image(rival.raw / "imagesTr", dataset, case, grey)
    for case in dataset.of_split("test"):
        _write_image(rival.raw / "imagesTs", dataset, case, grey)
    names = ["lesion"] if findings.is_one else list(findings.names)
    labels_of = {"background": 0} | {name: place for place, name in enumerate(names, start=1)}
    channels = ["grey"] if grey else ["R", "G", "B"]
    write_json(
        rival.raw / "dataset.json",
        {
            "channel_names": {str(place): name for place, name in enumerate(channels)},
            "labels": labels_of,
            "numTraining": len(labelled),
            "file_ending": ".png",
        },
    )
    splits = {
        split: [case.case_id for case, _ in labelled if case.split == split]
        for split in ("train", "val")
    }
    if not splits["train"] or not splits["val"]:
        raise InputError(
            f"{rival.run.data} has {len(splits['train'])} training and {len(splits['val'])} "
            f"validation cases with labels ({rival.labels}); nnU-Net needs both"
        )
    write_json(rival.out / "splits_final.json", [splits])


def _labelled(
    rival: Rival, dataset: Dataset, findings: Findings
) -> Iterator[tuple[Case, np.ndarray]]:
    """Training and validation cases with a label map (H, W) uint8, 0 for background."""
    if rival.labels == "masks":
        for case in dataset.of_split("train", "val"):
            if case.has_mask:
                planes = read_planes(mask_path(rival.run.data, case), findings)
                yield case, label_map(planes)
        return
    by_case: dict[str, list[QualityRow]] = {}
    for row in read_table(rival.run.teacher / QUALITY_CSV, QualityRow):
        if row.split != "test" and teaches(row):
            by_case.setdefault(row.case_id, []).append(row)
    for case_id, rows in by_case.items():
        case = dataset.by_id[case_id]
        probs = np.zeros((len(findings), case.height, case.width), np.float32)
        for row in rows:
            if row.n_boxes:
                place = 0 if findings.is_one else findings.index(row.finding)
                found = torch.from_numpy(load_target(rival.run.teacher, case_id, row.key).probs)
                frame = found.float().reshape(1, 1, *found.shape[-2:])
                probs[place] = from_frame(frame, (case.height, case.width))[0, 0].numpy()
        probs, *_ = settle_masks(probs, findings)  # as the student's targets are
        yield case, label_map((probs > 0.5) & (probs == probs.max(0)))


def label_map(planes: np.ndarray) -> np.ndarray:
    """Bool (C, H, W) as uint8 (H, W): 0, or the place of the finding from 1."""
    labels = np.zeros(planes.shape[1:], np.uint8)
    for place, plane in enumerate(planes, start=1):
        labels[plane] = place
    return labels


def train(rival: Rival, dataset: Dataset) -> dict[str, Any]:
    """Plan, train and predict, each where it is not done; returns what training took (`seconds`, over
    all sessions) and whether it was `resumed`."""
    number = DATASET[7:10]
    if not (rival.out / "planned.done").exists():
        call(
            rival,
            "nnUNetv2_plan_and_preprocess",
            "-d",
            number,
            "-c",
            "2d",
            "-np",
            "1",
            "-npfp",
            "1",
        )
        shutil.copyfile(rival.out / "splits_final.json", rival.preprocessed / "splits_final.json")
        (rival.out / "planned.done").touch()
    done = rival.out / f"trained-{rival.epochs}.json"
    if not done.exists():
        write_json(done, _train_on(rival, number))
    wanted = {case.case_id for case in dataset.of_split("test")}
    if wanted - {path.stem for path in rival.masks.glob("*.png")}:
        places = ["-i", str(rival.raw / "imagesTs"), "-o", str(rival.masks)]
        which = ["-d", number, "-c", "2d", "-f", "0", "-tr", rival.trainer]
        processes = ["-npp", "1", "-nps", "1"]
        call(rival, "nnUNetv2_predict", *places, *which, "-device", rival.device, *processes)
    trained: dict[str, Any] = read_json(done)
    return trained


def _train_on(rival: Rival, number: str) -> dict[str, Any]:
    """Train, or go on; returns the seconds of all sessions and whether there were several. Of one
    that fails or is interrupted they are kept; of one that is killed they are lost."""
    kept = rival.out / f"sessions-{rival.epochs}.json"
    # Not by a checkpoint: nnU-Net removes the latest at the end, before it validates, and goes on from
    # the final one; where there is none at all it warns and starts anew.
    resumed = (_results(rival) / "fold_0").exists()
    before = read_json(kept)["seconds"] if kept.exists() else 0
    options = ["-tr", rival.trainer, "-device", rival.device, *(["--c"] if resumed else [])]
    begin = time.perf_counter()
    try:
        call(rival, "nnUNetv2_train", number, "2d", "0", *options)
    finally:
        seconds = before + round(time.perf_counter() - begin, 1)
        write_json(kept, {"seconds": seconds})
    return {"seconds": round(seconds), "resumed": resumed}


def program(rival: Rival, name: str) -> str:
    """Where one of nnU-Net's commands lies. Raises: InputError where it is missing."""
    path = shutil.which(name, path=str(rival.programs) if rival.programs else None)
    if path is None:
        raise InputError(
            f"{name} is not found{f' in {rival.programs}' if rival.programs else ''}; install "
            "nnunetv2 in an environment of its own and give its bin folder as --bin"
        )
    return path


def call(rival: Rival, name: str, *arguments: str) -> None:
    """Run one of nnU-Net's commands. Raises: InputError where it is missing or fails."""
    path = program(rival, name)
    places = {
        f"nnUNet_{place}": str(rival.out / place) for place in ("raw", "preprocessed", "results")
    }
    environment = os.environ | places | {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1"}
    environment.pop("PYTHONPATH", None)
    say(f"{name} {' '.join(arguments)}")
    with (rival.out / "nnunet.log").open("a") as log:
        ended = subprocess.run(
            [path, *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode:
        raise InputError(f"{name} ended with {ended.returncode}; see {rival.out / 'nnunet.log'}")


def learning_curve(rival: Rival) -> list[dict[str, Any]]:
    """The validation Dice that nnU-Net logs after each epoch, a mean over its labels; of an epoch that
    was trained again after an interruption the last."""
    by_epoch: dict[int, float] = {}
    epoch = None
    logs = (_results(rival) / "fold_0").glob("training_log_*.txt")
    for log in sorted(logs, key=lambda path: [int(part) for part in re.findall(r"\d+", path.stem)]):
        for line in log.read_text().splitlines():
            if begun := _EPOCH.search(line):
                epoch = int(begun[1])
            elif epoch is not None and (told := _PSEUDO_DICE.search(line)):
                values = [float(value) for value in re.findall(r"\d+\.\d+(?:e-?\d+)?", told[1])]
                if values:
                    by_epoch[epoch] = round(sum(values) / len(values), 4)
                epoch = None
    return [{"epoch": epoch, "dice": dice} for epoch, dice in sorted(by_epoch.items())]


def _results(rival: Rival) -> Path:
    return rival.out / "results" / DATASET / f"{rival.trainer}__nnUNetPlans__2d"


def _is_grey(image: np.ndarray) -> bool:
    return bool((image == image[..., :1]).all())


def _write_image(folder: Path, dataset: Dataset, case: Case, grey: bool) -> None:
    image = dataset.image(case)
    _write_png(folder / f"{case.case_id}_0000.png", image[..., 0] if grey else image)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_png(pixels))


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    root: Annotated[Path, typer.Argument(metavar="RUN", help="Prepared and distilled.")],
    labels: Annotated[str, typer.Option(help="'masks' or 'teacher'.")] = "masks",
    epochs: Annotated[int, typer.Option(help=f"One of {', '.join(map(str, EPOCHS))}.")] = 100,
    programs: Annotated[
        Path | None, typer.Option("--bin", help="The folder of nnU-Net's commands.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Its files; default RUN/nnunet-LABELS.")] = None,
    device: Annotated[str, typer.Option(help=f"{', '.join(DEVICES)}.")] = "cpu",
) -> None:
    try:
        if labels not in ("masks", "teacher"):
            raise ConfigError(f"--labels is masks or teacher, got '{labels}'")
        if epochs not in EPOCHS:
            known = ", ".join(map(str, EPOCHS))
            raise ConfigError(f"nnU-Net has no trainer of {epochs} epochs; choose from {known}")
        if device not in DEVICES:
            raise ConfigError(f"nnU-Net runs on {', '.join(DEVICES)}, got --device {device}")
        resolve_device(device)
        folder = out or root / f"nnunet-{labels}"
        run_rival(Rival(RunDir(root), labels, epochs, folder.resolve(), programs, device))
    except MedDistillError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
