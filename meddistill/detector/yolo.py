"""The detector: Ultralytics YOLO, trained and applied in a process of its own
(`worker.py`)."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import meddistill
from meddistill.base import console
from meddistill.base.cores import usable_cores
from meddistill.base.errors import InputError, MedDistillError, WeightsError
from meddistill.base.files import write_json, write_text
from meddistill.data.findings import LESION, Findings
from meddistill.run.images import image_path
from meddistill.run.labels import label_path
from meddistill.run.tables import Case

SCORE_FLOOR = 0.01
"""Lowest score of a box that the measures see; far below any useful threshold."""
CANDIDATES = 50
"""Most boxes an image that the measures see."""
_BATCH_SIZE = 16
NMS_IOU = 0.5
"""Of two boxes of one finding that overlap more, the surer one is kept."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Small grey lesions: no colour to shift, no up or down to rely on, and no crop that would cut most
# of them off.
AUGMENTATION = {
    "hsv_h": 0.0,
    "hsv_s": 0.0,
    "hsv_v": 0.3,
    "degrees": 10.0,
    "translate": 0.1,
    "scale": 0.3,
    "fliplr": 0.5,
    "flipud": 0.5,
    "mixup": 0.0,
    "erasing": 0.0,
}


@dataclasses.dataclass(frozen=True)
class Detections:
    """Boxes of one image: `boxes_xyxy_px` (N, 4) float32 half-open, `confidence` (N,) falling,
    `class_names` (N)."""

    boxes_xyxy_px: np.ndarray
    confidence: np.ndarray
    class_names: tuple[str, ...]

    def of(self, name: str) -> Detections:
        """Those of one class."""
        kept = np.array([each == name for each in self.class_names], dtype=bool)
        names = tuple(each for each in self.class_names if each == name)
        return Detections(self.boxes_xyxy_px[kept], self.confidence[kept], names)

    def above(self, confidence: float, limit: int) -> Detections:
        """The surest `limit` boxes of at least `confidence`."""
        kept = min(int(np.count_nonzero(self.confidence >= confidence)), limit)
        return Detections(
            self.boxes_xyxy_px[:kept], self.confidence[:kept], self.class_names[:kept]
        )


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """What `train_detector` varies; see `settings.detect.DetectConfig` for the meaning.
    `keeps_sides`: whether images must not be mirrored across, and upside down."""

    epochs: int
    patience: int
    image_size: int
    batch_size: int
    mosaic: float
    lr: float
    seed: int
    keeps_sides: tuple[bool, bool] = (False, False)


@dataclasses.dataclass(frozen=True)
class WorkerOptions:
    """How the process of Ultralytics runs; nothing of it changes a result.

    `device`: `auto`, `cpu`, `cuda` or `cuda:N`. `trust_weights`: load weights even where that runs
    code inside the file. `log`: where its console goes, None for nowhere.
    """

    device: str = "auto"
    trust_weights: bool = False
    log: Path | None = None


def predict_boxes(
    weights: Path,
    image_paths: Sequence[Path],
    image_size: int,
    options: WorkerOptions,
    findings: Findings = LESION,
) -> list[Detections]:
    """Boxes of every image, in the order given. For one finding all classes of the network count,
    and boxes of several are merged; of several each has its own, which may overlap.

    Boxes are clipped to the image and at least one pixel wide and high. Raises: WeightsError for
    weights that are unreadable or hold code; InputError for an image that cannot be read.

    Args:
        weights: a .pt file.
        image_paths: pictures as `prepare` writes them.
        image_size: side of the network's square input, px.
        options: how its process runs.
        findings: what is looked for.
    """
    found: dict[int, Detections] = {}
    job = {
        "weights": str(weights),
        "images": [str(path) for path in image_paths],
        "image_size": image_size,
        "floor": SCORE_FLOOR,
        "nms_iou": NMS_IOU,
        "max_boxes": CANDIDATES * len(findings),
        "all_are_one": findings.is_one,
        "batch_size": _BATCH_SIZE,
    }
    with console.progress("boxes", len(image_paths)) as bar:
        for event in _run_worker({"train": None, "predict": job}, options, weights):
            if event["event"] == "boxes":
                found[event["index"]] = _detections(event["boxes"])
                bar.advance()
    return [found[index] for index in range(len(image_paths))]


