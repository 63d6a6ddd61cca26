"""Whose DICOM files are, without their names."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from meddistill.data.formats.dicom import Header
from meddistill.data.sources.source import SourceOptions

_DIGITS = 12
_NOBODY = frozenset(
    (
        *("removed", "anonymous", "anonymized", "anonymised", "anon", "none", "unknown", "n/a"),
        *("deidentified", "de-identified", "deidentified patient"),
    )
)
"""What stands in place of a PatientID that was taken away, in lower case."""
_MANY_STUDIES = 10
"""From so many on, one PatientID for all files is hardly one patient's."""


class Patients:
    """The groups of patients: their PatientID where that may be kept, else a keyed hash of it. The key
    is made of the source's UIDs, which no table holds, so that the same source gives the same groups
    and a table alone does not lead back to a patient. `key`: '' where none is needed. Files whose ID
    names nobody go by their study."""

    def __init__(self, headers: Iterable[Header], options: SourceOptions) -> None:
        self._keep = options.keep_names
        found = list(headers)
        self.key = ""
        if not self._keep and any(header.patient for header in found):
            uids = sorted({f"{header.series} {header.uid}" for header in found})
            self.key = options.patient_key or hashlib.sha256("\n".join(uids).encode()).hexdigest()
        self._nobody = _nobody_among(found)
        self._without_id = sum(header.patient in self._nobody for header in found)

    @property
    def note(self) -> str:
        hashed = "a keyed hash of PatientID" if self.key else "PatientID"
        told = f"groups are the patients ({hashed}), else the folders"
        if not self._without_id:
            return told
        words = sorted(each for each in self._nobody if each.strip().lower() in _NOBODY)
        why = f"that is '{words[0]}'" if words else "that is the same in all studies"
        return (
            f"{told}; {self._without_id} files have a PatientID {why}, which names nobody: their "
            "groups are their studies (--groups says otherwise)"
        )

    def group_of(self, header: Header) -> str:
        """'' for a file that names no patient."""
        is_nobody = header.patient in self._nobody
        who = header.study if is_nobody else header.patient
        if self._keep or not who:
            return who
        digest = hmac.new(self.key.encode(), who.encode(), hashlib.sha256)
        return f"{'study' if is_nobody else 'patient'}-{digest.hexdigest()[:_DIGITS]}"


def _nobody_among(headers: Sequence[Header]) -> frozenset[str]:
    """The PatientIDs that stand for none: a word such as `removed`; 0, and any other that `_MANY_STUDIES`
    have, where it is that of all files."""
    patients = {header.patient for header in headers} - {""}
    found = {each for each in patients if each.strip().lower() in _NOBODY}
    if len(patients) == 1:
        studies = {header.study for header in headers} - {""}
        is_zero = all(not each.strip("0 ") for each in patients)
        found |= patients if is_zero or len(studies) >= _MANY_STUDIES else set()
    return frozenset(found)
