"""Where a detector starts: a file, an official one found or fetched, or a network's yaml with
random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meddistill.base import console
from meddistill.base.downloads import Weights, obtain_weights
from meddistill.base.errors import WeightsError, nearest
from meddistill.base.hashing import sha256_file

_ADDRESS = "https://github.com/ultralytics/assets/releases/download/v8.3.0/"
_YAML = (".yaml", ".yml")
OFFICIAL = {
    file: Weights(file, size, sha256, _ADDRESS + file, "AGPL-3.0")
    for file, size, sha256 in (
        ("yolo11n.pt", 5613764, "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1"),
        ("yolov8n.pt", 6549796, "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36"),
    )
}


@dataclasses.dataclass(frozen=True)
class Start:
    """What training begins from, or prediction uses.

    `argument` is what Ultralytics gets; `path` the file, None for random weights.
    """

    name: str
    argument: str
    path: Path | None


def fingerprint_start(weights: str) -> str:
    """What identifies `detect.weights`, without a network: a file by its content, random weights by
    their yaml.

    An official name counts as its file, found or not, so that a finished RUN stays finished where
    it cannot be had.
    """
    path = Path(weights)
    if path.is_file():
        return sha256_file(path)
    return OFFICIAL[weights].sha256 if weights in OFFICIAL else path.name


def find_start(weights: str, train: bool) -> Start:
    """Resolve `detect.weights`: a file, an official name (looked for here and in the cache, then
    fetched once), or a network's yaml such as `yolo11n.yaml`.

    Raises: WeightsError where nothing is found; only training from an official name falls back to
    random weights.
    """
    path = Path(weights)
    if path.suffix in _YAML:
        if not train:
            raise WeightsError(
                f"{weights} has no weights to take as they are; --no-train needs a .pt file"
            )
        return Start(f"{weights}, random weights", weights, None)
    official = OFFICIAL.get(weights)
    if path.is_file():
        return Start(path.name, str(path.resolve()), path)
    if official is None:
        hint = nearest(path.name, OFFICIAL)
        raise WeightsError(
            f"detector weights {weights} do not exist{hint} (official names are fetched)"
        )
    try:
        found = obtain_weights(official)
    except WeightsError as error:
        if not train:
            raise
        console.say(f"{error}. Without it the detector starts from random weights")
        yaml = path.with_suffix(".yaml").name
        return Start(f"{yaml}, random weights", yaml, None)
    return Start(weights, str(found), found)
