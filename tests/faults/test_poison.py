"""A file of weights is data: loading one with code inside is refused, and the code does not run."""

import os

import pytest
import torch
from support.small_sam2 import small_yaml
from torch import nn

from meddistill.base.errors import WeightsError
from meddistill.run.layout import LAST_CKPT
from meddistill.student.networks.encoders import load_encoder
from meddistill.teachers import sam2
from meddistill.teachers.litemedsam import LiteMedSam
from meddistill.training.checkpoints import KEYS, load_checkpoint


class Poison:
    def __reduce__(self):
        return os.system, ("touch " + os.environ["POISON"],)


READERS = {
    "encoder": lambda path: load_encoder(nn.Linear(1, 1), path),
    "sam2": lambda path: sam2.load_network(small_yaml(path.parent, image_size=256), path),
    "litemedsam": lambda path: LiteMedSam(path, torch.device("cpu")),
}


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A file that appears where the code runs; a control shows that it would."""
    found = tmp_path / "ran"
    monkeypatch.setenv("POISON", str(found))
    torch.save(Poison(), tmp_path / "control.pt")
    torch.load(tmp_path / "control.pt", weights_only=False)
    assert found.exists()
    found.unlink()
    return found


@pytest.mark.parametrize("reader", READERS)
def test_weights_cannot_run_code(tmp_path, ran, reader):
    torch.save({"model": Poison(), "state_dict": Poison()}, tmp_path / "poison.pth")
    with pytest.raises(
        WeightsError, match=r"poison\.pth (cannot be read|is not a checkpoint|does not hold)"
    ):
        READERS[reader](tmp_path / "poison.pth")
    assert not ran.exists()


def test_a_checkpoint_cannot_run_code(tmp_path, ran):
    torch.save(dict.fromkeys(KEYS, Poison()), tmp_path / LAST_CKPT)
    assert load_checkpoint(tmp_path) is None
    assert not ran.exists()
