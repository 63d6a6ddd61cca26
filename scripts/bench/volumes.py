"""Volumes: what neighbouring slices cost, memory and rate of `prepare`, rate and start of `predict`.

Needs nothing: it draws its data. Takes some three minutes on one core.

    python scripts/bench/volumes.py                     # all parts
    python scripts/bench/volumes.py --only a,b --json out.json

Ratios are of CPU seconds, of pairs that take turns in one run: ours over what it is compared with. Parts:
 a  slices with a neighbour on each side (`distill.context=1`) against none, of grey slices: reading them from RUN/data,
    drawing and augmenting a batch of 8, and a whole training step; and a batch against one of colour pictures
 b  peak memory of `prepare` for few and for many volumes (`--volumes`), one process, and its rate against a bare read,
    window and PNG writing of the same voxels and masks
 c  `predict` on a volume of 256 px slices against the bare network on frames that are there already
 d  seconds until `predict --backend onnx` has answered one picture, from the start of the process
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meddistill.base import console  # before torch: how threads wait is settled here

# isort: split
import nibabel
import numpy as np

from meddistill.data.formats.pictures import write_png
from meddistill.data.sources.phantom import draw_slice

PARTS = "abcd"
SIDE, SLICES = 192, 48
"""Of the volumes of part b."""


def write_volume(root: Path, name: str, shape: tuple[int, int, int], seed: int) -> None:
    """A phantom's slice with noise along z, int16, and its mask, as imagesTr/NAME.nii.gz and labelsTr."""
    generator = np.random.default_rng(seed)
    image, mask, _ = draw_slice(generator, shape[0])
    voxels = np.repeat(image[..., None].astype(np.int16) * 4, shape[2], axis=2)
    voxels += generator.integers(0, 40, shape).astype(np.int16)
    masks = np.repeat(mask[..., None].astype(np.uint8), shape[2], axis=2)
    masks[..., : shape[2] // 4] = 0
    for folder, data in (("imagesTr", voxels), ("labelsTr", masks)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        volume = nibabel.Nifti1Image(data, np.diag([1.0, 1.0, 2.0, 1.0]))
        nibabel.save(volume, root / folder / f"{name}.nii.gz")


def bare_loop(source: Path, out: Path) -> None:
    """Every slice and its mask as PNGs: read, window by the volume's percentiles, write."""
    import cv2

    for path in sorted((source / "imagesTr").iterdir()):
        voxels = np.asarray(nibabel.load(path).dataobj)
        masks = np.asarray(nibabel.load(source / "labelsTr" / path.name).dataobj)
        low, high = np.percentile(voxels, (0.5, 99.5))
        for index in range(voxels.shape[2]):
            shown = np.clip((voxels[..., index].T - low) / (high - low), 0, 1) * 255
            name = f"{path.stem}_{index}.png"
            cv2.imwrite(str(out / name), shown.astype(np.uint8))
            cv2.imwrite(str(out / f"mask_{name}"), masks[..., index].T * 255)


def turns(
    works: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> list[list[float]]:
    """Seconds of each, in turns whose order changes."""
    found: list[list[float]] = [[] for _ in works]
    for turn in range(repeats):
        order = range(len(works)) if turn % 2 else reversed(range(len(works)))
        for which in order:
            began = clock()
            works[which]()
            found[which].append(clock() - began)
    return found


def ratio_row(what: str, ours: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    ratios = [one / two for one, two in zip(ours, other, strict=True)]
    return {
        "what": what,
        "ours_s": statistics.median(ours),
        "other_s": statistics.median(other),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def neighbours(scratch: Path, repeats: int) -> list[dict[str, Any]]:
    """Part a."""
    import torch

    from meddistill.run.dataset import Dataset

    side = 256
    source, run = scratch / "a", scratch / "run-a"
    for number in range(3):
        write_volume(source, f"v{number}", (side, side, 24), number)
    _run("prepare", run, "--source", source, "--set", "prepare.val_fraction=0")

    def read(context: int) -> None:
        data = Dataset.open(run / "data")  # anew: what it keeps is part of what it costs
        for case in data.cases:
            data.seen(case, context)

    data = Dataset.open(run / "data")
    sources = {kind: _batches_of(data, side, kind) for kind in ("alone", "context", "colour")}

    def batches(kind: str) -> Callable[[], None]:
        def work() -> None:
            for draw in sources[kind].draws(0):
                sources[kind].batch(draw)

        return work

    def steps(kind: str) -> Callable[[], None]:
        module, optimiser = _network()
        module.train()

        def work() -> None:
            for draw in sources[kind].draws(0):
                batch = sources[kind].batch(draw)
                logits = module(batch.images / 255)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.probs)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

        return work

    rows = []
    for what, pair in (
        ("reading slices with neighbours against without", (lambda: read(1), lambda: read(0))),
        (
            "a batch with neighbours against one of grey slices",
            (batches("context"), batches("alone")),
        ),
        ("a batch with neighbours against one in colour", (batches("context"), batches("colour"))),
        ("a training step with neighbours against one without", (steps("context"), steps("alone"))),
    ):
        for work in pair:
            work()
        rows.append(ratio_row(what, *turns(pair, repeats, time.process_time)))
    return rows


def _batches_of(data: Any, side: int, kind: str) -> Any:
    """Batches of a few slices `alone`, in their `context`, or as pictures in `colour`."""
    from meddistill.training.augment import Augmentation
    from meddistill.training.batches import ShuffledCases
    from meddistill.training.packed_cases import CaseTarget, PackedCases

    cases = data.cases[8:24]
    target = np.zeros((side, side), np.float32)
    target[80:140, 80:140] = 1
    packed = PackedCases([case.case_id for case in cases], side)
    for index, case in enumerate(cases):
        image = data.seen(case, int(kind == "context"))
        if kind == "colour":
            image = np.stack([image[..., 0], 255 - image[..., 0], image[..., 0] // 2], axis=2)
        packed.put(index, image, CaseTarget(target, 0 * target))
    augment = Augmentation(side, 0, is_grey=packed.is_grey)
    return ShuffledCases(packed, 8, 0.0, 0, augment)


def _network() -> tuple[Any, Any]:
    """The default student with random weights, and what trains it."""
    import torch

    from meddistill.settings.distill import DistillConfig
    from meddistill.student.student import build_student

    torch.manual_seed(0)
    config = DistillConfig()
    module = build_student(config.student, encoder=config.encoder, encoder_weights="none")
    return module, torch.optim.AdamW(module.parameters(), lr=1e-4)


def preparing(scratch: Path, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Part b."""
    rows, sources = [], []
    for count in counts:
        source = scratch / f"b-{count}"
        for number in range(count):
            write_volume(source, f"v{number:02}", (SIDE, SIDE, SLICES), number)
        sources.append(source)
    used = [_measured(_prepare(source, scratch / f"run-{source.name}")) for source in sources]
    for count, (peak, seconds) in zip(counts, used, strict=True):
        what = f"prepare of {count} volumes of {SIDE} x {SIDE} x {SLICES}"
        rows.append({"what": what, "peak_mib": peak, "cpu_s": seconds})
    voxels_mib = SIDE * SIDE * SLICES * 2 / 2**20
    slope = (used[-1][0] - used[0][0]) / (counts[-1] - counts[0])
    what = f"peak memory a volume more, MiB; a volume has {voxels_mib:.1f}"
    rows.append({"what": what, "slope_mib": slope})
    plain = scratch / "plain"
    plain.mkdir()
    bare = [
        _measured([__file__, "--bare", str(source), "--bare-out", str(plain)])[1]
        for source in (sources[0], sources[-1])
    ]
    # What a process costs before its first slice and after its last is in both counts.
    took = used[-1][1] - used[0][1], bare[1] - bare[0]
    slices = (counts[-1] - counts[0]) * SLICES
    rate = {"ours_s": took[0], "other_s": took[1], "ratio": took[1] / took[0]}
    what = f"rate of prepare, {slices} slices more, against a bare read and PNG writing"
    rows.append({"what": what, **rate, "slices_per_s": slices / took[0]})
    return rows


def _prepare(source: Path, run: Path) -> list[str]:
    words = ["-m", "meddistill", "-q", "prepare", str(run), "--source", str(source)]
    return [*words, "--set", "prepare.workers=1"]


def predicting(scratch: Path, repeats: int) -> list[dict[str, Any]]:
    """Part c."""
    import torch

    from meddistill.data.frames import Preprocessing
    from meddistill.stages.predict import run_predict
    from meddistill.student.student import save_student

    source, slices, student = scratch / "c", 64, scratch / "student"
    write_volume(source, "v", (256, 256, slices), 0)
    module, _ = _network()
    save_student(student, module.eval(), Preprocessing(256, *module.preprocessing_mean_std))
    frames = torch.randn(16, 3, 256, 256)
    path = [str(source / "imagesTr" / "v.nii.gz")]

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(slices // len(frames)):
                module(frames)

    def ours() -> None:
        run_predict(student, path, scratch / "out", overwrite=True)

    for work in (bare, ours):
        work()
    network, whole = turns((bare, ours), repeats, time.perf_counter)
    row = ratio_row("rate of predict on 256 px slices against the bare network", network, whole)
    return [row | {"slices_per_s": slices / row["other_s"]}]


def starting(scratch: Path, repeats: int) -> list[dict[str, Any]]:
    """Part d."""
    from meddistill.data.frames import Preprocessing
    from meddistill.stages.export import run_export
    from meddistill.student.student import save_student

    student = scratch / "student-d"
    module, _ = _network()
    save_student(student, module.eval(), Preprocessing(256, *module.preprocessing_mean_std))
    image, _, _ = draw_slice(np.random.default_rng(0), 256)
    write_png(scratch / "one.png", image)
    run_export(student, images=[str(scratch / "one.png")])
    rows = []
    for backend in ("onnx", "torch"):
        took, cpu = [], []
        for turn in range(repeats):
            out = scratch / f"out-{backend}-{turn}"
            words = ["-m", "meddistill", "-q", "predict", str(student), str(scratch / "one.png")]
            began = time.perf_counter()
            cpu.append(_measured([*words, "--out", str(out), "--backend", backend])[1])
            took.append(time.perf_counter() - began)
        what = f"predict --backend {backend}, one picture, from the start of the process"
        rows.append({"what": what, "seconds": min(took), "cpu_s": min(cpu)})
    return rows


def _measured(words: Sequence[str]) -> tuple[float, float]:
    """Peak memory in MiB and CPU seconds of a Python process."""
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed with {process.returncode}")
    return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def _run(*words: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "meddistill", "-q", *map(str, words)],
        stdout=subprocess.DEVNULL,
        check=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, such as a,c (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each pair (default: 3)")
    parser.add_argument("--volumes", default="5,25", help="few and many, of part b (default: 5,25)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bare-out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        bare_loop(args.bare, args.bare_out)
        return
    console.set_quiet(True)
    counts = [int(count) for count in args.volumes.split(",")]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "a": lambda: neighbours(scratch, args.repeats),
            "b": lambda: preparing(scratch, counts),
            "c": lambda: predicting(scratch, args.repeats),
            "d": lambda: starting(scratch, args.repeats),
        }
        for name in args.only.split(","):
            rows += [{"part": name, **row} for row in parts[name]()]
    for row in rows:
        figures = {name: value for name, value in row.items() if name not in ("part", "what")}
        told = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
        print(f"{row['part']}  {row['what']}: {told}")
    if args.json:
        about = {
            "machine": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "date": datetime.date.today().isoformat(),
            "rows": rows,
        }
        args.json.write_text(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
