"""Settings: one frozen dataclass a stage, each field with its unit, default and effect.

Defaults live here alone; `config_layers` lays a YAML file, typed flags and `--set` over them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from meddistill.base.errors import ConfigError
from meddistill.settings.checks import check_above_zero, check_at_least, check_choice, check_range

# OmegaConf reads annotations at run time and knows Optional[float], not every spelling of `float | None`.
# ruff: noqa: UP045


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """Settings of `meddistill prepare`."""

    source: str = ""
    """Folder of the images (and masks or boxes), relative to where the command is typed."""
    dataset: str = "auto"
    """Layout of the source, or `auto` to recognise it."""
    classes: list[str] = dataclasses.field(default_factory=list)
    """Classes to keep; empty keeps all."""
    groups: str = ""
    """CSV `id,group` (or `series`, `patient`) and other columns such as `fold`; empty = what the layout knows."""
    boxes: str = ""
    """CSV of boxes (`image,x1,y1,x2,y2` px, half-open) for a source without masks; empty = from masks."""
    test: str = ""
    """Which groups are the test split, as COLUMN=VALUE[,VALUE] of the groups file; empty = a seeded share."""
    val: str = ""
    """Which groups are the validation split, likewise."""
    test_fraction: float = 0.2
    """Share of the cases whose groups go to test where `test` is empty."""
    val_fraction: float = 0.15
    """Share of the remaining cases whose groups go to validation where `val` is empty."""
    stratify: str = "class+size"
    """What drawn splits are balanced by: `class+size` (thirds of lesion size), `class`, or `none`."""
    max_train_cases: int = 0
    """Most training cases: whole groups in a seeded order, the last one cut short; 0 keeps all."""
    max_val_cases: int = 0
    """Most validation cases, likewise."""
    max_test_cases: int = 0
    """Most test cases, likewise."""
    box_fraction: float = 1.0
    """Share of the training groups that keep their boxes; the rest is marked `unknown`."""
    folds: int = 0
    """Number of folds of a cross-validation, drawn by group; 0 = none. Fold `fold` is the test split then."""
    fold: int = 0
    """Which of `folds` is the test split, counted from 0."""
    group_from: str = ""
    """Regular expression on a case's path; what it finds is the group. `folder`: the folder's name is."""
    min_area_px: int = 10
    """Smallest connected component of a mask that becomes a box, in pixels."""
    merge_distance_px: float = 0.0
    """Boxes at most this far apart become one, in pixels; 0 merges none."""
    boxes_per: str = "component"
    """One box per `component` of a mask (or as drawn), or one per `case` around all of them."""
    label: str = ""
    """Which mask values (1,4) or colours (#ff0000) are lesion; `any` = all but 0; empty = a black and white mask."""
    intensity: str = "auto"
    """To 8 bits: `auto` (8-bit as is, the file's window, else percentiles 0.5-99.5), `percentile` or `full` range."""
    window: str = ""
    """CENTER,WIDTH of the values to show, for images of any depth; empty = as `intensity` says."""
    intensity_per: str = "volume"
    """A slice is stretched by the percentiles of its `volume`, or by its own (`image`)."""
    axis: int = 2
    """Volumes are cut across this axis: 0 sagittal, 1 coronal, 2 axial slices."""
    channel: str = ""
    """Modality (t1ce) or channel number of volumes that have several."""
    empty_slices: float = 0.1
    """Seeded share of the slices without lesion that is kept, of volumes with masks."""
    duplicate_bits: int = 24
    """Images of different splits whose perceptual hashes differ in at most this many of 512 bits are reported."""
    strict: bool = False
    """Stop at an image that is rejected or has a near-duplicate in another split, instead of listing it."""
    workers: int = 0
    """Processes that read images; 0 = one a core, at most 8. Does not change the result."""

    def __post_init__(self) -> None:
        check_range(self, 0.0, 1.0, "box_fraction", "empty_slices")
        check_range(self, 0.0, 0.95, "test_fraction", "val_fraction")
        check_range(self, 0, 2, "axis")
        check_range(self, 0, 512, "duplicate_bits")
        check_at_least(self, 0, "max_train_cases", "max_val_cases", "max_test_cases", "workers", "merge_distance_px")
        check_at_least(self, 1, "min_area_px")
        check_choice(self, "stratify", ("class+size", "class", "none"))
        check_choice(self, "boxes_per", ("component", "case"))
        check_choice(self, "intensity", ("auto", "percentile", "full"))
        check_choice(self, "intensity_per", ("volume", "image"))
        if self.folds or self.fold:
            check_at_least(self, 2, "folds")
            check_range(self, 0, self.folds - 1, "fold")
            if self.test:
                raise ConfigError("folds and test both name the test split; give one of them")


@dataclasses.dataclass(frozen=True)
class DetectConfig:
    """Settings of `meddistill detect`."""

    weights: str = "yolo11n.pt"
    """Detector to start from: a .pt file, or an official name that is looked for locally, then downloaded once."""
    train: bool = True
    """Train it; false takes a pretrained detector as it is."""
    epochs: int = 60
    """Passes over the annotated training cases."""
    patience: int = 20
    """Epochs without a better validation score before training stops."""
    image_size: int = 256
    """Side of the detector's square input, px."""
    batch_size: int = 16
    """Images a training step."""
    lr: float = 1e-3
    """AdamW step size at the start of the cosine decay."""
    mosaic: float = 0.5
    """Share of training images that are four images in one; off in the last third of the epochs."""
    trust_weights: bool = False
    """Load `weights` even where that runs code inside the file; only for files whose origin you know."""
    confidence: Optional[float] = None
    """Boxes below this score are dropped; empty = the lowest within 0.03 of the best F1 at IoU 0.5 on validation."""
    max_boxes: int = 5
    """Most boxes kept an image."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "batch_size", "max_boxes")
        check_at_least(self, 32, "image_size")
        check_range(self, 0.0, 1.0, "mosaic", "confidence")
        check_above_zero(self, "lr")


@dataclasses.dataclass(frozen=True)
class TargetsConfig:
    """How the teacher's soft masks are made: section `distill.targets`."""

    jitter_copies: int = 8
    """Jittered copies of each box; uncertainty is the variance over them. 0: the plain box, no uncertainty."""
    jitter_share: float = 0.1
    """Largest shift of each side of a jittered box, as a share of the box's width or height."""
    views: str = "auto"
    """What the teacher sees: the `whole` image, a window around each box enlarged (`zoom`), `both`, averaged, in twice
    the time, or `auto`: both for annotated boxes, the whole for others. LiteMedSAM on folds 1-3, Dice whole / both:
    boxes off by up to 10 % a side .882 / .899 (300 cases); a detector's .706 / .694 (320 cases), as a window around a
    wrong box always holds something."""
    zoom: float = 2.0
    """Side of that window, in longer sides of the box."""
    logit_shift: Optional[float] = None
    """Added to the logit of the teacher's mean: above 0 widens its masks. Empty = what the teacher is known to need."""
    seed: int = 0
    """Seed of the jitter: not the run's, so that students of several seeds share their targets."""
    min_trust: float = 0.4
    """A case with less trust (predicted IoU times IoU of mask and box, in [0, 1]) is not accepted; 0 accepts all."""
    min_trust_detected: float = 0.8
    """The same for boxes of a detector or the student, where trust is the predicted IoU alone. LiteMedSAM, 320 cases of
    folds 1-3, a detector that learnt from 148: 0.8 keeps 91 % of the cases and raises their Dice from .703 to .742."""
    feature_bytes: int = 300_000
    """Most bytes of cached feature maps a case; the levels share them, and the PCA keeps as many channels as fit."""
    feature_grid: int = 32
    """Side of the raster on the student's frame onto which feature maps are averaged."""

    def __post_init__(self) -> None:
        check_choice(self, "views", ("auto", "whole", "zoom", "both"))
        check_at_least(self, 0, "jitter_copies")
        check_at_least(self, 1.2, "zoom")
        check_at_least(self, 1, "feature_grid")
        check_range(self, 0.0, 0.5, "jitter_share")
        check_range(self, 0.0, 1.0, "min_trust", "min_trust_detected")


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
    """A training case without any box: `skip` it, or train it as `empty` (no box means no lesion)."""
    targets: TargetsConfig = dataclasses.field(default_factory=TargetsConfig)
    """How the teacher's soft masks are made."""
    test_targets: bool = True
    """Also ask the teacher for masks of the test cases, `eval`'s baseline; false saves that time."""
    student: str = "unetplusplus"
    """Network: `nested_unet` (the paper's) or an architecture of segmentation-models-pytorch."""
    encoder: str = "tu-tf_efficientnet_lite0"
    """Encoder of a segmentation-models-pytorch network."""
    encoder_weights: str = "imagenet"
    """Encoder's start: `imagenet`, `none`, or a file."""
    decoder_channels: list[int] = dataclasses.field(default_factory=list)
    """Widths of an smp decoder, coarse to fine; empty = 128, 64, 32, 16, 16 for UNet++ (4.7 GFLOP at 256 px with the
    default encoder, where smp's own 256, 128, 64, 32, 16 costs 8.1 and segments no better), else smp's own."""
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
    """Share of soft Dice inside the mask-level loss, beside 1 for cross-entropy; 0 = that alone, as published."""
    confidence_gamma: float = 0.0
    """How sharply unsure pixels are silenced: confidence (1 - 4u)^gamma; 0 trusts every pixel. 1 changed nothing that
    could be measured."""
    probability_weight: float = 0.1
    """Weight of the squared error of probabilities."""
    feature_weight: float = 0.1
    """Weight of the feature-level loss; 0 turns features off."""
    feature_loss: str = "cosine"
    """`cosine`, or `mse` to the normalised features."""
    feature_levels: list[str] = dataclasses.field(default_factory=lambda: ["embedding"])
    """The teacher's feature maps that are cached and distilled."""
    feature_share: float = 0.25
    """Share of each batch drawn as the cached view, on which alone the feature loss and box priors are defined."""
    prior_weight: float = 0.0
    """Weight of the box priors of annotated boxes: nothing outside, every row and column inside touched; 0 is off."""
    weighting: str = "fixed"
    """Balance of the losses: `fixed`, `paper` (the published ULWR), `learned` (log-variances) or `ulwr` (by doubt)."""
    ema_decay: float = 0.99
    """Decay of the moving average of the weights; 0 keeps the raw weights."""
    rounds: int = 1
    """Rounds of `epochs` each; after a round the student's masks prompt the teacher where no annotated box does."""
    patience: int = 0
    """Epochs without a better agreement on validation before training stops; 0 never stops early."""
    threshold: Optional[float] = 0.5
    """Probability from which a pixel is lesion; empty = chosen by agreement with the teacher on validation cases."""
    picture_every: int = 5
    """Epochs between two pictures of a few validation cases in the TensorBoard log, beside the last epoch's; 0 draws
    none. Does not change the result."""
    precision: str = "auto"
    """Of teacher and student: `32-true`, `bf16-mixed`, or `auto`: bf16 where the processor has it, else 32 bit. Targets
    that are there are kept, whatever precision made them."""

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
        check_at_least(self, 0.0, "mask_weight", "dice_weight", "probability_weight", "feature_weight", "prior_weight")
        check_at_least(self, 0.0, "confidence_gamma", "patience", "weight_decay", "picture_every")
        check_at_least(self, 1, "epochs", "batch_size", "accumulate", "rounds")
        check_at_least(self, 32, "image_size")
        check_above_zero(self, "lr")
        if self.image_size % 32:
            raise ConfigError(
                f"image_size must be a multiple of 32 (the encoders halve five times), got {self.image_size}"
            )
        if self.deep_supervision and self.student != "nested_unet":
            raise ConfigError(f"deep_supervision goes with student=nested_unet, not with '{self.student}'")
        if any(width < 1 for width in self.decoder_channels):
            raise ConfigError(f"decoder_channels must be positive, got {list(self.decoder_channels)}")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Settings of `meddistill eval`."""

    split: str = "test"
    """Which split is evaluated: `train`, `val` or `test`."""
    threshold: Optional[float] = None
    """Probability from which a pixel is lesion; empty = what the student stored."""
    baselines: bool = True
    """Also evaluate the filled detector boxes and the teacher prompted by them."""
    flip_average: bool = False
    """Average the student's probabilities over the image and its mirror image: twice the time."""
    min_component_px: int = 0
    """Components of the student's mask below this many pixels are removed; 0 keeps all."""
    keep_largest: bool = False
    """Keep the largest component of the student's mask alone."""
    tolerance_px: float = 2.0
    """Distance at which two outlines still count as one in NSD, px."""
    tolerance_mm: float = 1.0
    """The same in mm, where the spacing is known."""
    lesion_iou: float = 0.1
    """Overlap (IoU) from which a predicted component is the true lesion it is matched with."""
    gallery_cases: int = 120
    """Most cases shown in the report's gallery; it keeps the page small enough to send."""
    batch_size: int = 16
    """Images a forward pass; does not change the result."""

    def __post_init__(self) -> None:
        check_choice(self, "split", ("train", "val", "test"))
        check_at_least(self, 1, "batch_size")
        check_at_least(self, 0, "min_component_px", "gallery_cases", "tolerance_px", "tolerance_mm")
        check_range(self, 0.0, 1.0, "lesion_iou", "threshold")


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a RUN: what one YAML file may hold."""

    seed: int = 0
    """Seed of every random choice."""
    prepare: PrepareConfig = dataclasses.field(default_factory=PrepareConfig)
    detect: DetectConfig = dataclasses.field(default_factory=DetectConfig)
    distill: DistillConfig = dataclasses.field(default_factory=DistillConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)


def as_settings(config: Any) -> dict[str, Any]:
    """A config as plain values, for run.json."""
    return dataclasses.asdict(config)
