"""Milliseconds an image and peak memory of a student in PyTorch, ONNX and int8 ONNX, beside the
teacher LiteMedSAM.

Needs a folder of images; a student only where one is named. Takes some minutes.

    python scripts/bench/student.py --images FOLDER [--student RUN/student] [--threads 2]

Everything from the decoded uint8 image to the mask of its size counts, on both sides; the teacher
encodes the image and decodes one box. Each runs in a process of its own, one image at a time.
Without --student the default network is taken as it is before training: that changes no time. `CPU
ms` adds up the threads' work and is what to compare on a machine that others use, too.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CONTENDERS = ("litemedsam", "pytorch", "onnx", "int8")
TITLES = {
    "litemedsam": "LiteMedSAM, PyTorch (encode + one box)",
    "pytorch": "student, PyTorch",
    "onnx": "student, ONNX",
    "int8": "student, ONNX int8",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument(
        "--student",
        type=Path,
        help="directory of a student [default: the default network, untrained]",
    )
    parser.add_argument(
        "--decoder-channels", default="", help="of the untrained network, e.g. 128,64,32,16,16"
    )
    parser.add_argument(
        "--image-size", type=int, default=256, help="frame of the untrained network, px"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument(
        "--repeats", type=int, default=30, help="images timed, after five that warm up"
    )
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        student = Path(folder) / "student"
        make_student(arguments, student)
        agreement = export(student, arguments.images)
        results = {name: measure_apart(name, student) for name in CONTENDERS}
    print_table(results, agreement, arguments)


def make_student(arguments: argparse.Namespace, directory: Path) -> None:
    """Copy the student, or save the default network with untrained decoder."""
    from meddistill.data.frames import Preprocessing
    from meddistill.settings.distill import DistillConfig
    from meddistill.student.student import build_student, load_student, save_student

    if arguments.student:
        given = load_student(arguments.student)
        save_student(directory, given.module, given.preprocessing)
        return
    config = DistillConfig()
    channels = [int(part) for part in arguments.decoder_channels.split(",") if part] or list(
        config.decoder_channels
    )
    module = build_student(
        config.student,
        encoder=config.encoder,
        encoder_weights=config.encoder_weights,
        decoder_channels=channels,
    )
    mean, std = module.preprocessing_mean_std
    save_student(directory, module, Preprocessing(arguments.image_size, mean, std))


def export(student: Path, images: str) -> dict[str, dict[str, float]]:
    """Write student.onnx and student.int8.onnx; returns how each compares with PyTorch."""
    from meddistill.stages.export import run_export

    agreement = {}
    for name, int8 in (("onnx", False), ("int8", True)):
        path = run_export(student, int8=int8, images=[images])
        agreement[name] = json.loads(path.with_name(f"{path.name}.json").read_text())["agreement"]
    return agreement


def measure_apart(name: str, student: Path) -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--only", name, "--student", str(student)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Time one contender on real images, one after the other."""
    from meddistill.data.scans import find_scans, read_scan

    files, _ = find_scans([arguments.images])
    images = [as_rgb(read_scan(path).images[0]) for path in files[: arguments.repeats]]
    segment = contender(arguments.only, arguments.student, arguments.threads)
    for index in range(5):
        segment(images[index % len(images)])
    wall, cpu = [], []
    for index in range(arguments.repeats):
        image = images[index % len(images)]
        started, worked = time.perf_counter(), time.process_time()
        mask = segment(image)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - worked)
        assert mask.shape == image.shape[:2]
    return {
        "median_ms": 1e3 * float(np.median(wall)),
        "fastest_ms": 1e3 * min(wall),
        "cpu_ms": 1e3 * float(np.median(cpu)),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def contender(name: str, student_dir: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an RGB image, uint8 (H, W, 3), to its mask, bool (H, W)."""
    if name in ("onnx", "int8"):
        from meddistill.student.export.onnx_student import OnnxStudent

        file_name = "student.onnx" if name == "onnx" else "student.int8.onnx"
        exported = OnnxStudent(student_dir / file_name, threads=threads)
        return lambda image: exported.predict_probs(image.transpose(2, 0, 1)[None])[0, 0] >= 0.5

    import torch

    torch.set_num_threads(threads)
    if name == "pytorch":
        from meddistill.student.student import load_student

        student = load_student(student_dir)
        return lambda image: student.predict(image).mask > 0

    from meddistill.teachers.loading import load_teacher

    teacher = load_teacher("litemedsam")

    def segment(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        box = np.array([[0.3 * width, 0.3 * height, 0.6 * width, 0.6 * height]], dtype=np.float32)
        logits = teacher.decode(teacher.encode([image]), [box])[0].logits
        return (teacher.to_image(logits, (height, width))[0] >= 0).cpu().numpy()

    return segment


def as_rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def print_table(
    results: dict[str, dict[str, float]],
    agreement: dict[str, dict[str, float]],
    arguments: argparse.Namespace,
) -> None:
    print(
        f"{arguments.threads} thread(s), {platform.machine()}, Python {platform.python_version()}\n"
    )
    print(
        "| | ms an image (median) | fastest | CPU ms | times faster (CPU) | peak MiB | Dice with "
        "PyTorch |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, result in results.items():
        faster = results["litemedsam"]["cpu_ms"] / result["cpu_ms"]
        dice = f"{agreement[name]['dice']:.4f}" if name in agreement else ""
        print(
            f"| {TITLES[name]} | {result['median_ms']:.1f} | {result['fastest_ms']:.1f} | "
            f"{result['cpu_ms']:.1f} "
            f"| {faster:.1f} | {result['peak_mib']:.0f} | {dice} |"
        )
    print(
        f"\nONNX is {results['pytorch']['cpu_ms'] / results['onnx']['cpu_ms']:.2f} times faster "
        "than PyTorch (CPU ms)"
    )


if __name__ == "__main__":
    main()
