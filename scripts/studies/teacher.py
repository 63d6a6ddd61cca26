"""Which way of asking the teacher gives the best masks, and which score tells how good a mask is.

Needs a prepared RUN with masks. Takes seconds a case and way of asking.

For study only: this reads true masks, which no stage of the pipeline does before `eval`. It settled
the defaults of `TargetsConfig`. Two steps, the first resumable:

    python scripts/studies/teacher.py collect RUN STUDY --cases 300   # ask the teacher in every way, keep the answers
    python scripts/studies/teacher.py report STUDY                    # tables

RUN holds prepared data with masks. Boxes: `--boxes RUN/detector/boxes.csv`, else the annotated
boxes with each side moved by up to 10 %, seeded.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import spearmanr

from meddistill.base.files import atomic_path
from meddistill.data.boxes import box_iou, mask_to_boxes
from meddistill.data.masks import read_mask
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case, boxes_xyxy, read_boxes, read_cases
from meddistill.run.true_masks import mask_path
from meddistill.targets import scores as measures
from meddistill.targets.asking import jittered_boxes
from meddistill.targets.placing import part_on_image
from meddistill.targets.zoom import boxes_in_window, cut_and_enlarge, zoom_window
from meddistill.teachers.litemedsam import LiteMedSam
from meddistill.teachers.loading import load_teacher
from meddistill.teachers.teacher import Teacher

MARGINS = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 6), (0.05, 0), (0.1, 0)]
"""The box widened on each side by a share of it, and by px of the teacher's 256: what the view
`margins` asks."""
SHIFT = LiteMedSam.logit_shift
COPIES = {
    "plain": 8,
    "flip": 4,
    "window": 0,
    "zoom1.5": 4,
    "zoom2": 4,
    "zoom2.5": 4,
    "zoom3": 4,
    "zoom4": 4,
}
"""Views of a case, and how many jittered boxes each is asked besides the plain one."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    collect_parser = steps.add_parser(
        "collect", help="ask the teacher about cases of RUN, keep the answers in STUDY"
    )
    collect_parser.add_argument("run", type=Path, help="prepared RUN with masks")
    collect_parser.add_argument("study", type=Path, help="folder of the answers")
    collect_parser.add_argument(
        "--cases", type=int, default=300, help="how many, seeded (default: 300)"
    )
    collect_parser.add_argument("--splits", default="train,val", help="of RUN (default: train,val)")
    collect_parser.add_argument(
        "--boxes", type=Path, help="boxes.csv of a detector; else jittered annotated boxes"
    )
    collect_parser.add_argument(
        "--teacher", default="litemedsam", help="a name of `meddistill teachers`"
    )
    collect_parser.add_argument(
        "--views", default="plain,flip,window,zoom1.5,zoom2,zoom3", help="ways of asking"
    )
    collect_parser.add_argument(
        "--seconds", type=float, default=1e9, help="stop after this long; run again to go on"
    )
    collect_parser.add_argument(
        "--seed", type=int, default=0, help="of cases and jitter (default: 0)"
    )
    collect_parser.add_argument("--precision", default="32-true", help="32-true or bf16-mixed")
    report_parser = steps.add_parser("report", help="tables from the answers in STUDY")
    report_parser.add_argument("study", type=Path, help="folder of the answers")
    args = parser.parse_args()
    if args.step == "collect":
        collect(args)
    else:
        report(args.study)


