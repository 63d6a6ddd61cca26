"""A student as ONNX: raw pixels in, probabilities out. The one module that uses onnx; `onnx_student`
runs it.

The network is exported by PyTorch for its square frame; what `data/frames.py` does before and after
it is written here as ONNX, so that any image size goes in as it is. `stages/export.py` checks that
both say the same.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from meddistill.base.errors import InputError, in_one_line
from meddistill.data.frames import Preprocessing, spread
from meddistill.student.export.export_format import ExportJob
from meddistill.student.export.onnx_student import import_extra
from meddistill.student.export.onnx_trust import WithReadout, add_meaning
from meddistill.student.trust.reading import NUMBERS
from meddistill.student.trust.trust import Trust

OPSET = 18  # the first whose Resize knows antialiasing

# `to_frame` and `normalise`: round() is half to even in ONNX as in Python, in double so that it
# sees the same numbers.
_BEFORE = """
<ir_version: 8, opset_import: ["" : {opset}]>
before (uint8[batch, {channels}, height, width] image)
    => (float[batch, {channels}, {size}, {size}] frames, int64[2] image_hw, int64[2] inner_hw) {{
    image_shape = Shape (image)
    two = Constant <value = int64[1] {{2}}> ()
    four = Constant <value = int64[1] {{4}}> ()
    image_hw = Slice (image_shape, two, four)
    hw = Cast <to = 11> (image_hw)
    longest = ReduceMax <keepdims = 1> (hw)
    side = Constant <value = double[1] {{{size}.0}}> ()
    scale = Div (side, longest)
    scaled = Mul (hw, scale)
    rounded = Round (scaled)
    one = Constant <value = double[1] {{1.0}}> ()
    at_least_one = Max (rounded, one)
    inner_hw = Cast <to = 7> (at_least_one)
    zero = Constant <value = int64[1] {{0}}> ()
    leading = Slice (image_shape, zero, two)
    inner_shape = Concat <axis = 0> (leading, inner_hw)
    pixels = Cast <to = 1> (image)
    resized = Resize
        <mode = "linear", coordinate_transformation_mode = "half_pixel", antialias = 1, exclude_outside = 1>
        (pixels, , , inner_shape)
    frame_hw = Constant <value = int64[2] {{{size}, {size}}}> ()
    missing_hw = Sub (frame_hw, inner_hw)
    no_pad = Constant <value = int64[6] {{0, 0, 0, 0, 0, 0}}> ()
    pads = Concat <axis = 0> (no_pad, missing_hw)
    padded = Pad (resized, pads)
    half_range = Constant <value = float[1] {{255.0}}> ()
    unit = Div (padded, half_range)
    mean = Constant <value = float[1, {channels}, 1, 1] {{{mean}}}> ()
    std = Constant <value = float[1, {channels}, 1, 1] {{{std}}}> ()
    centred = Sub (unit, mean)
    frames = Div (centred, std)
}}
"""
# `from_frame` of the probabilities.
_AFTER = """
<ir_version: 8, opset_import: ["" : {opset}]>
after (float[batch, {findings}, {size}, {size}] logits, int64[2] image_hw, int64[2] inner_hw)
    => (float[batch, {findings}, height, width] probability) {{
    probs = Sigmoid (logits)
    starts = Constant <value = int64[2] {{0, 0}}> ()
    axes = Constant <value = int64[2] {{2, 3}}> ()
    cut = Slice (probs, starts, inner_hw, axes)
    cut_shape = Shape <start = 0, end = 2> (cut)
    image_shape = Concat <axis = 0> (cut_shape, image_hw)
    probability = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (cut, , , image_shape)
}}
"""


def export_onnx(job: ExportJob, path: Path) -> None:
    """Write the student as one ONNX file: input `image` uint8 (B, 3, H, W) RGB, output
    `probability` (B, C, H, W), a channel a finding. Of a student that knows itself also `calibrated`,
    of that shape, and `familiarity` (B,), `expected_dice`, its bounds and `p_finding` (B, C); NaN
    where unknown.

    Batch, height and width are free. The job's facts become the file's metadata. Where it has
    calibration, weights and activations of the convolutions become int8. Raises: ConfigError where
    onnx or onnxruntime are not installed; InputError where the network cannot be exported.
    """
    onnx = import_extra("onnx")
    import_extra("onnxruntime")
    trust = None if job.calibration else job.trust  # 8 bits would give other numbers
    network = _export_network(job, trust)
    if job.calibration:
        network = _quantise(network, job.calibration)
    told = [] if trust is None else list(NUMBERS)
    whole = _with_pixels(onnx, network, job.preprocessing, told)
    if trust is not None:
        whole = add_meaning(onnx, whole, trust.meanings, OPSET)
    onnx.helper.set_model_props(whole, dict(job.facts))
    onnx.checker.check_model(whole, full_check=True)
    onnx.save_model(whole, str(path))


def _export_network(job: ExportJob, trust: Trust | None) -> Any:
    import_extra("onnxscript")  # what PyTorch's exporter is made of
    module, image_size = job.module, job.preprocessing.image_size
    whole: nn.Module = module.eval().cpu()
    if trust is not None:
        whole = WithReadout(module, trust, job.preprocessing.cuts).eval()
    frames = torch.zeros(2, module.in_channels, image_size, image_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                whole,
                (frames,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["frames"],
                output_names=["logits", *(NUMBERS if trust is not None else ())],
                dynamic_shapes={"frames": {0: torch.export.Dim("batch")}},
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises its own types, one a kind of operator
        raise InputError(
            f"{type(module).__name__} cannot be exported to ONNX: {in_one_line(error)}"
        ) from error
    assert program is not None
    return program.model_proto


def _with_pixels(onnx: Any, network: Any, preprocessing: Preprocessing, told: Sequence[str]) -> Any:
    """Put what happens to pixels before and after the network around it.

    Args:
        onnx: the module.
        network: frames to logits, and to what it tells besides.
        preprocessing: of the student.
        told: names of the outputs besides.
    """
    channels = preprocessing.channels
    values = {
        "opset": OPSET,
        "size": preprocessing.image_size,
        "findings": len(preprocessing.findings),
        "channels": channels,
        "mean": ", ".join(f"{value:.10f}" for value in spread(preprocessing.mean, channels)),
        "std": ", ".join(f"{value:.10f}" for value in spread(preprocessing.std, channels)),
    }
    before, after = (onnx.parser.parse_model(text.format(**values)) for text in (_BEFORE, _AFTER))
    for part in (before, network, after):
        part.ir_version = network.ir_version
    network = onnx.compose.add_prefix(
        network, "network/", rename_inputs=False, rename_outputs=False
    )
    middle = onnx.compose.merge_models(before, network, io_map=[("frames", "frames")])
    after = onnx.compose.add_prefix(after, "after/", rename_inputs=False, rename_outputs=False)
    after = _renamed_inputs(onnx, after)
    links = [(name, f"{name}_in") for name in ("logits", "image_hw", "inner_hw")]
    return onnx.compose.merge_models(middle, after, io_map=links, outputs=["probability", *told])


def _renamed_inputs(onnx: Any, model: Any) -> Any:
    # merge_models wants names to differ before it links them.
    for value in model.graph.input:
        for node in model.graph.node:
            node.input[:] = [f"{name}_in" if name == value.name else name for name in node.input]
    for value in model.graph.input:
        value.name = f"{value.name}_in"
    return model


def _quantise(network: Any, calibration: Sequence[Tensor]) -> Any:
    onnx = import_extra("onnx")
    quantization = import_extra("onnxruntime.quantization")
    preparation = import_extra("onnxruntime.quantization.shape_inference")
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, quantised = (
            Path(folder) / name for name in ("plain.onnx", "prepared.onnx", "int8.onnx")
        )
        onnx.save_model(network, str(plain))
        # Folds batch norms into convolutions: they would be rounded twice otherwise.
        preparation.quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(quantised),
            _Calibration(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # Weights of 7 bits: processors without VNNI add pairs of 8-bit products in 16 bits,
            # which overflow.
            reduce_range=True,
        )
        return onnx.load_model(str(quantised))


class _Calibration:
    """Feeds frames to onnxruntime's calibration, one at a time."""

    def __init__(self, frames: Sequence[Tensor]) -> None:
        self._frames: Iterator[Tensor] = iter(frames)

    def get_next(self) -> dict[str, np.ndarray] | None:
        frame = next(self._frames, None)
        return None if frame is None else {"frames": frame.numpy()}
