"""What is segmented: the findings of a RUN or a student, in their order; one named `lesion` unless
somebody said otherwise.

Arrays that hold a map a finding have the findings first: (C, H, W). One finding is C = 1 of the
same code; its masks on disk are black and white, those of several label maps (`encode`).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.base.errors import ConfigError, InputError

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (255, 221, 0),
    (0, 176, 255),
    (240, 80, 60),
    (60, 200, 90),
    (190, 110, 255),
    (255, 150, 40),
    (0, 210, 200),
    (255, 120, 190),
    (150, 200, 40),
    (120, 140, 255),
)
"""RGB of the findings in their order, where nobody chose others; again from the start beyond ten."""
SEPARATOR = ";"
"""Between the names of several findings in one cell of a table."""
MOST_OVERLAPPING = 16
"""Findings that may overlap have a bit each in a mask of 16 bits; others a value each, of 8."""
MOST_EXCLUSIVE = 254

_SIDES = {"left", "right", "links", "rechts"}
_ENDS = {
    *("anterior", "posterior", "superior", "inferior", "ventral", "dorsal", "cranial", "caudal"),
    *("upper", "lower", "proximal", "distal"),
}


def plain_name(name: str) -> str:
    """A name without what two names may not differ by alone: case, spaces, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", name.lower())


