"""`meddistill export`: one file, pixels in, probabilities out, and the same as PyTorch at any
size.
"""

import json

import cv2
import numpy as np
import pytest
import torch

from meddistill.base.errors import ConfigError, InputError, MedDistillError
from meddistill.data.frames import Preprocessing, preprocess
from meddistill.stages.export import Agreement, compare, run_export
from meddistill.student.export.export_format import ExportFormat
from meddistill.student.export.known_exports import EXPORTS
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.student import Student, input_tensor, load_student, save_student

PREPROCESSING = Preprocessing(
    image_size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), threshold=0.5
)
SIZES = [(32, 32), (50, 50), (70, 40), (20, 90), (12, 9), (33, 31)]


def picture(height, width, seed=0):
    """Blobs, as medical images are smooth; each channel its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def student_dir(tmp_path_factory):
    """A student with probabilities on both sides of its threshold, and pictures beside it."""
    torch.manual_seed(1)
    network = NestedUNet([4, 6, 8]).train()
    with torch.no_grad():
        for index in range(20):
            network(preprocess(input_tensor(picture(32, 32, index), 0), PREPROCESSING))
        network.final.weight.mul_(6)
    directory = tmp_path_factory.mktemp("student")
    save_student(directory, network.eval(), PREPROCESSING)
    for index, (height, width) in enumerate(SIZES):
        cv2.imwrite(str(directory / f"{index}.png"), picture(height, width, index))
    return directory


def expect_pytorchs_answer(student_dir, exported):
    student = load_student(student_dir)
    for height, width in SIZES:
        image = picture(height, width, seed=7)
        probs = student.predict(image).probs
        assert (
            0.05 < (probs > 0.5).mean() < 0.95
        )  # a student that says one thing everywhere compares well with any
        got = exported.predict_probs(input_tensor(image, 0).numpy())
        assert got.shape == (1, 1, height, width)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got[0, 0], probs, atol=2e-4)
    several = np.concatenate([input_tensor(picture(50, 40, seed), 0).numpy() for seed in range(3)])
    one_by_one = [student.predict(picture(50, 40, seed)).probs for seed in range(3)]
    np.testing.assert_allclose(exported.predict_probs(several)[:, 0], one_by_one, atol=2e-4)


def test_torchscript_says_what_pytorch_says(student_dir, tmp_path):
    from meddistill.student.export.torchscript import TorchScriptStudent

    path = run_export(
        student_dir,
        file_format="torchscript",
        images=[str(student_dir / "*.png")],
        out=tmp_path / "student.pt",
    )
    expect_pytorchs_answer(student_dir, TorchScriptStudent(path))
    assert {file.name for file in tmp_path.iterdir()} == {"student.pt", "student.pt.json"}
    record = json.loads((tmp_path / "student.pt.json").read_text())
    assert record["agreement"]["images"] == len(SIZES)
    assert record["agreement"]["dice"] == pytest.approx(1, abs=1e-3)
    assert record["threshold"] == "0.5"


@pytest.mark.slow
def test_onnx_says_what_pytorch_says(student_dir, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from meddistill.student.export.onnx_student import OnnxStudent

    path = run_export(
        student_dir, images=[str(student_dir / "*.png")], out=tmp_path / "student.onnx"
    )
    expect_pytorchs_answer(student_dir, OnnxStudent(path, threads=1))
    model = onnx.load(path)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["probability"]
    facts = {item.key: item.value for item in model.metadata_props}
    assert facts["use"] == "research use; not a medical device"
    assert "location" not in {
        entry.key for tensor in model.graph.initializer for entry in tensor.external_data
    }


@pytest.mark.slow
def test_int8_is_smaller_and_close(student_dir, tmp_path):
    pytest.importorskip("onnxruntime")
    path = run_export(
        student_dir, int8=True, images=[str(student_dir / "*.png")], out=tmp_path / "int8.onnx"
    )
    record = json.loads((tmp_path / "int8.onnx.json").read_text())
    assert record["weights"] == "int8"
    assert record["agreement"]["images"] == 2
    assert record["agreement"]["dice"] > 0.9
    assert b"QuantizeLinear" in path.read_bytes()


class Shifted:
    """An exported student whose every answer is off."""

    def __init__(self, student, offset):
        self.student, self.offset = student, offset

    def predict_probs(self, images):
        probs = self.student.predict_probs([image.transpose(1, 2, 0) for image in images])
        return np.stack(probs)[:, None] + np.float32(self.offset)


@pytest.mark.parametrize(("offset", "told"), [(0.01, r"0\.01"), (np.nan, "nan")])
def test_an_export_that_differs_is_refused_and_leaves_nothing(
    student_dir, tmp_path, monkeypatch, offset, told
):
    off = ExportFormat(
        ".onnx",
        write=lambda job, path: path.write_bytes(b"half a model"),
        open=lambda path: Shifted(load_student(student_dir), offset),
    )
    monkeypatch.setitem(EXPORTS, "onnx", off)
    with pytest.raises(
        MedDistillError, match=rf"differs from PyTorch by {told} .*nothing was written"
    ):
        run_export(student_dir, images=[str(student_dir)], out=tmp_path / "student.onnx")
    assert list(tmp_path.iterdir()) == []


def test_agreement_of_known_masks():
    network = NestedUNet([4, 6]).eval()
    student = Student(network, Preprocessing(image_size=32, threshold=0.0))  # everything is lesion
    images = [picture(32, 32), picture(20, 30)]
    assert compare(student, Shifted(student, 0), images) == Agreement(2, 0, 1, 1)
    nothing = compare(student, Shifted(student, -2), images)
    assert (nothing.dice, nothing.max_difference) == (0, pytest.approx(2))


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"file_format": "onyx"}, ConfigError, "did you mean 'onnx'"),
        (
            {"file_format": "torchscript", "int8": True},
            ConfigError,
            "--int8 goes with --format onnx only",
        ),
        ({}, InputError, "lies in no RUN with data; give images"),
        ({"images": ["nowhere.png"]}, InputError, r"nowhere\.png does not exist"),
    ],
)
def test_what_cannot_be_exported_is_one_line(student_dir, tmp_path, options, kind, reason):
    with pytest.raises(kind, match=reason):
        run_export(student_dir, out=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept(student_dir, tmp_path):
    (tmp_path / "mine.onnx").write_text("mine")
    with pytest.raises(InputError, match="is there already; pass --overwrite"):
        run_export(student_dir, images=[str(student_dir)], out=tmp_path / "mine.onnx")
    assert (tmp_path / "mine.onnx").read_text() == "mine"
