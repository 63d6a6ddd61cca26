"""When a stage is finished, with what, and whether it may be reused: run.json.

A stage's directory holds `unfinished.json` while it is being made and `run.json` once it is whole.
"Same" means same settings, seed and inputs; device, workers and verbosity do not count. A setting
that an older record lacks had the behaviour from before it existed (`settings.roles`).
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import meddistill
from meddistill.base import console
from meddistill.base.errors import InputError, StageError
from meddistill.base.files import leftovers, read_json, write_json
from meddistill.base.processes import launched
from meddistill.run import lock
from meddistill.run.fingerprints import describe_output
from meddistill.run.layout import RUN_JSON, UNFINISHED_JSON
from meddistill.run.versions import versions
from meddistill.settings.identity import as_of_now
from meddistill.settings.roles import as_before

Config = TypeVar("Config")


class Stage:
    """One stage's output directory, from the first look to its run.json.

    `finished`: it was already made with the same settings and inputs; nothing is left to do.
    `resumed`: an interrupted attempt with the same settings and inputs was found; its files may be
    used.
    """

    def __init__(
        self, out: Path, name: str, identity: dict[str, Any], finished: bool, resumed: bool
    ) -> None:
        self.out = out
        self.name = name
        self.finished = finished
        self.resumed = resumed
        self._identity = identity
        self._started = time.time()
        self._release: Callable[[], Any] = lambda: None

    @staticmethod
    def is_finished(
        out: Path, name: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> bool:
        """Whether `out` holds this very stage whole; changes nothing there.

        Args:
            out: the stage's directory.
            name: of the stage.
            settings: its identity.
            inputs: name to fingerprint.
        """
        return _holds(
            out / RUN_JSON, {"stage": name, "settings": _plain(settings), "inputs": dict(inputs)}
        )

    @staticmethod
    def refuse_other(
        out: Path, name: str, settings: Mapping[str, Any], inputs: Mapping[str, str | None]
    ) -> None:
        """Raise StageError as `open` would, before work whose result is an input, too; changes
        nothing there.

        Args:
            out: the stage's directory.
            name: of the stage.
            settings: its identity.
            inputs: name to fingerprint; None for one that is not known yet.
        """
        for path, finished in ((out / RUN_JSON, True), (out / UNFINISHED_JSON, False)):
            if not path.exists():
                continue
            identity = {"stage": name, "settings": _plain(settings), "inputs": dict(inputs)}
            differences = _identity_differences(path, identity)
            later = tuple(f"inputs.{key} was" for key, known in inputs.items() if known is None)
            if differences := [line for line in differences if not line.startswith(later)]:
                raise _other(out, finished, differences)
            return

    @classmethod
    def open(
        cls,
        out: Path,
        name: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        overwrite: bool = False,
        refresh: bool = False,
    ) -> Stage:
        """Look at `out` and say what is to be done there.

        Until `finish`, or the end of the process, no other process can open it. Raises: StageError
        where `out` holds this stage with other settings or inputs, or something else entirely, or
        where another process is writing it.

        Args:
            out: the stage's directory.
            name: of the stage.
            settings: its identity.
            inputs: name to fingerprint (`fingerprint_file`, `fingerprint_stage`).
            overwrite: delete what is there first.
            refresh: for files that are keyed by content: other settings replace run.json alone.
        """
        identity = {"stage": name, "settings": _plain(settings), "inputs": dict(inputs)}
        if not overwrite and _holds(out / RUN_JSON, identity):  # also where nothing may be written
            with contextlib.suppress(OSError):  # of a process killed at its last steps
                (out / UNFINISHED_JSON).unlink(missing_ok=True)
                _sweep(out)
            return cls(out, name, identity, finished=True, resumed=False)
        with alone_in(out):
            stage = cls._begin(out, name, identity, overwrite, refresh)
            if not stage.finished:
                lock.acquire(out)
                stage._release = weakref.finalize(stage, lock.release, out)
        return stage

    @classmethod
    def _begin(
        cls, out: Path, name: str, identity: dict[str, Any], overwrite: bool, refresh: bool
    ) -> Stage:
        if overwrite and out.exists():
            _refuse_foreign(out)
            shutil.rmtree(out)
        done, half = out / RUN_JSON, out / UNFINISHED_JSON
        _sweep(out)
        for path, finished in ((done, True), (half, False)):
            if not path.exists():
                continue
            differences = _identity_differences(path, identity)
            if not differences:
                return cls(out, name, identity, finished=finished, resumed=not finished)
            if not refresh:
                raise _other(out, finished, differences)
            path.unlink()
        if out.exists() and any(out.iterdir()) and not refresh:
            raise StageError(
                f"{out} is not empty and holds no {name} stage; choose another directory with --out"
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_json(half, identity)
        except OSError as error:
            raise _unwritable(out, error) from error
        return cls(out, name, identity, finished=False, resumed=False)

    def finish(
        self, results: Mapping[str, Any], outputs: Iterable[Path], device: str = "cpu"
    ) -> None:
        """Write run.json, the mark that the stage is whole.

        `outputs` are the files and folders to hash; a folder that a table covers file by file is
        none.
        """
        record = {
            **self._identity,
            "meddistill": meddistill.__version__,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self._started, 2),
            "device": device,
            "python": platform.python_version(),
            "packages": versions(),
            "results": _plain(results),
            "outputs": _hashed(self.out, outputs),
        }
        write_json(self.out / RUN_JSON, record)
        (self.out / UNFINISHED_JSON).unlink(missing_ok=True)
        self.finished = True
        self._release()

    def abandon(self) -> None:
        """Remove what the stage wrote, as if it had not been begun; its lock, too."""
        shutil.rmtree(self.out)
        self._release()


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Within it no other process opens a stage in `out`. Raises: StageError where another one does,
    or nothing can be written there."""
    try:
        lock.acquire(out)
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield
    finally:
        lock.release(out)


