"""Scans through a student: a thread reads the next ones while the network computes."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from meddistill.base import console
from meddistill.base.errors import FileError, InputError
from meddistill.data.context import alone, with_neighbours
from meddistill.data.findings import as_planes
from meddistill.data.grid import Grid, resampled_hw
from meddistill.data.preprocessing import Preprocessing
from meddistill.data.regions import largest_component, median_filtered
from meddistill.data.scans import Cut, Scan, ScanFiles, read_scan
from meddistill.student.predictions_table import PredictedScan
from meddistill.student.predictor import (
    KnowsItself,
    Predictor,
    calibrated,
    doubts_of,
    look_at,
)
from meddistill.student.trust.asked import Answer, SecondOpinion, Settled, settle
from meddistill.student.trust.reading import Seen
from meddistill.student.trust.trust import Trust

_PICTURES_AHEAD = 16
"""Pictures that wait for the network; of volumes one, as each is all of memory that there may be."""


@dataclasses.dataclass(frozen=True)
class MaskOptions:
    """What becomes of probabilities. `threshold`: None takes the student's. `largest`: of each finding
    only the largest connected part stays; `median`: side of a majority filter in voxels before that,
    0 for none; both in three dimensions in a volume. `channel`: of volumes that have several.
    `review_below`: expected Dice below which a person should look. `refine`: a teacher that is asked
    may have its mask in place of the student's."""

    threshold: float | None = None
    largest: bool = False
    median: int = 0
    channel: int | None = None
    review_below: float = 0.7
    refine: bool = False


def predict_scans(
    scans: Sequence[tuple[str, ScanFiles]],
    predictor: Predictor,
    options: MaskOptions,
    batch_size: int,
    failed: Callable[[str], None],
    opinion: SecondOpinion | None = None,
) -> Iterator[PredictedScan]:
    """Each scan that can be read, in their order, several small ones a batch; the result does not
    depend on that.

    Args:
        scans: what each is called, and its files.
        predictor: the student.
        options: what becomes of probabilities.
        batch_size: slices a forward pass.
        failed: is told why, of each that cannot be read.
        opinion: a teacher that is asked by the masks' boxes, of a student that knows itself.
    """
    waiting: list[tuple[str, Scan]] = []
    context = predictor.preprocessing.context
    pictures = sum(not given.is_volume for _, given in scans)
    if context and pictures:
        console.say(
            f"the student sees {context} neighbours on each side: {pictures} single pictures, which "
            "have none, are seen with themselves in their place"
        )
    for name, scan in _read_ahead(scans, predictor, options):
        if isinstance(scan, InputError):
            failed(str(scan))
        else:
            waiting.append((name, scan))
        if sum(len(each.images) for _, each in waiting) >= batch_size:
            yield from _predicted(waiting, predictor, options, batch_size, opinion)
            waiting = []
    yield from _predicted(waiting, predictor, options, batch_size, opinion)


def _predicted(
    waiting: Sequence[tuple[str, Scan]],
    predictor: Predictor,
    options: MaskOptions,
    batch_size: int,
    opinion: SecondOpinion | None,
) -> Iterator[PredictedScan]:
    stored = predictor.preprocessing
    findings = stored.findings
    shown = [_on_grid(scan, stored.grid) for _, scan in waiting]
    images = [image for scan in shown for image in _seen(scan, stored.context)]
    seen = look_at(predictor, images, batch_size)
    for (name, scan), given in zip(waiting, shown, strict=True):
        own = [
            _back(each, image, scan, stored.grid)
            for each, image in zip(seen[: len(scan.images)], scan.images, strict=True)
        ]
        del seen[: len(scan.images)]
        meant = [as_planes(calibrated(predictor, each.probs)) for each in own]
        if options.threshold is None:
            raw, cuts = [as_planes(each.probs) for each in own], stored.cuts
        else:  # of the probabilities that a person sees
            raw, cuts = meant, (options.threshold,) * len(findings)
        masks = [findings.masks(probs, cuts) for probs in raw]
        readings = [each.reading for each in own]
        if options.threshold is not None:
            readings = [each and each.of_other_masks for each in readings]
        predicted = PredictedScan(
            name,
            scan,
            meant,
            masks,
            findings,
            readings,
            [doubts_of(predictor, image) for image in given.images],
            options.review_below,
        )
        if opinion is not None and isinstance(predictor, KnowsItself):
            predicted = _with_opinion(
                predicted, raw, cuts, opinion, predictor.trust, options.refine
            )
        yield dataclasses.replace(predicted, masks=_cleaned(predicted.masks, scan, options))


