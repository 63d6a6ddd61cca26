"""What a path says by its words: image or mask, which split, and what is left to tie files together.

A path is cut into words at everything that is no letter or digit, and where `img12`, `12GT`,
`imagesTr` or `GroundTruth` join two of which one is known below. Upper and lower case, and the two
Unicode forms of an accent, are one.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path


def word_set(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


IMAGE_WORDS = word_set(
    "image images img imgs im ims picture pictures pic pics photo photos input inputs original "
    "originals orig raw jpegimages scan scans volume volumes vol vols ct mr mri"
)
MASK_WORDS = word_set(
    "mask masks seg segs segm segms segmentation segmentations label labels lbl lbls labelmap "
    "labelmaps gt gts ground truth truths groundtruth groundtruths annotation annotations annot "
    "annots anno annos target targets manual delineation delineations contour contours outline "
    "outlines lesionmask lesionmasks segmentationclass segmentationobject"
)
LESION_WORDS = word_set(
    "lesion lesions tumor tumors tumour tumours nodule nodules finding findings"
)
REGION_WORDS = word_set("roi rois voi vois region regions organ body fov")
"""Outlines too, but rather of what was looked at than of what was found."""
OTHER_WORDS = word_set(
    "overlay overlays preview previews thumb thumbs thumbnail thumbnails superpixel superpixels "
    "visualization visualizations visualisation visualisations heatmap heatmaps prediction "
    "predictions pred preds predicted"
)
_NEUTRAL_WORDS = word_set("derivatives rawdata")
"""Folders of BIDS that say who made what they hold, and not whose it is."""
_LAST_ALONE = word_set("m msk")
"""`1_m.jpg`; anywhere else one letter says nothing, and MSK may be a part of the body."""
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainval", "tr", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "va"), "val"),
    **dict.fromkeys(("test", "testing", "ts", "tst"), "test"),
}
ALL_MASK_WORDS = MASK_WORDS | LESION_WORDS | REGION_WORDS
_KNOWN = IMAGE_WORDS | ALL_MASK_WORDS | OTHER_WORDS | SPLIT_WORDS.keys()

_RUN = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NUMBERED = re.compile(r"([^\W\d_]{2,})(\d+)|(\d+)([^\W\d_]{2,})")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a file's or folder's name, in lower case."""
    text = unicodedata.normalize("NFC", text) if not text.isascii() else text
    found: list[str] = []
    for run in _RUN.findall(text):
        found += _pieces(run)
    return tuple(found)


def _pieces(run: str) -> list[str]:
    whole = run.casefold()
    if whole in _KNOWN or whole.isdigit():
        return [whole]
    numbered = _NUMBERED.fullmatch(whole)
    if numbered:
        pieces = [piece for piece in numbered.groups() if piece]
        return pieces if not _KNOWN.isdisjoint(pieces) else [whole]
    if not run.islower() and not run.isupper():
        pieces = [piece.casefold() for piece in _CAMEL.split(run)]
        if len(pieces) > 1 and not _KNOWN.isdisjoint(pieces):
            return pieces
    return [whole]


