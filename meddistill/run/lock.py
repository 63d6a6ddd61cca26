"""One writer a directory: a lock that the kernel holds for a process, so that it ends with it
however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from meddistill.base.errors import StageError
from meddistill.base.processes import launched

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None  # type: ignore[assignment]

_held: dict[
    Path, list[int]
] = {}  # lock file -> its open descriptor, once for each holder in this process


def lock_path(directory: Path) -> Path:
    """Beside the directory, as `--overwrite` deletes what is in it."""
    return directory.parent / f".{directory.name}.lock"


def acquire(directory: Path) -> None:
    """Become the only process that writes to `directory`; it need not exist. Each call wants its
    own `release`.

    A lock file that a killed process, or a copy of the RUN, left behind is nobody's and is taken
    over. Of the processes of one distributed job the first takes the lock for all. Raises:
    StageError naming process and host where another one holds it.
    """
    path = lock_path(directory.resolve())
    if fcntl is None or launched().rank > 0:
        return
    if path in _held:
        _held[path].append(_held[path][0])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise StageError(
                f"{directory} is being written by process {holder.get('pid', '?')} on "
                f"{holder.get('host', '?')}; "
                "wait until it ends, stop it, or write elsewhere with --out"
            ) from None
        except OSError:  # a file system without locks
            os.close(descriptor)
            return
        if _is_still_at(descriptor, path):
            break
        os.close(descriptor)  # its last holder removed it between our open and our lock
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
    _held[path] = [descriptor]


def release(directory: Path) -> None:
    """Give the lock back; with the last holder its file goes, too. Nothing happens where it is not
    held."""
    path = lock_path(directory.resolve())
    holders = _held.get(path, [])
    if not holders:
        return
    descriptor = holders.pop()
    if not holders:
        del _held[path]
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def is_held(directory: Path) -> bool:
    """Whether a process, this one too, is writing to `directory`; changes nothing. False where
    there are no locks."""
    path = lock_path(directory.resolve())
    if path in _held:
        return True
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)  # gives it back at once
    return False


def _holder(descriptor: int) -> dict[str, Any]:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:  # it has just been taken and not yet been signed
        return {}
    return content if isinstance(content, dict) else {}


def _is_still_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
