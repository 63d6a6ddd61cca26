"""The model card: README.md in the student's directory, in the form that Hugging Face reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddistill.base.files import read_json, write_text
from meddistill.run.layout import (
    CONFIG_JSON,
    MODEL_CARD,
    PREPROCESSING_JSON,
    RUN_JSON,
    SUMMARY_JSON,
)

_HEAD = """---
license: agpl-3.0
library_name: {library}
pipeline_tag: image-segmentation
tags:
- medical
- segmentation
- knowledge-distillation
- weak-supervision
- meddistill
---
# A small segmenter, distilled by MedDistill

Finds lesions in single images: an image goes in, the probability of each of its pixels comes out. It needs no box.
**Research use; not a medical device.** It must not be used for diagnosis or treatment.
"""
_LOAD = """
## How to load it

```python
import meddistill

student = meddistill.load_student("path/to/this/directory")
prediction = student.predict(image)  # uint8, (height, width) or (height, width, 3) RGB
prediction.mask  # uint8, 0 or 255
prediction.probs  # float32 in [0, 1]
```

Or `meddistill predict path/to/this/directory IMAGES... --out masks`; `meddistill export` makes an ONNX file of it.
"""
_SMP = """The network alone: `segmentation_models_pytorch.from_pretrained(DIR)`. It then expects images with the longest
side resized to {size} px, padded with black at the bottom and right, RGB / 255, mean {mean}, std {std}, and gives
logits.
"""
_LIMITS = """
## Intended use and limits

- For research on images like those it was trained on: the same organ, modality, sequence and kind of lesion. On others
  its output means nothing, and it does not say so.
- Where a foundation model's masks taught it, it repeats that model's errors.
- It sees one slice at a time. Probabilities were not calibrated against true masks.
- It always answers. Whether an image holds a lesion at all it knows only as far as images without any were shown to it.

## Licence

AGPL-3.0-or-later, as MedDistill. The training data's and the teacher's own licences apply besides.
"""
_NAMES = {
    "student": "this student",
    "teacher": "teacher, prompted by the detector",
    "boxes": "detector's boxes, filled",
}


def write_model_card(
    student_dir: Path, data_dir: Path | None = None, eval_dir: Path | None = None
) -> None:
    """Write README.md from what the stages wrote down: the student's run.json, its data's and its
    evaluation's.

    What is not there is left out; without an evaluation the card says that nobody has measured this
    student. Raises: InputError for a student without config.json or preprocessing.json.
    """
    config, preprocessing = (
        read_json(student_dir / name) for name in (CONFIG_JSON, PREPROCESSING_JSON)
    )
    training, data = (
        _record(directory / RUN_JSON) for directory in (student_dir, data_dir or Path("nowhere"))
    )
    summary = _record(eval_dir / SUMMARY_JSON) if eval_dir else {}
    is_smp = "encoder_name" in config
    parts = [
        _HEAD.format(library="segmentation-models-pytorch" if is_smp else "meddistill"),
        _numbers(summary),
        _data(data),
        _supervision(training, config),
        _LOAD,
        _SMP.format(
            size=preprocessing["image_size"], mean=preprocessing["mean"], std=preprocessing["std"]
        )
        if is_smp
        else "",
        _LIMITS,
    ]
    write_text(student_dir / MODEL_CARD, "".join(parts))


def _record(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _numbers(summary: Mapping[str, Any]) -> str:
    methods = summary.get("methods") or {}
    if not methods:
        return "\n## Numbers\n\nThis student has not been measured against true masks: `meddistill eval` does that.\n"
    rows = []
    for method, scores in methods.items():
        dice, hd95 = (scores["metrics"].get(name) or {} for name in ("dice", "hd95_px"))
        rows.append(
            f"| {_NAMES.get(method, _plain(method))} | {_number(dice.get('mean'))} "
            f"{_interval(dice.get('ci95'))} "
            f"| {_number(dice.get('median'))} | {_number(hd95.get('mean'), 1)} | "
            f"{scores.get('n_missed', '')} |"
        )
    student = methods.get("student", next(iter(methods.values())))
    return (
        f"\n## Numbers\n\nOn the {student['n']} cases of the split "
        f"`{_plain(summary.get('split'))}`, pixels from "
        f"probability {summary.get('threshold')} on, against true masks that were not used in "
        "training:\n\n"
        "| | Dice, mean [95 % interval] | Dice, median | HD95, px (a miss counts as the diagonal) "
        "| missed |\n"
        "|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _data(record: Mapping[str, Any]) -> str:
    splits = (record.get("results") or {}).get("splits") or {}
    if not splits:
        return ""
    results = record["results"]
    known = results.get("groups_known", False)
    groups = (
        "a group never lies in two splits"
        if known
        else "groups unknown: one patient may lie in two splits"
    )
    lines = [f"\n## Data\n\nLayout `{_plain(results.get('dataset'))}`; {groups}.\n"]
    for split, counts in splits.items():
        classes = ", ".join(
            f"{_plain(name)} {count}" for name, count in (counts.get("classes") or {}).items()
        )
        with_boxes = f"{counts['boxes']} with boxes, {counts['none']} without lesion, {counts['unknown']} not annotated"
        lines.append(
            f"- {_plain(split)}: {counts['cases']} images of {counts['groups']} groups, "
            f"{with_boxes} ({classes})"
        )
    return "\n".join(lines) + "\n"


def _supervision(record: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    settings, results = record.get("settings") or {}, record.get("results") or {}
    network = _plain(settings.get("student") or config.get("_model_class"))
    encoder = (
        f" with encoder `{_plain(config['encoder_name'])}`" if "encoder_name" in config else ""
    )
    size = f", {results['parameters']:,} parameters" if "parameters" in results else ""
    lines = [f"\n## Supervision\n\nNetwork: `{network}`{encoder}{size}.\n"]
    if record.get("stage") == "supervised twin":
        lines.append(
            "Trained on true masks, to compare distilled students with: no teacher had a part in "
            "it."
        )
    elif settings.get("teacher"):
        lines.append(
            f"Images and boxes: the teacher `{_plain(settings['teacher'])}` turned boxes into soft "
            "masks, which the "
            "student learned. No mask drawn by a person was used to train it (boxes may have been "
            "derived from masks)."
        )
        sources = ", ".join(
            f"{count} {_plain(name)}"
            for name, count in (results.get("prompt_sources") or {}).items()
        )
        lines.append(
            f"Training cases: {results.get('train_cases')} (boxes: {sources}); epochs: "
            f"{results.get('epochs')}; "
            f"weighting: `{_plain(settings.get('weighting'))}`; seed: {settings.get('seed')}. The "
            "epoch was chosen by "
            "agreement with the teacher on validation cases."
        )
    return "\n".join(lines) + "\n"


def _plain(text: object) -> str:
    """Text from data or settings, without what Markdown or HTML would read as more than text."""
    return re.sub(r"[^\w .,:+/=-]", "_", str(text))[:80]


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _interval(bounds: list[float] | None) -> str:
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""
