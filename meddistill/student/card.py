"""The model card: README.md in the student's directory, in the form that Hugging Face reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json, write_text
from meddistill.data.findings import LESION, Findings
from meddistill.run.fingerprints import fingerprint_stage, fingerprint_trust, is_of_other_data
from meddistill.run.layout import (
    CONFIG_JSON,
    MODEL_CARD,
    PREPROCESSING_JSON,
    RUN_JSON,
    SUMMARY_JSON,
    TRUST_JSON,
    RunDir,
)
from meddistill.run.next_commands import eval_of

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

Finds {what} in single images: an image goes in, the probability of each of its pixels comes out. It needs no box.
**Research use; not a medical device.** It must not be used for diagnosis or treatment.
"""
_LOAD = """
## How to load it

```python
import meddistill

student = meddistill.load_student("path/to/this/directory")
prediction = student.predict(image)  # uint8, (height, width) or (height, width, 3) RGB
prediction.mask  # {mask}
prediction.probs  # {probs}
```

Or `meddistill predict path/to/this/directory IMAGES... --out masks`; `meddistill export` makes an ONNX file of it.
"""
_SMP = """The network alone: `segmentation_models_pytorch.from_pretrained(DIR)`. It then expects images with the longest
side resized to {size} px, padded with black at the bottom and right, RGB / 255, mean {mean}, std {std}, and gives
logits{channels}.
"""
_LIMITS = """
## Intended use and limits

- For research on images like those it was trained on: the same organ, modality, sequence and kind of lesion. On others
  its output means nothing, {others}
- Where a foundation model's masks taught it, it repeats that model's errors.
- It sees {seen}. {fitted}
- It always answers. Whether an image holds a lesion at all it knows only as far as images without any were shown to it.

## Licence

AGPL-3.0-or-later, as MedDistill. The training data's and the teacher's own licences apply besides.
"""
_TILES = """
It sees an image in tiles of {size} x {size} px at the image's own resolution, a quarter in common with their
neighbours, and weighs the middle of each most. `load_student` and `meddistill predict` do that by themselves; whoever
runs the network or its exported file cuts the tiles and puts the probabilities together.
"""
_GRID = """
It sees pixels of {spacing_mm:g} mm, on a square of {side_px} px at least. `meddistill predict` brings files that say
how large their pixels are there and masks back by itself; in Python it is
`student.predict(image, spacing_hw_mm=(row, column))`; whoever runs the network or its exported file resamples the image
to that size of pixels and pads it with black at the bottom and right.
"""
_NAMES = {
    "student": "this student",
    "teacher": "teacher, prompted by the detector",
    "boxes": "detector's boxes, filled",
    "teacher_student": "teacher, prompted by the student's box",
    "teacher_head": "teacher, prompted by the head's box",
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
    findings = _findings_of(preprocessing)
    training, data = (
        _record(directory / RUN_JSON) for directory in (student_dir, data_dir or Path("nowhere"))
    )
    summary = _record(eval_dir / SUMMARY_JSON) if eval_dir else {}
    is_smp = "encoder_name" in config
    parts = [
        _HEAD.format(
            library="segmentation-models-pytorch" if is_smp else "meddistill",
            what="lesions" if findings.is_one else _listed(findings.names),
        ),
        _findings(findings, preprocessing),
        _numbers(summary),
        _data(data),
        _supervision(training, config),
        _LOAD.format(**_arrays(findings)),
        _input_of(preprocessing, findings) if is_smp or preprocessing.get("tiled") else "",
        _GRID.format(**preprocessing["grid"]) if preprocessing.get("grid") else "",
        _limits((student_dir / TRUST_JSON).is_file(), int(preprocessing.get("context", 0))),
    ]
    write_text(student_dir / MODEL_CARD, "".join(parts))


def renew_model_card(student_dir: Path, run: RunDir | None = None) -> None:
    """Write the card of a student anew from what its RUN holds now: the data, where they are still
    those that it learned from, and figures of an evaluation that still hold. `run`: None is the one
    that it lies in. Raises: as `write_model_card`."""
    run = run or RunDir(student_dir.resolve().parent)
    data = run.data if _learnt_from(run.data, student_dir) else None
    evaluations = [evaluation_of(student_dir, run), run.eval]
    holding = [each for each in evaluations if _still_holds(each, student_dir)]
    write_model_card(student_dir, data, holding[0] if holding else None)


def evaluation_of(student_dir: Path, run: RunDir) -> Path:
    """Where the evaluation of a student of `run` goes: RUN/student-NAME goes with RUN/eval-NAME."""
    return eval_of(run, run.root / student_dir.resolve().name)


def _learnt_from(data_dir: Path, student_dir: Path) -> bool:
    """Whether these are the data that made the student; of one that does not say, any that are there."""
    if not (data_dir / RUN_JSON).is_file():
        return False
    says = (student_dir / RUN_JSON).is_file()
    return not says or not is_of_other_data(student_dir, data_dir)


def _still_holds(evaluation: Path, student_dir: Path) -> bool:
    """Whether an evaluation is of this student, and a threshold given there still cuts the same."""
    judged = _record(evaluation / RUN_JSON)
    inputs = judged.get("inputs") or {}
    if not (student_dir / RUN_JSON).is_file():
        return False
    if inputs.get("student") != fingerprint_stage(student_dir):
        return False
    given = (judged.get("settings") or {}).get("threshold") is not None
    return not given or inputs.get("trust") == fingerprint_trust(student_dir)


def _input_of(preprocessing: Mapping[str, Any], findings: Findings) -> str:
    """What the network alone expects."""
    if preprocessing.get("tiled"):
        return _TILES.format(size=preprocessing["image_size"])
    return _SMP.format(
        size=preprocessing["image_size"],
        mean=preprocessing["mean"],
        std=preprocessing["std"],
        channels="" if findings.is_one else ", a channel a finding in the order above",
    )


def _findings_of(preprocessing: Mapping[str, Any]) -> Findings:
    """Those of a preprocessing.json. Raises: InputError where they are none."""
    try:
        told = preprocessing.get("findings")
        return LESION if told is None else Findings.from_dict(told)
    except (ConfigError, KeyError, TypeError) as error:
        raise InputError(f"{PREPROCESSING_JSON} names no findings: {error}") from error


def _listed(names: Sequence[str]) -> str:
    plain = [_plain(name) for name in names]
    return " and ".join(filter(None, [", ".join(plain[:-1]), plain[-1]]))


def _findings(findings: Findings, preprocessing: Mapping[str, Any]) -> str:
    """A table of several: their place, name and threshold."""
    if findings.is_one:
        return ""
    cuts = preprocessing.get("thresholds") or [preprocessing["threshold"]] * len(findings)
    rows = [
        f"| {place} | {_plain(name)} | {float(cut):.3g} |"
        for place, (name, cut) in enumerate(zip(findings.names, cuts, strict=True), start=1)
    ]
    told = "They may overlap: a pixel has each that reaches its threshold."
    if findings.exclusive:
        told = "They exclude each other: a pixel has the most probable that reaches its threshold."
    header = "| | finding | from probability |\n|---|---|---|\n"
    return f"\n## Findings\n\n{told}\n\n{header}" + "\n".join(rows) + "\n"


def _arrays(findings: Findings) -> dict[str, str]:
    """What mask and probabilities of a prediction are, as comments of the example."""
    if findings.is_one:
        return {"mask": "uint8, 0 or 255", "probs": "float32 in [0, 1]"}
    names = "; ".join(f"{place} {_plain(name)}" for place, name in enumerate(findings.names, 1))
    mask = f"uint8: 0 nothing; {names}"
    if not findings.exclusive:
        kind = "uint8" if len(findings) <= 8 else "uint16"
        mask = f"{kind}, a bit a finding: the first is 1, the second 2, the third 4"
    return {"mask": mask, "probs": f"float32 ({len(findings)}, height, width) in [0, 1]"}


def _limits(knows_itself: bool, context: int) -> str:
    """`knows_itself`: whether it was fitted what the student may say of its own answers."""
    seen = "one slice at a time"
    if context:
        seen = f"a slice with {context} neighbour(s) on each side, not a whole volume"
    if not knows_itself:
        others, fitted = (
            "and it does not say so.",
            "Probabilities were not calibrated against true masks.",
        )
    else:
        others = "which it says (`familiarity`) as far as it can tell them apart."
        fitted = (
            "What it says of itself, and what its probabilities\n  are calibrated to, was fitted to its "
            "teacher's masks, not to true ones."
        )
    return _LIMITS.format(others=others, seen=seen, fitted=fitted)


def _record(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _numbers(summary: Mapping[str, Any]) -> str:
    methods = summary.get("methods") or {}
    if not methods:
        return "\n## Numbers\n\nThis student has not been measured against true masks: `meddistill eval` does that.\n"
    rows = []
    for method, scores in methods.items():
        # Of another tool, what --name called it.
        told = (summary.get("labels") or {}).get(method, method) if method == "other" else method
        called = _NAMES.get(method, _plain(told))
        rows.append(_row(called, scores))
        for finding, own in scores.get("by_finding", {}).items():
            rows.append(_row(f"&nbsp;&nbsp;{_plain(finding)}", own))
    student = methods.get("student", next(iter(methods.values())))
    cut = summary.get("threshold")
    from_where = f"pixels from probability {cut} on, "
    count, after = student["n"], "against true masks that were not used in training"
    if "by_finding" in student:
        from_where, count = "", summary.get("n_scored")
        after += (
            "; each finding over the cases that have it, and a method's own row is the mean of "
            "these"
        )
    return (
        f"\n## Numbers\n\nOn the {count} cases of the split "
        f"`{_plain(summary.get('split'))}`, {from_where}{after}:\n\n"
        "| | Dice, mean [95 % interval] | Dice, median | HD95, px (a miss counts as the diagonal) "
        "| missed |\n"
        "|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _row(name: str, scores: Mapping[str, Any]) -> str:
    dice, hd95 = (scores["metrics"].get(metric) or {} for metric in ("dice", "hd95_px"))
    return (
        f"| {name} | {_number(dice.get('mean'))} {_interval(dice.get('ci95'))} "
        f"| {_number(dice.get('median'))} | {_number(hd95.get('mean'), 1)} | "
        f"{scores.get('n_missed', '')} |"
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
            f"weighting: `{_plain(settings.get('weighting'))}`; seed: {settings.get('seed')}. "
            + _chosen(settings, results)
        )
    return "\n".join(lines) + "\n"


def _chosen(settings: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Which epoch the student is of."""
    if settings.get("keep") == "last":
        return "The last epoch was kept."
    if results.get("val_cases") == 0:
        return "The last epoch was kept: no validation case could choose."
    return "The epoch was chosen by agreement with the teacher on validation cases."


def _plain(text: object) -> str:
    """Text from data or settings, without what Markdown or HTML would read as more than text."""
    return re.sub(r"[^\w .,:+/=-]", "_", str(text))[:80]


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _interval(bounds: list[float] | None) -> str:
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""
