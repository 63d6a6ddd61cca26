"""Several sources as one: what was looked for in each stays what was looked for there, whatever the
others name.

Everything of a source keeps its name with the source's folder before it, so that equal names in two
sources are two things.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.data.findings import LESION, Findings, as_planes, hex_colour
from meddistill.data.prepare.listing import Listed, list_source
from meddistill.data.prepare.naming import named_findings
from meddistill.data.raw_case import MaskRef, RawCase
from meddistill.run.tables import Rejected
from meddistill.settings.prepare import PrepareConfig


def source_folder(config: PrepareConfig) -> Path:
    """The source, or of several the folder that all of them lie in. Raises: InputError where one
    lies in another, or two have one name."""
    sources = [Path(name) for name in config.folders]
    if len(sources) == 1:
        return sources[0]
    whole = [source.resolve() for source in sources]
    for place, inner in enumerate(whole):
        for other in (*whole[:place], *whole[place + 1 :]):
            if inner == other or other in inner.parents:
                raise InputError(f"the source {inner} is named twice, or lies in {other}")
    return Path(os.path.commonpath(whole))


def list_sources(config: PrepareConfig, seed: int, patient_key: str = "") -> Listed:
    """List the source, or all of them as one, as `list_source` does with the same key.

    Raises: as `list_source`; ConfigError for options that can be meant of one source alone.
    """
    if len(config.folders) == 1:
        return list_source(Path(config.source), config, seed, patient_key)
    for option in ("boxes", "table", "images", "masks"):
        if config.more_sources and getattr(config, option):
            raise ConfigError(
                f"--{option} is meant of one source: prepare several by what lies in each, or one "
                "after the other"
            )
    parent = source_folder(config)
    folders = [Path(name).resolve() for name in config.folders]
    names = [folder.relative_to(parent).as_posix() for folder in folders]
    parts = []
    known = len(folders) - len(config.healthy)
    for place, (folder, name) in enumerate(zip(folders, names, strict=True)):
        console.say(f"source {name}" if place < known else f"healthy images {name}")
        own = _of_sources(config, folder) if place < known else _of_healthy(config, folder)
        parts.append(list_source(folder, own, seed, patient_key))
        patient_key = patient_key or parts[-1].patient_key
    if not config.findings:
        _check_named(parts[:known], names)
    findings = _together([part.findings for part in parts[:known]], config.overlap)
    parts[known:] = [_nothing_there(part, findings) for part in parts[known:]]
    return _joined(parts, names, findings, bool(config.groups))


def _check_named(parts: Sequence[Listed], names: Sequence[str]) -> None:
    """Raise ConfigError where some sources name findings and others do not: what is a lesion in one
    would be unknown in the others, under another name."""
    told = [
        f"{name}: {', '.join(part.findings.names[:4])}"
        for part, name in zip(parts, names, strict=False)
    ]
    of_masks = [part.findings == LESION for part in parts]
    if any(of_masks) and not all(of_masks):
        raise ConfigError(
            f"sources show other findings ({'; '.join(told)}), and nobody named them: --findings auto, or "
            f"--findings {','.join(f'{name}:NAME=VALUE' for name in names[: len(parts)])}"
        )


def _of_sources(config: PrepareConfig, folder: Path) -> PrepareConfig:
    """Settings of one of several sources."""
    findings = _findings_of(config, folder) if config.more_sources else config.findings
    return dataclasses.replace(
        config, source=str(folder), more_sources=[], healthy=[], findings=findings
    )


def _of_healthy(config: PrepareConfig, folder: Path) -> PrepareConfig:
    """Settings of a folder of healthy images: those that say where lesions are, and tables of the
    others, mean nothing there."""
    names = ("boxes", "table", "images", "masks", "groups", "label")
    meaningless: dict[str, Any] = dict.fromkeys(names, "")
    return dataclasses.replace(
        config,
        source=str(folder),
        more_sources=[],
        healthy=[],
        dataset="auto",
        classes=[],
        findings=[],
        **meaningless,
    )


def _nothing_there(part: Listed, findings: Findings) -> Listed:
    """The images of a folder as somebody looked at them and saw none of the findings."""
    cases = [
        dataclasses.replace(
            case,
            mask=None,
            finding_masks=(),
            boxes_xyxy_px=(),
            box_findings=(),
            looked_for=findings.names,
            keep_if_empty=True,
            unannotated=False,
        )
        for case in part.cases
    ]
    return dataclasses.replace(part, cases=cases, annotated=False, findings=findings)


def _findings_of(config: PrepareConfig, folder: Path) -> list[str]:
    """What `prepare.findings` says of a source: items with its folder's name before a colon, and
    those without any. Raises: ConfigError where nothing is said of it although findings are
    named."""
    folders = {Path(name).resolve().name for name in (config.source, *config.more_sources)}
    own = []
    for item in config.findings:
        before, colon, after = item.partition(":")
        # A finding that is called like a folder has a colour behind its colon.
        if "=" in after and "=" not in before and before.strip() not in folders:
            raise ConfigError(
                f"prepare.findings names the source '{before.strip()}'"
                f"{nearest(before.strip(), sorted(folders))}"
            )
        if not colon or before.strip() not in folders or after.strip().startswith("#"):
            own.append(item)
        elif before.strip() == folder.name:
            own.append(after.strip())
    if config.findings and not own:
        raise ConfigError(
            f"prepare.findings says nothing of the source {folder.name}: write "
            f"{folder.name}:NAME=VALUE, or {folder.name}:auto"
        )
    return own


def _together(parts: Sequence[Findings], overlap: str) -> Findings:
    """All findings in the order of the sources. They exclude each other where the settings say so,
    or where a source that has them all says so: of findings that no source shows together nothing
    is known."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    whole = [part.exclusive for part in parts if len(part) == len(names)]
    exclusive = overlap == "exclusive" or (overlap == "auto" and bool(whole) and all(whole))
    colours = {name: colour for part in parts for name, colour in part.chosen_colours.items()}
    for part in parts:
        for name, colour in part.chosen_colours.items():
            if colour != colours[name]:
                raise ConfigError(
                    f"finding '{name}' has two colours, {hex_colour(colour)} and "
                    f"{hex_colour(colours[name])}: give it one"
                )
    return named_findings(names, exclusive or len(names) == 1, colours)


