"""Jun Cheng's brain tumour set as published: one MATLAB 7.3 file a slice, and cvind.mat with the
folds."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import InputError, MissingPackageError, why_rejected
from meddistill.base.paths import shown
from meddistill.data.formats.matlab import MatImage, MatMask, read_facts, read_folds
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, walk_files
from meddistill.run.tables import Rejected

_FOLDS = "cvind.mat"


class Figshare:
    name = "figshare"
    summary = "N.mat (MATLAB 7.3 with cjdata) and cvind.mat (figshare 1512427, Jun Cheng)"
    general = False

    def recognise(self, directory: Path) -> str | None:
        folds = any_file(directory, _FOLDS)
        if folds:
            return f"it has {shown(folds, directory)}"
        numbered = any_file(directory, "[0-9]*.mat")
        return f"it has {shown(numbered, directory)}" if numbered else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        found, rejected = walk_files(directory, directory)
        files = [path for path in found if path.suffix == ".mat"]
        tables = [path for path in files if path.name == _FOLDS]
        folds = read_folds(tables[0]) if tables else []
        cases: list[RawCase] = []
        for path in sorted(files, key=lambda path: (len(path.stem), path.stem)):
            if path in tables:
                continue
            try:
                patient, class_name = read_facts(path)
            except MissingPackageError:
                raise
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), why_rejected(error)))
                continue
            number = int(path.stem) if path.stem.isdecimal() else 0
            columns = {"fold": str(folds[number - 1])} if 0 < number <= len(folds) else {}
            cases.append(
                RawCase(
                    path.stem,
                    shown(path, directory),
                    MatImage(path),
                    MatMask(path),
                    None,
                    class_name,
                    patient,
                    columns,
                )
            )
        return Listing(cases, rejected, ["groups are the patients (PID)"], tables=tables)
