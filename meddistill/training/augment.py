"""Random views of a batch: one warp for image, target and uncertainty together, then intensity
changes of the image.

What a case undergoes follows from the numbers that its draw brings along, not from the batch it
falls into. All work is batched and stays on the tensors' device.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.training.packed_cases import Batch

MAX_ROTATION_DEG = 25.0
MAX_SCALE = 1.3
MAX_SHIFT = 0.1
MAX_SHEAR = 0.1
MAX_STRETCH = 1.1
MAX_GAMMA = 1.6
MAX_CONTRAST = 1.3
MAX_BRIGHTNESS = 0.1
MAX_BIAS = 0.3
MAX_NOISE = 0.06
MAX_BLUR = 1.0
_BANK = 32
NUMBERS = 16
"""How many numbers make a view."""


class Augmentation:
    """Draws and applies the random views of one training set.

    `is_grey`: its images have no colour; then one channel is changed in place of three equal ones,
    in half the time. `keeps_sides`: whether it must not be mirrored across, and upside down.
    """

    def __init__(
        self,
        image_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        *,
        is_grey: bool = False,
        keeps_sides: tuple[bool, bool] = (False, False),
    ) -> None:
        self.keeps_sides = keeps_sides
        self.is_grey = is_grey
        self.seed = seed
        self.device = torch.device(device)
        generator = torch.Generator().manual_seed(seed)
        # Noise and bias fields are drawn once; each case picks one and its strength.
        self._noise = torch.randn(_BANK, 1, image_size, image_size, generator=generator).to(device)
        coarse = torch.rand(_BANK, 1, 4, 4, generator=generator) * 2 - 1
        size = (image_size, image_size)
        self._bias = (
            F.interpolate(coarse, size, mode="bicubic", align_corners=True).clamp(-1, 1).to(device)
        )
        row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self._blur = (row[:, None] * row[None]).to(device)

    def numbers(self, turn: int, cases: int) -> Tensor:
        """What the views of some cases are made of in one turn: (cases, 16) float32 in [0, 1) on
        the CPU, the same for the same seed and turn."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn)
        return torch.rand(cases, NUMBERS, generator=generator)

    def __call__(self, batch: Batch, cached_view: Tensor, numbers: Tensor) -> Batch:
        """A view of each case.

        `cached_view`: (B,) bool, cases whose geometry must stay, as their features are used.
        `numbers`: (B, 16), a row of `numbers` a case, on the batch's device.
        """
        images = batch.images[:, :1] if self.is_grey else batch.images
        maps = [batch.probs, batch.uncertainty]
        if batch.pixel_weight is not None:
            maps.append(batch.pixel_weight)
        stack = torch.cat([images, *maps], dim=1)
        matrices = _affine_matrices(numbers[:, :8], self.keeps_sides)
        matrices = torch.where(
            cached_view[:, None, None], torch.eye(2, 3, device=matrices.device), matrices
        )
        grid = F.affine_grid(matrices, list(stack.shape), align_corners=False)
        warped = F.grid_sample(
            stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        # Interpolating on its own grid gives back the input up to rounding; keep it exact. Asking a
        # GPU whether there is any such case would take longer.
        if self.device.type != "cpu" or bool(cached_view.any()):
            warped = torch.where(cached_view[:, None, None, None], stack, warped)
        stack = warped
        seen, moved = stack[:, : images.shape[1]], stack[:, images.shape[1] :]
        probs, uncertainty, *weight = torch.split(moved, batch.probs.shape[1], dim=1)
        return dataclasses.replace(
            batch,
            images=self._change_intensity(seen, numbers[:, 8:]).expand_as(batch.images),
            probs=probs,
            uncertainty=uncertainty,
            pixel_weight=weight[0] if weight else None,
        )

    def _change_intensity(self, images: Tensor, draws: Tensor) -> Tensor:
        gamma, contrast, brightness, which, bias, noise, blur, gate = (
            draws[:, column, None, None, None] for column in range(8)
        )
        # In place, as new memory for each step costs more than the step.
        values = (images / 255).clamp_(min=1e-6, max=1).pow_(MAX_GAMMA ** (2 * gamma - 1))
        mean = values.mean((1, 2, 3), keepdim=True)
        values.sub_(mean).mul_(MAX_CONTRAST ** (2 * contrast - 1))
        values.add_(mean).add_(MAX_BRIGHTNESS * (2 * brightness - 1))
        picked = (which.flatten() * _BANK).long().clamp(max=_BANK - 1)
        values.mul_(1 + MAX_BIAS * (2 * bias - 1) * self._bias[picked])
        # Half of the cases are blurred, the other half gets noise: together they would hide small
        # lesions.
        self._blur_some(values, gate < 0.5, MAX_BLUR * blur)
        values.add_((gate >= 0.5) * MAX_NOISE * noise * self._noise[picked])
        return values.clamp_(0, 1).mul_(255)

    def _blur_some(self, values: Tensor, chosen: Tensor, share: Tensor) -> None:
        """Blur the chosen cases in place, each by its share; both (B, 1, 1, 1)."""
        if self.device.type != "cpu":  # the host would wait to hear which they are
            values.lerp_(_smooth(values, self._blur), chosen * share)
            return
        places = chosen.flatten().nonzero()[:, 0]
        own = values[places]
        values[places] = torch.lerp(own, _smooth(own, self._blur), share[places])


def _affine_matrices(draws: Tensor, keeps_sides: tuple[bool, bool] = (False, False)) -> Tensor:
    """(B, 8) uniform numbers to (B, 2, 3) maps from output to input coordinates, which run from -1
    to 1. `keeps_sides`: which axes are not mirrored."""
    flip_x, flip_y, angle, scale, aspect, shear, shift_x, shift_y = draws.unbind(1)
    radians = math.radians(MAX_ROTATION_DEG) * (2 * angle - 1)
    cosine, sine = torch.cos(radians), torch.sin(radians)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    size, stretch = MAX_SCALE ** (2 * scale - 1), MAX_STRETCH ** (2 * aspect - 1)
    flip_x, flip_y = (
        torch.ones_like(flip) if keeps else flip
        for flip, keeps in zip((flip_x, flip_y), keeps_sides, strict=True)
    )
    flips = _matrix(
        torch.where(flip_x < 0.5, -one, one), zero, zero, torch.where(flip_y < 0.5, -one, one)
    )
    linear = (
        _matrix(cosine, -sine, sine, cosine)
        @ _matrix(one, MAX_SHEAR * (2 * shear - 1), zero, one)
        @ _matrix(size * stretch, zero, zero, size / stretch)
        @ flips
    )
    shift = 2 * MAX_SHIFT * torch.stack([2 * shift_x - 1, 2 * shift_y - 1], dim=1)
    return torch.cat([linear, shift[:, :, None]], dim=2)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """(B,) entries of [[a, b], [c, d]] to (B, 2, 2)."""
    return torch.stack([a, b, c, d], dim=1).view(-1, 2, 2)


def _smooth(images: Tensor, kernel: Tensor) -> Tensor:
    """Each channel convolved with `kernel` (5, 5)."""
    kernels = kernel.expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), kernels, groups=images.shape[1])
