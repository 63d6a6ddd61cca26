"""What `run.py --gpu-suite` measures, one figure after the other; does nothing by itself."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from meddistill.base.errors import ConfigError, is_out_of_memory

ABOUT_TIMING = ("student", "device", "images", "image_size", "batch_size", "repeats")
"""Arguments without which two figures of one name are not the same."""
Measure = Callable[[argparse.Namespace], dict[str, Any]]
"""What a set of arguments gives: `about` and `rows`."""


def figures(args: argparse.Namespace) -> dict[str, argparse.Namespace]:
    """The arguments of each figure, by name; batches are once, twice and eight times `--batch-size`.
    The large SAM 2, with random weights, is on a GPU alone: on a CPU it takes minutes an image."""
    on_gpu = args.device.startswith("cuda")
    teachers = [args.teacher, *(["sam2.1-large"] if on_gpu else [])]
    found = {f"step-{times}": ("b,c,h", {"batch": times}) for times in (1, 2, 8)}
    found |= {"precision": ("n", {}), "sizes": ("m", {}), "findings": ("l", {})}
    for teacher in dict.fromkeys(teachers):
        found[f"teacher-{teacher}"] = ("d", {"teacher": teacher})
        for times in (1, 8):
            found[f"published-{teacher}-{times}"] = ("a", {"teacher": teacher, "batch": times})
    wanted = set(args.only.split(","))
    kept = {}
    for name, (parts, changes) in found.items():
        only = [part for part in parts.split(",") if part in wanted]
        if only:
            kept[name] = argparse.Namespace(
                **{
                    **vars(args),
                    "only": ",".join(only),
                    "teacher": changes.get("teacher", args.teacher),
                    "batch_size": args.batch_size * changes.get("batch", 1),
                }
            )
    return kept


def where(device: str) -> dict[str, str]:
    """What a figure is measured on: the card or processor by name, and torch's version."""
    name = (
        torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else platform.processor() or platform.machine()
    )
    return {"device": name, "torch": str(torch.__version__)}


def is_there(path: Path, arguments: argparse.Namespace) -> bool:
    """Whether a figure was measured with these arguments, here. Raises: ConfigError if with others,
    or elsewhere."""
    if not path.exists():
        return False
    about = json.loads(path.read_text("utf-8"))["about"]
    asked = {name: str(getattr(arguments, name)) for name in (*ABOUT_TIMING, "only")}
    for name, now in asked.items():
        _check_same(path, f"--{name.replace('_', '-')}", about["arguments"][name], now)
    for name, here in where(arguments.device).items():
        _check_same(path, name, about[name], here)
    return True


def _check_same(path: Path, name: str, kept: str, now: str) -> None:
    if kept != now:
        raise ConfigError(
            f"{path} was measured with {name} {kept}, not {now}; choose another --out, or remove it"
        )


def run_suite(args: argparse.Namespace, measure: Measure) -> list[dict[str, Any]]:
    """Measure what `--out` does not hold yet, writing each figure as it is measured; returns all that
    are there. After the first, no figure is begun once `--minutes` are over. Raises: ConfigError where
    `--out` holds one that was measured with other arguments, or `--only` names none of its parts."""
    out, began = Path(args.out), time.monotonic()
    wanted, left, measured = figures(args), [], False
    if not wanted:
        raise ConfigError(
            f"--gpu-suite has no figure of part {args.only}; choose from a, b, c, d, h, l, m, n"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, arguments in wanted.items():
        is_there(out / f"{name}.json", arguments)  # before minutes go into others
    for name, arguments in wanted.items():
        path = out / f"{name}.json"
        if is_there(path, arguments):
            continue
        if measured and time.monotonic() - began > args.minutes * 60:
            left.append(name)
            continue
        started, measured = time.monotonic(), True
        try:
            told = measure(arguments)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            print(f"{name}: the device has too little memory; left out")
            continue
        told["seconds"] = round(time.monotonic() - started, 1)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
        print(f"{name}: {told['about']['device']}, {told['seconds']} s", flush=True)
    if left:
        print(f"{args.minutes:g} minutes are over: the same command goes on with {', '.join(left)}")
    return [
        {"name": name} | json.loads((out / f"{name}.json").read_text("utf-8"))
        for name in wanted
        if (out / f"{name}.json").exists()
    ]
