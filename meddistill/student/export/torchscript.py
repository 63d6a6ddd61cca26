"""A student as TorchScript: the same raw pixels in and probabilities out, for programs that have
libtorch only."""

# No postponed annotations here: TorchScript reads them as types.
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddistill.base.errors import InputError, in_one_line
from meddistill.data.frames import Preprocessing, spread
from meddistill.student.export.export_format import ExportJob

_FACTS = "facts.json"


class _Pixels(nn.Module):
    """`data/frames.py` around the network, in the words that TorchScript knows."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.size = int(preprocessing.image_size)
        self.register_buffer("mean", _by_channel(preprocessing.mean, preprocessing))
        self.register_buffer("std", _by_channel(preprocessing.std, preprocessing))

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2], image.shape[3]
        scale = self.size / max(height, width)
        inner_height = max(1, int(round(height * scale)))  # noqa: RUF046 - TorchScript's round gives a float
        inner_width = max(1, int(round(width * scale)))  # noqa: RUF046
        frames = image.float()
        if inner_height != height or inner_width != width:
            frames = F.interpolate(
                frames,
                [inner_height, inner_width],
                mode="bilinear",
                align_corners=False,
                antialias=max(height, width) > self.size,
            )
        frames = F.pad(frames, [0, self.size - inner_width, 0, self.size - inner_height])
        probs = torch.sigmoid(self.network((frames / 255 - self.mean) / self.std))
        probs = probs[:, :, :inner_height, :inner_width]
        if inner_height != height or inner_width != width:
            probs = F.interpolate(probs, [height, width], mode="bilinear", align_corners=False)
        return probs


def _by_channel(values: Sequence[float], preprocessing: Preprocessing) -> Tensor:
    return torch.tensor(spread(values, preprocessing.channels)).view(1, -1, 1, 1)


class TorchScriptStudent:
    """An exported student at work: uint8 images in, probabilities out."""

    def __init__(self, path: Path) -> None:
        self._module: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def predict_probs(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (B, 3, H, W) RGB to probabilities float32 (B, C, H, W)."""
        return np.asarray(self._module(torch.from_numpy(images)).numpy())


def export_torchscript(job: ExportJob, path: Path) -> None:
    """Write the student as one TorchScript file: `forward(image)`, uint8 (B, 3, H, W) RGB to (B, C,
    H, W).

    Batch, height and width are free; weights are float32. The job's facts lie in the archive as
    facts.json. Raises: InputError where the network cannot be traced.
    """
    module, size = job.module, job.preprocessing.image_size
    frames = torch.zeros(1, module.in_channels, size, size)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter(
                "ignore"
            )  # the tracer warns of every shape that it makes a constant
            traced: Any = torch.jit.trace(module.eval().cpu(), frames, check_trace=False)  # type: ignore[no-untyped-call]
            scripted = torch.jit.script(_Pixels(traced, job.preprocessing).eval())
            torch.jit.save(
                scripted, str(path), _extra_files={_FACTS: json.dumps(dict(job.facts)).encode()}
            )
    except RuntimeError as error:
        raise InputError(
            f"{type(module).__name__} cannot be exported to TorchScript: {in_one_line(error)}"
        ) from error
