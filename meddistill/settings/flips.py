"""Which mirror images training may show: a setting of `detect` and of `distill`."""

from __future__ import annotations

Sides = tuple[bool, bool]
"""Whether left is told from right, so that no image may be mirrored across, and top from bottom."""

AUTO = "auto"
_KEPT: dict[str, Sides] = {
    "both": (False, False),
    "left-right": (False, True),
    "top-bottom": (True, False),
    "none": (True, True),
}
FLIPS = (AUTO, *_KEPT)


def sides_kept(flips: str, by_names: Sides) -> Sides:
    """What `flips` says, or with `auto` what the names of the findings say."""
    return by_names if flips == AUTO else _KEPT[flips]


def told_of_sides(section: str, kept: Sides) -> str:
    """A line for a person where names keep training in `section` from mirroring, else empty."""
    axes = [axis for axis, is_kept in zip(("across", "upside down"), kept, strict=True) if is_kept]
    if not axes:
        return ""
    return (
        f"names of findings say a side: no image is mirrored {' or '.join(axes)} "
        f"({section}.flips=both does)"
    )
