"""The arms of the study of the ceiling: what each changes around the default. No study of its own."""

from __future__ import annotations

BASE = (
    "distill.teacher=litemedsam",
    "distill.size=small",
    "distill.test_targets=false",
    "eval.baselines=false",
)
DEFAULT = "default"
ARMS: dict[str, tuple[str, ...]] = {
    DEFAULT: (),
    "standard": ("distill.size=standard",),
    "best": ("distill.size=best",),
    "128px": ("distill.image_size=128",),
    "256px": ("distill.image_size=256",),
    "320px": ("distill.image_size=320",),
    "128px-lite2": ("distill.image_size=128", "distill.encoder=tu-tf_efficientnet_lite2"),
    "128px-strong": ("distill.image_size=128", "distill.weight_decay=1e-2"),
    "128px-crops": ("distill.image_size=128",),
    "lite1": ("distill.encoder=tu-tf_efficientnet_lite1",),
    "lite2": ("distill.encoder=tu-tf_efficientnet_lite2",),
    "lite2-256px": ("distill.encoder=tu-tf_efficientnet_lite2", "distill.image_size=256"),
    "ema-0.995": ("distill.ema_decay=0.995",),
    "ema-0.999": ("distill.ema_decay=0.999",),
    "lr-5e-4": ("distill.lr=5e-4",),
    "lr-2e-3": ("distill.lr=2e-3",),
    "decay-1e-2": ("distill.weight_decay=1e-2",),
    "batch-16": ("distill.batch_size=16",),
    "hard-targets": ("distill.hard_targets=true",),
    "no-features": ("distill.feature_weight=0",),
    "both-views": ("distill.targets.views=auto", "distill.targets.jitter_copies=8"),
    "strong": (),
    "strong-decay": ("distill.weight_decay=1e-2",),
    "strong-long": ("distill.weight_decay=1e-2", "distill.ema_decay=0.995"),
    "256px-strong-long": (
        "distill.image_size=256",
        "distill.weight_decay=1e-2",
        "distill.ema_decay=0.995",
    ),
    "last": ("distill.keep=last",),
    "strong-long-last": (
        "distill.weight_decay=1e-2",
        "distill.ema_decay=0.995",
        "distill.keep=last",
    ),
    "256px-last": ("distill.image_size=256", "distill.keep=last"),
    "256px-strong-long-last": (
        "distill.image_size=256",
        "distill.weight_decay=1e-2",
        "distill.ema_decay=0.995",
        "distill.keep=last",
    ),
    "crops": (),
    "crops-256px": ("distill.image_size=256",),
    "balanced": (),
    "deep-supervision": (
        "distill.student=nested_unet",
        "distill.deep_supervision=true",
        "distill.feature_weight=0",
    ),
}
TRIED = {
    "strong": "stronger",
    "strong-decay": "stronger",
    "strong-long": "stronger",
    "256px-strong-long": "stronger",
    "strong-long-last": "stronger",
    "256px-strong-long-last": "stronger",
    "128px-strong": "stronger",
    "128px-crops": "crops",
    "crops": "crops",
    "crops-256px": "crops",
    "balanced": "balanced",
}
"""What is tried in the training of an arm that is no setting (`_tried.py`)."""
