"""Text files whatever they were saved as: UTF-8, UTF-16 (Excel's "Unicode text"), or Windows'
Western code page."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from meddistill.base.errors import FileError, in_one_line

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


WHOLE = 1 << 30
"""More bytes than a file has that is looked into to the end."""


def decode(content: bytes) -> str:
    """The bytes as text: by their mark, else UTF-16 where every second byte is zero, else UTF-8,
    else Windows' Western code page."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    head = content[:200]
    if len(head) > 3 and not any(head[1::2]):
        return content.decode("utf-16-le", "replace")
    if len(head) > 3 and not any(head[0::2]):
        return content.decode("utf-16-be", "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def read_text(path: Path) -> str:
    """The whole file as text. Raises: InputError where it cannot be read."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from error


def first_text(path: Path, count: int = 4096) -> str:
    """The beginning of a file as text, by which a format's `recognise` judges; '' where it cannot
    be read, which reading it will say."""
    try:
        with path.open("rb") as file:
            head = file.read(count)
    except OSError:
        return ""
    if b"\0" in head[:200]:  # UTF-16, which zeros make valid UTF-8 of
        return decode(head)
    for shorter in range(4):  # the cut may lie inside a character
        try:
            return head[: len(head) - shorter].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
    return decode(head)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises: InputError for one that is broken or cut short."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"is not readable JSON: {in_one_line(error)}") from error
