"""Whether a GPU seems to be there, for advice: found out without torch, which takes seconds to import."""

from __future__ import annotations

import os
import shutil

_DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Of NVIDIA's driver, of Windows' below Linux, and of AMD's."""


def has_gpu() -> bool:
    """Whether `--device auto` is likely to find one; False where the user hid them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(map(os.path.exists, _DEVICES)) or shutil.which("nvidia-smi") is not None
