"""What the columns of a table of boxes are called, and how their numbers are to be read: corners or
a centre, pixels or shares of the image."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence

from meddistill.base.errors import InputError

Box = tuple[float, float, float, float]

IMAGE_COLUMNS = (
    *("image", "filename", "file", "imagename", "imgname", "imagefile", "imgfile"),
    *("imagepath", "imgpath", "filepath", "path", "img", "imageindex", "imageid", "imgid"),
    *("caseid", "id", "name"),
    # Sets of one image a patient or study are called so.
    *("patientid", "patient", "studyid", "uid"),
)
"""The first that there is names the image: `id` may number the rows, so a column that is called after
the image goes first."""
CLASS_COLUMNS = (
    "class",
    "classname",
    "label",
    "labelname",
    "category",
    "categoryname",
    "finding",
    "type",
    "findinglabel",
    "lesiontype",
    "cls",
    "classid",
    "categoryid",
)
GROUP_COLUMNS = (
    *("group", "patient", "patientid", "patientindex", "pid"),
    *("subject", "subjectid", "series", "volume"),
    *("studyid", "studyinstanceuid"),  # `study` may be a trial, the same in all rows
)
SPLIT_COLUMNS = ("split", "subset", "partition")
MASK_COLUMNS = (
    "mask",
    "maskpath",
    "maskfile",
    "maskname",
    "segmentation",
    "seg",
    "segmentationpath",
    "groundtruth",
    "gt",
    "labelmap",
)
SPACING_COLUMNS = ("spacing", "spacingmm", "pixelspacing", "pixelspacingmm")
VOLUME_COLUMNS = ("volume", "volumeid", "volumename", "stack")
SLICE_COLUMNS = ("slice", "sliceindex", "slicenumber", "sliceid")
WIDTH_COLUMNS = ("imagewidth", "imgwidth", "width")
HEIGHT_COLUMNS = ("imageheight", "imgheight", "height")
"""Of the picture, where the box has none of them."""
ANNOTATOR_COLUMNS = ("annotator", "reader", "radid", "rater")

EMPTY = frozenset(("", "nan", "none", "null", "na", "n/a", "-"))
"""What a cell without a value holds."""

CORNERS, SIZE, CENTRE, EITHER = "corners", "corner and size", "centre and size", "either"
LIST = "four numbers in a cell"
_LIST_CORNERS, _LIST_SIZE = f"{CORNERS} in one cell", f"{SIZE} in one cell"
LISTS = (LIST, _LIST_CORNERS, _LIST_SIZE)
_LIST_COLUMNS = {
    **dict.fromkeys(("bbox", "boundingbox", "boundingboxes", "bndbox"), LIST),
    "bboxxyxy": _LIST_CORNERS,
    "bboxxywh": _LIST_SIZE,
}
_ENOUGH_ROWS = 5
"""From so many boxes on, one that either reading fits in all is no accident."""
_SLOPPY = 0.05
"""Up to this share, boxes that do not fit a reading are errors of a hand, and tell nothing."""
_BEFORE = ("boundingbox", "bbox", "box", "roi", "rect")
"""What may stand before the names of all four columns: `roi_x1` is `x1`."""
_BOX_COLUMNS: tuple[tuple[str, tuple[str, str, str, str]], ...] = (
    (CORNERS, ("x1", "y1", "x2", "y2")),
    (CORNERS, ("xmin", "ymin", "xmax", "ymax")),
    (CORNERS, ("minx", "miny", "maxx", "maxy")),
    (CORNERS, ("xtl", "ytl", "xbr", "ybr")),
    (CORNERS, ("left", "top", "right", "bottom")),
    (CORNERS, ("x0", "y0", "x1", "y1")),
    (CORNERS, ("left", "upper", "right", "lower")),
    (CORNERS, ("xleft", "ytop", "xright", "ybottom")),
    (CORNERS, ("topleftx", "toplefty", "bottomrightx", "bottomrighty")),
    (CORNERS, ("xtopleft", "ytopleft", "xbottomright", "ybottomright")),
    (CORNERS, ("upperleftx", "upperlefty", "lowerrightx", "lowerrighty")),
    (CORNERS, ("ulx", "uly", "lrx", "lry")),
    (CORNERS, ("xstart", "ystart", "xend", "yend")),
    (CORNERS, ("startx", "starty", "endx", "endy")),
    # `w, h` first: width and height beside them are the picture's.
    (CENTRE, ("xcenter", "ycenter", "w", "h")),
    (CENTRE, ("xcentre", "ycentre", "w", "h")),
    (CENTRE, ("centerx", "centery", "w", "h")),
    (CENTRE, ("centrex", "centrey", "w", "h")),
    (CENTRE, ("cx", "cy", "w", "h")),
    (CENTRE, ("xcenter", "ycenter", "width", "height")),
    (CENTRE, ("xcentre", "ycentre", "width", "height")),
    (CENTRE, ("centerx", "centery", "width", "height")),
    (CENTRE, ("centrex", "centrey", "width", "height")),
    (CENTRE, ("cx", "cy", "width", "height")),
    (SIZE, ("left", "top", "w", "h")),
    (SIZE, ("xmin", "ymin", "w", "h")),
    (SIZE, ("x1", "y1", "w", "h")),
    (SIZE, ("left", "top", "width", "height")),
    (SIZE, ("xmin", "ymin", "width", "height")),
    (SIZE, ("x1", "y1", "width", "height")),
    (SIZE, ("topleftx", "toplefty", "width", "height")),
    (SIZE, ("bboxx", "bboxy", "bboxwidth", "bboxheight")),
    (SIZE, ("bboxx", "y", "w", "h")),  # NIH ChestX-ray: `Bbox [x`, `y`, `w`, `h]`
    (EITHER, ("x", "y", "w", "h")),
    (EITHER, ("x", "y", "width", "height")),
)
_SHARES_UP_TO = 1.5
"""Boxes whose every number is at most this are shares of the image, unless all are whole numbers:
as pixels they would all lie in its first one."""


def plain(column: str) -> str:
    """A column's name without case, blanks and punctuation: `X Min (px)` is `xmin`."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*\)|\[.*\]", "", column.lower()))


