"""How fast the pipeline is beside what one would compare it with, in pairs measured in one run.

Needs nothing: it draws its data. Takes about ten minutes on two CPU cores.

    python scripts/bench/run.py                            # all parts: about ten minutes on two CPU cores
    python scripts/bench/run.py --only a --teacher sam2.1-tiny --student nested_unet
    python scripts/bench/run.py --only b,c --batch-size 64 --device cuda --json out.json
    python scripts/bench/run.py --gpu-suite --device cuda  # all GPU figures; begins none after eight minutes

Each pair takes turns, `--repeats` times; a ratio is the median over the turns, with the lowest and
highest. Data are sample slices drawn for the purpose. Parts:
 a  100 epochs of distillation against the published loop (detector and teacher run for every image of every epoch,
    batch size 1), extrapolated from measured passes and steps; and our whole against teacher pass + bare steps
 b  training images/s with the real loader and augmentation, against the same step on a batch that is there already
 c  a training step against a bare one without our bookkeeping (same network, losses, optimiser)
 d  teacher images/s, in batches with all boxes in one call, against one box at a time
 e  metrics, cases/s at 512 px, against medpy on whole images in a loop
 f  prepare, images/s on all cores, against a plain loop in one process
 g  seconds until `meddistill --help` is printed
 h  a bare training step against the time that the processor's matrix product needs for the same operations: the share
    of that throughput which the step reaches, and the operators that its time goes into
 i  training on cores that are free, against the same with one other process busy on one of them
 j  the same of a prediction by the student, one image at a time
 k  the same of the teacher, one image with all boxes in one call
 l  training of three findings, against the same of one
 n  a training step in the precision that `distill.precision=auto` chooses here, against one in the other
 m  a training step of each size (`distill.size`), with its parameters, against one of `standard`

For i to k, `GOMP_SPINCOUNT=300000 python scripts/bench/run.py --only i,j,k` has OpenMP's threads
wait as they would without our setting (`meddistill/base/cores.py`).
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meddistill.base import console  # before torch: how threads wait is settled here

# isort: split
import _command_parts
import _teacher_parts
import _training_parts
import torch
from _bench import Bench
from _gpu_suite import run_suite, where

from meddistill.base.errors import ConfigError, MedDistillError
from meddistill.training.fabric import resolve_device

ROWS: dict[str, Callable[[Bench, Path], dict[str, Any]]] = {
    "a": _teacher_parts.whole_distillation,
    "f": _command_parts.prepare,
    "h": _training_parts.share_of_throughput,
    "i": _training_parts.beside_a_busy_process,
    "l": _training_parts.of_findings,
    "n": _training_parts.precisions,
}
"""Parts that give a row, and write files on the way."""
ROWS_WITHOUT_FILES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "d": _teacher_parts.boxes_at_once,
    "e": _command_parts.metrics,
    "g": _command_parts.help_text,
    "j": _command_parts.prediction_beside_a_busy_process,
    "k": _teacher_parts.beside_a_busy_process,
}
PARTS = sorted({*ROWS, *ROWS_WITHOUT_FILES, "b", "c", "m"})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, such as b,c (default: all)")
    parser.add_argument(
        "--teacher", default="litemedsam", help="litemedsam, or a SAM 2 with random weights"
    )
    parser.add_argument(
        "--student",
        default="default",
        choices=("default", "wide", "nested_unet"),
        help="network; wide: smp's own UNet++ decoder",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    parser.add_argument("--images", type=int, default=8, help="sample images (default: 8)")
    parser.add_argument(
        "--prepared", type=int, default=1200, help="pictures of part f (default: 1200)"
    )
    parser.add_argument(
        "--image-size", type=int, default=256, help="side of the frame, px (default: 256)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=8, help="images a training step (default: 8)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns of each pair (default: 5)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--gpu-suite",
        action="store_true",
        help="measure all figures of speed.md's GPU part, a file each in --out; typed again, go on",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/gpu_suite"),
        help="folder of the suite's figures (default: runs/gpu_suite)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=8.0,
        help="no figure of the suite is begun after this time (default: 8)",
    )
    args = parser.parse_args()
    console.set_quiet(True)
    unknown = [part for part in args.only.split(",") if part not in PARTS]
    if unknown:
        parser.error(f"--only names no part '{unknown[0]}'; choose from {', '.join(PARTS)}")
    try:
        args.device = str(resolve_device(args.device))  # figures are told apart by it
        if args.device == "mps":
            raise ConfigError("--device mps is not timed; choose cpu, cuda or cuda:N")
        figures = run_suite(args, measure) if args.gpu_suite else [measure(args)]
    except MedDistillError as error:
        parser.error(str(error))
    for told in figures:
        show(told, told.get("name", ""))
    if args.json and not args.gpu_suite:
        (told,) = figures
        args.json.write_text(json.dumps(told, indent=2) + "\n")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The parts that `--only` names: `about` and `rows`, by part."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench, wanted = Bench(args), args.only.split(",")
        if "b" in wanted or "c" in wanted:
            found = _training_parts.loader_and_bookkeeping(bench, Path(folder))
            rows |= {name: row for name, row in found.items() if name in wanted}
        for name in wanted:
            if name == "m":
                rows |= _training_parts.sizes(bench, Path(folder))
            elif name in ROWS:
                rows[name] = ROWS[name](bench, Path(folder))
            elif name in ROWS_WITHOUT_FILES:
                rows[name] = ROWS_WITHOUT_FILES[name](bench)
    about = {
        "date": datetime.date.today().isoformat(),
        **where(args.device),
        "threads": torch.get_num_threads(),
        "arguments": {name: str(value) for name, value in vars(args).items()},
    }
    return {"about": about, "rows": dict(sorted(rows.items()))}


def show(told: dict[str, Any], title: str = "") -> None:
    """Print the figures as a Markdown table."""
    about, rows = told["about"], told["rows"]
    where = f"{about['date']}, {about['device']}, {about['threads']} thread(s)"
    print(f"{title}{': ' if title else ''}{where}, torch {about['torch']}\n")
    print("| | ours, s | baseline, s | baseline / ours [lowest, highest] |\n|---|---|---|---|")
    for name, row in rows.items():
        ratio = f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        print(f"| {name} {row['what']} | {row['ours_s']:.3g} | {row['baseline_s']:.3g} | {ratio} |")
    if "a" in rows:
        print(f"\nOur whole over teacher pass + bare steps: {rows['a']['overhead']:.3f}")
    if "h" in rows:
        profile = rows["h"]["profile"]
        print(
            f"\nOperators fill {profile['busy_share']:.0%} of the step ({profile['kernels']} "
            "kernels on the device):"
        )
        for name, seconds in profile["operators_s"].items():
            print(f"  {seconds / profile['busy_s']:6.1%}  {name}")


if __name__ == "__main__":
    main()
