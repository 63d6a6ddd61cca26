"""All cases of a split, held once as packed bytes and drawn by index: no file is opened while
training.

A case takes 3 S^2 bytes (RGB frame) and 2 S^2 for each finding that is there (soft mask,
uncertainty; 330 kB at 256 px with one), and its features. Beyond `MEMORY_LIMIT_BYTES` the arrays
live in files that the system maps into memory. What fits into half of a GPU's free memory lies there
while training; of a larger set the host sends each batch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meddistill.base import console
from meddistill.data.findings import LESION, Findings, as_planes
from meddistill.data.frames import to_frame

MEMORY_LIMIT_BYTES = 8 * 2**30


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some cases, as the training step takes them. `features`: level -> (B, C, h, w) float16 of the
    unwarped view."""

    index: Tensor
    """(B,) int64: place of each case in its `PackedCases`."""
    images: Tensor
    """(B, 3, S, S) float32 RGB in [0, 255]; (B, 2 context + 1, S, S) of slices with neighbours."""
    probs: Tensor
    """(B, C, S, S) float32 in [0, 1]: the target, a map a finding."""
    uncertainty: Tensor
    """(B, C, S, S) float32 in [0, 1/4]."""
    published_v: Tensor
    """(B, C) float32."""
    doubt: Tensor
    """(B, C) float32."""
    case_weight: Tensor
    """(B, C) float32; its mean over all that is known in the whole set is 1."""
    known: Tensor
    """(B, C) float32, 1 or 0: whether anything is known of the finding in the case."""
    boxes_xyxy_px: Tensor
    """(B, K, 4) float32 px of the unwarped frame; rows of NaN where a case has fewer or they are
    not to be trusted."""
    features: dict[str, Tensor]
    pixel_weight: Tensor | None = None
    """(B, C, S, S) float32 in [0, 1]: how far each pixel of the target counts; None: all fully."""


@dataclasses.dataclass(frozen=True)
class CaseTarget:
    """What one case teaches.

    `probs` in [0, 1] and `uncertainty` in [0, 1/4]: (S, S), or (C, S, S) of several findings, in
    the student's frame. `published_v`, `doubt`, `weight`: as in `Batch`, a number or one a finding,
    before weights are brought to a mean of 1; of several a weight of 0 says that nothing is known. `boxes_xyxy_px`:
    (N, 4) in the image, those that box priors may trust. `features`: level -> (C, h, w).
    `pixel_weight`: as `probs`, in [0, 1], how far each pixel counts; None: all fully.
    """

    probs: np.ndarray
    uncertainty: np.ndarray
    published_v: float | np.ndarray = 0.0
    doubt: float | np.ndarray = 0.0
    weight: float | np.ndarray = 1.0
    boxes_xyxy_px: np.ndarray | None = None
    features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    pixel_weight: np.ndarray | None = None