def first_of(columns: Sequence[str], wanted: Iterable[str]) -> int | None:
    """The index of the column that is called by the first name that there is; None without one."""
    names = [plain(column) for column in columns]
    return next((names.index(name) for name in wanted if name in names), None)


def read_spacing(text: str) -> tuple[float, float, float | None] | None:
    """Spacing (row, column, slice) in mm of `0.5`, `0.5,0.7`, `0.5x0.7` or `0.5,0.5,3`; None where it
    is not known, and for the third where there are two numbers. Raises: InputError."""
    if text.lower() in EMPTY:
        return None
    parts = text.strip("[]() ").replace("x", ",").replace("\\", ",").replace(" ", ",").split(",")
    try:
        sides = [float(part) for part in parts if part]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2, 3) or not all(0 < side < math.inf for side in sides):
        raise InputError(f"spacing is '{text}', expected row,column or row,column,slice in mm")
    return sides[0], sides[1 if len(sides) > 1 else 0], sides[2] if len(sides) == 3 else None


@dataclasses.dataclass(frozen=True)
class BoxColumns:
    """Where a table has its boxes: `form` is what the four columns hold, `indices` where they
    are."""

    form: str
    indices: tuple[int, int, int, int]


def box_columns(columns: Sequence[str]) -> BoxColumns | None:
    """The four columns of a box, by the first convention that is complete; None without one."""
    names = [plain(column) for column in columns]
    for known in (names, *(_without(before, names) for before in _BEFORE)):
        for form, wanted in _BOX_COLUMNS:
            if all(name in known for name in wanted):
                a, b, c, d = (known.index(name) for name in wanted)
                return BoxColumns(form, (a, b, c, d))
    place = first_of(columns, _LIST_COLUMNS)
    if place is None:
        return None
    # DeepLesion's own, whose pages say that these are corners.
    of_deep_lesion = names[place] == "boundingboxes" and "keysliceindex" in names
    form = _LIST_CORNERS if of_deep_lesion else _LIST_COLUMNS[names[place]]
    return BoxColumns(form, (place, place, place, place))


def _without(before: str, names: Sequence[str]) -> list[str]:
    """The names that begin so, without their beginning; '' for the others."""
    return [name.removeprefix(before) if name.startswith(before) else "" for name in names]


