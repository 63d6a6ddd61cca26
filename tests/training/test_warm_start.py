"""What a student to go on from is checked for."""

import pytest

from meddistill.base.errors import ConfigError
from meddistill.data.findings import LESION
from meddistill.data.frames import Preprocessing
from meddistill.settings.distill import DistillConfig
from meddistill.student.student import build_student, save_student
from meddistill.training.warm_start import load_start

NETWORK = {"encoder": "tu-test_resnet", "encoder_weights": "none"}


def test_in_what_networks_of_one_name_differ_is_said(tmp_path):
    network = build_student("unet", **NETWORK, decoder_channels=[16, 16, 8, 8, 8])
    save_student(tmp_path, network, Preprocessing(64))
    other = DistillConfig(
        warm_start="runs/a", student="unet", image_size=64, **NETWORK, decoder_channels=[8] * 5
    )
    with pytest.raises(
        ConfigError,
        match=r"^--from runs/a is .*decoder 16-16-8-8-8 at 64 px, .* decoder 8-8-8-8-8 at",
    ):
        load_start(tmp_path, other, LESION)
