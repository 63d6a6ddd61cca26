"""All cases of a split, held once as packed bytes and drawn by index: no file is opened while
training.

A case takes 5 S^2 bytes (RGB frame, soft mask, uncertainty; 330 kB at 256 px) and its features.
Beyond `MEMORY_LIMIT_BYTES` the arrays live in files that the system maps into memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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
        shapes = {"images": (count, channels, side, side), "probs": (count, findings, side, side)}
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
        self.is_grey = True
        self.boxed = count
        """How many of the cases, the first ones, are boxed; the others are believed (`joined`)."""
        self.boxes_xyxy_px = torch.full((count, max_boxes, 4), torch.nan)
        self.findings = findings
        self.published_v = torch.zeros(count, findings)
        self.doubt = torch.zeros(count, findings)
        self.case_weight = torch.ones(count, findings)
        self.known = torch.ones(count, findings)

    def __len__(self) -> int:
        return len(self.case_ids)

    @property
    def device(self) -> torch.device:
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
        self._packed["probs"][index] = _to_byte(probs, 1.0)
        self._packed["uncertainty"][index] = _to_byte(uncertainty, 0.25)
        if target.pixel_weight is not None:
            if "pixel_weight" not in self._packed:
                self._packed["pixel_weight"] = torch.full_like(self._packed["probs"], 255)
            self._packed["pixel_weight"][index] = _to_byte(as_planes(target.pixel_weight), 1.0)
        self.published_v[index] = torch.as_tensor(target.published_v, dtype=torch.float32)
        self.doubt[index] = torch.as_tensor(target.doubt, dtype=torch.float32)
        self.case_weight[index] = torch.as_tensor(target.weight, dtype=torch.float32)
        if self.findings > 1:
            self.known[index] = (self.case_weight[index] > 0).float()
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

    def teach_anew(self, index: int, target: CaseTarget) -> None:
        """Replace what a believed case teaches: all of its target but features and box priors."""
        self._packed["probs"][index, 0] = _to_byte(target.probs, 1.0)
        self._packed["uncertainty"][index, 0] = _to_byte(target.uncertainty, 0.25)
        if target.pixel_weight is not None:
            self._packed["pixel_weight"][index, 0] = _to_byte(target.pixel_weight, 1.0)
        self.published_v[index] = torch.as_tensor(target.published_v, dtype=torch.float32)
        self.doubt[index] = torch.as_tensor(target.doubt, dtype=torch.float32)
        self.case_weight[index] = torch.as_tensor(target.weight, dtype=torch.float32)

    def normalise_case_weights(self) -> None:
        """Scale the case weights to a mean of 1 over the set, so that they do not change the step
        size."""
        known = self.case_weight[self.known > 0].double()
        mean = float(known.mean()) if len(known) else 0.0
        if mean > 0:
            self.case_weight = (self.case_weight / mean).float()

    @classmethod
    def joined(cls, boxed: PackedCases, believed: PackedCases) -> PackedCases:
        """Boxed cases, then those of which something is believed: one set to draw from.

        Features and box priors are of the boxed alone, and so left out. Case weights stay as they
        are in each.
        """
        channels = boxed._packed["images"].shape[1]
        both = cls([*boxed.case_ids, *believed.case_ids], boxed.image_size, channels=channels)
        for name, tensor in both._packed.items():
            torch.cat([boxed._packed[name], believed._packed[name]], out=tensor)
        weights = [
            each._packed.get("pixel_weight", torch.full_like(each._packed["probs"], 255))
            for each in (boxed, believed)
        ]
        both._packed["pixel_weight"] = torch.cat(weights)
        for name in ("published_v", "doubt", "case_weight", "known"):
            setattr(both, name, torch.cat([getattr(boxed, name), getattr(believed, name)]))
        both.is_grey = boxed.is_grey and believed.is_grey
        both.boxed = len(boxed)
        return both

    def foreground_share(self) -> float:
        """Mean probability over all target pixels, in [0, 1]; 0 for no case."""
        probs = self._packed["probs"]
        return float(probs.sum(dtype=torch.int64)) / 255 / max(1, probs.numel())

    def foreground_shares(self) -> list[float]:
        """`foreground_share` of each finding, over the cases in which it is known."""
        if self.findings == 1:
            return [self.foreground_share()]
        sums = self._packed["probs"].sum((2, 3), dtype=torch.int64).double().cpu() / 255
        known = self.known.double().cpu()
        cases = known.sum(0).clamp(min=1)
        return ((sums * known).sum(0) / cases / self.image_size**2).tolist()  # type: ignore[no-any-return]

    def with_lesion(self) -> Tensor:
        """Places (N,) int64 of the cases whose target reaches a probability of 1/2 somewhere."""
        return (self._packed["probs"].flatten(1).amax(1) >= 128).nonzero()[:, 0]

    def to(self, device: torch.device) -> PackedCases:
        """Move everything to `device`, once, so that a batch costs no copy from the host."""
        self._packed = {name: tensor.to(device) for name, tensor in self._packed.items()}
        self._features = {level: tensor.to(device) for level, tensor in self._features.items()}
        for name in ("published_v", "doubt", "case_weight", "known", "boxes_xyxy_px"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def batch(self, index: Tensor) -> Batch:
        """The cases at `index` (B,) int64, on this set's device, in that order."""
        index = index.to(self.device)
        return Batch(
            index=index,
            images=self._packed["images"][index].float(),
            probs=self._packed["probs"][index].float() / 255,
            uncertainty=self._packed["uncertainty"][index].float() / (4 * 255),
            published_v=self.published_v[index],
            doubt=self.doubt[index],
            case_weight=self.case_weight[index],
            known=self.known[index],
            boxes_xyxy_px=self.boxes_xyxy_px[index],
            features={level: store[index] for level, store in self._features.items()},
            pixel_weight=self._packed["pixel_weight"][index].float() / 255
            if "pixel_weight" in self._packed
            else None,
        )


Revise = Callable[[Callable[[Tensor], Tensor], PackedCases], None]
"""Replaces targets of a training set by what a student has learnt meanwhile. It is given what the
student makes of frames (B, 3, S, S) in [0, 255], probabilities (B, 1, S, S), and the set; the same
student gives the same targets, also when it is asked again after an interruption."""


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a student learns from, and the cases that its epoch is chosen by. `revise`: called after
    half of the epochs, where there are two and more."""

    train: PackedCases
    val: PackedCases
    revise: Revise | None = None
    findings: Findings = LESION


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