class PackedCases:
    """Images and targets of `case_ids`, filled with `put` and drawn with `batch`.

    `feature_shapes`: level -> (C, h, w). `max_boxes`: boxes kept a case, for box priors. `is_grey`:
    no image put in has colour. `directory`: where to map the arrays if they exceed the limit;
    without it they stay in memory. `findings`: how many maps a target has; `channels`: of an image.
    """

    def __init__(
        self,
        case_ids: Sequence[str],
        image_size: int,
        feature_shapes: Mapping[str, tuple[int, int, int]] | None = None,
        *,
        max_boxes: int = 0,
        directory: Path | None = None,
        findings: int = 1,
        channels: int = 3,
    ) -> None:
        self.case_ids = list(case_ids)
        self.image_size = image_size
        self.feature_shapes = dict(feature_shapes or {})
        count, side = len(self.case_ids), image_size
        self._plane_of = torch.arange(count * findings).view(count, findings)
        self._next: int | None = None
        shapes = {"images": (count, channels, side, side), "probs": (count * findings, side, side)}
        shapes["uncertainty"] = shapes["probs"]
        needed = sum(math.prod(shape) for shape in shapes.values())
        needed += sum(2 * count * math.prod(shape) for shape in self.feature_shapes.values())
        where = directory if directory is not None and needed > MEMORY_LIMIT_BYTES else None
        self._packed = {
            name: _allocate(shape, torch.uint8, where, name) for name, shape in shapes.items()
        }
        self._features = {
            level: _allocate((count, *shape), torch.float16, where, f"features-{number}")
            for number, (level, shape) in enumerate(self.feature_shapes.items())
        }
        self._where = where
        self.device = torch.device("cpu")
        """Where batches go; the arrays may lie on the host all the same."""
        self.is_grey = True
        self.boxed = count
        """How many of the cases, the first ones, are boxed; the others are believed (`joined`)."""
        self.boxes_xyxy_px = torch.full((count, max_boxes, 4), torch.nan)
        self.findings = findings
        self.published_v = torch.zeros(count, findings)
        self.doubt = torch.zeros(count, findings)
        self.case_weight = torch.ones(count, findings)
        self.known = torch.ones(count, findings)

    def keep_planes(self, count: int) -> None:
        """Before anything is put in: make room for `count` maps that hold something, and for all
        empty ones together, as of many findings few are in a case."""
        shape = (1 + count, self.image_size, self.image_size)
        for name in ("probs", "uncertainty"):
            self._packed[name] = _allocate(shape, torch.uint8, self._where, name)
        self._plane_of = torch.zeros_like(self._plane_of)
        self._next = 1  # the first plane is the empty one

    def __len__(self) -> int:
        return len(self.case_ids)

    @property
    def _store(self) -> torch.device:
        """Where the arrays lie, and `_plane_of`, by which they are read."""
        return self._packed["images"].device

    def put(self, index: int, image: np.ndarray, target: CaseTarget) -> None:
        """Store one case. `image`: uint8 (H, W, C), any size.

        Rounded to 1/255 of their range. Raises: ValueError for a target of another size or features
        that are missing.
        """
        side = self.image_size
        probs, uncertainty = as_planes(target.probs), as_planes(target.uncertainty)
        wanted = (self.findings, side, side)
        if probs.shape != wanted or uncertainty.shape != wanted:
            raise ValueError(f"{self.case_ids[index]}: target is {probs.shape}, the frame {wanted}")
        frame = to_frame(torch.from_numpy(image).permute(2, 0, 1)[None].float(), side)[0]
        packed = frame.round().clamp(0, 255).to(torch.uint8)
        self._packed["images"][index] = packed
        self.is_grey = self.is_grey and bool((packed == packed[:1]).all())
        if target.pixel_weight is not None and "pixel_weight" not in self._packed:
            self._packed["pixel_weight"] = torch.full_like(self._packed["probs"], 255)
        if self._next is not None:
            self._next = self._place_planes(index, target, self._next)
        self.teach_anew(index, target)
        if target.boxes_xyxy_px is not None:
            scale = side / max(image.shape[:2])
            kept = torch.from_numpy(target.boxes_xyxy_px[: self.boxes_xyxy_px.shape[1]]) * scale
            self.boxes_xyxy_px[index, : len(kept)] = kept
        for level, store in self._features.items():
            found = target.features.get(level)
            if found is None or found.shape != self.feature_shapes[level]:
                raise ValueError(
                    f"{self.case_ids[index]}: no features '{level}' of shape "
                    f"{self.feature_shapes[level]}"
                )
            store[index] = torch.from_numpy(np.ascontiguousarray(found, dtype=np.float16))

    def _place_planes(self, index: int, target: CaseTarget, start: int) -> int:
        """Give each map of the target that holds anything a plane of its own, from the one at
        `start` on; returns the next."""
        holds = as_planes(target.probs).any((1, 2)) | as_planes(target.uncertainty).any((1, 2))
        places = np.flatnonzero(holds)
        stop = start + len(places)
        if stop > len(self._packed["probs"]):
            raise ValueError(f"{self.case_ids[index]}: more maps hold something than was said")
        self._plane_of[index, places] = torch.arange(start, stop)
        return stop

    def teach_anew(
        self, index: int, target: CaseTarget, places: Sequence[int] | None = None
    ) -> None:
        """Replace what a case teaches of the findings at `places`, or of all: all of its target but
        features and box priors."""
        chosen = list(range(self.findings) if places is None else places)
        slots = self._plane_of[index, chosen]
        # Of a set that keeps few planes the empty one stays empty.
        held = (slots > 0).tolist() if self._next is not None else [True] * len(chosen)
        kept = [place for place, is_held in zip(chosen, held, strict=True) if is_held]
        slots = self._plane_of[index, kept]
        maps = {"probs": (target.probs, 1.0), "uncertainty": (target.uncertainty, 0.25)}
        if target.pixel_weight is not None:
            maps["pixel_weight"] = target.pixel_weight, 1.0
        for name, (planes, full_scale) in maps.items():
            packed = _to_byte(as_planes(planes)[kept], full_scale)
            self._packed[name][slots] = packed.to(self._store)
        for name, value in (
            ("published_v", target.published_v),
            ("doubt", target.doubt),
            ("case_weight", target.weight),
        ):
            values = torch.as_tensor(value, dtype=torch.float32).expand(self.findings)
            getattr(self, name)[index, chosen] = values[chosen].to(self.device)
        if self.findings > 1:
            self.known[index, chosen] = (self.case_weight[index, chosen] > 0).float()

    def normalise_case_weights(self) -> None:
        """Scale the case weights to a mean of 1 over the set, so that they do not change the step
        size."""
        known = self.case_weight[self.known > 0].double()
        mean = float(known.mean()) if len(known) else 0.0
        if mean > 0:
            self.case_weight = (self.case_weight / mean).float()

    @classmethod
    def joined(
        cls, boxed: PackedCases, believed: PackedCases, taught: Sequence[tuple[int, int]] = ()
    ) -> PackedCases:
        """Boxed cases, then those of which something is believed: one set to draw from.

        `taught`: places of boxed cases and of findings in them that nobody looked for and of which
        something is believed, too; `teach_anew` says what. Features and box priors are of the boxed
        alone, and so left out. Case weights stay as they are in each.
        """
        names, channels = [*boxed.case_ids, *believed.case_ids], boxed._packed["images"].shape[1]
        both = cls(names, boxed.image_size, findings=boxed.findings, channels=channels)
        count, own = len(boxed._packed["probs"]), len(believed._packed["probs"])
        blank = torch.zeros((len(taught), *boxed._packed["probs"].shape[1:]), dtype=torch.uint8)
        both._plane_of = torch.cat([boxed._plane_of, believed._plane_of + count])
        for number, (index, place) in enumerate(taught):
            both._plane_of[index, place] = count + own + number
        both._packed["images"] = torch.cat([boxed._packed["images"], believed._packed["images"]])
        for name in ("probs", "uncertainty"):
            both._packed[name] = torch.cat([boxed._packed[name], believed._packed[name], blank])
        weights = [
            each._packed.get("pixel_weight", torch.full_like(each._packed["probs"], 255))
            for each in (boxed, believed)
        ]
        both._packed["pixel_weight"] = torch.cat([*weights, torch.full_like(blank, 255)])
        for name in ("published_v", "doubt", "case_weight", "known"):
            setattr(both, name, torch.cat([getattr(boxed, name), getattr(believed, name)]))
        both.is_grey = boxed.is_grey and believed.is_grey
        both.boxed = len(boxed)
        return both

    def foreground_share(self) -> float:
        """Mean probability over all target pixels, in [0, 1]; 0 for no case."""
        probs = self._packed["probs"]
        pixels = self._plane_of.numel() * self.image_size**2
        return float(probs.sum(dtype=torch.int64)) / 255 / max(1, pixels)

    def foreground_shares(self) -> list[float]:
        """`foreground_share` of each finding, over the cases in which it is known."""
        if self.findings == 1:
            return [self.foreground_share()]
        sums = self._packed["probs"].sum((1, 2), dtype=torch.int64)[self._plane_of]
        sums = sums.double().cpu() / 255
        known = self.known.double().cpu()
        cases = known.sum(0).clamp(min=1)
        return ((sums * known).sum(0) / cases / self.image_size**2).tolist()  # type: ignore[no-any-return]

    def with_lesion(self) -> Tensor:
        """Places (N,) int64 of the cases whose target reaches a probability of 1/2 somewhere."""
        highest = self._packed["probs"].flatten(1).amax(1)[self._plane_of]
        return (highest.amax(1) >= 128).nonzero()[:, 0]

    def to(self, device: torch.device) -> PackedCases:
        """Give batches on `device` from now on. Everything moves there, once, so that a batch costs
        no copy from the host; arrays that would leave a GPU too little room stay on the host."""
        needed = sum(each.nbytes for each in (*self._packed.values(), *self._features.values()))
        room = _room(device)
        if room is None or needed <= room:
            self._packed = {name: tensor.to(device) for name, tensor in self._packed.items()}
            self._features = {level: store.to(device) for level, store in self._features.items()}
            self._plane_of = self._plane_of.to(device)
        else:
            console.say(
                f"{len(self)} packed cases take {needed / 1e9:.1f} GB, more than half of what is free "
                "on the GPU: they stay in main memory, and steps take longer"
            )
        for name in ("published_v", "doubt", "case_weight", "known", "boxes_xyxy_px"):
            setattr(self, name, getattr(self, name).to(device))
        self.device = device
        return self

    def batch(self, index: Tensor) -> Batch:
        """The cases at `index` (B,) int64, on this set's device, in that order."""
        places, index = index.to(self._store), index.to(self.device)
        planes = self._plane_of[places]

        def drawn(name: str, rows: Tensor) -> Tensor:
            return self._packed[name][rows].to(self.device).float()

        return Batch(
            index=index,
            images=drawn("images", places),
            probs=drawn("probs", planes) / 255,
            uncertainty=drawn("uncertainty", planes) / (4 * 255),
            published_v=self.published_v[index],
            doubt=self.doubt[index],
            case_weight=self.case_weight[index],
            known=self.known[index],
            boxes_xyxy_px=self.boxes_xyxy_px[index],
            features={
                level: store[places].to(self.device) for level, store in self._features.items()
            },
            pixel_weight=drawn("pixel_weight", planes) / 255
            if "pixel_weight" in self._packed
            else None,
        )


Revise = Callable[[Callable[[Tensor], Tensor], PackedCases], None]
"""Replaces targets of a training set by what a student has learnt meanwhile. It is given what the
student makes of frames (B, 3, S, S) in [0, 255], probabilities (B, C, S, S), and the set; the same
student gives the same targets, also when it is asked again after an interruption."""


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a student learns from, and the cases that its epoch is chosen by. `revise`: called after
    half of the epochs, where there are two and more."""

    train: PackedCases
    val: PackedCases
    revise: Revise | None = None
    findings: Findings = LESION


def _room(device: torch.device) -> int | None:
    """Bytes of a GPU that a set may take: half of what is free, for torch or for anybody; None
    elsewhere, where there is no other memory than the host's."""
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (torch.cuda.mem_get_info(device)[0] + kept) // 2


def _to_byte(values: np.ndarray, full_scale: float) -> Tensor:
    return torch.from_numpy(np.clip(np.rint(values * (255 / full_scale)), 0, 255).astype(np.uint8))


def _allocate(
    shape: tuple[int, ...], dtype: torch.dtype, directory: Path | None, name: str
) -> Tensor:
    if directory is None:
        return torch.zeros(shape, dtype=dtype)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.bin"
    path.unlink(missing_ok=True)
    return torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)
