"""What a DICOM file is by its class (SOP Class UID, DICOM PS3.4 B.5), where it is no image."""

from __future__ import annotations

SEGMENTATIONS = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
)
CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NO_PICTURES = {
    "4.2": "a spectrum, no image",
    "9.": "a waveform, no image",
    "11.": "a presentation state, no image",
    "66": "raw data, no image",
    "66.1": "a spatial registration, no image",
    "66.2": "a spatial registration, no image",
    "66.3": "fiducials, no image",
    "66.5": "a surface, no image",
    "66.6": "tracts, no image",
    "67": "a mapping of values, no image",
    "88.": "a report or a note (SR), no image",
    "104.": "a document, no image",
    "481.2": "a dose (RTDOSE), no image",
    "481.4": "a treatment record, no image",
    "481.5": "a treatment plan, no image",
    "481.6": "a treatment record, no image",
    "481.7": "a treatment record, no image",
    "481.8": "a treatment plan, no image",
    "481.9": "a treatment record, no image",
}
"""What lies in an archive beside images, by its class below `_STORAGE`; of one that ends in a point, all
below."""
_STANDARD = "1.2.840.10008."


def no_picture(kind: str, has_rows: bool) -> str:
    """What a file of this class is, if no image; '' for an image. `has_rows`: it says how many rows of
    pixels it has, by which a manufacturer's own class is told."""
    if kind and not kind.startswith(_STANDARD):
        return "" if has_rows else "a manufacturer's own data, no image"
    below = kind.removeprefix(_STORAGE) if kind.startswith(_STORAGE) else ""
    return _NO_PICTURES.get(below) or _NO_PICTURES.get(f"{below.partition('.')[0]}.", "")
