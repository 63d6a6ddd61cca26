"""Volumes one after the other: what is held is a volume or two, however many there are."""

import tracemalloc

import numpy as np
import pytest

from meddistill.data.prepare.convert import ConvertSettings, convert
from meddistill.data.preprocessing import Preprocessing
from meddistill.data.scans import ScanFiles
from meddistill.data.sources.scan_folders import SCAN_SOURCES
from meddistill.data.sources.source import SourceOptions
from meddistill.student.scan_masks import MaskOptions, predict_scans

SHAPE = (96, 96, 40)
BYTES = int(np.prod(SHAPE)) * 2  # of a volume as it is stored


class Dark:
    preprocessing = Preprocessing()

    def predict_probs(self, images, batch_size=16):
        return [np.zeros(image.shape[:2], np.float32) for image in images]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    nibabel = pytest.importorskip("nibabel")
    root = tmp_path_factory.mktemp("volumes")
    (root / "imagesTr").mkdir()
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    for number in range(12):
        image = nibabel.Nifti1Image(np.roll(voxels, number), np.eye(4))
        nibabel.save(image, root / "imagesTr" / f"v{number:02}.nii")
    return root


def peak_of(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def predict(source, count):
    paths = sorted((source / "imagesTr").iterdir())[:count]
    scans = [(path.name, ScanFiles(path)) for path in paths]
    for predicted in predict_scans(scans, Dark(), MaskOptions(), 16, lambda *_: None):
        assert len(predicted.masks) == SHAPE[2]
        del predicted


def prepare(source, tmp_path, count):
    cases = SCAN_SOURCES["nifti"].list_cases(source, SourceOptions()).cases
    for number, case in enumerate(cases[: count * SHAPE[2]]):
        convert(case, str(number), tmp_path, ConvertSettings(min_area_px=4))


def test_predicting_many_volumes_holds_no_more_than_a_few(source):
    predict(source, 1)  # what is imported and kept once
    few, many = (peak_of(lambda n=n: predict(source, n)) for n in (3, 12))
    # Reading and computing overlap as they happen to; nine more volumes would be 20 times this.
    assert many - few < 3 * BYTES


def test_preparing_many_volumes_holds_no_more_than_a_few(source, tmp_path):
    prepare(source, tmp_path, 1)
    few, many = (peak_of(lambda n=n: prepare(source, tmp_path, n)) for n in (3, 8))
    assert many - few < 0.5 * BYTES