def collect(args: argparse.Namespace) -> None:
    started = time.monotonic()
    data = args.run / "data"
    cases = [
        case for case in read_cases(data) if case.split in args.splits.split(",") and case.has_mask
    ]
    if args.boxes:  # boxes of cases that the detector was trained on are better than it is
        cases = [case for case in cases if case.split != "train" or case.annotation == "unknown"]
    cases = sorted(
        cases, key=lambda case: hashlib.sha256(f"{args.seed} {case.case_id}".encode()).digest()
    )
    detected = read_boxes(args.boxes, read_cases(data)) if args.boxes else None
    teacher = load_teacher(args.teacher, precision=args.precision)
    chosen = 0
    for case in cases:
        if chosen == args.cases or time.monotonic() - started > args.seconds:
            break
        truth = read_mask(mask_path(data, case))
        true_boxes = mask_to_boxes(truth, min_area_px=16)
        if detected is None:
            boxes = jittered_boxes(
                true_boxes, (case.height, case.width), 1, 0.1, case.case_id, 1000 + args.seed
            )[1]
        else:
            boxes = boxes_xyxy(detected.get(case.case_id, []))
        if len(boxes) == 0 or len(true_boxes) == 0:
            continue
        chosen += 1
        image = Dataset(data, cases).image(case)
        for view in args.views.split(","):
            path = args.study / case.case_id / f"{view}.npz"
            if not path.exists():
                answer = ask(teacher, view, case, image, boxes, args.seed)
                with atomic_path(path) as temporary:
                    np.savez_compressed(temporary, **answer)
        with atomic_path(args.study / case.case_id / "truth.npz") as temporary:
            np.savez_compressed(
                temporary,
                truth=truth,
                boxes=boxes,
                true_boxes=true_boxes,
                about=np.array(case.class_name),
            )
    print(f"{chosen} cases, {time.monotonic() - started:.0f} s")


