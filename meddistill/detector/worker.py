"""The process that runs Ultralytics: reads one job from standard input, answers with a JSON line an
event.

A process of its own, as Ultralytics sets seeds, threads, logging and settings for the whole of it.
`yolo.py` starts it with its environment set; nothing else imports it. Standard output carries
events only: what Ultralytics prints goes to standard error, the log file. When standard input
closes, its parent is gone, and so is it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from meddistill.base.errors import disk_problem
from meddistill.base.files import atomic_path


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to handle
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(_read_line())
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def send(event: str, **content: Any) -> None:
        events.write(json.dumps({"event": event, **content}) + "\n")
        events.flush()

    try:
        device = _prepare(job)
        send("device", name=_device_name(device))
        if job["train"]:
            train(job["train"], device, send)
        if job["predict"]:
            predict(job["predict"], device, send)
        send("done")
    except Exception as error:
        traceback.print_exc()
        kind = "weights" if _is_refused(error) else "failure"
        message = disk_problem(error) or " ".join(str(error).split()) or type(error).__name__
        send("error", kind=kind, message=message)
        sys.exit(1)


def train(job: dict[str, Any], device: str, send: Any) -> None:
    """Train, keeping `weights/last.pt` and `weights/best.pt` whole at every moment; best.pt is
    cleaned at the end."""
    import torch
    from ultralytics.models.yolo.detect import DetectionTrainer

    class Trainer(DetectionTrainer):  # type: ignore[misc]
        def set_model_attributes(self) -> None:
            super().set_model_attributes()
            self.model.to(
                memory_format=torch.channels_last
            )  # a sixth faster on CPU, where it is not the default

        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            batch["img"] = batch["img"].to(memory_format=torch.channels_last)
            if job["looked_for"] and getattr(self.model, "criterion", None) is None:
                self.model.criterion = partly_annotated_loss(self.model, job["looked_for"])
            return batch

        def final_eval(self) -> None:
            """Nothing: every split is measured afterwards, on the boxes that are written."""

    weights, scratch = Path(job["weights_dir"]), Path(job["save_dir"])
    last, best = weights / "last.pt", weights / "best.pt"
    settings = dict(job["settings"], save_dir=str(scratch), data=job["data"], device=device)
    if last.exists() and best.exists():
        done, over = _progress(last, settings)
        send("resumed", epoch=done)
        if over:
            _clean_weights(best)
            return
        (scratch / "weights").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(best, scratch / "weights" / "best.pt")
        settings["resume"] = str(last)
    trainer = Trainer(overrides=dict(settings, model=job["start"]))

    def keep(trainer: Any) -> None:
        # Ultralytics writes in place: a kill may leave half a file there, never here.
        if trainer.best_fitness == trainer.fitness:
            _copy(trainer.best, best)
        _copy(trainer.last, last)

    def report(trainer: Any) -> None:
        metrics = {key.split("/")[-1]: float(value) for key, value in trainer.metrics.items()}
        loss = sum(float(value) for value in (trainer.tloss or {}).values())
        send("epoch", epoch=trainer.epoch + 1, loss=loss, map50=metrics.get("mAP50(B)", 0.0))

    trainer.add_callback("on_model_save", keep)
    trainer.add_callback("on_fit_epoch_end", report)
    trainer.train()
    _clean_weights(best)


def partly_annotated_loss(model: Any, looked_for: dict[str, list[bool]]) -> Any:
    """Ultralytics' loss in which an image says nothing of classes that nobody looked for there: it
    takes what is not boxed as background for every class.

    `looked_for`: by the file of an image, of each class. Raises: TypeError for a network with
    another loss than its plain detection loss.
    """
    import torch
    from ultralytics.utils.loss import v8DetectionLoss

    if type(model.init_criterion()) is not v8DetectionLoss:
        raise TypeError("this network's loss cannot leave out what nobody looked for; use yolo11n")

    class PartlyAnnotatedLoss(v8DetectionLoss):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(model)
            self.bce: Any = self.masked_bce

        def __call__(self, preds: Any, batch: dict[str, Any]) -> Any:
            known = [looked_for[str(path)] for path in batch["im_file"]]
            self.known = torch.tensor(known, dtype=torch.float32, device=self.device)[:, None]
            return super().__call__(preds, batch)

        def masked_bce(self, scores: Any, target: Any) -> Any:
            loss = torch.nn.functional.binary_cross_entropy_with_logits
            return loss(scores, target, reduction="none") * self.known

    return PartlyAnnotatedLoss()


def predict(job: dict[str, Any], device: str, send: Any) -> None:
    """Send `boxes` [x1, y1, x2, y2, confidence, class name] of every image, px of the image, surest
    first."""
    from ultralytics import YOLO
    from ultralytics.utils.patches import imread

    model = YOLO(job["weights"], task="detect")
    if model.task != "detect":
        raise TypeError(f"{job['weights']} is a model for '{model.task}', not for detection")
    paths = job["images"]
    for start in range(0, len(paths), job["batch_size"]):
        images = [imread(path) for path in paths[start : start + job["batch_size"]]]
        for path, image in zip(paths[start:], images, strict=False):
            if image is None:
                raise ValueError(f"{path} cannot be read as an image")
        # rect=False: always a square frame, so that boxes do not depend on what else is in the
        # batch.
        results = model.predict(
            images,
            imgsz=job["image_size"],
            conf=job["floor"],
            iou=job["nms_iou"],
            agnostic_nms=job["all_are_one"],
            rect=False,
            max_det=job["max_boxes"],
            device=device,
            batch=len(images),
            save=False,
            verbose=False,
        )
        for offset, result in enumerate(results):
            rows = result.boxes.data.cpu().tolist()
            boxes = [[*row[:5], str(result.names[int(row[5])])] for row in rows]
            send("boxes", index=start + offset, boxes=sorted(boxes, key=lambda box: -box[4]))


def keep_to_threads(count: int) -> None:
    """Compute on at most `count` threads, also once Ultralytics counts all cores of the machine to
    set their number."""
    import torch

    torch.set_num_threads(count)
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = min(torch_utils.NUM_THREADS, count)


def _prepare(job: dict[str, Any]) -> str:
    """Set the process up and return the device as Ultralytics spells it."""
    import torch

    keep_to_threads(int(os.environ["OMP_NUM_THREADS"]))
    from ultralytics.nn.tasks import _SafeLoad
    from ultralytics.utils import SETTINGS

    # No experiment tracker and no account, whatever happens to be installed.
    SETTINGS.update({key: False for key, value in SETTINGS.items() if isinstance(value, bool)})
    if os.environ["ULTRALYTICS_SAFE_LOAD"] == "1" and not _SafeLoad.SUPPORTED:
        raise TypeError(
            "this torch cannot load weights without running code inside them (2.6 or later can)"
        )
    device = job["device"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return "0" if device == "cuda" else str(device).removeprefix("cuda:")


def _device_name(device: str) -> str:
    import torch

    return f"cuda: {torch.cuda.get_device_name(int(device))}" if device.isdigit() else device


def _progress(last: Path, settings: dict[str, Any]) -> tuple[int, bool]:
    """Epochs that a checkpoint has behind it, and whether its training was over."""
    from ultralytics.nn.tasks import torch_safe_load

    checkpoint, _ = torch_safe_load(str(last))
    done = int(checkpoint["epoch"]) + 1
    waited = done - int(checkpoint["stopper"]["best_epoch"])
    return done, done >= settings["epochs"] or waited >= settings["patience"]


def _clean_weights(path: Path) -> None:
    """Keep of a checkpoint what prediction needs: no optimiser, date, or path of this machine; same
    run, same bytes."""
    import torch
    from ultralytics import __version__
    from ultralytics.nn.tasks import torch_safe_load

    checkpoint, _ = torch_safe_load(str(path))
    model = (checkpoint.get("ema") or checkpoint["model"]).half()
    arguments = {"task": "detect", "imgsz": checkpoint["train_args"]["imgsz"]}
    model.args, model.criterion = arguments, None
    for parameter in model.parameters():
        parameter.requires_grad = False
    buffer = io.BytesIO()
    torch.save(
        {"model": model, "train_args": arguments, "epoch": -1, "version": __version__}, buffer
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _is_refused(error: Exception) -> bool:
    return isinstance(error, TypeError | ModuleNotFoundError | AttributeError | KeyError) and any(
        frame.name in ("load_checkpoint", "torch_safe_load", "_prepare")
        for frame in traceback.extract_tb(error.__traceback__)
    )


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            os._exit(1)
        line += part
    return line


def _die_with_parent() -> None:
    while os.read(0, 1 << 10):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
