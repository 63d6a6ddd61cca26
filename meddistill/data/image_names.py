"""Which picture an annotation file means by a name: tools write paths of other machines, other
slashes, escapes and prefixes."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from urllib.parse import unquote

from meddistill.base.errors import InputError
from meddistill.data.formats.known_image_formats import SUFFIXES

# Label Studio puts eight hexadecimal digits before the name of an uploaded file.
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")
_QUERY = re.compile(
    r"[?&]d=([^&]+)"
)  # /data/local-files/?d=folder/a.png, Label Studio's local files
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"^[A-Za-z]:(?=/)")


class ImageNames:
    """The images of a source by their paths in it, to be found by whatever a tool calls them.

    `rules` counts the names that were found by something else than their own spelling.
    """

    def __init__(self, sources: Sequence[str], stems: Sequence[str] | None = None) -> None:
        """`sources`: paths below the source folder, with `/`. `stems`: what each goes by without
        its ending, where that is not the file's stem."""
        self._sources = list(sources)
        self._keys = [_parts(source) for source in sources]
        self.rules: Counter[str] = Counter()
        self._by_name: dict[str, list[int]] = {}
        self._by_upload: dict[str, list[int]] = {}
        self._by_plain: dict[str, list[int]] = {}
        self._by_stem: dict[str, list[int]] = {}
        self._by_folder: dict[str, list[int]] = {}
        for index, parts in enumerate(self._keys):
            name = parts[-1]
            own = _without_ending(name)
            stem = _key(stems[index]) if stems else own
            self._by_name.setdefault(name, []).append(index)
            self._by_upload.setdefault(_without_upload(name), []).append(index)
            self._by_plain.setdefault(_underscored(name), []).append(index)
            for each in dict.fromkeys((stem, own)):
                self._by_stem.setdefault(each, []).append(index)
            if len(parts) > 1:
                self._by_folder.setdefault(f"{parts[-2]}_{own}", []).append(index)

    def find(self, name: str, folder: str = "") -> int:
        """The index of the image that is meant: the one that shares the most of the end of its path
        with the name; of several, the one nearest to `folder`, where the file lies that names it.

        Tried in turn: the name as written, and without escapes, drive and server; without Label
        Studio's prefix; without its ending; with its folder's name before it (DeepLesion's
        `000001_01_01_109.png` is `000001_01_01/109.png`). Upper and lower case, and the two Unicode forms of an
        accent, are one. Raises: InputError where there is none or more than one.
        """
        spellings = [(spelling, _parts(spelling)) for spelling in _spellings(name)]
        tries: tuple[tuple[str, Callable[[str], list[int]]], ...] = (
            ("the end of their path, in whatever case", lambda last: self._by_name.get(last, [])),
            ("their name without an upload's prefix", self._uploaded_as),
            ("their name without the ending", self._of_stem),
            ("their folder's name and their own", self._in_folder),
        )
        for rule, look_up in tries:
            for spelling, parts in spellings:
                indices = look_up(parts[-1])
                if indices:
                    index = self._nearest(indices, spelling, folder)
                    if not f"/{self._sources[index]}".endswith(f"/{name}"):
                        self.rules[rule] += 1
                    return index
        raise InputError(f"no image file {name}")

    def _uploaded_as(self, last: str) -> list[int]:
        # Two prefixes that differ are two uploads, or two dates.
        plain = _underscored(last)
        return (
            self._by_upload.get(plain)
            or self._by_plain.get(plain)
            or self._by_plain.get(_without_upload(last), [])
        )

    def _of_stem(self, last: str) -> list[int]:
        return self._by_stem.get(last) or self._by_stem.get(_without_ending(last), [])

    def _in_folder(self, last: str) -> list[int]:
        return self._by_folder.get(last) or self._by_folder.get(_without_ending(last), [])

    @cached_property
    def _by_start(self) -> Mapping[tuple[str, ...], list[int]]:
        """The images by each run of folders that their path begins with, from the top."""
        found: dict[tuple[str, ...], list[int]] = {}
        for index, parts in enumerate(self._keys):
            for depth in range(1, len(parts)):
                found.setdefault(tuple(parts[:depth]), []).append(index)
        return found

    @cached_property
    def _by_end(self) -> Mapping[tuple[str, ...], list[int]]:
        """The images by each run of folders that they lie in, the innermost last."""
        found: dict[tuple[str, ...], list[int]] = {}
        for index, (*folders, _) in enumerate(self._keys):
            for start in range(len(folders)):
                found.setdefault(tuple(folders[start:]), []).append(index)
        return found

    def _nearest(self, indices: Sequence[int], spelling: str, folder: str) -> int:
        folders = _parts(spelling)[:-1]
        best = indices
        for depth in range(len(folders), 0, -1):
            if found := _in_both(best, self._by_end.get(tuple(folders[-depth:]), [])):
                best = found
                break
        # In `ds0/ann` lies what is said of `ds0/img`.
        beside = _parts(folder) if len(best) > 1 else []
        for depth in range(len(beside), 0, -1):
            if found := _in_both(best, self._by_start.get(tuple(beside[:depth]), [])):
                best = found
                break
        if len(best) > 1:  # names that differ in case alone
            best = [i for i in best if f"/{self._sources[i]}".endswith(f"/{spelling}")] or best
        if len(best) > 1:
            raise InputError(f"{len(best)} image files are called {spelling}")
        return best[0]


def may_be_one_image(first: str, second: str) -> bool:
    """Whether two names that lead to one picture can both mean it: neither their last parts nor
    their folders, where both have one, differ."""
    a, b = (_parts(_spellings(name)[-1]) for name in (first, second))
    first_file, second_file = (_underscored(_without_ending(part)) for part in (a[-1], b[-1]))
    same_file = (
        first_file == second_file
        or _without_upload(first_file) == second_file
        or first_file == _without_upload(second_file)
    )
    endings = {part.removeprefix(_without_ending(part)) for part in (a[-1], b[-1])} - {""}
    return same_file and len(endings) < 2 and not (len(a) > 1 and len(b) > 1 and a[-2] != b[-2])


def _spellings(name: str) -> list[str]:
    """The name as written, and what it may have been before a tool wrote it."""
    found = [name]
    local = _QUERY.search(name)
    if local:
        found.append(unquote(local[1]))
    elif _SCHEME.match(name):
        found.append(unquote(_SCHEME.sub("", name).split("?")[0]))
    else:
        found.append(unquote(name))
    found += [spelling.replace("\\", "/") for spelling in found]
    plain = [_DRIVE.sub("", spelling).strip() for spelling in found]
    return [each for each in dict.fromkeys(plain) if _parts(each)]


def _parts(path: str) -> list[str]:
    return [_key(part) for part in path.split("/") if part not in ("", ".", "..")]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _without_ending(name: str) -> str:
    """`scan.1.png` becomes `scan.1`, which stays what it is: a point alone makes no ending."""
    ending = next((each for each in SUFFIXES if name.endswith(each)), "")
    return name[: len(name) - len(ending)] or name


def _underscored(name: str) -> str:
    """The name as an upload leaves it, which turns spaces into underscores."""
    return name.replace(" ", "_")


def _without_upload(name: str) -> str:
    """The name before an upload put its prefix there."""
    return _underscored(_UPLOAD.sub("", name))


def _in_both(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """What two ascending sequences share, in the time of the shorter one: a thousand images may have
    one name, or lie in one folder."""
    few, many = sorted((first, second), key=len)
    return [
        each for each in few if (at := bisect_left(many, each)) < len(many) and many[at] == each
    ]
