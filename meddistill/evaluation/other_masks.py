"""Masks that another tool made of the judged images, as one more method of the same tables."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json
from meddistill.base.hashing import fingerprint_source, hash_files
from meddistill.data.findings import LESION, Findings, folder_name, names_in
from meddistill.data.formats.known_volume_formats import VOLUME_SUFFIXES
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.pixels import resize
from meddistill.evaluation.baselines import BOXES, OTHER, STUDENT, TEACHER, Baselines, Guess
from meddistill.evaluation.judged_cases import JudgedCase, read_planes
from meddistill.evaluation.request import OtherMasks
from meddistill.run.layout import RUN_JSON, SUMMARY_JSON
from meddistill.run.tables import Case

_NAMED = 3
_NAME = "name of other"
_MANY = 10
"""So many masks that are all empty are a mistake rather than what a tool found."""


def refuse_to_write_over(asked: OtherMasks, out: Path) -> None:
    """Raises: ConfigError where the masks lie in the folder that is written, which --overwrite would
    delete with them."""
    if asked.directory.resolve().is_relative_to(out.resolve()):
        raise ConfigError(
            f"the masks of --masks-from {asked.directory} lie in {out}, where the evaluation is "
            "written; move them elsewhere, or write elsewhere with --out"
        )


def add_other_masks(
    found: Baselines,
    asked: OtherMasks,
    out: Path,
    cases: Sequence[Case],
    findings: Findings = LESION,
) -> None:
    """Take up the masks in `asked.directory` as the method `other`, named as the user says.

    A mask belongs to the case whose id, or whose source file's name, is its own name without the
    ending (`case_17.png`). A case without one counts as empty, and is named; of folders a finding by
    finding.

    Args:
        found: what there is to compare with; gets the method.
        asked: folder and name.
        out: the evaluation's directory, which may be there already.
        cases: those that are judged.
        findings: of several the masks are label maps, as those in RUN/data are, or lie in a folder
            a finding, black and white.

    Raises: ConfigError for a name that a method of ours has; InputError for a folder in which no
    mask fits a case, two fit one or one fits two, or one cannot be read or has another size than its
    image and `asked.resample` is off.
    """
    name = asked.name or asked.directory.resolve().name
    if name in (STUDENT, TEACHER, BOXES):
        raise ConfigError(f"--name {name} is a method of every evaluation; name the other tool")
    sets = _mask_sets(asked.directory, cases, findings)
    for each in sets:
        _tell_missing(name, each, cases)
    _look_at(name, sets, cases, asked.resample)

    def guess(case: JudgedCase, size_hw: tuple[int, int]) -> Guess:
        masks = np.zeros((len(findings), *size_hw), bool)
        for each in sets:
            path = each.paths.get(case.case_id)
            if path is not None:
                planes = _read(path, each.findings)
                masks[each.places] = [_sized(plane, size_hw) for plane in planes]
        return Guess(masks)

    found.guesses[OTHER] = guess
    found.labels[OTHER] = name
    files = sorted(path for each in sets for path in each.paths.values())
    found.inputs[OTHER] = fingerprint_source(hash_files(files, asked.directory), asked.directory)
    if not _recorded_before_names(out, name):
        found.inputs[_NAME] = name


def _look_at(tool: str, sets: Sequence[_MaskSet], cases: Sequence[Case], resample: bool) -> None:
    """Read every mask once, before minutes go by, and say what is odd about them. Raises: as
    `add_other_masks`."""
    resampled, empty, count = 0, 0, 0
    for each in sets:
        for case in cases:
            if (path := each.paths.get(case.case_id)) is not None:
                planes = _read(path, each.findings)
                resampled += _differs(planes, path, case, resample)
                empty, count = empty + (not planes.any()), count + 1
    if empty == count >= _MANY:
        console.warn(
            f"{tool}: all {count} masks are empty; masks of 0 and 1 may be lost in a JPEG: save them "
            "as PNG, with 0 and 255"
        )
    if resampled:
        console.say(f"{tool}: {resampled} masks are brought to the size of their images")


def _recorded_before_names(out: Path, name: str) -> bool:
    """Whether `out` holds an evaluation of an earlier version, which did not record the name among
    its inputs, under that very name: it is still up to date."""
    try:
        inputs = read_json(out / RUN_JSON)["inputs"]
        label = read_json(out / SUMMARY_JSON)["labels"][OTHER]
        return OTHER in inputs and _NAME not in inputs and label == name
    except (OSError, InputError, KeyError, TypeError):  # none is there, or it is something else
        return False


@dataclasses.dataclass(frozen=True)
class _MaskSet:
    """Masks of some findings, which are at `places` among all: the file of a case by its id.
    `directory`: where they lie; of a finding without a folder where that would be."""

    directory: Path
    findings: Findings
    places: list[int]
    paths: dict[str, Path]


def _mask_sets(directory: Path, cases: Sequence[Case], findings: Findings) -> list[_MaskSet]:
    """One for all findings, or one for each that has a folder of its own."""
    folders = [directory / folder_name(name) for name in findings.names]
    if findings.is_one or not any(folder.is_dir() for folder in folders):
        places = list(range(len(findings)))
        return [_MaskSet(directory, findings, places, _paths(directory, cases))]
    return [
        _MaskSet(
            folder,
            Findings((name,)),
            [place],
            _paths(folder, cases) if folder.is_dir() else {},
        )
        for place, (name, folder) in enumerate(zip(findings.names, folders, strict=True))
    ]


def _tell_missing(tool: str, masks: _MaskSet, cases: Sequence[Case]) -> None:
    """Name the cases without a mask, of those in which somebody looked for any of the findings."""
    judged = [
        case
        for case in cases
        if not case.findings or set(names_in(case.findings)) & set(masks.findings.names)
    ]
    missing = [case.case_id for case in judged if case.case_id not in masks.paths]
    if missing:
        console.warn(
            f"{tool}: {len(missing)} of {len(judged)} cases have no mask in {masks.directory} and "
            f"count as empty; first: {', '.join(missing[:_NAMED])}"
        )


def _paths(directory: Path, cases: Sequence[Case]) -> dict[str, Path]:
    """The mask file of each case that has one."""
    if not directory.is_dir():
        raise InputError(f"{directory} is not a folder; give the folder of the other tool's masks")
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            by_stem.setdefault(_stem(path.name), []).append(path)
    ids = {case.case_id for case in cases}
    found: dict[str, Path] = {}
    for case in cases:
        own = _stem(Path(case.source).name)
        # A file that is named like a case is that one's, whatever another case's source is called.
        stems = [case.case_id] + ([own] if own not in ids else [])
        fitting = [path for stem in stems for path in by_stem.get(stem, [])]
        # Tools write probabilities and reports beside their masks: a1.npz, a1.json beside a1.png.
        images = [path for path in fitting if path.name.lower().endswith(IMAGE_SUFFIXES)]
        fitting = images or fitting
        if fitting:
            _refuse_volume(fitting[0], case)
        if len(fitting) > 1:
            raise InputError(
                f"{directory} has {len(fitting)} masks of case {case.case_id}: "
                f"{', '.join(path.name for path in fitting[:_NAMED])}; leave one"
            )
        if fitting:
            found[case.case_id] = fitting[0]
    _refuse_shared(found)
    if not found:
        files = [path for paths in by_stem.values() for path in paths]
        for path in files:
            _refuse_volume(path, cases[0])
        inside = [path.name for path in files]
        inside += [
            f"the folder {path.name}" for path in sorted(directory.iterdir()) if path.is_dir()
        ]
        raise InputError(
            f"no file in {directory} is named like a case of this split ({cases[0].case_id}, ...); "
            f"it holds {', '.join(inside[:_NAMED]) or 'no files'}"
        )
    return found


def _refuse_volume(path: Path, case: Case) -> None:
    """Raises: InputError for a volume: `prepare` alone knows how one lies on its image, and what the
    segments of 3D Slicer are called."""
    if path.name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(
            f"{path} is a volume, expected a picture a case ({case.case_id}.png): `meddistill "
            "prepare NEW --source DIR` of the same images with these masks, and RUN's --findings or "
            "--label as RUN was prepared, cuts them (segments of 3D Slicer by their names); put the files "
            "below NEW/data/masks into one folder, and give that as --masks-from"
        )


def _refuse_shared(found: Mapping[str, Path]) -> None:
    """Raises: InputError for a mask that fits several cases."""
    for path, count in Counter(found.values()).items():
        if count > 1:
            of = [case_id for case_id, own in found.items() if own == path]
            raise InputError(
                f"{path} fits {count} cases by the names of their sources: "
                f"{', '.join(of[:_NAMED])}; name each mask by its case_id in cases.csv"
            )


def _stem(name: str) -> str:
    ending = ".nii.gz" if name.lower().endswith(".nii.gz") else Path(name).suffix
    return name[: len(name) - len(ending)]


def _differs(planes: np.ndarray, path: Path, case: Case, resample: bool) -> bool:
    """Whether a mask has another size than its image, which is refused unless that is asked for."""
    height, width = planes.shape[1:]
    if (height, width) == (case.height, case.width):
        return False
    if not resample:
        raise InputError(
            f"{path} is {width}x{height} px, its image {case.width}x{case.height}; "
            "--resample-masks brings all masks to the size of their images"
        )
    return True


def _read(path: Path, findings: Findings) -> np.ndarray:
    try:
        return read_planes(path, findings)
    except InputError as error:
        if not findings.is_one:
            raise
        # What would follow is how `prepare` is told of such masks.
        why = str(error).partition(";")[0].removeprefix(f"{path}: ")
        raise InputError(
            f"{path} is no mask of one finding, a picture of 0 and 1, or 0 and 255: {why}"
        ) from error


def _sized(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    if mask.shape == size_hw:
        return mask
    return resize(mask.astype(np.uint8) * 255, size_hw) >= 128
