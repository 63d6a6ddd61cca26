"""What a folder seems to be that no layout fits, for the line that refuses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.formats.known_image_formats import SUFFIXES
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.formats.tables import header_of
from meddistill.data.formats.text_files import first_text
from meddistill.data.sources.walking import files_ending, walk_files

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".tar.xz", ".tar.bz2")
_NAMES = 3
_SAMPLE = 20
_LONGEST = 1 << 20
_LISTS = (".csv", ".tsv", ".json", ".ndjson", ".jsonl", ".xml", ".txt")
_KINDS = 4
_NOTES = (".json", ".xml", ".geojson", ".mat", ".npy", ".npz", ".roi", ".csv", ".txt")


def seems(directory: Path) -> str:
    """What the folder holds, as a clause whose subject is its name."""
    files, _ = walk_files(directory, directory)
    if not files:
        return "is empty"
    archives = [path.name for path in files if path.name.lower().endswith(ARCHIVES)]
    if archives:
        more = ", ..." if len(archives) > _NAMES else ""
        return (
            f"holds archives ({', '.join(archives[:_NAMES])}{more}), which must be unpacked first"
        )
    kinds = Counter(path.suffix.lower() or "without ending" for path in files).most_common(_KINDS)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds)
    return f"holds {listed}, and no picture or scan that is known ({', '.join(SUFFIXES)})"


def naming_images(directory: Path, images: Sequence[Path]) -> list[str]:
    """Lines on tables and lists that name at least half of the images and tell nothing that is read:
    they may hold what is missing."""
    stems = [path.stem for path in images[:: max(1, len(images) // _SAMPLE)]][:_SAMPLE]
    files, _ = walk_files(directory, directory)
    told = []
    lists = [path for path in files if path.suffix.lower() in _LISTS]
    lists.sort(key=lambda path: path.suffix.lower() == ".txt")  # there may be many
    for path in lists[:_NAMES]:
        text = first_text(path, _LONGEST)
        if sum(stem in text for stem in stems) * 2 < len(stems) or not stems:
            continue
        name, is_table = shown(path, directory), path.suffix.lower() in (".csv", ".tsv")
        columns = f" (columns {', '.join(header_of(path)[:8])})" if is_table else ""
        hint = (
            f"--table {name} reads masks, classes, groups and splits of it"
            if is_table
            else "if they are annotations, export them in a format that `meddistill sources` lists"
        )
        told.append(f"{name} names the images{columns}, and no box in it is understood: {hint}")
    return told


def unread_beside(directory: Path) -> str:
    """Files that at least half of the pictures have beside them under their own names, as annotations
    lie; '' where there are none."""
    files, _ = walk_files(directory, directory)
    notes = files_ending(directory, _NOTES)
    if not notes:
        return ""
    pictures = {path.with_suffix("") for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    stems = {path.stem for path in pictures}
    stems |= {path.name for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    fitting = [path for path in notes if path.stem in stems]
    if not pictures or 2 * len(fitting) < len(pictures):
        return ""
    names = ", ".join(path.name for path in fitting[:_NAMES])
    more = ", ..." if len(fitting) > _NAMES else ""
    return f"{len(fitting)} {fitting[0].suffix} files with their names ({names}{more})"
