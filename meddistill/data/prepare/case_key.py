"""What a converted case depends on, as a key: what has not changed is not read again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from meddistill.data.prepare.convert import ConvertSettings
from meddistill.data.raw_case import RawCase

_VERSION = 1  # raise it when the same source gives other pixels or boxes


def case_key(case: RawCase, file_hashes: Mapping[Path, str], settings: ConvertSettings) -> str:
    """24 hexadecimal digits that change whenever a file of the case, or a setting that shapes it,
    does."""
    parts: dict[str, Any] = {
        "version": _VERSION,
        "source": case.source,
        "image": [case.image.token, [file_hashes.get(path, "") for path in case.image.files]],
        "mask": [case.mask.token, [file_hashes.get(path, "") for path in case.mask.files]]
        if case.mask
        else None,
        "boxes": case.boxes_xyxy_px,
        "slice": [case.is_slice, case.keep_if_empty, case.unannotated],
        "settings": dict(_in_key(settings)),
    }
    if not settings.fit_masks:  # keys from before it existed stay what they were
        del parts["settings"]["fit_masks"]
    if case.whole:
        parts["whole"] = True
    if not settings.findings.is_one or not settings.complete:
        parts["findings"] = [
            *(settings.findings.names, settings.findings.exclusive, settings.complete),
            *(case.box_findings, case.looked_for, case.columns.get("findings", "")),
            *(
                [name, mask.token, [file_hashes.get(path, "") for path in mask.files]]
                for name, mask in case.finding_masks
            ),
            case.class_name,
        ]
        if settings.findings.chosen_colours:  # the palette of masks
            parts["colours"] = settings.findings.colours
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


@lru_cache(maxsize=4)
def _in_key(settings: ConvertSettings) -> Mapping[str, Any]:
    """The settings that have always been in a key; the same for thousands of cases."""
    found = dataclasses.asdict(settings)
    if settings.intensity.scanner_8bit == "stretched":  # as it was before it was a setting
        del found["intensity"]["scanner_8bit"]
    return {name: value for name, value in found.items() if name not in ("findings", "complete")}
