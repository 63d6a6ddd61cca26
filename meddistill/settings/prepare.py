"""Settings of `meddistill prepare`: each field with its unit, default and effect."""

from __future__ import annotations

import dataclasses
import math

from meddistill.base.errors import ConfigError
from meddistill.settings.axes import AUTO, AXIAL
from meddistill.settings.checks import (
    check_at_least,
    check_choice,
    check_numbers,
    check_range,
)
from meddistill.settings.roles import CONTENT, NOTHING, RESULT, setting

# OmegaConf reads annotations at run time and knows Optional[float], not every spelling of `float |
# None`.


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """Settings of `meddistill prepare`."""

    source: str = setting("", CONTENT)
    """Folder of the images (and masks or boxes), relative to where the command is typed."""
    more_sources: list[str] = setting([], CONTENT, before=[])
    """Further folders, whose cases come beside those of `source`: what was not looked for in one
    is unknown there."""
    healthy: list[str] = setting([], CONTENT, before=[])
    """Folders of images of which somebody knows that nothing is to be found in them: they teach the
    student where nothing is; masks and boxes that lie there are not read."""
    dataset: str = setting("auto", RESULT)
    """Layout of the source, or `auto` to recognise it."""
    images: str = setting("", RESULT, before="")
    """Which files are images, as patterns of their paths in the source (`scans/*_t1.png`); empty =
    what their names say."""
    masks: str = setting("", RESULT, before="")
    """Which files are masks, likewise."""
    accept: list[str] = setting([], RESULT, before=[])
    """Checks of the data that are not to stop anything; each is named where it stops."""
    classes: list[str] = setting([], RESULT)
    """Classes to keep; empty keeps all."""
    findings: list[str] = setting([], RESULT, before=[])
    """What is segmented: names, each with the mask values that mean it where masks are label maps
    (liver=1, tumour=2+3, background=4); `auto`: as a dataset.json or the annotation files name
    them; `from-class`: the class of each case; empty: all is one, `lesion`. Of several sources an
    item with a folder's name and a colon before it is of that one alone (A:liver=1, B:tumour=1).
    `:#rrggbb` behind an item is the colour that it is drawn in (liver=1:#00a0ff, liver:#00a0ff)."""
    overlap: str = setting("auto", RESULT, before="auto")
    """Whether findings are `exclusive` (one at most a pixel) or `overlapping`; `auto`: by their
    mask values (but for DICOM SEG and RTSTRUCT), exclusive with `from-class`, else overlapping."""
    complete: bool = setting(True, RESULT, before=True)
    """Every finding was looked for in every annotated image; false: only those that have a box
    there, and nothing is known of the others."""
    groups: str = setting("", CONTENT)
    """CSV `id,group` (or `series`, `patient`) and other columns such as `fold`; empty = what the
    layout knows."""
    boxes: str = setting("", CONTENT)
    """Table of boxes (`image,x1,y1,x2,y2` px, half-open) or a label tool's file, for a source
    without masks; empty = from masks."""
    table: str = setting("", CONTENT, before="")
    """Table of the cases (CSV, TSV, XLSX), with any of the columns image, mask, x1, y1, x2, y2,
    class, group, split, spacing; images lie in `source`, or else below the table's folder."""
    unannotated: str = setting("auto", RESULT, before="none")
    """What an image that an annotation file lists without any object means: `none` (looked at,
    nothing there), `unknown` (nobody looked), or `auto`: what its format says."""
    annotators: str = setting("ask", RESULT, before="ask")
    """Which boxes of an image count that several people annotated differently: the `union` of all,
    the `intersection`, the `first`, or `ask`: none, it is an error."""
    resplit: bool = setting(False, RESULT, before=True)
    """Draw new splits where the source brings its own (folders, data.yaml, a column `split`)."""
    test: str = setting("", RESULT)
    """Which groups are the test split, as COLUMN=VALUE[,VALUE] of the groups file; empty = a seeded
    share."""
    val: str = setting("", RESULT)
    """Which groups are the validation split, likewise."""
    test_fraction: float = setting(0.2, RESULT)
    """Share of the cases whose groups go to test where `test` is empty."""
    val_fraction: float = setting(0.15, RESULT)
    """Share of the remaining cases whose groups go to validation where `val` is empty."""
    stratify: str = setting("class+size", RESULT)
    """What drawn splits are balanced by: `class+size` (thirds of lesion size), `class`, or `none`.
    """
    max_train_cases: int = setting(0, RESULT)
    """Most training cases: whole groups in a seeded order, the last one cut short; 0 keeps all."""
    max_val_cases: int = setting(0, RESULT)
    """Most validation cases, likewise."""
    max_test_cases: int = setting(0, RESULT)
    """Most test cases, likewise."""
    box_fraction: float = setting(1.0, RESULT)
    """Share of the groups of training and of validation that keep their boxes; the rest is marked
    `unknown`."""
    thin_validation: bool = setting(True, RESULT, before=False)
    """Whether `box_fraction` thins the validation boxes, too, as `box_count` does: they are boxes
    that a person draws."""
    box_count: int = setting(0, RESULT, before=0)
    """Images that keep their boxes in training and validation together, whole groups in a seeded
    order, the last one cut short: a fifth of them in validation, none there of fewer than 40 or
    where there is no validation split. All others of both splits are marked `unknown`; 0 keeps all
    boxes."""
    box_every: int = setting(0, RESULT, before=0)
    """Of each volume in training and validation each K-th slice keeps what was annotated, the others
    are marked `unknown`; 0 keeps all."""
    folds: int = setting(0, RESULT)
    """Number of folds of a cross-validation, drawn by group; 0 = none. Fold `fold` is the test
    split then."""
    fold: int = setting(0, RESULT)
    """Which of `folds` is the test split, counted from 0."""
    group_from: str = setting("", RESULT)
    """Regular expression on a case's path; what it finds is the group. `folder`: the folder's name
    is."""
    keep_names: bool = setting(False, RESULT, before=True)
    """Groups of DICOM files are called by PatientID; false: by a keyed hash of it, the same for the
    same patient within a RUN."""
    min_area_px: int = setting(10, RESULT)
    """Smallest connected component of a mask that becomes a box, in pixels."""
    merge_distance_px: float = setting(0.0, RESULT)
    """Boxes at most this far apart become one, in pixels; 0 merges none."""
    boxes_per: str = setting("component", RESULT)
    """One box per `component` of a mask (or as drawn), or one per `case` around all of them."""
    label: str = setting("", RESULT)
    """Which mask values (1,4) or colours (#ff0000) are lesion; `any` = all but 0; `instances`: each
    value but 0 is an object with a box of its own; empty = a black and white mask."""
    fit_masks: bool = setting(False, RESULT, before=False)
    """Resample masks of another size than their image, by the nearest pixel."""
    resample_masks: bool = setting(False, RESULT, before=False)
    """Bring masks of volumes that have another grid than their image onto its voxels, by the nearest in
    mm; off: they are rejected."""
    fit_boxes: str = setting("", RESULT, before="")
    """Boxes that were drawn on another copy of the pictures: `auto` scales them from the size that
    their file states, a number (0.5) by itself; empty = a picture of another size is rejected."""
    intensity: str = setting("auto", RESULT)
    """To 8 bits: `auto` (8-bit as is, the file's window, else percentiles 0.5-99.5), `percentile`
    or `full` range."""
    window: str = setting("", RESULT)
    """CENTER,WIDTH of the values to show, for images of any depth; empty = as `intensity` says."""
    scanner_8bit: str = setting("as-is", RESULT, before="stretched")
    """8-bit values of a DICOM file without a window, with `intensity` `auto`: `as-is`, as in a PNG, or
    `stretched` by percentiles."""
    intensity_per: str = setting("volume", RESULT)
    """A slice is stretched by the percentiles of its `volume`, or by its own (`image`)."""
    axis: int = setting(2, RESULT)
    """Volumes are cut across this axis: 0 sagittal, 1 coronal, 2 axial slices; -1 (`auto`): those of the
    plane with the finest spacing in most volumes, axial where they are equal."""
    spacing_mm: str = setting("", RESULT, before="")
    """Side of a pixel in mm to which images are resampled in plane, or `auto`, the median of the
    training set; all lie on a square as large as the largest of them, and the student carries both.
    Empty: pixels as they are."""
    channel: str = setting("", RESULT)
    """Modality (t1ce) or channel number of volumes that have several."""
    whole_volumes: bool = setting(True, RESULT, before=False)
    """Every slice of a volume is a case, also one without a finding or one that shows nothing; what
    of them is trained on is said by `distill.empty_slices` and `detect.empty_slices`."""
    empty_slices: float = setting(0.1, RESULT)
    """Where `whole_volumes` is off: seeded share of the slices without lesion that is kept, of
    volumes with masks."""
    duplicate_bits: int = setting(24, RESULT)
    """Images of different splits whose perceptual hashes differ in at most this many of 512 bits
    are reported."""
    strict: bool = setting(False, NOTHING)
    """Stop at an image that is rejected or has a near-duplicate in another split, instead of
    listing it."""
    workers: int = setting(0, NOTHING)
    """Processes that read images; 0 = one a core, at most 8. Does not change the result."""

    @property
    def folders(self) -> list[str]:
        """All that are read: sources, then those of healthy images."""
        return [self.source, *self.more_sources, *self.healthy]

    def __post_init__(self) -> None:
        check_numbers(self)
        check_range(self, 0.0, 1.0, "box_fraction", "empty_slices")
        check_range(self, 0.0, 0.95, "test_fraction", "val_fraction")
        if self.axis not in (AUTO, 0, 1, AXIAL):
            raise ConfigError(f"axis must lie in [0, 2], or be -1 for auto, got {self.axis}")
        check_range(self, 0, 512, "duplicate_bits")
        check_at_least(
            self,
            0,
            "box_count",
            "box_every",
            "max_train_cases",
            "max_val_cases",
            "max_test_cases",
            "workers",
            "merge_distance_px",
        )
        check_at_least(self, 1, "min_area_px")
        if self.spacing_mm not in ("", "auto") and not _is_length(self.spacing_mm):
            raise ConfigError(
                f"spacing_mm must be a length above 0 in mm, auto or empty, got '{self.spacing_mm}'"
            )
        check_choice(self, "stratify", ("class+size", "class", "none"))
        check_choice(self, "overlap", ("auto", "exclusive", "overlapping"))
        check_choice(self, "boxes_per", ("component", "case"))
        check_choice(self, "unannotated", ("auto", "none", "unknown"))
        check_choice(self, "annotators", ("ask", "union", "intersection", "first"))
        check_choice(self, "intensity", ("auto", "percentile", "full"))
        check_choice(self, "intensity_per", ("volume", "image"))
        check_choice(self, "scanner_8bit", ("as-is", "stretched"))
        if self.box_count and self.box_fraction < 1:
            raise ConfigError("box_count and box_fraction both thin the boxes; give one of them")
        if self.folds or self.fold:
            check_at_least(self, 2, "folds")
            check_range(self, 0, self.folds - 1, "fold")
            if self.test:
                raise ConfigError("folds and test both name the test split; give one of them")


def _is_length(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
