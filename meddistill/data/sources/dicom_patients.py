"""Whose DICOM files are, without their names."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from meddistill.data.formats.dicom import Header
from meddistill.data.sources.source import SourceOptions

_DIGITS = 12


class Patients:
    """The groups of patients: their PatientID where that may be kept, else a keyed hash of it. The key
    is made of the source's UIDs, which no table holds, so that the same source gives the same groups
    and a table alone does not lead back to a patient. `key`: '' where none is needed."""

    def __init__(self, headers: Iterable[Header], options: SourceOptions) -> None:
        self._keep = options.keep_names
        found = list(headers)
        self.key = ""
        if not self._keep and any(header.patient for header in found):
            uids = sorted({f"{header.series} {header.uid}" for header in found})
            self.key = options.patient_key or hashlib.sha256("\n".join(uids).encode()).hexdigest()

    @property
    def note(self) -> str:
        hashed = "a keyed hash of PatientID" if self.key else "PatientID"
        return f"groups are the patients ({hashed}), else the folders"

    def group_of(self, header: Header) -> str:
        """'' for a file that names no patient."""
        if self._keep or not header.patient:
            return header.patient
        digest = hmac.new(self.key.encode(), header.patient.encode(), hashlib.sha256)
        return f"patient-{digest.hexdigest()[:_DIGITS]}"
