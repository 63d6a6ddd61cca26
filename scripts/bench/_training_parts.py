"""Parts of `run.py` that measure a training step or an epoch (b, c, h, i, l, m, n); does nothing by
itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _bench import Bench
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile
from torch.utils.flop_counter import FlopCounterMode

from meddistill.data.findings import Findings
from meddistill.data.frames import Preprocessing
from meddistill.settings.layers import load_config
from meddistill.settings.presets import PRESETS
from meddistill.student.student import build_student
from meddistill.training.batches import Draw, ShuffledCases
from meddistill.training.fabric import make_fabric, precision_of
from meddistill.training.loop import Training
from meddistill.training.packed_cases import Batch

_MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}


class BatchThere(ShuffledCases):
    """Gives the same batch for every draw."""

    def __init__(self, there: Batch) -> None:
        self.there = there

    def batch(self, draw: Draw) -> Batch:
        return self.there


def loader_and_bookkeeping(bench: Bench, out: Path) -> dict[str, dict[str, Any]]:
    """Parts b and c: an epoch, steps on a batch that is there, and bare steps."""
    run, bare = bench.training(out)
    run.learner.model.train()
    size, steps = bench.args.batch_size, run.source.steps_per_epoch
    batch = run.train.batch(torch.arange(size))
    view = torch.zeros(size, dtype=torch.bool, device=bench.fabric.device)
    draw = Draw(torch.arange(size, device=bench.fabric.device), view)

    def epoch() -> None:
        bench.epoch(run)

    def there() -> None:
        run.step.source = BatchThere(batch)
        for _ in range(steps):
            run.step.take(draw)
        run.step.source = run.source

    def bare_steps() -> None:
        for _ in range(steps):
            bare(batch, view)

    for warm in (epoch, there, bare_steps):
        warm()
    b = bench.turns(epoch, there)
    c = bench.turns(there, bare_steps)
    for row in (b, c):
        row["images_per_s"] = size * steps / row["ours_s"]
    b["what"] = f"training with the loader against a batch that is there, {size} images a step"
    c["what"] = "training step against a bare one"
    return {"b": b, "c": c}


def of_findings(bench: Bench, out: Path) -> dict[str, Any]:
    """Part l: an epoch of three findings, and of one."""
    several = Findings(("first", "second", "third"))
    (three, _), (one, _) = bench.training(out, several), bench.training(out)
    for run in (three, one):
        run.learner.model.train()
        bench.epoch(run)
    found = bench.turns(lambda: bench.epoch(three), lambda: bench.epoch(one))
    images = bench.args.batch_size * three.source.steps_per_epoch
    what = f"training of three findings against one, {bench.args.batch_size} images a step"
    return found | {"what": what, "images_per_s": images / found["ours_s"]}


def precisions(bench: Bench, out: Path) -> dict[str, Any]:
    """Part n: a step in the precision that is chosen here, and in the other."""
    chosen = precision_of(bench.fabric)
    other = "32-true" if chosen == "bf16-mixed" else "bf16-mixed"
    steps = []
    for precision in (chosen, other):
        run = bench.training(out, fabric=make_fabric(bench.args.device, precision))[0]
        run.learner.model.train()
        steps.append(functools.partial(run.step.take, next(run.source.draws(0))))
        steps[-1]()
    what = f"training step in {chosen} against {other}, {bench.args.batch_size} images"
    return bench.turns(*steps) | {"what": what}


def sizes(bench: Bench, out: Path) -> dict[str, dict[str, Any]]:
    """A row for each preset but `standard`, which is what they are compared with."""
    steps, facts = {}, {}
    for size in PRESETS:
        settings = load_config(
            None,
            {"distill.size": size, "distill.batch_size": bench.args.batch_size},
            ["distill.encoder_weights=none", "distill.feature_weight=0"],
        ).distill
        torch.manual_seed(0)
        module = build_student(settings.student, encoder=settings.encoder, encoder_weights="none")
        preprocessing = Preprocessing(settings.image_size, *module.preprocessing_mean_std)
        data = bench.random_targets(settings.image_size)
        run = Training(module, data, preprocessing, settings, bench.fabric, out, 0)
        run.learner.model.train()
        draw = next(run.source.draws(0))
        steps[size] = functools.partial(run.step.take, draw)
        parameters = sum(each.numel() for each in module.parameters())
        facts[size] = {
            "parameters": parameters,
            "what": f"a training step of size {size}, {parameters / 1e6:.2f} M parameters, "
            f"{settings.image_size} px, batch {len(draw)}, against one of standard",
        }
        for _ in range(2):
            steps[size]()
    compared = [size for size in PRESETS if size != "standard"]
    return {
        f"m-{size}": bench.turns(steps[size], steps["standard"]) | facts[size] for size in compared
    }


def share_of_throughput(bench: Bench, out: Path) -> dict[str, Any]:
    """Part h: a step, and its operations in a matrix product."""
    run, bare = bench.training(out)
    size, device = bench.args.batch_size, bench.fabric.device
    batch, view = (
        run.train.batch(torch.arange(size)),
        torch.zeros(size, dtype=torch.bool, device=device),
    )
    side = _MATRIX_SIDE[device.type]
    kind = torch.bfloat16 if precision_of(bench.fabric) == "bf16-mixed" else torch.float32
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))

    def step() -> None:
        bare(batch, view)

    def products() -> None:
        for _ in range(10):
            left @ right

    step()
    with FlopCounterMode(display=False) as counted:
        step()
    for work in (step, products):
        work()
    found = bench.turns(step, products)
    operations, rate = counted.get_total_flops(), 10 * 2 * side**3 / found["baseline_s"]
    for name in ("ratio", "low", "high"):
        found[name] *= operations / (10 * 2 * side**3)
    found |= {
        "baseline_s": operations / rate,
        "operations": operations,
        "operations_per_s": rate,
    }
    what = f"training step of {size} images against its operations in a matrix product ({rate / 1e12:.3g} TFLOP/s)"
    return found | {"what": what, "profile": _profile(bench, step, found["ours_s"])}


def _profile(bench: Bench, step: Callable[[], None], seconds: float) -> dict[str, Any]:
    """Seconds of a step by operator, of the device itself; how many kernels; how much of the
    step they fill."""
    on_device = bench.fabric.device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
    with torch_profile(activities=kinds) as profiler:
        bench.timed(step)
    times: dict[str, float] = {}
    kernels = 0
    for event in profiler.events() or []:
        if on_device and event.device_type == DeviceType.CUDA:
            kernels += 1
        elif event.name.startswith("aten::"):
            own = event.self_device_time_total if on_device else event.self_cpu_time_total
            times[event.name] = times.get(event.name, 0.0) + own / 1e6
    busy = sum(times.values())
    largest = dict(sorted(times.items(), key=lambda item: -item[1])[:10])
    return {
        "operators_s": largest,
        "busy_s": busy,
        "busy_share": busy / seconds,
        "kernels": kernels,
    }


def beside_a_busy_process(bench: Bench, out: Path) -> dict[str, Any]:
    """Part i: an epoch, with all cores free and one of them busy."""
    run, _ = bench.training(out)
    run.learner.model.train()
    return bench.beside_a_busy_process("training", lambda: bench.epoch(run))