def ask(
    teacher: Teacher, view: str, case: Case, image: np.ndarray, boxes: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """One view's answer: probabilities (copies, H, W) in 1/255, fused over boxes; scores a copy."""
    size = image.shape[:2]
    prompts = jittered_boxes(boxes, size, COPIES.get(view, 4), 0.1, case.case_id, seed)
    if view.endswith("margins"):
        jittered = [widen(copy, 0, 3, size) for copy in prompts[1:]]
        prompts = np.stack([widen(boxes, share, px, size) for share, px in MARGINS] + jittered)
    maps, ious, stabilities = [], [], []
    for number in range(len(boxes) if view.startswith("zoom") else 1):
        mine = prompts[:, number : number + 1] if view.startswith("zoom") else prompts
        seen, window = image, (0, 0, size[1], size[0])
        if view.startswith("zoom"):
            window = zoom_window(boxes[number], size, float(view[4:].removesuffix("margins")))
            seen = cut_and_enlarge(image, window)
            mine = boxes_in_window(mine, window, seen.shape[:2])
        elif view == "flip":
            seen = image[:, ::-1]
            mine = np.stack(
                [size[1] - mine[..., 2], mine[..., 1], size[1] - mine[..., 0], mine[..., 3]], -1
            )
        elif view == "window":
            low, high = np.percentile(image[image > 10], [1, 99])
            seen = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        answer = teacher.decode(teacher.encode([seen]), [mine.reshape(-1, 4)])[0]
        logits = answer.logits.view(*mine.shape[:2], *answer.logits.shape[-2:])
        stabilities.append(
            ((logits > 1).sum((-2, -1)) / (logits > -1).sum((-2, -1)).clamp(min=1)).mean(1)
        )
        ious.append(answer.predicted_iou.view(mine.shape[:2]).mean(1))
        probs = torch.sigmoid(
            part_on_image(teacher, logits.amax(1), window, size, size).whole(size)
        )
        maps.append(probs.flip(-1) if view == "flip" else probs)
    probs = torch.stack(maps).amax(0)
    return {
        "probs": (probs * 255).round().byte().numpy(),
        "predicted_iou": torch.stack(ious).mean(0).numpy(),
        "stability": torch.stack(stabilities).mean(0).numpy(),
    }


def widen(boxes: np.ndarray, share: float, px: float, size_hw: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) with each side moved outwards, inside the image. `px` are of a frame of 256."""
    sides = np.concatenate([boxes[:, 2:] - boxes[:, :2]] * 2, axis=1)
    shift = (share * sides + px * max(size_hw) / 256) * [-1, -1, 1, 1]
    return (boxes + shift).clip(0, [size_hw[1], size_hw[0]] * 2).astype(np.float32)


def report(study: Path) -> None:
    folders = sorted(path.parent for path in study.glob("*/truth.npz"))
    answers = []
    for folder in folders:
        found = {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}
        for view in found.values():
            if "probs" in view:
                view["probs"] = view["probs"].astype(np.float32) / 255
        answers.append(found)
    views = sorted(set.intersection(*(set(found) for found in answers)) - {"truth"})
    answers = [found for found in answers if set(views) <= set(found)]
    truths = [found["truth"]["truth"] for found in answers]
    areas = np.array([truth.mean() for truth in truths])
    classes = np.array([str(found["truth"]["about"]) for found in answers])
    cut = np.quantile(areas, [1 / 3, 2 / 3])
    sizes = np.digitize(areas, cut)
    print(
        f"{len(answers)} cases; box IoU with the true box "
        f"{np.mean([_iou(found) for found in answers]):.3f}"
    )
    print(f"size thirds at {cut[0]:.2%} and {cut[1]:.2%} of the image")
    groups = {"all": np.ones(len(answers), bool)}
    groups |= {name: classes == name for name in sorted(set(classes))}
    groups |= {name: sizes == number for number, name in enumerate(("small", "middle", "large"))}
    print(f"{'variant':44s}" + "".join(f"{name[:10]:>11s}" for name in groups))
    for name, make in variants(views).items():
        dices = np.array(
            [dice(make(found) > 0.5, truth) for found, truth in zip(answers, truths, strict=True)]
        )
        print(
            f"{name:44s}" + "".join(f"{dices[chosen].mean():11.4f}" for chosen in groups.values()),
            flush=True,
        )
    for view in views:
        if COPIES.get(view, 0):
            report_scores(view, answers, truths, areas)


def variants(views: list[str]) -> dict[str, Callable[[dict], np.ndarray]]:
    """Ways to make one probability map out of the kept answers, from the plain box to what the
    targets are made of."""
    made: dict[str, Callable[[dict], np.ndarray]] = {
        "one box": lambda found: found["plain"]["probs"][0]
    }
    for shift in (0.0, 1.0, SHIFT, 2.0):
        name = f"mean of 5 boxes{f', logit + {shift:g}' if shift else ''}"
        made[name] = lambda found, shift=shift: biased(mean_of(found, "plain"), shift)
    made[f"one box, logit + {SHIFT:g}"] = lambda found: biased(found["plain"]["probs"][0], SHIFT)
    made[f"mean of 5 boxes, each logit + {SHIFT:g}"] = lambda found: biased(
        found["plain"]["probs"][:5], SHIFT
    ).mean(0)
    if "window" in views:
        made[f"one box, brain's 1-99 % window, logit + {SHIFT:g}"] = lambda found: biased(
            found["window"]["probs"][0], SHIFT
        )
    for view in views:
        if view == "flip" or view.startswith("zoom"):
            what = "mirrored" if view == "flip" else f"window of {view[4:]} boxes"
            made[f"{what} alone, logit + {SHIFT:g}"] = lambda found, view=view: biased(
                mean_of(found, view), SHIFT
            )
            made[f"whole and {what}, logit + {SHIFT:g}"] = lambda found, view=view: biased(
                both(found, view), SHIFT
            )
    best = "zoom2" if "zoom2" in views else "plain"
    made["the last with holes filled"] = lambda found: ndimage.binary_fill_holes(
        biased(both(found, best), SHIFT) > 0.5
    )
    for margin in (0.0, 0.1):
        made[f"the last cut at the box + {margin:.0%}"] = lambda found, margin=margin: (
            biased(both(found, best), SHIFT) * near_boxes(found, margin)
        )
    return made


def mean_of(found: dict, view: str) -> np.ndarray:
    """Mean over the plain box and four jittered ones."""
    return found[view]["probs"][:5].mean(0)


def both(found: dict, view: str) -> np.ndarray:
    """Mean of the whole image's answer and another view's."""
    return 0.5 * (mean_of(found, "plain") + mean_of(found, view))


def biased(probs: np.ndarray, bias: float) -> np.ndarray:
    """Probabilities after `bias` is added to their logits."""
    probs = probs.clip(1e-4, 1 - 1e-4)
    return 1 / (1 + (1 / probs - 1) * np.exp(-bias))


def near_boxes(found: dict, margin: float) -> np.ndarray:
    """True in the boxes, each widened by `margin` of its sides."""
    near = np.zeros(found["truth"]["truth"].shape, bool)
    for x1, y1, x2, y2 in found["truth"]["boxes"]:
        dx, dy = margin * (x2 - x1), margin * (y2 - y1)
        near[max(0, round(y1 - dy)) : round(y2 + dy), max(0, round(x1 - dx)) : round(x2 + dx)] = (
            True
        )
    return near


def report_scores(
    view: str, answers: list[dict], truths: list[np.ndarray], areas: np.ndarray
) -> None:
    """Rank correlation of every score with true Dice and with lesion area, and the Dice kept at
    thresholds."""
    table: dict[str, list[float]] = {}
    dices = []
    for found, truth in zip(answers, truths, strict=True):
        probs, boxes = (
            torch.from_numpy(found[view]["probs"]),
            torch.from_numpy(found["truth"]["boxes"]),
        )
        mean = probs.mean(0)
        mask = mean > 0.5
        dices.append(dice(mask.numpy(), truth))
        variance = probs[1:].var(0, unbiased=False)
        edge = max(1.0, float(((mean > 0.05) & (mean < 0.95)).sum()))
        scores = {
            "predicted IoU, box": float(found[view]["predicted_iou"][0]),
            "predicted IoU, mean of copies": float(found[view]["predicted_iou"].mean()),
            "predicted IoU, least of copies": float(found[view]["predicted_iou"].min()),
            "stability, box": float(found[view]["stability"][0]),
            "stability, mean of copies": float(found[view]["stability"].mean()),
            "agreement (IoU with mean)": float(measures.mask_iou(probs > 0.5, mask).mean()),
            "- variance in mask": -float(variance[mask].mean()) if mask.any() else -0.25,
            "- variance / edge pixels": -float(variance.sum()) / edge,
            "- variance / sqrt(area)": -float(variance.sum()) / max(1.0, float(mask.sum())) ** 0.5,
            "box IoU": measures.box_ious_of_masks(
                (probs[:1] > 0.5).any(0, keepdim=True), _hull(boxes)
            )[0],
            "mean |2p-1| near mask": float((2 * mean - 1).abs()[mean > 0.05].mean())
            if (mean > 0.05).any()
            else 0.0,
            "- published v": -float(probs[0].var()),
        }
        for name, value in scores.items():
            table.setdefault(name, []).append(value)
    dice_array = np.array(dices)
    print(
        f"\n{view}: Dice {dice_array.mean():.4f}; rank correlation with Dice and with area; Dice "
        "kept at 95, 90, 80 %"
    )
    for name, values in table.items():
        array = np.array(values)
        kept = [
            dice_array[array >= np.quantile(array, 1 - share)].mean() for share in (0.95, 0.9, 0.8)
        ]
        deciles = " ".join(f"{value:.3f}" for value in np.quantile(array, [0.02, 0.05, 0.1, 0.5]))
        with_dice, with_area = spearmanr(array, dice_array)[0], spearmanr(array, areas)[0]
        print(
            f"  {name:32s}{with_dice:7.2f}{with_area:7.2f}   "
            + " ".join(f"{k:.4f}" for k in kept)
            + f"   [{deciles}]"
        )


def dice(pred: np.ndarray, target: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|); 1 for two empty masks."""
    total = pred.sum() + target.sum()
    return float(2 * (pred & target).sum() / total) if total else 1.0


def _hull(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])[None]


def _iou(found: dict) -> float:
    return float(box_iou(found["truth"]["boxes"], found["truth"]["true_boxes"]).max(1).mean())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