def train_detector(
    view: Path,
    weights_dir: Path,
    start: str,
    settings: TrainingSettings,
    options: WorkerOptions,
    looked_for: Mapping[str, Sequence[bool]] | None = None,
) -> dict[str, Any]:
    """Train; the result is `weights_dir/best.pt`. Returns `epochs` run in all and `device` by name.

    An interrupted training goes on after its last whole epoch (`weights_dir/last.pt`).

    Args:
        view: what `write_training_view` made.
        weights_dir: where best.pt and last.pt go.
        start: a .pt file, or the name of a network's yaml to begin from random weights.
        settings: what changes the result.
        options: how its process runs.
        looked_for: where not everything was looked for everywhere, of each image in the view which
            findings were: of the others an image teaches nothing.
    """
    job: dict[str, Any] = {
        "data": str(view / "data.yaml"),
        "start": start,
        "weights_dir": str(weights_dir),
        "save_dir": str(view / "training"),
        "settings": _ultralytics_settings(settings),
        "looked_for": looked_for,
    }
    if looked_for:  # of four images in one nobody would know which were looked for
        job["settings"] = {**job["settings"], "mosaic": 0.0}
    outcome: dict[str, Any] = {"epochs": 0, "device": options.device}
    with console.progress("detector", settings.epochs) as bar:
        weights = Path(start) if start.endswith(".pt") else None
        for event in _run_worker({"train": job, "predict": None}, options, weights):
            if event["event"] == "device":
                outcome["device"] = event["name"]
            elif event["event"] == "resumed":
                bar.resume(event["epoch"])
                outcome["epochs"] = event["epoch"]
            elif event["event"] == "epoch":
                bar.note(f"loss {event['loss']:.2f}, mAP50 {event['map50']:.2f}")
                bar.advance(event["epoch"] - outcome["epochs"])
                outcome["epochs"] = event["epoch"]
    return outcome