@dataclasses.dataclass(frozen=True)
class Reading:
    """How four numbers become a box, as decided from all of them; `said` tells a person what boxes
    are."""

    form: str
    in_shares: bool
    said: tuple[str, ...] = ()

    def box(self, numbers: Sequence[float], size_hw: tuple[int, int] | None) -> Box:
        """x1, y1, x2, y2 in px, half-open; `size_hw` is needed for shares alone."""
        a, b, c, d = numbers
        box = corners(self.form, numbers)
        if self.in_shares:
            assert size_hw is not None
            height, width = size_hw
            a, b, c, d = box
            # To 1/100 px: a share of four decimals is no more exact.
            return (
                round(a * width, 2),
                round(b * height, 2),
                round(c * width, 2),
                round(d * height, 2),
            )
        return box


def corners(form: str, numbers: Sequence[float]) -> Box:
    """Corners of a box that is given in one of the forms."""
    a, b, c, d = numbers
    if form == CENTRE:
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return (a, b, c, d) if form == CORNERS else (a, b, a + c, b + d)


def decide(
    form: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    size_of: Callable[[str], tuple[int, int] | None] | None,
) -> Reading:
    """How the boxes of a table are to be read, from all of them.

    Shares or pixels: by `_SHARES_UP_TO`. Columns that may name a corner or a centre: a centre where
    boxes from a corner would reach out of their image, and boxes around a centre never do. Four
    numbers in a cell: `_form_in_a_cell`.

    Raises: InputError where both readings of a cell are possible.

    Args:
        form: what the columns' names say.
        rows: image and four numbers of every box.
        size_of: the size (height, width) of an image by its name; without it no centre is found.
    """
    numbers = [value for _, values in rows for value in values]
    shares = (
        bool(numbers)
        and max(map(abs, numbers)) <= _SHARES_UP_TO
        and not all(value == int(value) for value in numbers)
    )
    said = ["are in shares of width and height"] if shares else []
    if form in LISTS:
        form, how = _form_in_a_cell(form, rows, shares, size_of)
        said.append(how)
    if form == EITHER:
        form = _corner_or_centre(rows, shares, size_of)
        if form == CENTRE:
            said.append("have their centre in x, y: as corners, they would leave their images")
    return Reading(form, shares, tuple(said))


def _form_in_a_cell(
    form: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    shares: bool,
    size_of: Callable[[str], tuple[int, int] | None] | None,
) -> tuple[str, str]:
    """Corners or a corner and a size, by which of both leaves images or has no area in fewer boxes,
    and what is said of it. Raises: InputError where `_ENOUGH_ROWS` fit both."""
    if form != LIST:
        return (CORNERS if form == _LIST_CORNERS else SIZE), f"are {form}, as the column says"
    as_corners, as_size = (_leaving(each, rows, shares, size_of) for each in (CORNERS, SIZE))
    if as_corners == 0 < as_size:
        return CORNERS, f"are {_LIST_CORNERS}"
    few = _SLOPPY * len(rows)
    if len(rows) < _ENOUGH_ROWS:
        fits = "; they may be corners as well: name the column bbox_xyxy for these"
        return SIZE, f"are {_LIST_SIZE}" + (fits if rows and not as_corners else "")
    if as_corners <= few and as_size <= few:
        raise InputError(
            f"four numbers in a cell may be {CORNERS} or {SIZE}: {len(rows) - as_corners} and "
            f"{len(rows) - as_size} of {len(rows)} boxes fit; name the column bbox_xyxy (or have "
            "x1,y1,x2,y2) or bbox_xywh (or x,y,width,height)"
        )
    form = CORNERS if as_corners <= few or as_size > 2 * as_corners else SIZE
    return form, f"are {form} in one cell"


def _corner_or_centre(
    rows: Sequence[tuple[str, Sequence[float]]],
    shares: bool,
    size_of: Callable[[str], tuple[int, int] | None] | None,
) -> str:
    out, centred = (_leaving(form, rows, shares, size_of) for form in (SIZE, CENTRE))
    return CENTRE if out and not centred else SIZE


def _leaving(
    form: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    shares: bool,
    size_of: Callable[[str], tuple[int, int] | None] | None,
) -> int:
    """How many boxes would leave their images, where their sizes are known, or have no area, if they
    were given in a form."""
    out = 0
    slack = 0.005 if shares else 1.0  # rounding
    for name, values in rows:
        size_hw = (1, 1) if shares else size_of(name) if size_of else None
        x1, y1, x2, y2 = corners(form, values)
        leaves = size_hw is not None and (
            min(x1, y1) < -slack or x2 > size_hw[1] + slack or y2 > size_hw[0] + slack
        )
        out += leaves or x2 <= x1 or y2 <= y1
    return out