def renew(
    out: Path, inputs: Mapping[str, str], results: Mapping[str, Any], outputs: Iterable[Path]
) -> None:
    """Write run.json of a finished stage again after a part of its output was replaced in place.

    The caller holds the directory's lock.

    Args:
        out: the stage's directory.
        inputs: name to fingerprint, of those that changed; the others stay.
        results: all of them.
        outputs: the files to hash, as for `Stage.finish`.
    """
    record = read_json(out / RUN_JSON)
    record["inputs"] = {**record["inputs"], **inputs}
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    record["results"] = _plain(results)
    record["outputs"] = _hashed(out, outputs)
    write_json(out / RUN_JSON, record)


def as_begun(out: Path, config: Config, overwrite: bool = False) -> Config:
    """`config` for a stage that goes on in `out`: a setting that its record does not know yet means
    what it meant then, unless it was given another value than its default."""
    for path in (out / RUN_JSON, out / UNFINISHED_JSON):
        if overwrite or not path.exists():
            continue
        try:
            written = _settings_of(path)
        except InputError:  # `Stage.open` says so
            break
        config, told = as_before(config, written)
        for key, value in told.items():
            console.say(
                f"{out} was begun before there was a setting '{key}': it goes on with {value!r}, "
                "as then"
            )
        break
    return config


def changed_settings(out: Path, stage: str, settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings that the finished stage in `out` had otherwise, sorted."""
    old, new = (
        as_of_now(stage, found) for found in (_settings_of(out / RUN_JSON), _plain(settings))
    )
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _hashed(out: Path, outputs: Iterable[Path]) -> dict[str, dict[str, Any]]:
    return {path.relative_to(out).as_posix(): describe_output(path) for path in outputs}


def _other(out: Path, finished: bool, differences: Sequence[str]) -> StageError:
    state = "is finished" if finished else "was begun"
    return StageError(
        f"{out} {state} with other settings or inputs ({'; '.join(differences[:4])}); "
        "pass --overwrite to replace it or --out to keep both"
    )


def _unwritable(out: Path, error: OSError) -> StageError:
    return StageError(
        f"{out} cannot be written ({error.strerror or error}); choose another directory with --out"
    )


def _sweep(out: Path) -> None:
    """Remove the temporary files of a process that was killed; in a directory of others only our
    very first one."""
    if launched().rank > 0 or not out.exists():
        return
    half = out / UNFINISHED_JSON
    finished = (out / RUN_JSON).exists()
    for path in leftovers(out, below=not finished):  # finished: the files below are whole
        if (
            finished
            or half.exists()
            or (path.parent == out and path.name.startswith(f".{half.stem}."))
        ):
            path.unlink(missing_ok=True)


def _refuse_foreign(out: Path) -> None:
    # --overwrite deletes a tree: only ever one that a stage of ours made.
    if any(out.iterdir()) and not ((out / RUN_JSON).exists() or (out / UNFINISHED_JSON).exists()):
        raise StageError(
            f"{out} was not made by meddistill (no {RUN_JSON}); --overwrite will not delete it"
        )


def _holds(path: Path, identity: dict[str, Any]) -> bool:
    return path.exists() and not _identity_differences(path, identity)


def _identity_differences(path: Path, identity: dict[str, Any]) -> list[str]:
    known = read_json(path)
    if not isinstance(known, dict):
        raise InputError(
            f"{path} is not what a stage writes; pass --overwrite to make the stage again"
        )
    old, new = (
        {**found, "settings": as_of_now(identity["stage"], found["settings"])}
        if isinstance(found["settings"], dict)
        else found
        for found in ({key: known.get(key) for key in identity}, identity)
    )
    return _differences(old, new)


def _settings_of(path: Path) -> dict[str, Any]:
    """The settings of a record; none where it holds something else, which `Stage.open` refuses."""
    known = read_json(path)
    settings = known.get("settings") if isinstance(known, dict) else None
    return settings if isinstance(settings, dict) else {}


def _plain(value: Any) -> Any:
    """`value` as JSON holds it, so that a fresh identity compares equal to one read back."""
    return json.loads(json.dumps(value))


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            lines += _differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return lines
    return [] if old == new else [f"{where} was {_short(old)}, now {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:18] + "..." + text[-18:]
