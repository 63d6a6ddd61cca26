"""What a student says of itself, inside its ONNX graph: the network's pass gives it, and calibrated
probabilities beside the raw ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from meddistill.student.networks.student_network import StudentNetwork
from meddistill.student.trust.fits import EDGE, Meaning
from meddistill.student.trust.reading import NUMBERS
from meddistill.student.trust.readout import Readout
from meddistill.student.trust.trust import Trust

_MEANING = """
<ir_version: 8, opset_import: ["" : {opset}]>
meaning (float[batch, findings, height, width] raw)
    => (float[batch, findings, height, width] calibrated) {{
    low = Constant <value = float[1] {{{edge}}}> ()
    high = Constant <value = float[1] {{{top}}}> ()
    one = Constant <value = float[1] {{1.0}}> ()
    a = Constant <value = float[1, {count}, 1, 1] {{{a}}}> ()
    b = Constant <value = float[1, {count}, 1, 1] {{{b}}}> ()
    c = Constant <value = float[1, {count}, 1, 1] {{{c}}}> ()
    raised = Max (raw, low)
    inside = Min (raised, high)
    log_p = Log (inside)
    other = Sub (one, inside)
    log_q = Log (other)
    first = Mul (log_p, a)
    second = Mul (log_q, b)
    both = Sub (first, second)
    logit = Add (both, c)
    calibrated = Sigmoid (logit)
}}
"""


class WithReadout(nn.Module):
    """A network whose pass gives logits and `NUMBERS`: familiarity (B,), the others (B, C)."""

    def __init__(self, module: StudentNetwork, trust: Trust, cuts: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        self.readout = Readout(trust, cuts)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        logits, maps = self.module.forward_with_features(frames)
        return (logits, *self.readout(logits, maps)[: len(NUMBERS)])


def add_meaning(onnx: Any, whole: Any, meanings: Sequence[Meaning], opset: int) -> Any:
    """The graph with a further output `calibrated`, of the shape of `probability`."""
    values = {name: ", ".join(f"{getattr(each, name):.9f}" for each in meanings) for name in "abc"}
    # Of float32 the nearest to 1 that a logarithm of the rest can still tell from it.
    top = float(torch.tensor(1 - EDGE, dtype=torch.float32))
    text = _MEANING.format(
        opset=opset, edge=f"{EDGE:.9f}", top=f"{top:.9f}", count=len(meanings), **values
    )
    part = onnx.parser.parse_model(text)
    part.ir_version = whole.ir_version
    part = onnx.compose.add_prefix(part, "meaning/", rename_inputs=False, rename_outputs=False)
    kept = [output.name for output in whole.graph.output]
    return onnx.compose.merge_models(
        whole, part, io_map=[("probability", "raw")], outputs=[*kept, "calibrated"]
    )
