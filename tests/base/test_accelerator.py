"""A GPU is looked for without torch."""

import pytest

from meddistill.base import accelerator


@pytest.mark.parametrize(
    ("device", "tool", "hidden", "found"),
    [
        (False, False, None, False),
        (True, False, None, True),
        (False, True, None, True),
        (True, True, "", False),
        (True, True, "-1", False),
        (True, False, "1", True),
    ],
)
def test_a_gpu_is_there_where_its_driver_is(tmp_path, monkeypatch, device, tool, hidden, found):
    node = tmp_path / "nvidia0"
    if device:
        node.touch()
    monkeypatch.setattr(accelerator, "_DEVICES", (str(node),))
    monkeypatch.setattr(accelerator.shutil, "which", lambda _: "nvidia-smi" if tool else None)
    if hidden is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert accelerator.has_gpu() is found
