"""The export formats that there are, by the name that `--format` takes.

Another one is a module of its own (see `export_format.ExportFormat`) and a line here.
"""

from __future__ import annotations

from meddistill.student.export.export_format import ExportFormat
from meddistill.student.export.onnx_graph import export_onnx
from meddistill.student.export.onnx_student import OnnxStudent
from meddistill.student.export.torchscript import TorchScriptStudent, export_torchscript

EXPORTS: dict[str, ExportFormat] = {
    "onnx": ExportFormat(".onnx", export_onnx, OnnxStudent, takes_int8=True),
    "torchscript": ExportFormat(".pt", export_torchscript, TorchScriptStudent),
}
