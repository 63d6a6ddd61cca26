"""What can go wrong in a way the user can mend: one line, what was expected, what was found, what
to do next."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable
from pathlib import Path


class MedDistillError(Exception):
    """A problem that the user can act on; the command line prints it in one line and exits with
    1.
    """


class ConfigError(MedDistillError):
    """A setting that is unknown, of the wrong type or out of range."""


class InputError(MedDistillError):
    """An input file or folder that is missing, unreadable or not what it should be."""


class FileError(InputError):
    """What is wrong with one file, whose path it says: many have one name where scanners give it
    (IM0001).

    `by_name` says the same with the file's name alone, for a table whose row has the path.
    """

    def __init__(self, path: Path, problem: str, before: str = "") -> None:
        super().__init__(path, problem, before)  # all of them, as other processes send it
        self.by_name = f"{before}{path.name} {problem}"

    def __str__(self) -> str:
        path, problem, before = self.args
        return f"{before}{path} {problem}"


class MissingPackageError(InputError):
    """A file that only an optional package can read, which is not installed."""


class StageError(MedDistillError):
    """A RUN that lacks an earlier stage, or holds this one with other settings."""


class WeightsError(MedDistillError):
    """Model weights that are missing, damaged or not to be trusted."""


class TrainingError(MedDistillError):
    """Training that cannot go on with these settings."""


def why_rejected(error: MedDistillError) -> str:
    """What is said of an error in a table whose row has the path."""
    return error.by_name if isinstance(error, FileError) else str(error)


def naming(path: Path, error: InputError) -> InputError:
    """The error, with the path of the file where it does not say it."""
    return error if str(path) in str(error) else InputError(f"{path}: {error}")


def in_one_line(error: BaseException, most: int = 200) -> str:
    """What a foreign error says, in one line of at most `most` characters; its type where it says
    nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of what a foreign error says, where the others are advice; its type where it
    says nothing."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split())[:200] if lines else type(error).__name__


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'X'?` for the allowed name closest to `name`; the list of allowed names where
    none is close."""
    allowed = list(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; choose from {', '.join(allowed)}"


_FULL = "make room and run the same command again: nothing finished is lost"
_FORBIDDEN = "choose a directory that you may write to"
_ELSEWHERE = "choose another one"
_DISK = {
    errno.ENOSPC: f"the disk is full; {_FULL}",
    errno.EDQUOT: f"the disk quota is used up; {_FULL}",
    errno.EFBIG: f"a file grew beyond the size that this process may write; {_FULL}",
    errno.EROFS: f"the file system is read-only; {_FORBIDDEN}",
    errno.EACCES: f"permission denied; {_FORBIDDEN}",
    errno.EPERM: f"not permitted; {_FORBIDDEN}",
    errno.ENOTDIR: f"a file lies there, expected a folder; {_ELSEWHERE}",
    errno.EEXIST: f"a file lies there, expected a folder; {_ELSEWHERE}",
    errno.EISDIR: f"a folder lies there, expected a file; {_ELSEWHERE}",
    errno.ENAMETOOLONG: f"the name is longer than this disk takes; {_ELSEWHERE}",
}
# What libraries that write files themselves leave of the system's error: safetensors, then numpy,
# then torch twice.
_DISK_TEXT = re.compile(
    r"os error (?P<number>\d+)|\d+ requested and \d+ written"
    r"|PytorchStreamWriter failed|inline_container.*unexpected pos"
)


def disk_problem(error: BaseException) -> str | None:
    """One line for a disk that is full, read-only or forbidden, with what to do; None for any other
    error."""
    number, where = None, ""
    if isinstance(error, OSError) and error.errno is not None:
        number, where = error.errno, f"{error.filename}: " if error.filename else ""
    elif found := _DISK_TEXT.search(str(error)):
        number = int(found["number"] or errno.ENOSPC)
    if number in _DISK:
        return where + _DISK[number]
    return disk_problem(error.__cause__) if error.__cause__ else None


# What torch says where a process of the same job is gone: gloo on CPUs, NCCL on GPUs, the store
# that both meet at.
_LOST = re.compile(r"gloo.*(closed|reset) by peer|gloo.*timed out|NCCL", re.IGNORECASE | re.DOTALL)
_LOST_KINDS = ("DistBackendError", "DistNetworkError", "DistStoreError")


def lost_process(error: BaseException) -> str | None:
    """One line for another process of a distributed job that is gone; None for any other error."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & set(_LOST_KINDS) or (isinstance(error, RuntimeError) and _LOST.search(str(error))):
        return (
            "another process of this job ended before its time (its own message says why); "
            "nothing finished is lost: "
            "the same command goes on from the last epoch"
        )
    return None


# What torch says of a GPU that has gone or is broken. Not what a bug of ours gives (an index beyond
# the end is a "device-side assert"), nor too little memory.
_DEVICE_GONE = re.compile(
    r"(CUDA|HIP) error: (unknown error|unspecified launch failure|uncorrectable|hardware"
    r"|all CUDA-capable devices are busy|CUDA-capable device\(s\) is/are busy|no CUDA-capable"
    r"|the launch timed out|driver shutting down|system not yet initialized|device not ready"
    r"|invalid access of peer GPU memory)"
    r"|No (CUDA|HIP) GPUs are available|CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)"
    r"|fallen off the bus|GPU is lost|MPS backend.*(lost|failed)",
    re.IGNORECASE | re.DOTALL,
)


def lost_device(error: BaseException) -> str | None:
    """One line for a GPU that went away while it was used; None for any other error."""
    if isinstance(error, RuntimeError) and _DEVICE_GONE.search(str(error)):
        return (
            f"the device went away ({first_line(error)}); nothing finished is lost: the same command "
            "goes on from the last checkpoint once it is back, and --device cpu goes on without it"
        )
    return None


# What torch's allocator and oneDNN's convolutions say of a CPU, the Metal backend of Apple's GPUs,
# and, where the allocator of a GPU was not asked, its driver and its libraries.
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator|bad_alloc|could not create a (primitive|memory object)$"
    r"|MPS backend out of memory|(CUDA|HIP) error: out of memory"
    r"|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device had no memory left, or the CPU."""
    if isinstance(error, MemoryError):
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__}  # torch is not imported for this
    is_torch = isinstance(error, RuntimeError)
    return is_torch and ("OutOfMemoryError" in kinds or bool(_NO_MEMORY.search(str(error))))


A_NEW_STUDENT = "which makes a new student: pass --overwrite, or another --out"
"""Said where what helps is a setting that a student begun with another one does not go on with."""
_SMALLER = {
    "predict": "with a lower --batch-size",
    "eval": "with --set eval.batch_size=1",
}
_SMALLER_STUDENT = (
    "in distill with a lower distill.batch_size or distill.image_size, or "
    f"distill.targets.views=whole, {A_NEW_STUDENT}"
)


def too_little_memory(error: BaseException, command: str = "") -> str | None:
    """One line for memory that ran out where no smaller pieces are left to try, with what helps in
    that command; None for any other error."""
    if not is_out_of_memory(error):
        return None
    return (
        f"out of memory ({first_line(error)}); nothing finished is lost: the same command goes on "
        f"once others leave room, with --device cpu, or {_SMALLER.get(command, _SMALLER_STUDENT)}"
    )


_MISSING_OPERATOR = re.compile(r"operator '([^']+)' is not currently (?:implemented|supported)")


def missing_operator(error: BaseException) -> str | None:
    """One line for what torch cannot compute on Apple's GPUs, by the operator's name; None for any
    other error."""
    said = str(error)
    found = _MISSING_OPERATOR.search(said)
    if found and "MPS" in said:
        what = f"the operator {found[1]}"
    elif isinstance(error, TypeError) and "MPS" in said and "float64" in said:
        what = "numbers of 64 bits"
    else:
        return None
    return (
        f"--device mps lacks {what}; nothing finished is lost: the same command with --device cpu "
        "goes on, or with PYTORCH_ENABLE_MPS_FALLBACK=1 in the environment"
    )


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so that nothing on its way takes it for a
    failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
