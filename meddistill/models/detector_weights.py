"""Where a detector starts: a file, an official one found or fetched, or a network's yaml with random weights."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import urllib.request
from pathlib import Path

from meddistill import console
from meddistill.artifacts import atomic_path
from meddistill.errors import WeightsError, nearest
from meddistill.provenance import sha256_file

_ADDRESS = "https://github.com/ultralytics/assets/releases/download/v8.3.0/"
_TIMEOUT_S = 4.0


@dataclasses.dataclass(frozen=True)
class Official:
    """A published weights file."""

    bytes: int
    sha256: str


OFFICIAL = {
    "yolo11n.pt": Official(5613764, "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1"),
    "yolov8n.pt": Official(6549796, "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36"),
}


@dataclasses.dataclass(frozen=True)
class Start:
    """What training begins from, or prediction uses.

    `argument` is what Ultralytics gets; `path` the file, None for random weights. `fingerprint` says what was asked
    for: an official name counts as its file, found or not, so that a finished RUN stays finished without a network.
    """

    name: str
    argument: str
    path: Path | None
    fingerprint: str


def find_start(weights: str, train: bool) -> Start:
    """Resolve `detect.weights`: a file, an official name (looked for here and in the cache, then fetched once), or
    a network's yaml such as `yolo11n.yaml`.

    Raises: WeightsError where nothing is found; only training from an official name falls back to random weights.
    """
    path = Path(weights)
    if path.suffix in (".yaml", ".yml"):
        if not train:
            raise WeightsError(f"{weights} has no weights to take as they are; --no-train needs a .pt file")
        return Start(f"{weights}, random weights", weights, None, f"random: {path.name}")
    official = OFFICIAL.get(weights)
    if path.is_file():
        digest = sha256_file(path)
        return Start(path.name, str(path.resolve()), path, digest)
    if official is None:
        hint = nearest(path.name, OFFICIAL)
        raise WeightsError(f"detector weights {weights} do not exist{hint} (official names are fetched)")
    cached = cache_dir() / weights
    if cached.is_file() and sha256_file(cached) == official.sha256:
        return Start(weights, str(cached), cached, official.sha256)
    problem = _fetch(weights, official, cached)
    if problem is None:
        return Start(weights, str(cached), cached, official.sha256)
    if not train:
        raise WeightsError(
            f"{weights} ({official.bytes} bytes, SHA-256 {official.sha256}) is not on this machine and could not be "
            f"fetched ({problem}); download {_ADDRESS}{weights} to {cached}"
        )
    console.say(f"{weights} is not on this machine and could not be fetched ({problem}): training from random weights")
    yaml = weights.replace(".pt", ".yaml")
    return Start(f"{yaml}, random weights", yaml, None, official.sha256)


def cache_dir() -> Path:
    """Where fetched weights are kept: $MEDDISTILL_CACHE, else the platform's cache folder."""
    if given := os.environ.get("MEDDISTILL_CACHE"):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "meddistill"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meddistill"


def _fetch(name: str, official: Official, target: Path) -> str | None:
    """Download once; returns what went wrong, or None."""
    try:
        with urllib.request.urlopen(_ADDRESS + name, timeout=_TIMEOUT_S) as answer:
            content = answer.read(official.bytes + 1)
    except (OSError, ValueError) as error:
        return " ".join(str(getattr(error, "reason", error)).split())
    if hashlib.sha256(content).hexdigest() != official.sha256:
        return "what came is not the official file"
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    return None
