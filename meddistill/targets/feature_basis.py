"""The teacher's feature maps made small enough to keep: pooled onto the student's frame and
projected by a PCA.

A full map of one level is 2 MB a case; pooled and projected it is 300 kB at most. The PCA is fitted
once, on a seeded sample of training images, and kept beside the targets.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meddistill.base import console
from meddistill.base.errors import ConfigError, nearest
from meddistill.base.files import atomic_path
from meddistill.data.frames import scaled_hw
from meddistill.run.dataset import Dataset
from meddistill.run.layout import FEATURE_BASIS_NPZ
from meddistill.run.tables import Case
from meddistill.teachers.resample import area_weights
from meddistill.teachers.teacher import Encoded, Teacher, encode_in_memory

_SAMPLE_CASES = 48


@dataclasses.dataclass(frozen=True)
class FeatureBasis:
    """Mean (C,) and scaled principal axes (C, D) of each level; maps come out on a (grid, grid)
    raster of the frame.

    `identity` names teacher, levels, sizes and sample: features made with another basis do not go
    with these.
    """

    identity: str
    grid: int
    levels: Mapping[str, tuple[Tensor, Tensor]]

    def project(self, encoded: Encoded, index: int, frame_size: int) -> dict[str, np.ndarray]:
        """The maps of one image of the batch: level -> (D, grid, grid) float16, 0 in the frame's
        padding."""
        projected = {}
        for level, (mean, axes) in self.levels.items():
            pooled, inside = pool_to_frame(encoded, level, index, frame_size, self.grid)
            flat = (pooled.flatten(1).T - mean.to(pooled)) @ axes.to(pooled)
            maps = flat.T.reshape(-1, self.grid, self.grid) * inside.to(pooled)
            projected[level] = maps.cpu().numpy().astype(np.float16)
        return projected


def pool_to_frame(
    encoded: Encoded, level: str, index: int, frame_size: int, grid: int
) -> tuple[Tensor, Tensor]:
    """One image's map of `level`, averaged onto a raster that spans the student's frame.

    Returns (C, grid, grid) and the cells that see the image, boolean (grid, grid); the others are
    0.

    Args:
        encoded: a batch.
        level: whose map.
        index: of the image in the batch.
        frame_size: side of the student's frame, px.
        grid: cells along a side of the raster.
    """
    features = encoded.features[level][index]
    content = scaled_hw(encoded.sizes_hw[index], frame_size)
    rows, columns = (
        area_weights(cells * share, grid * inside / frame_size, cells, grid).to(features)
        for cells, share, inside in zip(
            features.shape[-2:], encoded.valid_share[index], content, strict=True
        )
    )
    inside_cells = (rows.sum(1) > 0)[:, None] & (columns.sum(1) > 0)[None]
    return rows @ features @ columns.T, inside_cells


@dataclasses.dataclass(frozen=True)
class BasisSpec:
    """What is asked of a basis: feature `levels` of the teacher, most bytes a case that they share
    equally, side of the raster, and the seed of the sample that it is fitted on."""

    levels: Sequence[str]
    budget_bytes: int
    grid: int
    seed: int

    @property
    def axes(self) -> int:
        """Channels a level. Raises: ConfigError for a budget that holds none."""
        axes = self.budget_bytes // (2 * self.grid * self.grid * len(self.levels))
        if axes < 1:
            raise ConfigError(
                f"{self.budget_bytes} bytes hold no channel of {len(self.levels)} level(s) on a "
                f"{self.grid}x{self.grid} grid"
            )
        return axes


def fit_basis(
    teacher: Teacher,
    dataset: Dataset,
    cases: Sequence[Case],
    out_dir: Path,
    spec: BasisSpec,
    *,
    batch_size: int,
) -> FeatureBasis:
    """The basis for `spec`: read from `out_dir` where it was fitted on the same sample, else fitted
    and kept there.

    The sample is drawn from the training cases by seed and case id, so their order does not matter.
    Raises: ConfigError for a level that the teacher does not have, or a budget that holds no
    channel.

    Args:
        teacher: whose features.
        dataset: where the images lie.
        cases: of which the sample is drawn.
        out_dir: where the basis is kept.
        spec: what is asked of it.
        batch_size: images a forward pass.
    """
    for level in spec.levels:
        if level not in teacher.feature_channels:
            raise ConfigError(
                f"teacher {teacher.name} has no feature level "
                f"'{level}'{nearest(level, teacher.feature_channels)}"
            )
    sample = _sample(cases, spec.seed)
    content = [
        teacher.fingerprint,
        sorted(spec.levels),
        spec.axes,
        spec.grid,
        [case.sha256 for case in sample],
    ]
    identity = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]
    path = out_dir / FEATURE_BASIS_NPZ
    known = _read_basis(path, identity, spec.grid, spec.levels)
    if known is not None:
        return known
    moments = {level: _Moments(teacher.feature_channels[level]) for level in spec.levels}
    batches = [sample[start : start + batch_size] for start in range(0, len(sample), batch_size)]
    for batch in console.track(batches, "feature basis", len(batches)):
        encoded = encode_in_memory(teacher, [dataset.image(case) for case in batch])
        for index in range(len(batch)):
            for level in spec.levels:
                frame = max(encoded.sizes_hw[index])
                pooled, inside = pool_to_frame(encoded, level, index, frame, spec.grid)
                moments[level].add(pooled[:, inside])
    axes = {level: moments[level].principal_axes(spec.axes) for level in spec.levels}
    basis = FeatureBasis(identity, spec.grid, axes)
    _write_basis(path, basis)
    return basis


def _write_basis(path: Path, basis: FeatureBasis) -> None:
    arrays = {}
    for level, (mean, directions) in basis.levels.items():
        arrays[f"{level}.mean"], arrays[f"{level}.axes"] = mean.numpy(), directions.numpy()
    with atomic_path(path) as temporary:
        np.savez(temporary, identity=np.array(basis.identity), **arrays)  # type: ignore[arg-type]


def _sample(cases: Sequence[Case], seed: int) -> list[Case]:
    training = [case for case in cases if case.split == "train"] or list(cases)
    by_chance = sorted(
        training, key=lambda case: hashlib.sha256(f"{seed} {case.case_id}".encode()).digest()
    )
    return by_chance[:_SAMPLE_CASES]


def _read_basis(path: Path, identity: str, grid: int, levels: Sequence[str]) -> FeatureBasis | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["identity"]) != identity:
                return None
            pairs = {
                level: (
                    torch.from_numpy(arrays[f"{level}.mean"]),
                    torch.from_numpy(arrays[f"{level}.axes"]),
                )
                for level in levels
            }
            return FeatureBasis(identity, grid, pairs)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


class _Moments:
    """Sums over all positions of all maps, from which mean and covariance follow; memory does not
    grow."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, columns: Tensor) -> None:
        """`columns`: (C, positions)."""
        columns = columns.cpu().double()  # not every device has float64
        self.count += columns.shape[1]
        self.total += columns.sum(1)
        self.products += columns @ columns.T

    def principal_axes(self, wanted: int) -> tuple[Tensor, Tensor]:
        """Mean (C,) and the first axes (C, D), scaled so that the D channels have mean square 1; D
        <= `wanted`, C."""
        mean = self.total / max(self.count, 1)
        covariance = self.products / max(self.count, 1) - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        axes = vectors.flip(1)[:, :wanted]
        # An eigenvector's sign is free: make its largest entry positive.
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        axes = axes * largest.sign()
        scale = values.flip(0)[: axes.shape[1]].clamp(min=0).mean().sqrt().clamp(min=1e-12)
        return mean.float(), (axes / scale).float()
