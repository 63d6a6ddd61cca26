"""Settings of `meddistill distill`: each field with its unit, default and effect."""

from __future__ import annotations

import dataclasses
from typing import Optional

from meddistill.base.errors import ConfigError
from meddistill.settings.checks import check_above_zero, check_at_least, check_choice, check_range
from meddistill.settings.targets import TargetsConfig

# OmegaConf reads annotations at run time and knows Optional[float], not every spelling of `float |
# None`.
# ruff: noqa: UP045


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Settings of `meddistill distill`."""

    teacher: str = "sam2.1-large"
    """Foundation model that turns boxes into masks; `meddistill teachers` lists them."""
    teacher_checkpoint: str = ""
    """File with the teacher's weights; empty = the cache, then a download."""
    boxes: str = "annotated"
    """Which boxes prompt the teacher: `annotated` (else the detector's), `detected` or `both`."""
    boxes_file: str = ""
    """Table of detected boxes (boxes.csv) to use instead of RUN/detector/boxes.csv."""
    no_box: str = "skip"
    """A training case without any box: `skip` it, or train it as `empty` (no box means no lesion).
    """
    targets: TargetsConfig = dataclasses.field(default_factory=TargetsConfig)
    """How the teacher's soft masks are made."""
    test_targets: bool = True
    """Also ask the teacher for masks of the test cases, `eval`'s baseline; false saves that time.
    """
    student: str = "unetplusplus"
    """Network: `nested_unet` (the paper's) or an architecture of segmentation-models-pytorch."""
    encoder: str = "tu-tf_efficientnet_lite0"
    """Encoder of a segmentation-models-pytorch network."""
    encoder_weights: str = "imagenet"
    """Encoder's start: `imagenet`, `none`, or a file."""
    decoder_channels: list[int] = dataclasses.field(default_factory=list)
    """Widths of an smp decoder, coarse to fine; empty = 128, 64, 32, 16, 16 for UNet++ (4.7 GFLOP
    at 256 px with the default encoder, where smp's own 256, 128, 64, 32, 16 costs 8.1 and segments
    no better), else smp's own."""
    deep_supervision: bool = False
    """Judge the ends of the shallower networks inside `nested_unet` by the mask-level loss, too."""
    image_size: int = 256
    """Side of the student's square frame, px; a multiple of 32."""
    epochs: int = 30
    """Passes over the training cases."""
    batch_size: int = 8
    """Images an optimiser step."""
    accumulate: int = 1
    """Forward passes that an optimiser step is cut into, where memory is short."""
    optimizer: str = "adamw"
    """`adamw` or `adam`."""
    lr: float = 5e-4
    """Step size at the start of the decay."""
    lr_schedule: str = "cosine"
    """`cosine`: after the warm-up half a cosine down to 1 %; `constant`: no decay, as published."""
    weight_decay: float = 1e-4
    """AdamW's weight decay."""
    warmup_share: float = 0.05
    """Share of all steps in which the step size rises linearly."""
    augment: bool = True
    """Flips, affine warps and intensity changes."""
    hard_targets: bool = False
    """Learn the teacher's masks (probability of at least 0.5) instead of its probabilities."""
    mask_loss: str = "bce"
    """`bce`, or `gce`: generalised cross-entropy, which gives up on targets that it cannot fit."""
    gce_q: float = 0.7
    """Exponent of `gce` in (0, 1]: near 0 it is cross-entropy, at 1 the absolute error."""
    mask_weight: float = 1.0
    """Weight of the mask-level loss (cross-entropy + soft Dice)."""
    dice_weight: float = 1.0
    """Share of soft Dice inside the mask-level loss, beside 1 for cross-entropy; 0 = that alone, as
    published."""
    confidence_gamma: float = 0.0
    """How sharply unsure pixels are silenced: confidence (1 - 4u)^gamma; 0 trusts every pixel. 1
    changed nothing that could be measured."""
    probability_weight: float = 0.1
    """Weight of the squared error of probabilities."""
    feature_weight: float = 0.1
    """Weight of the feature-level loss; 0 turns features off."""
    feature_loss: str = "cosine"
    """`cosine`, or `mse` to the normalised features."""
    feature_levels: list[str] = dataclasses.field(default_factory=lambda: ["embedding"])
    """The teacher's feature maps that are cached and distilled."""
    feature_share: float = 0.25
    """Share of each batch drawn as the cached view, on which alone the feature loss and box priors
    are defined."""
    prior_weight: float = 0.0
    """Weight of the box priors of annotated boxes: nothing outside, every row and column inside
    touched; 0 is off."""
    weighting: str = "fixed"
    """Balance of the losses: `fixed`, `paper` (the published ULWR), `learned` (log-variances) or
    `ulwr` (by doubt)."""
    ema_decay: float = 0.99
    """Decay of the moving average of the weights; 0 keeps the raw weights."""
    rounds: int = 1
    """Rounds of `epochs` each; after a round the student's masks prompt the teacher where no
    annotated box does."""
    patience: int = 0
    """Epochs without a better agreement on validation before training stops; 0 never stops early.
    """
    threshold: Optional[float] = 0.5
    """Probability from which a pixel is lesion; empty = chosen by agreement with the teacher on
    validation cases."""
    picture_every: int = 5
    """Epochs between two pictures of a few validation cases in the TensorBoard log, beside the last
    epoch's; 0 draws none. Does not change the result."""
    precision: str = "auto"
    """Of teacher and student: `32-true`, `bf16-mixed`, or `auto`: bf16 where the processor has it,
    else 32 bit. Targets that are there are kept, whatever precision made them."""

    def __post_init__(self) -> None:
        check_choice(self, "boxes", ("annotated", "detected", "both"))
        check_choice(self, "no_box", ("skip", "empty"))
        check_choice(self, "optimizer", ("adamw", "adam"))
        check_choice(self, "lr_schedule", ("cosine", "constant"))
        check_choice(self, "weighting", ("fixed", "paper", "learned", "ulwr"))
        check_choice(self, "mask_loss", ("bce", "gce"))
        check_choice(self, "feature_loss", ("cosine", "mse"))
        check_choice(self, "precision", ("auto", "32-true", "bf16-mixed"))
        check_range(self, 0.01, 1.0, "gce_q")
        check_range(self, 0.0, 0.99999, "ema_decay")
        check_range(self, 0.0, 1.0, "feature_share", "warmup_share", "threshold")
        check_at_least(
            self,
            0.0,
            "mask_weight",
            "dice_weight",
            "probability_weight",
            "feature_weight",
            "prior_weight",
        )
        check_at_least(self, 0.0, "confidence_gamma", "patience", "weight_decay", "picture_every")
        check_at_least(self, 1, "epochs", "batch_size", "accumulate", "rounds")
        check_at_least(self, 32, "image_size")
        check_above_zero(self, "lr")
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
