"""A student to go on from instead of random weights: found, checked against what is asked for now,
and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.hashing import fingerprint_source, hash_files
from meddistill.data.findings import Findings
from meddistill.run.layout import CONFIG_JSON, MODEL_SAFETENSORS, RunDir
from meddistill.settings.distill import DistillConfig
from meddistill.student.student import build_student, load_student
from meddistill.training.fitting import Learned


def find_start(given: Path, out: Path) -> Path:
    """The student's directory that `given` means: itself, or the `student/` of a RUN.

    `out`: where the new student goes. Raises: InputError where there is no student; ConfigError
    where it lies in `out`, which is about to be written.
    """
    for directory in (given, RunDir(given).student):
        if (directory / MODEL_SAFETENSORS).is_file():
            break
    else:
        raise InputError(
            f"--from {given} is neither a student nor a RUN with one (no "
            f"{MODEL_SAFETENSORS}); give the directory of a finished student"
        )
    if directory.resolve() == out.resolve():
        raise ConfigError(
            f"--from {given} is where the new student goes; keep the old one and give "
            f"another place, for example --out {out.with_name(out.name + '-2')}"
        )
    return directory


def fingerprint_start(directory: Path) -> str:
    """Of the weights that training starts from."""
    files = [directory / name for name in (CONFIG_JSON, MODEL_SAFETENSORS)]
    return fingerprint_source(hash_files(files, directory), directory)


def load_start(directory: Path, config: DistillConfig, findings: Findings) -> Learned:
    """The student in `directory`, to be trained further as `config` says.

    Raises: as `load_student`; ConfigError where it is another network, sees frames of another size
    than `config` asks for, or tells other findings apart than the data have.
    """
    student = load_student(directory)
    given = config.warm_start  # maybe a RUN, where `directory` is the student in it
    module, size = student.module, student.preprocessing.image_size
    wanted = build_student(
        config.student,
        encoder=config.encoder,
        encoder_weights="none",
        decoder_channels=config.decoder_channels,
        findings=len(findings),
        in_channels=2 * config.context + 1 if config.context else 3,
    )
    theirs = student.preprocessing.findings
    if theirs.names != findings.names:
        raise ConfigError(
            f"--from {given} knows {', '.join(theirs.names)}, the data have "
            f"{', '.join(findings.names)}; go on from a student of the same findings"
        )
    same = _shapes(module) == _shapes(wanted)
    same = same and student.preprocessing.context == config.context
    if not same or size != config.image_size:
        raise ConfigError(
            f"--from {given} is {_described(module, student.preprocessing.context)} at "
            f"{size} px, this training is to make {_described(wanted, config.context)} at "
            f"{config.image_size} px; give both the same student, encoder, decoder_channels, context "
            "and image_size"
        )
    # What it was trained with, whatever weights an encoder of that name has now.
    module.preprocessing_mean_std = (student.preprocessing.mean, student.preprocessing.std)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Learned(student, best_epoch=0, epochs=0, agreement=None, parameters=parameters)


def _shapes(module: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.saved_state().items()}


def _described(module: Any, context: int) -> str:
    told = module.saved_config()
    parts = [told.get(key) for key in ("_model_class", "encoder_name")]
    if channels := told.get("decoder_channels"):
        parts.append(f"with decoder {'-'.join(map(str, channels))}")
    if context:
        parts.append(f"of {context} neighbours on each side")
    return " ".join(str(part) for part in parts if part)