def _joined(
    parts: Sequence[Listed], names: Sequence[str], findings: Findings, groups_given: bool
) -> Listed:
    cases = [
        _of_source(case, name, part.findings, findings, groups_given)
        for part, name in zip(parts, names, strict=True)
        for case in part.cases
    ]
    first = parts[0]
    return dataclasses.replace(
        first,
        cases=cases,
        rejected=[
            Rejected(f"{name}/{row.source}", row.reason)
            for part, name in zip(parts, names, strict=True)
            for row in part.rejected
        ],
        dataset=" + ".join(dict.fromkeys(part.dataset for part in parts)),
        groups_known=all(part.groups_known for part in parts),
        warnings=list(dict.fromkeys(text for part in parts for text in part.warnings)),
        source_tables=[table for part in parts for table in part.source_tables],
        annotated=any(part.annotated for part in parts),
        understood=[
            (f"{name}: {label}", text)
            for part, name in zip(parts, names, strict=True)
            for label, text in part.understood
        ],
        findings=findings,
        patient_key=next((part.patient_key for part in parts if part.patient_key), ""),
    )


def _of_source(
    case: RawCase, name: str, own: Findings, findings: Findings, groups_given: bool
) -> RawCase:
    """The case as one of several sources.

    Args:
        case: as its source lists it.
        name: of the source.
        own: what was looked for in the source.
        findings: of all.
        groups_given: groups are of one table for all sources, and mean what they say.
    """
    boxes = case.boxes_xyxy_px
    named = case.box_findings
    if own.is_one and boxes is not None:
        named = own.names * len(boxes)
    mask = case.mask
    if mask is not None and own.names != findings.names:
        mask = MaskOfSource(mask, own.names, findings.names)
    looked_for = case.looked_for
    if looked_for is None and own.names != findings.names:
        looked_for = own.names
    return dataclasses.replace(
        case,
        source=f"{name}/{case.source}",
        group=case.group if groups_given or not case.group else f"{name}/{case.group}",
        volume=f"{name}/{case.volume}" if case.volume else "",
        mask=mask,
        box_findings=named,
        looked_for=looked_for,
    )


@dataclasses.dataclass(frozen=True)
class MaskOfSource:
    """A mask of a source that knows the findings `own`, among `names`. One that does not say which
    finding it is of stays as it is."""

    mask: MaskRef
    own: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return self.mask.files

    @property
    def token(self) -> str:
        return f"{self.mask.token} of {self.own}"

    def load(self) -> np.ndarray:
        found = self.mask.load()
        planes = as_planes(found)
        if len(planes) != len(self.own):
            return found
        whole = np.zeros((len(self.names), *planes.shape[1:]), bool)
        for plane, name in zip(planes, self.own, strict=True):
            whole[self.names.index(name)] = plane
        return whole
