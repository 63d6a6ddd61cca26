"""The student: built for training, saved, loaded and asked for masks.

    student = meddistill.load_student("runs/mine/student")
    prediction = student.predict(image)  # uint8 (H, W) or (H, W, 3)
    prediction.mask, prediction.probs

On disk: `config.json` and `model.safetensors` in segmentation-models-pytorch's own format
(`smp.from_pretrained(DIR)` loads an smp network), and `preprocessing.json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from meddistill.base.errors import ConfigError, InputError, first_line, in_one_line
from meddistill.base.files import atomic_path, read_json, write_json
from meddistill.data.context import as_seen
from meddistill.data.findings import as_planes
from meddistill.data.frames import Preprocessing, from_frame, preprocess
from meddistill.data.grid import Spacing
from meddistill.data.tiles import see_in_tiles
from meddistill.run.layout import CONFIG_JSON, MODEL_SAFETENSORS, PREPROCESSING_JSON, TRUST_JSON
from meddistill.student.networks.known_networks import build_network, network_of_config
from meddistill.student.networks.student_network import NetworkOptions, StudentNetwork
from meddistill.student.preprocessing_file import read_preprocessing, write_preprocessing
from meddistill.student.trust.reading import Reading, Seen, check_finite
from meddistill.student.trust.readout import Readout, as_readings, check_fits
from meddistill.student.trust.trust import Trust, load_trust, remove_trust


@dataclasses.dataclass(frozen=True)
class Prediction:
    """`mask`: uint8 (H, W), 0 or 255. `probs`: float32 (H, W) in [0, 1], lesion probability, the
    image's own size. Of a student of several findings `probs` is (C, H, W), and `mask` holds the
    place of a pixel's finding from 1, 0 for none (a bit each where findings may overlap).

    `probs` are calibrated where the student knows how (`trust`); the mask is the same either way.
    `reading`: what it says of its own answer; None where it knows nothing of itself."""

    mask: np.ndarray
    probs: np.ndarray
    reading: Reading | None = None


class Student:
    """A trained network with its preprocessing: images in, probabilities and masks of the same size
    out."""

    def __init__(
        self,
        module: StudentNetwork,
        preprocessing: Preprocessing,
        device: torch.device | str = "cpu",
        trust: Trust | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.module = module.to(self.device).eval()
        self.preprocessing = preprocessing
        self.trust = trust
        self._readout = None
        if trust is not None:
            self._readout = Readout(trust, preprocessing.cuts).to(self.device).eval()

    def predict(self, image: np.ndarray, spacing_hw_mm: Spacing | None = None) -> Prediction:
        """Segment one image: uint8 (H, W) or (H, W, 3) RGB of any size; of a student that sees
        neighbours each is the image itself, unless (H, W, 2 context + 1) has them as channels.

        `spacing_hw_mm`: (row, column) size of a pixel, which a student with a `preprocessing.grid`
        needs and others leave unread. The mask holds the pixels whose probability, at the image's own
        size, reaches `preprocessing.threshold`. Raises: ValueError for another shape or dtype, or a
        spacing that is missing; InputError for one that cannot be meant.
        """
        grid = self.preprocessing.grid
        if grid is None:
            (seen,) = self.look([image])
            return dataclasses.replace(self.as_prediction(seen.probs), reading=seen.reading)
        if spacing_hw_mm is None:
            raise ValueError(
                f"this student sees pixels of {grid.spacing_mm:g} mm: pass spacing_hw_mm=(row, column), "
                "the size of the image's pixels in mm"
            )
        (seen,) = self.look([grid.put(image, spacing_hw_mm)])
        probs = grid.back(seen.probs, (image.shape[0], image.shape[1]), spacing_hw_mm)
        return dataclasses.replace(self.as_prediction(probs), reading=seen.reading)

    def as_prediction(self, probs: np.ndarray) -> Prediction:
        """Threshold probabilities (H, W) or (C, H, W) of `predict_probs` as `predict` does."""
        findings = self.preprocessing.findings
        masks = findings.masks(as_planes(probs), self.preprocessing.cuts)
        return Prediction(mask=findings.encode(masks), probs=self.calibrated(probs))

    def calibrated(self, probs: np.ndarray) -> np.ndarray:
        """What probabilities (H, W) or (C, H, W) of `predict_probs` mean, of the same shape; as they
        are where nobody fitted it."""
        return probs if self.trust is None else self.trust.calibrated(probs)

    def predict_probs(self, images: Sequence[np.ndarray], batch_size: int = 16) -> list[np.ndarray]:
        """Lesion probability of each image, float32 (H, W) in [0, 1] at its own size, of several
        findings (C, H, W); no image gives no result. As the network gives it: masks are cut from
        it, `calibrated` says what it means.

        Images are as `predict` takes them (see `data.context.with_neighbours` for slices of a
        volume), and may differ in size: each is brought to the frame alone (or cut into tiles),
        frames go through the network `batch_size` at a time. The result does not depend on the
        batch. Of a student with a `preprocessing.grid` they lie on it already (`Grid.put`). Raises:
        ValueError for another shape or dtype.

        The one place where images become frames to predict (an exported student has its own copy of
        these steps, in `export/`).
        """
        if self.preprocessing.tiled:
            return [seen.probs for seen in self.look(images, batch_size)]
        return [seen.probs for seen in self._look(images, batch_size, None)]

    def look(self, images: Sequence[np.ndarray], batch_size: int = 16) -> list[Seen]:
        """As `predict_probs`, and what the student says of each answer, out of the same pass; of
        one that it saw in tiles nothing."""
        if not self.preprocessing.tiled:
            return self._look(images, batch_size, self._readout)
        seen = [as_input(image, self.preprocessing.context) for image in images]
        return [Seen(self._in_tiles(image, batch_size), None) for image in seen]

    def _in_tiles(self, image: np.ndarray, batch_size: int) -> np.ndarray:
        def see(tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [as_planes(seen.probs) for seen in self._look(tiles, batch_size, None)]

        probs = see_in_tiles(image, self.preprocessing.image_size, see, batch_size)
        return probs[0] if self.preprocessing.findings.is_one else probs

    @torch.inference_mode()
    def _look(
        self, images: Sequence[np.ndarray], batch_size: int, readout: Readout | None
    ) -> list[Seen]:
        results: list[Seen] = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            frames = torch.cat(
                [preprocess(self._as_tensor(image), self.preprocessing) for image in batch]
            )
            readings: Sequence[Reading | None] = [None] * len(batch)
            if readout is None:
                logits = self.module(frames)
            else:
                logits, maps = self.module.forward_with_features(frames)
                assert self.trust is not None
                readings = as_readings(readout(logits, maps), self.trust)
            for image, frame, reading in zip(batch, torch.sigmoid(logits), readings, strict=True):
                height, width = image.shape[:2]
                probs = from_frame(frame[None], (height, width))[0].cpu().numpy()
                probs = probs[0] if self.preprocessing.findings.is_one else probs
                results.append(Seen(probs, reading))
            check_finite([seen.probs for seen in results[start:]])
        return results

    def _as_tensor(self, image: np.ndarray) -> torch.Tensor:
        context = self.preprocessing.context
        return input_tensor(image, context).to(self.device)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """A uint8 image (H, W) or (H, W, 3) as (H, W, 3); grey is repeated.

    Raises: ValueError for another shape or dtype, or an image without pixels.
    """
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
    ):
        raise ValueError(
            f"expected a uint8 image (H, W) or (H, W, 3), got {image.dtype} {image.shape}"
        )
    if image.size == 0:
        raise ValueError(f"expected an image with pixels, got shape {image.shape}")
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def input_tensor(image: np.ndarray, context: int) -> torch.Tensor:
    """An image as a student with `context` takes it, (1, C, H, W) uint8. Raises: as `as_rgb`."""
    return torch.from_numpy(np.ascontiguousarray(as_input(image, context).transpose(2, 0, 1)))[None]


def as_input(image: np.ndarray, context: int) -> np.ndarray:
    """An image as a student with `context` takes it, uint8 (H, W, C). Raises: as `as_rgb`."""
    if not context:
        return as_rgb(image)
    seen = as_seen(image, context) if image.ndim in (2, 3) else image
    if seen.dtype != np.uint8 or seen.ndim != 3 or seen.size == 0:
        raise ValueError(f"expected a uint8 image with pixels, got {image.dtype} {image.shape}")
    return seen


def build_student(
    name: str,
    *,
    encoder: str,
    encoder_weights: str,
    decoder_channels: Sequence[int] = (),
    findings: int = 1,
    in_channels: int = 3,
) -> StudentNetwork:
    """A student to train: `nested_unet` (the paper's) or an architecture of segmentation-models-
    pytorch.

    `nested_unet` has no encoder to start from: it takes neither encoder nor weights.
    `decoder_channels`: widths of an smp decoder, coarse to fine; empty: 128, 64, 32, 16, 16 for
    UNet++, else smp's own. Random weights follow torch's global seed. Raises: ConfigError,
    WeightsError.

    Args:
        name: the network.
        encoder: of a segmentation-models-pytorch network.
        encoder_weights: `imagenet` (looked for locally, then once on the hub; random with a
            warning where there are none), `none`, or a file.
        decoder_channels: widths, as above.
        findings: how many it tells apart, a channel each.
        in_channels: of what it sees: colours, or slices.
    """
    options = NetworkOptions(encoder, encoder_weights, decoder_channels, findings, in_channels)
    return build_network(name, options)


def save_student(directory: Path, module: StudentNetwork, preprocessing: Preprocessing) -> None:
    """Write config.json, model.safetensors and preprocessing.json; each whole or not at all, other
    files untouched."""
    remove_trust(directory)  # it is of the weights that were there
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.saved_state().items()
    }
    with atomic_path(directory / MODEL_SAFETENSORS) as temporary:
        safetensors.torch.save_file(state, temporary, metadata={"format": "pt"})
    write_json(directory / CONFIG_JSON, module.saved_config())
    write_preprocessing(directory / PREPROCESSING_JSON, preprocessing)


def load_student(directory: Path | str, device: torch.device | str = "cpu") -> Student:
    """The student that `save_student` wrote, ready to predict, with what it knows of itself.
    `device` may be `auto`.

    Raises: InputError naming the file where the directory is not a student, or what it knows of
    itself is of another one.
    """
    directory = Path(directory)
    plain = load_network(directory, device)
    trust = load_trust(directory)
    if trust is None:
        return plain
    features = sum(plain.module.feature_channels)
    check_fits(trust, features, plain.module.findings, str(directory / TRUST_JSON))
    return Student(plain.module, plain.preprocessing, plain.device, trust)


def load_network(directory: Path, device: torch.device | str = "cpu") -> Student:
    """The student alone, whatever lies beside it of what it knows of itself. Raises: as
    `load_student`."""
    for name in (CONFIG_JSON, MODEL_SAFETENSORS, PREPROCESSING_JSON):
        if not (directory / name).is_file():
            raise InputError(
                f"{directory} is not a student: it has no {name}{_where_it_may_be(directory)}"
            )
    preprocessing = read_preprocessing(directory / PREPROCESSING_JSON)
    config = read_json(directory / CONFIG_JSON)
    try:
        # Sizes first, without memory: a config may ask for a network of any size.
        with torch.device("meta"):
            wanted = sum(
                tensor.numel() for tensor in network_of_config(config).saved_state().values()
            )
        held = (directory / MODEL_SAFETENSORS).stat().st_size
        if wanted > held:
            what = f"it has {held:,} bytes for {wanted:,} numbers"
            raise InputError(f"{directory / MODEL_SAFETENSORS} does not fit {CONFIG_JSON}: {what}")
        module = network_of_config(config)
        if module.findings != len(preprocessing.findings):
            raise ConfigError(
                f"it has {module.findings} channels for the findings "
                f"{', '.join(preprocessing.findings.names)} of {PREPROCESSING_JSON}"
            )
        if module.in_channels != preprocessing.channels:
            raise ConfigError(
                f"it takes {module.in_channels} channels, {PREPROCESSING_JSON} gives "
                f"{preprocessing.channels}"
            )
    except (ConfigError, TypeError, ValueError, OverflowError, IndexError, RuntimeError) as error:
        raise InputError(
            f"{directory / CONFIG_JSON} describes no student network: {error}"
        ) from error
    try:
        module.load_saved_state(safetensors.torch.load_file(directory / MODEL_SAFETENSORS))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(
            f"{directory / MODEL_SAFETENSORS} does not fit {CONFIG_JSON}: {in_one_line(error)}"
        ) from error
    module.weights_source = str(directory)
    return Student(module, preprocessing, torch_device(device))


def torch_device(name: torch.device | str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises: ConfigError for a device that this
    machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device '{name}' cannot be used: {first_line(error)}; use cpu or auto"
        ) from error
    return device


def _where_it_may_be(directory: Path) -> str:
    nested = directory / "student"
    return (
        f"; did you mean {nested}?"
        if (nested / CONFIG_JSON).is_file()
        else "; `meddistill distill` makes one"
    )
