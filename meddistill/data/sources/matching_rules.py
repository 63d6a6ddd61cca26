"""The rules by which two files belong together: what is left of both names must be equal."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

from meddistill.data.sources.naming import SPLIT_WORDS, Named, without_roles, word_set

CHANNEL_WORDS = word_set(
    "t1 t1c t1ce t1gd t1n t1w t2 t2w t2f flair adc dwi ct pet pt hbv cor sag pd mprage swi dce cet1 "
    "hrt2"
)
_MODALITIES = word_set("ct mr mri")

Key = tuple[str, ...]


def _canonical(words: Sequence[str]) -> Key:
    return tuple(SPLIT_WORDS.get(word, word) for word in words)


def _exact(file: Named) -> Key:
    """Folders that say more than what they hold, and the stem as it is."""
    kept = [
        folder
        for folder, words in zip(file.folders, file.folder_words, strict=True)
        if without_roles(words)
    ]
    return (*kept, file.stem)


def _words(file: Named) -> Key:
    """All words but those of the role; what an outer folder says already counts once."""
    seen: list[str] = []
    for words in file.folder_words:
        seen += [word for word in _canonical(without_roles(words)) if word not in seen]
    stem = [word for word in without_roles(file.stem_words, last=True) if word not in seen]
    return (*seen, *stem)


def _words_and_modality(file: Named) -> Key:
    """As `_words`, but `ct` and `mr`, which images are called by, tell files apart (MM-WHS:
    `ct_train_1001_image`, `mr_train_1001_image`)."""
    found = {word for words in (*file.folder_words, file.stem_words) for word in words}
    return (*sorted(found & _MODALITIES), *_words(file))


def _numbers(file: Named) -> Key:
    return tuple(word.lstrip("0") or "0" if word.isdigit() else word for word in _words(file))


def _stem(file: Named) -> Key:
    """The words of the name; one that has none of its own is nobody's."""
    return without_roles(file.stem_words, last=True) or (str(file.path),)


def _stem_in_split(file: Named) -> Key:
    return (file.split, *_stem(file))


def _numbers_in_split(file: Named) -> Key:
    """The split and the numbers of the name; a name without any is nobody's."""
    numbers = [word.lstrip("0") or "0" for word in file.stem_words if word.isdigit()]
    return (file.split, *numbers) if numbers else (str(file.path),)


def one_a_folder(file: Named) -> Key:
    """The words of its folders: one image and its masks a folder, whatever they are called."""
    kept: list[str] = []
    for words in file.folder_words:
        kept += [word for word in _canonical(without_roles(words)) if word not in kept]
    return tuple(kept)


def one_a_folder_of_folders(file: Named) -> Key:
    """The folder around one that is called as its file (BraTS 2015: a folder a file, in one a patient); a
    file that lies otherwise is nobody's."""
    if len(file.folders) < 2 or file.folders[-1] != file.stem:
        return (str(file.path),)
    return file.folders[:-1]


FOLDERS = (one_a_folder, one_a_folder_of_folders)
"""What a folder alone says."""


def channel_of(key: Key) -> str:
    """The last word where it names a channel or modality: `0000` of nnU-Net, `t1ce` of BraTS."""
    last = key[-1] if len(key) > 1 else ""
    return last if (last.isdigit() and len(last) == 4) or last in CHANNEL_WORDS else ""


def as_it_is(key: Key) -> Key:
    return key


def _without_channel(key: Key) -> Key:
    return key[:-1] if channel_of(key) else key


@dataclasses.dataclass(frozen=True)
class Rule:
    """Two files belong together where `of` is equal of both; of an image `of_image` takes away a
    channel. Rules of a lower `tier` go first."""

    tier: int
    says: str
    of: Callable[[Named], Key]
    of_image: Callable[[Key], Key] = as_it_is


def rules_of(files: Sequence[Named]) -> list[Rule]:
    """The rules for these files, the strictest tier first; some go by words that recur among them."""
    often = recurring(files)

    def fewer(file: Named) -> Key:
        return tuple(word for word in _words(file) if word not in often)

    known = {_stem(file) for file in files}

    def beginning(file: Named) -> Key:
        """The name, or the shortest beginning of it that is another file's name."""
        words = _stem(file)
        lengths = range(1, len(words) + 1)
        return (file.split, *next((words[:n] for n in lengths if words[:n] in known), words))

    return [
        Rule(0, "equal names", _exact),
        Rule(0, "equal names but for the words that say image or mask", _words),
        Rule(
            0, "equal names but for those words and a channel at the end", _words, _without_channel
        ),
        Rule(0, "equal names but for those words and leading zeros", _numbers),
        Rule(0, "equal names and modalities but for those words", _words_and_modality),
        Rule(1, "equal names in a split, whatever the folder", _stem_in_split),
        Rule(1, "equal names whatever the folder", _stem),
        Rule(
            1, "equal names whatever the folder and the channel at the end", _stem, _without_channel
        ),
        Rule(1, "equal names but for words that recur", fewer),
        Rule(2, "names that begin as the image's", beginning),
        Rule(2, "equal numbers in a split", _numbers_in_split),
        Rule(2, "one image in each folder", one_a_folder),
        Rule(2, "one image in each folder of folders", one_a_folder_of_folders),
    ]


def recurring(files: Sequence[Named]) -> frozenset[str]:
    """Words that come back in most folders of cases (`p01/flair.png`, `p02/flair.png`) or in a fifth of
    all names: they say what a file is, not whose."""
    parents: dict[int, set[tuple[str, ...]]] = {}
    where: dict[tuple[int, str], set[tuple[str, ...]]] = {}
    for file in files:
        parts = (*file.folder_words, file.stem_words)
        for depth, words in enumerate(parts):
            parent = file.folders[:depth]
            parents.setdefault(depth, set()).add(parent)
            if depth:
                for word in words:
                    if not word.isdigit():
                        where.setdefault((depth, word), set()).add(parent)
    often = {
        word
        for (depth, word), found in where.items()
        if len(found) >= max(3, 0.6 * len(parents[depth]))
    }
    counts = Counter(word for file in files for word in set(file.stem_words) if word.isalpha())
    return frozenset(often | {w for w, n in counts.items() if n >= max(3, 0.2 * len(files))})