def _ultralytics_settings(settings: TrainingSettings) -> dict[str, Any]:
    return {
        **AUGMENTATION,
        **{
            flip: 0.0
            for flip, keeps in zip(("fliplr", "flipud"), settings.keeps_sides, strict=True)
            if keeps
        },
        "epochs": settings.epochs,
        "patience": settings.patience,
        "imgsz": settings.image_size,
        "batch": settings.batch_size,
        "nbs": settings.batch_size,
        "seed": settings.seed,
        "mosaic": settings.mosaic,
        "close_mosaic": max(1, settings.epochs // 3),
        "optimizer": "AdamW",
        "lr0": settings.lr,
        "cos_lr": True,
        "warmup_epochs": min(3.0, settings.epochs / 10),
        "warmup_bias_lr": 0.0,
        "momentum": 0.9,
        # Mixed precision makes Ultralytics download a network to try it on.
        "amp": False,
        "deterministic": True,
        "workers": 4,
        "plots": False,
        "exist_ok": True,
    }


def write_training_view(
    directory: Path, cases: Iterable[Case], data_dir: Path, findings: Findings = LESION
) -> Path:
    """Lay out annotated cases as Ultralytics wants them; returns `directory`, made anew.

    Ultralytics takes an image without a label for one without a lesion. So the lists that it gets,
    `train.txt` and `val.txt`, hold the cases that were annotated, with boxes or as free of lesions,
    and never an `unknown` one. Its caches land here, outside the prepared data. Where no validation
    case has a box, it validates on training cases.
    """
    shutil.rmtree(directory / "images", ignore_errors=True)
    shutil.rmtree(directory / "labels", ignore_errors=True)
    lists: dict[str, list[str]] = {"train": [], "val": []}
    has_box = False
    for case in cases:
        if case.split not in lists or case.annotation not in ("boxes", "none"):
            continue
        source = image_path(data_dir, case)
        image = directory / "images" / case.split / f"{case.case_id}{source.suffix}"
        label = directory / "labels" / case.split / f"{case.case_id}.txt"
        _link(source, image)
        text = (
            label_path(data_dir, case).read_text(encoding="utf-8")
            if case.annotation == "boxes"
            else ""
        )
        write_text(label, text)
        lists[case.split].append(str(image.resolve()))
        has_box |= case.split == "val" and case.annotation == "boxes"
    for split, images in lists.items():
        write_text(directory / f"{split}.txt", "".join(f"{image}\n" for image in images))
    content = {
        "path": str(directory.resolve()),
        "train": "train.txt",
        "val": "val.txt" if has_box else "train.txt",
    }
    names = {str(number): name for number, name in enumerate(findings.names)}
    write_json(directory / "data.yaml", {**content, "names": names})  # JSON is YAML
    return directory


def looked_for_in_view(
    directory: Path, cases: Iterable[Case], findings: Findings
) -> dict[str, list[bool]] | None:
    """Of each image of a training view which findings were looked for; None where all were
    everywhere."""
    looked = {
        str(
            (
                directory / "images" / case.split / f"{case.case_id}{Path(case.image).suffix}"
            ).resolve()
        ): [case.looked_for(name) for name in findings.names]
        for case in cases
        if case.annotation != "unknown"
    }
    return None if findings.is_one or all(map(all, looked.values())) else looked


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Ultralytics repairs damaged JPEG files in place: those are copied, so that the prepared data
    # stay as they are.
    if source.suffix.lower() == ".png":
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without hard links
            pass
    shutil.copyfile(source, target)


def _detections(rows: list[list[Any]]) -> Detections:
    boxes = np.array([row[:4] for row in rows], dtype=np.float32).reshape(-1, 4)
    kept = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    confidence = np.array([row[4] for row in rows], dtype=np.float64)
    names = tuple(row[5] for row, keep in zip(rows, kept, strict=True) if keep)
    return Detections(np.round(boxes[kept], 2), confidence[kept], names)


def _run_worker(
    job: dict[str, Any], options: WorkerOptions, weights: Path | None
) -> Iterator[dict[str, Any]]:
    """Yield the events of one worker process; it never outlives this generator or this process."""
    with (
        _log_file(options.log) as log_file,
        tempfile.TemporaryDirectory(prefix="meddistill-") as scratch,
    ):
        worker = subprocess.Popen(
            [sys.executable, "-m", "meddistill.detector.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            encoding="utf-8",
            env=_environment(Path(scratch), options.trust_weights),
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        last: dict[str, Any] = {}
        try:
            worker.stdin.write(json.dumps({**job, "device": options.device}) + "\n")
            worker.stdin.flush()
            for line in worker.stdout:
                last = json.loads(line)
                yield last
            worker.wait()
        except BrokenPipeError:
            worker.wait()
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
            worker.stdout.close()
            with suppress(BrokenPipeError):
                worker.stdin.close()
    if last.get("event") != "done":
        _raise_failure(last, worker.returncode, weights, options.log)


def _raise_failure(
    last: dict[str, Any], status: int, weights: Path | None, log: Path | None
) -> None:
    message = str(last.get("message", f"its process ended with status {status}"))[:300]
    if last.get("kind") == "weights":
        raise WeightsError(
            f"{weights} was not loaded as a detector: {message}. Weights that need code of their "
            "own to load are "
            "refused; if you know where the file comes from, pass --trust-weights"
        )
    if "cannot be read as an image" in message:
        raise InputError(message)
    raise MedDistillError(
        f"the detector failed: {message}" + (f"; all of it is in {log}" if log else "")
    )


def _environment(scratch: Path, trust_weights: bool) -> dict[str, str]:
    """The worker's environment: nothing written to the home directory, nothing downloaded,
    installed or reported."""
    settings = scratch / "Ultralytics"
    settings.mkdir()
    (
        settings / "Arial.ttf"
    ).touch()  # plots are off; without a font it would look for one on the network
    package = str(Path(meddistill.__file__).resolve().parents[1])
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    }
    environment.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    return environment | {
        "YOLO_CONFIG_DIR": str(scratch),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "true",
        "ULTRALYTICS_SAFE_LOAD": "0" if trust_weights else "1",
        "MPLCONFIGDIR": str(scratch),
        "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def _log_file(log: Path | None) -> Iterator[Any]:
    if log is None:
        yield subprocess.DEVNULL
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("a", encoding="utf-8") as file:
            yield file
    finally:
        write_text(log, tidy_console(log.read_text(encoding="utf-8", errors="replace")))


def tidy_console(text: str) -> str:
    """What a terminal would show in the end: without colours, and of a bar redrawn in place its
    last state."""
    lines = (
        _ESCAPES.sub("", line).rstrip("\r").rsplit("\r", 1)[-1].rstrip()
        for line in text.split("\n")
    )
    return "\n".join(lines)