def _with_opinion(
    predicted: PredictedScan,
    raw: Sequence[np.ndarray],
    cuts: tuple[float, ...],
    opinion: SecondOpinion,
    trust: Trust | None,
    refine: bool,
) -> PredictedScan:
    """The slices after the teacher was asked about each that has a mask.

    Args:
        predicted: the student's answers.
        raw: the probabilities that the masks were cut from.
        cuts: where, a finding each.
        opinion: the teacher.
        trust: of the student.
        refine: whether its mask may stand.
    """
    found: list[Settled] = []
    for index, image in enumerate(predicted.scan.images):
        reading, masks = predicted.reading(index), predicted.masks[index]
        if reading is None or trust is None:
            return predicted
        answer = Answer(reading, masks, predicted.probs[index], raw[index], cuts)
        told = opinion(image, masks)
        found.append(settle(answer, told, trust, predicted.findings, refine))
    return dataclasses.replace(
        predicted,
        readings=[each.reading for each in found],
        masks=[each.masks for each in found],
        probs=[each.probs for each in found],
        agreements=[each.agreement for each in found],
        refined=[each.refined for each in found],
    )


def _on_grid(scan: Scan, grid: Grid | None) -> Scan:
    """The scan with its images as a student with a grid sees them."""
    if grid is None or scan.spacing_hw_mm is None:
        return scan
    images = [grid.put(image, scan.spacing_hw_mm) for image in scan.images]
    return dataclasses.replace(scan, images=images)


def _back(seen: Seen, image: np.ndarray, scan: Scan, grid: Grid | None) -> Seen:
    """What was seen on the grid, on the pixels of an image of the scan."""
    if grid is None or scan.spacing_hw_mm is None:
        return seen
    size_hw = (image.shape[0], image.shape[1])
    return dataclasses.replace(seen, probs=grid.back(seen.probs, size_hw, scan.spacing_hw_mm))


def as_taken(scan: Scan, stored: Preprocessing) -> Sequence[np.ndarray]:
    """A scan's images as `predict` shows them to a student: on its grid, slices with neighbours."""
    return _seen(_on_grid(scan, stored.grid), stored.context)


def _seen(scan: Scan, context: int) -> Sequence[np.ndarray]:
    """The images as the student takes them: slices of a volume with their neighbours."""
    if not context:
        return scan.images
    if scan.is_volume:
        return with_neighbours(scan.images, context)
    return [alone(image, context) for image in scan.images]


def _cleaned(masks: Sequence[np.ndarray], scan: Scan, options: MaskOptions) -> Sequence[np.ndarray]:
    """The masks (C, H, W) of the slices, filtered and of each finding the largest part, as asked."""
    if not options.largest and not options.median:
        return masks
    stacks = [masks] if scan.is_volume else [[mask] for mask in masks]
    cleaned: list[np.ndarray] = []
    for stack in stacks:
        planes = np.stack(stack, axis=1)  # (C, slices, H, W)
        for place in range(len(planes)):
            if options.median:
                planes[place] = median_filtered(planes[place], options.median)
            if options.largest:
                planes[place] = largest_component(planes[place])
        cleaned += list(np.moveaxis(planes, 1, 0))
    return cleaned


def _check_spacing(scan: Scan, grid: Grid) -> None:
    """Raises: InputError for a scan that cannot be brought onto the grid."""
    if scan.spacing_hw_mm is None:
        raise FileError(
            scan.path,
            "has no pixel spacing, and this student sees pixels of "
            f"{grid.spacing_mm:g} mm: give it a format that says how large a pixel is (NIfTI, NRRD, MHA, "
            "DICOM), or a student that was made without prepare.spacing_mm",
        )
    sizes = {(image.shape[0], image.shape[1]) for image in scan.images}
    try:
        for size_hw in sizes:
            resampled_hw(size_hw, grid.spacing_mm, scan.spacing_hw_mm)
    except InputError as error:
        raise FileError(scan.path, f"does not fit onto the grid: {error}") from error


def _read_ahead(
    scans: Sequence[tuple[str, ScanFiles]], predictor: Predictor, options: MaskOptions
) -> Iterator[tuple[str, Scan | InputError]]:
    stored = predictor.preprocessing
    cut = Cut(stored.axis, options.channel)

    def read(given: ScanFiles) -> Scan | InputError:
        try:
            scan = read_scan(given, stored.intensity, cut)
            if stored.grid is not None:
                _check_spacing(scan, stored.grid)
            return scan
        except InputError as error:
            return error

    pending: deque[tuple[str, ScanFiles, Future[Scan | InputError]]] = deque()
    left = deque(scans)
    with ThreadPoolExecutor(max_workers=1) as reader:
        while left or pending:
            while left and len(pending) < _PICTURES_AHEAD:
                # A volume is asked for only when nothing else waits.
                if pending and (left[0][1].is_volume or pending[-1][1].is_volume):
                    break
                name, given = left.popleft()
                pending.append((name, given, reader.submit(read, given)))
            name, _, future = pending.popleft()
            scan = future.result()
            if left and not pending:
                following = left.popleft()
                pending.append((*following, reader.submit(read, following[1])))
            yield name, scan