@functools.lru_cache(maxsize=100_000)
def _folder_words(folders: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(words_of(folder) for folder in folders)


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """A file by its name: `folders` below the source (those that all files share left out), `stem`
    (the name without ending), and the words of each."""

    path: Path
    folders: tuple[str, ...]
    stem: str
    folder_words: tuple[tuple[str, ...], ...]
    stem_words: tuple[str, ...]

    @property
    def folder_role(self) -> str:
        """`image`, `mask` or `other`, by the innermost folder whose name says one; else ''."""
        for words in reversed(self.folder_words):
            if not MASK_WORDS.isdisjoint(words):
                return "mask"
            if not OTHER_WORDS.isdisjoint(words):
                return "other"
            if not IMAGE_WORDS.isdisjoint(words):
                return "image"
        return ""

    @property
    def split(self) -> str:
        """`train`, `val` or `test` where a folder's name says one; else ''."""
        for words in reversed(self.folder_words):
            for word in words:
                # `test` is a word of many names; alone, or beside what a folder holds, it is a split.
                if word in SPLIT_WORDS and (
                    set(words) - {word} <= _KNOWN or (len(words) == 2 and words[0] == word)
                ):
                    return SPLIT_WORDS[word]
        return ""


def name_files(paths: Sequence[Path], directory: Path, endings: Sequence[str]) -> list[Named]:
    """The files by their names; `endings` (lower case) are those of more than one part that belong
    to no stem, such as `.nii.gz`."""
    skip = len(directory.parts)
    parts_of = [path.parts[skip:] for path in paths]
    shared = _shared_folders(parts_of)
    found = []
    for path, parts in zip(paths, parts_of, strict=True):
        folders = parts[shared:-1]
        stem = stem_of(parts[-1], endings)
        found.append(Named(path, folders, stem, _folder_words(folders), words_of(stem)))
    return found


def stem_of(name: str, endings: Iterable[str]) -> str:
    """A file's name without its ending."""
    lower = name.lower()
    for ending in endings:
        if lower.endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return Path(name).stem


def _shared_folders(parts_of: Sequence[tuple[str, ...]]) -> int:
    """How many folders, from the top, all files lie in; not those that say what they hold."""
    if not parts_of:
        return 0
    first, last = min(parts_of), max(parts_of)
    count = 0
    for a, b in zip(first[:-1], last[:-1], strict=False):
        words = set(words_of(a))
        says_mask = not MASK_WORDS.isdisjoint(words) and IMAGE_WORDS.isdisjoint(words)
        if a != b or says_mask:  # masks alone stay masks
            break
        count += 1
    return count


def discriminating(files: Sequence[Named]) -> frozenset[str]:
    """The words for masks that tell files apart: not those that every file has which lies in no
    folder of masks (`lesion_001.jpg` beside `lesion_001_mask.png`)."""
    pool = [file for file in files if file.folder_role != "mask"]
    everywhere = set(pool[0].stem_words) if pool else set()
    for file in pool:
        everywhere.intersection_update(file.stem_words)
        if not everywhere:
            break
    return ALL_MASK_WORDS - everywhere


def role_of(file: Named, mask_words: frozenset[str]) -> str:
    """`image`, `mask`, `maybe mask`, `other` or '' of a file; `mask_words` as `discriminating` gives
    them.

    Words of the name that mean a mask and nothing else go before the folder; the folder before
    words that may be part of any name, such as `lesion`, or name a class of images.
    """
    words, folder = file.stem_words, file.folder_role
    if folder != "other" and not (MASK_WORDS & mask_words).isdisjoint(words):
        return "mask"
    if not folder and len(words) > 1 and words[-1] in _LAST_ALONE:
        return "mask"
    if not OTHER_WORDS.isdisjoint(words):
        return "other"
    if folder:
        return folder
    weak = (LESION_WORDS | REGION_WORDS) & mask_words
    ends = {words[0], words[-1], *words[-2:-1]} if words else set()
    if not weak.isdisjoint(ends) or any(not weak.isdisjoint(each) for each in file.folder_words):
        return "maybe mask"
    return "image" if not IMAGE_WORDS.isdisjoint(words) else ""


def role_words(file: Named) -> tuple[str, ...]:
    """All words of a mask's path that say that it is one, in their order: files of one kind share
    them."""
    known = ALL_MASK_WORDS | _LAST_ALONE
    folders = (word for words in file.folder_words for word in words)
    found = [word for word in (*folders, *file.stem_words) if word in known]
    return tuple(dict.fromkeys(found))


def without_roles(words: Iterable[str], last: bool = False) -> tuple[str, ...]:
    """The words but for those that say what a file is; with `last` also an `m` or
    `msk` at the end."""
    said = IMAGE_WORDS | ALL_MASK_WORDS | _NEUTRAL_WORDS
    kept = [word for word in words if word not in said]
    if last and len(kept) > 1 and kept[-1] in _LAST_ALONE:
        kept.pop()
    return tuple(kept)
