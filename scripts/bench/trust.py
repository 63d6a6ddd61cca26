"""What it costs that a student says how far it is to be trusted: time of `predict`, bytes of the ONNX file.

Needs nothing: it draws its data, and takes the network of a size (`distill.size`) as it is before
training, which changes neither. Takes two minutes on one core.

    python scripts/bench/trust.py                      # of the default network
    python scripts/bench/trust.py --size small --images 64 --repeats 7

The same student with and without what it knows of itself, with as many own images kept as there may
be: `predict` of a folder, which reads, segments and writes, in turns; a ratio is the median over the
turns of seconds of the processor, which others on the machine move less than the clock. The bytes
are those of the two exported files. Aims: at most 1.10 times the time, 1.05 times the bytes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import numpy as np

from meddistill.base import console
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.data.sources.phantom import draw_slice
from meddistill.settings.layers import load_config
from meddistill.stages.export import run_export
from meddistill.stages.predict import run_predict
from meddistill.student.prediction_job import PredictOptions
from meddistill.student.student import build_student, load_student, save_student
from meddistill.student.trust.familiarity import MOST_REFERENCES, fit_likeness
from meddistill.student.trust.fits import SIGNALS, Interval, Line, Meaning
from meddistill.student.trust.input_checks import fit_ranges, glance
from meddistill.student.trust.trust import Expected, FindingTrust, Trust, save_trust
from meddistill.training.trusting import MOST_HELD


def make_students(root: Path, size: str, images: list[np.ndarray]) -> tuple[Path, Path]:
    """The directories of the student that knows itself, and of the one that does not."""
    config = load_config(None, {}, [f"distill.size={size}"]).distill
    module = build_student(
        config.student,
        encoder=config.encoder,
        encoder_weights="none",
        decoder_channels=config.decoder_channels,
    )
    preprocessing = Preprocessing(config.image_size, *module.preprocessing_mean_std)
    plain, knows = root / "plain", root / "knows"
    for directory in (plain, knows):
        save_student(directory, module, preprocessing)
    save_trust(knows, full_trust(sum(module.feature_channels), images))
    return knows, plain


def full_trust(features: int, images: list[np.ndarray]) -> Trust:
    """As much as a student may know, of drawn numbers: as many references and distances as are kept."""
    rng = np.random.default_rng(0)
    own = rng.normal(0, 1, (MOST_REFERENCES + MOST_HELD, features)).astype(np.float32)
    likeness = fit_likeness(own[:MOST_REFERENCES], own[MOST_REFERENCES:])
    at = np.linspace(0.1, 0.9, 9)
    expected = Expected(
        Line(np.full(len(SIGNALS) + 1, 0.1), 0.0),
        Interval(at, np.maximum(at - 0.3, 0), np.minimum(at + 0.3, 1)),
    )
    finding = FindingTrust(
        expected, present=Line(np.full(len(SIGNALS), 0.1), 0.0), meaning=Meaning(0.6, 0.7, 0.1)
    )
    glances = [glance(image) for image in images]
    return Trust((finding,), likeness, fit_ranges(glances, glances), {"sentences": []})


def seconds(student: Path, images: Path, out: Path, backend: str) -> tuple[float, float]:
    """Of one `predict`, without loading the student: of the processor, and on the clock."""
    options = PredictOptions(backend=backend)
    if backend == "onnx":
        from meddistill.student.export.onnx_student import OnnxPredictor

        predictor = OnnxPredictor(student)
    else:
        predictor = load_student(student)
    cpu, wall = time.process_time(), time.perf_counter()
    run_predict(student, [str(images)], out, options, overwrite=True, predictor=predictor)
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="standard", help="small, standard or best")
    parser.add_argument("--images", type=int, default=32, help="images that are predicted")
    parser.add_argument("--side", type=int, default=256, help="of an image, px")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    arguments = parser.parse_args()
    console.set_quiet(True)
    rng = np.random.default_rng(0)
    images = [draw_slice(rng, arguments.side)[0] for _ in range(arguments.images)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number, image in enumerate(images):
            write_png(root / "images" / f"{number}.png", image)
        knows, plain = make_students(root, arguments.size, images)
        files = [run_export(each, images=[str(root / "images")]) for each in (knows, plain)]
        ours, theirs = (path.stat().st_size for path in files)
        print("| | with trust | without | ratio |\n|---|---|---|---|")
        print(f"| bytes of the ONNX file | {ours:,} | {theirs:,} | {ours / theirs:.4f} |")
        for backend in ("torch", "onnx"):
            turns = []
            for turn in range(arguments.repeats + 1):
                order = (knows, plain) if turn % 2 else (plain, knows)
                took = {
                    each: seconds(each, root / "images", root / "out", backend) for each in order
                }
                turns.append((*took[knows], *took[plain]))
            turns = turns[1:]  # the first warms up
            for place, what in enumerate(("CPU s", "s")):
                ratios = [turn[place] / turn[place + 2] for turn in turns]
                own, other = (
                    statistics.median(turn[at] for turn in turns) for at in (place, place + 2)
                )
                print(
                    f"| predict, {backend}, {what} for {len(images)} images | {own:.2f} | {other:.2f} "
                    f"| {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) |"
                )


if __name__ == "__main__":
    main()