@dataclasses.dataclass(frozen=True)
class Findings:
    """Names in their order, and whether a pixel has one of them at most (`exclusive`).

    `chosen_colours`: RGB by name, of those for which somebody chose one. They tell findings apart in
    pictures alone: findings of other colours are the same.

    Raises: ConfigError for a name that is empty, holds a separator or a line break, or differs from
    another only by case or spaces; for more than a mask can hold.
    """

    names: tuple[str, ...] = ("lesion",)
    exclusive: bool = True
    chosen_colours: Mapping[str, Colour] = dataclasses.field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for name in self.names:
            if not name.strip() or name != name.strip() or re.search(r"[;,=\n\r\t]", name):
                raise ConfigError(
                    f"finding '{name}' is no name: it is empty, begins or ends with a space, or "
                    "holds one of ; , = or a line break"
                )
            same = seen.setdefault(plain_name(name), name)
            if same != name or self.names.count(name) > 1:
                raise ConfigError(
                    f"findings '{same}' and '{name}' differ at most by case or space: give them "
                    "one name in the source, or list one of them only"
                )
        most = MOST_EXCLUSIVE if self.exclusive else MOST_OVERLAPPING
        if not 1 <= len(self.names) <= most:
            kind = "that exclude each other" if self.exclusive else "that may overlap"
            other = "list fewer with --findings"
            if len(self.names) <= MOST_EXCLUSIVE:
                other += ", or say that they exclude each other: --set prepare.overlap=exclusive"
            raise ConfigError(
                f"{len(self.names)} findings {kind}; a mask holds 1 to {most}: {other}"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_one(self) -> bool:
        """Whether there is one, so that masks are black and white."""
        return len(self.names) == 1

    @property
    def settles(self) -> bool:
        """Whether a pixel has to be given to one of several."""
        return self.exclusive and not self.is_one

    @property
    def colours(self) -> tuple[Colour, ...]:
        """RGB of each: the chosen one, or the next of the palette that nobody chose."""
        taken = set(self.chosen_colours.values())
        free = itertools.cycle([each for each in PALETTE if each not in taken] or PALETTE)
        return tuple(self.chosen_colours.get(name) or next(free) for name in self.names)

    def in_colours(self, stored: Sequence[str]) -> Findings:
        """The findings as somebody stored them with their colours, `#rrggbb` in their order; as they
        are where those are their own anyway, or none was stored. Raises: ConfigError for what is no
        colour, or another number of them."""
        colours = tuple(parse_colour(text) for text in stored)
        if not colours or colours == self.colours:
            return self
        if len(colours) != len(self.names):
            raise ConfigError(f"{len(colours)} colours of {len(self.names)} findings")
        return dataclasses.replace(self, chosen_colours=dict(zip(self.names, colours, strict=True)))

    def index(self, name: str) -> int:
        """Raises: InputError for a name that is none of them."""
        if name not in self.names:
            raise InputError(f"'{name}' is none of the findings {', '.join(self.names)}")
        return self.names.index(name)

    def alone(self, name: str) -> Findings:
        """One of them, in its colour."""
        chosen = {each: c for each, c in self.chosen_colours.items() if each == name}
        return Findings((name,), chosen_colours=chosen)

    def tag(self, index: int) -> str:
        """What a table calls the finding: empty where there is one, as such tables always were."""
        return "" if self.is_one else self.names[index]

    def encode(self, planes: np.ndarray) -> np.ndarray:
        """Bool planes (C, H, W) as one mask (H, W): 0 or 255 of one finding; of several that
        exclude each other 0 or the place of the finding from 1 (of two at one pixel the later); of
        others a bit each. uint8, or uint16 for more than eight that may overlap."""
        if self.is_one:
            return planes[0].astype(np.uint8) * np.uint8(255)
        kind = np.uint8 if self.exclusive or len(self) <= 8 else np.uint16
        labels = np.zeros(planes.shape[1:], dtype=kind)
        for index, plane in enumerate(planes):
            if self.exclusive:
                labels[plane] = index + 1
            else:
                labels |= plane.astype(kind) << kind(index)
        return labels

    def decode(self, labels: np.ndarray, name: str = "mask") -> np.ndarray:
        """Bool planes (C, H, W) of what `encode` made of several. Raises: InputError for a value
        that it does not make."""
        highest = len(self) if self.exclusive else 2 ** len(self) - 1
        if labels.ndim != 2 or labels.max(initial=0) > highest:
            raise InputError(
                f"{name} is no mask of the findings {', '.join(self.names)}: expected (H, W) of 0 "
                f"to {highest}, got {labels.shape} up to {labels.max(initial=0)}"
            )
        if self.exclusive:
            return np.stack([labels == index + 1 for index in range(len(self))])
        return np.stack([(labels >> index) & 1 > 0 for index in range(len(self))])

    def palette(self) -> np.ndarray:
        """RGB uint8 (256, 3) of an 8-bit mask of several: black, then each finding's colour, and
        where they overlap the mean of theirs."""
        colours = np.zeros((256, 3), dtype=np.uint8)
        for value in range(1, 256):
            if self.exclusive:
                parts = [value - 1] if value <= len(self) else []
            else:
                parts = [index for index in range(len(self)) if value >> index & 1]
            if parts:
                colours[value] = np.mean([self.colours[index] for index in parts], axis=0)
        return colours

    def masks(self, probs: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
        """Bool planes (C, H, W) of probabilities float32 (C, H, W) that reach their thresholds; of
        findings that exclude each other the most probable of those, at each pixel."""
        cuts = np.asarray(thresholds, dtype=np.float32)[:, None, None]
        above = probs >= cuts
        if not self.settles:
            return np.asarray(above)
        best = np.where(above, probs, -1).argmax(axis=0)
        return np.asarray(above & (best[None] == np.arange(len(self))[:, None, None]))

    def settle(self, probs: np.ndarray, first: Sequence[int] = ()) -> np.ndarray:
        """Probabilities (C, H, W) in which a pixel is above 1/2 of one at most, of findings that
        exclude each other: the most probable stays as it is (before all others those at the places
        `first`, the last of them before the rest), and others fall to what that one leaves."""
        masks = probs > 0.5
        overlap = masks.sum(0) > 1
        if not self.settles or not overlap.any():
            return probs
        winner, most = probs.argmax(0), probs.max(0)
        for place in first:
            winner[masks[place]] = place
        settled = probs.copy()
        for place in range(len(self)):
            loses = overlap & masks[place] & (winner != place)
            settled[place][loses] = np.minimum(probs[place], 1 - most)[loses]
        return settled

    def keeps_sides(self) -> tuple[bool, bool]:
        """Whether names tell left from right, so that a picture must not be mirrored across, and
        top from bottom (which in another plane lie side by side, so that neither may be)."""
        words = {word for name in self.names for word in re.split(r"[\s_/.-]+", name.lower())}
        ends = bool(words & _ENDS)
        return ends or bool(words & _SIDES), ends

    def as_dict(self) -> dict[str, Any]:
        """For a JSON or YAML file, with the colours that pictures are drawn in."""
        colours = [hex_colour(colour) for colour in self.colours]
        return {"names": list(self.names), "exclusive": self.exclusive, "colours": colours}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Findings:
        """What `as_dict` gave. Raises: ConfigError, KeyError, TypeError for something else."""
        names = tuple(str(name) for name in found["names"])
        return cls(names, bool(found["exclusive"])).in_colours(found.get("colours", ()))


LESION = Findings()
"""The one finding of a RUN in which nobody named any."""


def parse_colour(text: str) -> Colour:
    """RGB of `#rrggbb`. Raises: ConfigError for anything else."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(text)):
        raise ConfigError(f"'{text}' is no colour; expected #rrggbb, such as #00a0ff")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def hex_colour(colour: Sequence[int]) -> str:
    """`#rrggbb` of RGB."""
    return "#{:02x}{:02x}{:02x}".format(*(int(part) for part in colour))


def as_planes(maps: np.ndarray) -> np.ndarray:
    """(C, H, W), of (H, W) as one finding has it or as it is."""
    return maps[None] if maps.ndim == 2 else maps


def folder_name(finding: str) -> str:
    """What a folder is called that holds files of one finding alone."""
    return re.sub(r"[^\w .-]", "_", finding)


def names_in(cell: str) -> tuple[str, ...]:
    """The names in a cell of a table that `SEPARATOR` (or a comma) divides; () for an empty one."""
    return tuple(part.strip() for part in re.split(r"[;,]", cell) if part.strip())
