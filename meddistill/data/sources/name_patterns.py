"""How many files are told of in one line: by what their names have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meddistill.data.sources.naming import Named


def pattern_of(files: Sequence[Named], directory: Path) -> str:
    """What the paths of `files` below `directory` have in common, `*` for what differs."""
    paths = [file.path.relative_to(directory).as_posix() for file in files]
    if len(paths) == 1:
        return paths[0]
    parts_of = [path.split("/") for path in paths]
    if len({len(parts) for parts in parts_of}) > 1:
        return f"*{_shared_end(paths)}"
    return "/".join(_pattern(list(dict.fromkeys(column))) for column in zip(*parts_of, strict=True))


def _pattern(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    least, most = min(names), max(names)
    start = 0
    while start < min(len(least), len(most)) and least[start] == most[start]:
        start += 1
    end = min(len(_shared_end(names)), min(map(len, names)) - start)
    last = names[0][len(names[0]) - end :] if end else ""
    return f"{least[:start].rstrip('0123456789')}*{last.lstrip('0123456789')}"


def _shared_end(names: Sequence[str]) -> str:
    turned = [name[::-1] for name in names]
    least, most = min(turned), max(turned)
    count = 0
    while count < min(len(least), len(most)) and least[count] == most[count]:
        count += 1
    return names[0][len(names[0]) - count :] if count else ""
