"""Settings of `meddistill distill`: each field with its unit, default and effect."""

from __future__ import annotations

import dataclasses
from typing import Optional

from meddistill.base.errors import ConfigError
from meddistill.settings.checks import (
    LARGEST_FRAME,
    check_at_least,
    check_choice,
    check_numbers,
    check_range,
    check_step,
)
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.flips import FLIPS
from meddistill.settings.presets import PRESETS
from meddistill.settings.roles import (
    BASELINE,
    CHOICE,
    CONTENT,
    FEATURES,
    NOTHING,
    STUDENT,
    SWITCH,
    TARGETS,
    setting,
)
from meddistill.settings.targets import TargetsConfig

# OmegaConf reads annotations at run time and knows Optional[float], not every spelling of `float |
# None`.
# ruff: noqa: UP045


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Settings of `meddistill distill`."""

    teacher: str = setting("sam2.1-large", TARGETS)
    """Foundation model that turns boxes into masks; `meddistill teachers` lists them."""
    teacher_checkpoint: str = setting("", TARGETS)
    """File with the teacher's weights; empty = the cache, then a download."""
    boxes: str = setting("annotated", TARGETS)
    """Which boxes prompt the teacher: `annotated` (else the detector's), `detected` or `both`."""
    boxes_file: str = setting("", CONTENT)
    """Table of detected boxes (boxes.csv) to use instead of RUN/detector/boxes.csv."""
    no_box: str = setting("skip", CHOICE)
    """A training case without any box: `skip` it, or train it as `empty` (no box means no lesion).
    """
    empty_slices: float = setting(0.1, CHOICE, before=1.0)
    """Seeded share of a volume's training slices without a finding that is drawn for training;
    validation and test have them all."""
    targets: TargetsConfig = dataclasses.field(default_factory=TargetsConfig)
    """How the teacher's soft masks are made."""
    colearning: ColearningConfig = dataclasses.field(default_factory=ColearningConfig)
    """How training images without a box are used."""
    test_targets: bool = setting(True, BASELINE)
    """Also ask the teacher for masks of the test cases, `eval`'s baseline; false saves that time.
    """
    size: str = setting("standard", NOTHING)
    """Preset of student and training, over which all that you set stands: `small`, for two CPU
    cores; `standard`, the defaults; `best`, a larger encoder and frame, and longer."""
    student: str = setting("unetplusplus", STUDENT)
    """Network: `nested_unet` (the paper's) or an architecture of segmentation-models-pytorch."""
    encoder: str = setting("tu-tf_efficientnet_lite0", STUDENT)
    """Encoder of a segmentation-models-pytorch network."""
    warm_start: str = setting("", CONTENT, before="")
    """A student, or a RUN with one, to go on from: its weights, and what its teacher was asked; empty
    = from nothing. The network and `image_size` must be the same."""
    encoder_weights: str = setting("imagenet", STUDENT)
    """Encoder's start: `imagenet`, `none`, or a file."""
    decoder_channels: list[int] = setting([], STUDENT)
    """Widths of an smp decoder, coarse to fine; empty = 128, 64, 32, 16, 16 for UNet++ (4.7 GFLOP
    at 256 px with the default encoder, where smp's own 256, 128, 64, 32, 16 costs 8.1 and segments
    no better), else smp's own."""
    deep_supervision: bool = setting(False, STUDENT)
    """Judge the ends of the shallower networks inside `nested_unet` by the mask-level loss, too."""
    image_size: int = setting(256, TARGETS)
    """Side of the student's square frame, px; a multiple of 32."""
    context: int = setting(0, STUDENT, before=0)
    """Neighbours on each side of a slice that the student sees as further channels, all grey; 0: the
    slice alone, in colour. At a volume's border the last slice repeats."""
    tiles: str = setting("auto", TARGETS, before="never")
    """`always`: the frame is a tile of the image at its own resolution, at training and at
    prediction; `never`: it holds the whole image; `auto`: tiles where the median box would be
    smaller than 6 px in the frame of the whole image."""
    epochs: int = setting(30, STUDENT)
    """Passes over the training cases."""
    batch_size: int = setting(8, STUDENT)
    """Images an optimiser step."""
    accumulate: int = setting(1, STUDENT)
    """Forward passes that an optimiser step is cut into, where memory is short."""
    optimizer: str = setting("adamw", STUDENT)
    """`adamw` or `adam`."""
    lr: float = setting(5e-4, STUDENT)
    """Step size at the start of the decay."""
    lr_schedule: str = setting("cosine", STUDENT)
    """`cosine`: after the warm-up half a cosine down to 1 %; `constant`: no decay, as published."""
    weight_decay: float = setting(1e-4, STUDENT)
    """AdamW's weight decay."""
    warmup_share: float = setting(0.05, STUDENT)
    """Share of all steps in which the step size rises linearly."""
    augment: bool = setting(True, STUDENT)
    """Flips, affine warps and intensity changes."""
    flips: str = setting("auto", STUDENT, before="auto")
    """Mirror images that training sees: `both` axes, `left-right`, `top-bottom`, `none`, or `auto`:
    both, but none that would exchange the sides that names of findings say (left, anterior)."""
    hard_targets: bool = setting(False, STUDENT)
    """Learn the teacher's masks (probability of at least 0.5) instead of its probabilities."""
    mask_loss: str = setting("bce", STUDENT)
    """`bce`, or `gce`: generalised cross-entropy, which gives up on targets that it cannot fit."""
    gce_q: float = setting(0.7, STUDENT)
    """Exponent of `gce` in (0, 1]: near 0 it is cross-entropy, at 1 the absolute error."""
    mask_weight: float = setting(1.0, STUDENT)
    """Weight of the mask-level loss (cross-entropy + soft Dice)."""
    dice_weight: float = setting(1.0, STUDENT)
    """Share of soft Dice inside the mask-level loss, beside 1 for cross-entropy; 0 = that alone, as
    published."""
    confidence_gamma: float = setting(0.0, STUDENT)
    """How sharply unsure pixels are silenced: confidence (1 - 4u)^gamma; 0 trusts every pixel. 1
    changed nothing that could be measured where all images are boxed, and did harm with few boxes."""
    probability_weight: float = setting(0.1, STUDENT)
    """Weight of the squared error of probabilities."""
    feature_weight: float = setting(0.1, SWITCH)
    """Weight of the feature-level loss; 0 turns features off."""
    feature_loss: str = setting("cosine", STUDENT)
    """`cosine`, or `mse` to the normalised features."""
    feature_levels: list[str] = setting(["embedding"], FEATURES)
    """The teacher's feature maps that are cached and distilled."""
    feature_share: float = setting(0.25, SWITCH)
    """Share of each batch drawn as the cached view, on which alone the feature loss and box priors
    are defined."""
    prior_weight: float = setting(0.0, STUDENT)
    """Weight of the box priors of annotated boxes: nothing outside, every row and column inside
    touched; 0 is off."""
    weighting: str = setting("fixed", STUDENT)
    """Balance of the losses: `fixed`, `paper` (the published ULWR), `learned` (log-variances) or
    `ulwr` (by doubt)."""
    ema_decay: float = setting(0.99, STUDENT)
    """Decay of the moving average of the weights; 0 keeps the raw weights."""
    rounds: int = setting(1, SWITCH)
    """Rounds of `epochs` each; after a round the student's masks prompt the teacher where no
    annotated box does."""
    keep: str = setting("best", STUDENT, before="best")
    """Epoch whose student is kept: `best`, that which agrees best with the teacher on validation
    cases, or `last`, for long training where those are few."""
    patience: int = setting(0, STUDENT)
    """Epochs without a better agreement on validation before training stops; 0 never stops early.
    """
    threshold: Optional[float] = setting(0.5, STUDENT)
    """Probability from which a pixel is lesion; empty = chosen by agreement with the teacher on
    validation cases."""
    picture_every: int = setting(5, NOTHING)
    """Epochs between two pictures of a few validation cases in the TensorBoard log, beside the last
    epoch's; 0 draws none. Does not change the result."""
    precision: str = setting("auto", STUDENT)
    """Of teacher and student: `32-true`, `bf16-mixed`, or `auto`: bf16 where the processor is
    faster in it, else 32 bit. Targets that are there are kept, whatever precision made them."""

    @property
    def kept_levels(self) -> list[str]:
        """The teacher's feature maps that are cached: none where no loss asks for them."""
        return list(self.feature_levels) if self.feature_weight and self.feature_share else []

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice(self, "size", tuple(PRESETS))
        check_choice(self, "boxes", ("annotated", "detected", "both"))
        check_choice(self, "no_box", ("skip", "empty"))
        check_choice(self, "tiles", ("auto", "always", "never"))
        check_choice(self, "keep", ("best", "last"))
        check_choice(self, "optimizer", ("adamw", "adam"))
        check_choice(self, "lr_schedule", ("cosine", "constant"))
        check_choice(self, "weighting", ("fixed", "paper", "learned", "ulwr"))
        check_choice(self, "mask_loss", ("bce", "gce"))
        check_choice(self, "feature_loss", ("cosine", "mse"))
        check_choice(self, "flips", FLIPS)
        check_choice(self, "precision", ("auto", "32-true", "bf16-mixed"))
        check_range(self, 0.01, 1.0, "gce_q")
        check_range(self, 0.0, 0.99999, "ema_decay")
        check_range(
            self,
            0.0,
            1.0,
            "feature_share",
            "warmup_share",
            "threshold",
            "empty_slices",
            "weight_decay",
        )
        check_at_least(
            self,
            0.0,
            "mask_weight",
            "dice_weight",
            "probability_weight",
            "feature_weight",
            "prior_weight",
        )
        check_at_least(self, 0.0, "confidence_gamma", "patience", "picture_every")
        check_at_least(self, 1, "epochs", "batch_size", "accumulate", "rounds")
        check_range(self, 32, LARGEST_FRAME, "image_size")
        check_range(self, 0, 7, "context")
        check_step(self, "lr")
        self._check_network()
        self._check_goes_together()

    def _check_network(self) -> None:
        if self.image_size % 32:
            raise ConfigError(
                "image_size must be a multiple of 32 (the encoders halve five times), got "
                f"{self.image_size}"
            )
        if self.deep_supervision and self.student != "nested_unet":
            raise ConfigError(
                f"deep_supervision goes with student=nested_unet, not with '{self.student}'"
            )
        if any(width < 1 for width in self.decoder_channels):
            raise ConfigError(
                f"decoder_channels must be positive, got {list(self.decoder_channels)}"
            )

    def _check_goes_together(self) -> None:
        if self.patience and self.keep == "last":
            raise ConfigError(
                "patience stops training at the best epoch, and keep=last keeps no other than the "
                "last; set patience=0 or keep=best"
            )
        if not (self.mask_weight or self.probability_weight or self.prior_weight):
            raise ConfigError(
                "mask_weight, probability_weight and prior_weight are all 0: nothing would teach the "
                "student a mask; set one above 0"
            )
        grid, levels = self.targets.feature_grid, len(self.kept_levels)
        least = 2 * grid * grid * levels  # a channel of each level, two bytes a number
        if self.targets.feature_bytes < least:
            raise ConfigError(
                f"targets.feature_bytes must be at least {least} for {levels} of feature_levels on "
                f"a grid of {grid}, got {self.targets.feature_bytes}; raise it, or lower "
                "targets.feature_grid"
            )
