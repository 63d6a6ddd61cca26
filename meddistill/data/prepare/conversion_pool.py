"""Many cases converted, in a pool of processes where that pays."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from meddistill.base.cores import usable_cores
from meddistill.base.errors import InputError
from meddistill.data.prepare.convert import Converted, ConvertSettings, convert
from meddistill.data.raw_case import RawCase

# Below this many cases starting processes takes longer than the work.
_POOL_FROM = 64
_MOST_WORKERS = 8
_BATCH = 8


def convert_all(
    cases: Sequence[tuple[str, RawCase]], staging: Path, settings: ConvertSettings, workers: int
) -> Iterator[Converted]:
    """Convert the cases and yield results in their order; several processes where it pays.

    Args:
        cases: `(key, case)` pairs.
        staging: as for `convert`; made where it is missing.
        settings: as for `convert`.
        workers: most processes; 0 for one a core.
    """
    staging.mkdir(parents=True, exist_ok=True)
    workers = min(workers or usable_cores(), _MOST_WORKERS)
    if workers < 2 or len(cases) < _POOL_FROM:
        for key, case in cases:
            yield convert(case, key, staging, settings)
        return
    jobs = [(batch, staging, settings) for batch in _batches(cases)]
    # Not fork: a caller may hold threads (torch) whose locks a forked child would wait for.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for results in pool.map(_convert_batch, jobs):
                yield from results
        except BrokenProcessPool as error:
            raise InputError(
                "a process that reads images was killed (out of memory?); try workers=1"
            ) from error


def _batches(cases: Sequence[tuple[str, RawCase]]) -> list[list[tuple[str, RawCase]]]:
    """Few cases together, but slices of one volume all together: each process then reads a volume
    once."""
    batches: list[list[tuple[str, RawCase]]] = []
    for item in cases:
        same_file = bool(batches) and batches[-1][-1][1].image.files == item[1].image.files
        if same_file or (batches and len(batches[-1]) < _BATCH):
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


def _convert_batch(job: tuple[list[tuple[str, RawCase]], Path, ConvertSettings]) -> list[Converted]:
    batch, staging, settings = job
    return [convert(case, key, staging, settings) for key, case in batch]
