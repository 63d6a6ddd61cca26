"""`predict --backend onnx`: the exported student alone, without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError
from meddistill.base.hashing import sha256_file
from meddistill.data.formats.pictures import write_png
from meddistill.data.preprocessing import Preprocessing
from meddistill.student.predictions_table import PredictionRow
from meddistill.student.preprocessing_file import write_preprocessing

GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
student (uint8[batch, 3, height, width] image) => (float[batch, 1, height, width] probability) {
    pixels = Cast <to = 1> (image)
    full = Constant <value = float[1] {255.0}> ()
    unit = Div (pixels, full)
    axes = Constant <value = int64[1] {1}> ()
    probability = ReduceMean <keepdims = 1> (unit, axes)
}
"""
ALONE = """
import sys
from meddistill.cli.app import main
sys.argv = ["meddistill", *sys.argv[1:]]
try:
    main()
finally:
    assert not {"torch", "ultralytics", "timm", "matplotlib"} & sys.modules.keys(), "imported"
"""


@pytest.fixture
def student(tmp_path):
    """A student that says how bright a pixel is; its weights are never read."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    directory = tmp_path / "student"
    directory.mkdir()
    onnx.save_model(onnx.parser.parse_model(GRAPH), str(directory / "student.onnx"))
    (directory / "model.safetensors").write_bytes(b"weights")
    about = {"student_sha256": sha256_file(directory / "model.safetensors")}
    (directory / "student.onnx.json").write_text(json.dumps(about))
    write_preprocessing(directory / "preprocessing.json", Preprocessing(threshold=0.5))
    return directory


def test_it_predicts_without_torch(student, tmp_path):
    for number, size in enumerate([(8, 12), (8, 12), (9, 9)]):
        pixels = np.full(size, 20, np.uint8)
        pixels[1:3, 1 : 3 + number] = 250
        write_png(tmp_path / "in" / f"{number}.png", pixels)
    command = ["predict", student, tmp_path / "in", "--out", tmp_path / "out", "--backend", "onnx"]
    subprocess.run([sys.executable, "-c", ALONE, *map(str, command)], check=True)
    rows = read_table(tmp_path / "out" / "predictions.csv", PredictionRow)
    assert [row.area_px for row in rows] == [4, 6, 8]
    assert rows[0].confidence == pytest.approx(250 / 255, abs=1e-4)


def test_a_file_of_other_weights_is_refused(student, tmp_path):
    from meddistill.student.export.onnx_student import OnnxPredictor

    (student / "model.safetensors").write_bytes(b"trained again")
    with pytest.raises(
        InputError, match=r"was made of another model\.safetensors than lies beside it"
    ):
        OnnxPredictor(student)
    (student / "student.onnx").unlink()
    with pytest.raises(InputError, match=r"has no student\.onnx; run `meddistill export"):
        OnnxPredictor(student)
