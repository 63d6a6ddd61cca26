"""Weights files: look for them on this machine, download them once, never use one whose SHA-256 is
wrong."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from meddistill.base import console
from meddistill.base.errors import WeightsError
from meddistill.base.hashing import sha256_file

CACHE_VARIABLE = "MEDDISTILL_CACHE"
_CONNECT_S, _READ_S = 4.0, 30.0


@dataclasses.dataclass(frozen=True)
class Weights:
    """A published weights file. `address` is empty where it only comes inside a Python package."""

    file: str
    bytes: int
    sha256: str
    address: str
    licence: str

    def __str__(self) -> str:
        return f"{self.file} ({self.bytes} bytes, SHA-256 {self.sha256})"


def cache_dir() -> Path:
    """Where downloads go: `$MEDDISTILL_CACHE`, else the platform's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    import pooch

    return Path(pooch.os_cache("meddistill"))


def find_weights(weights: Weights, folders: list[Path] | None = None) -> Path | None:
    """The file in one of `folders`, else in the cache, else None. The size is checked here, the
    hash on use."""
    for folder in [*(folders or []), cache_dir()]:
        path = folder / weights.file
        if path.is_file() and path.stat().st_size == weights.bytes:
            return path
    return None


def obtain_weights(weights: Weights, folders: list[Path] | None = None) -> Path:
    """The verified file: found on this machine, else downloaded into the cache in one attempt.

    A file in the cache whose hash is wrong is deleted and downloaded again; elsewhere it is
    reported. Raises: WeightsError naming file, size, SHA-256, address and where to put it.
    """
    path = find_weights(weights, folders)
    if path is not None:
        found = sha256_file(path)
        if found == weights.sha256:
            return path
        if path.parent != cache_dir():
            raise WeightsError(
                f"{path} is damaged: SHA-256 {found}, expected {weights.sha256}; install or copy "
                "it again"
            )
        console.warn(
            f"{path} has SHA-256 {found}, expected {weights.sha256}; it is deleted and fetched "
            "again"
        )
        path.unlink()
    return download(weights)


def download(weights: Weights) -> Path:
    """Fetch the file into the cache and verify it; it appears there whole or not at all.

    Raises: WeightsError as `obtain_weights`.
    """
    import pooch
    from requests.exceptions import RequestException

    folder = cache_dir()
    advice = f"put it into {folder} (or set {CACHE_VARIABLE} to its folder)"
    if not weights.address:
        raise WeightsError(
            f"{weights} is not on this machine and has no address to download it from; {advice}"
        )
    console.say(f"downloading {weights.address} ({weights.bytes / 1e6:.0f} MB) to {folder}")
    bar = _DownloadBar(weights.file)
    pooch.get_logger().setLevel("WARNING")  # the progress bar says it
    downloader = pooch.HTTPDownloader(
        progressbar=bar, chunk_size=1 << 20, timeout=(_CONNECT_S, _READ_S)
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stale = folder / weights.file
        if stale.exists():  # of the wrong size: find_weights passed it over
            stale.unlink()
        path = pooch.retrieve(
            weights.address, f"sha256:{weights.sha256}", weights.file, folder, downloader=downloader
        )
    except ValueError as error:
        raise WeightsError(
            f"{weights.address} served another file than {weights}; it was deleted. {advice} "
            "yourself"
        ) from error
    except (RequestException, OSError) as error:
        raise WeightsError(
            f"{weights} is not on this machine and {weights.address} cannot be downloaded "
            f"({type(error).__name__}); {advice}"
        ) from error
    finally:
        bar.close()
    return Path(path)


class _DownloadBar:
    """Our progress bar in the shape that pooch drives: it sets `total` (bytes), then calls update,
    reset and close."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: console.Bar | None = None
        self.total = 0

    def update(self, count: int) -> None:
        if self._bar is None and self.total:
            self._bar = console.Bar(f"{self._title}, bytes", self.total)
        if self._bar is not None:
            self._bar.advance(min(count, self.total - self._bar.done))

    def reset(self) -> None:
        """Called before the last `update(total)`, which fills the bar."""

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
