"""A teacher without weights, for tests of what is done with its answers."""

import numpy as np
import torch

from meddistill.teachers.teacher import BoxMasks, Encoded


class PaintingTeacher:
    """Fills the box in; its features are the image's colours, eight times smaller."""

    name = "painting"
    fingerprint = "painting-1"
    feature_channels = {"embedding": 3}  # noqa: RUF012
    head_levels = ("embedding",)
    takes_masks = False
    memory = None
    logit_shift = 0.0
    calls = 0
    images = 0

    def encode(self, images):
        self.calls += 1
        self.images += len(images)
        features = torch.stack(
            [torch.from_numpy(image[::8, ::8]).permute(2, 0, 1).float() for image in images]
        )
        return Encoded(
            {"embedding": features},
            [(1, 1)] * len(images),
            [image.shape[:2] for image in images],
        )

    def decode(self, encoded, boxes_xyxy_px, mask_logits=None):
        answers = []
        for boxes, (height, width) in zip(boxes_xyxy_px, encoded.sizes_hw, strict=True):
            logits = torch.full((len(boxes), height, width), -8.0)
            for logit, (x1, y1, x2, y2) in zip(
                logits, np.rint(boxes).astype(int).tolist(), strict=True
            ):
                logit[y1:y2, x1:x2] = 8.0
            answers.append(BoxMasks(logits, torch.full((len(boxes),), 0.9)))
        return answers

    def to_image(self, logits, size_hw):
        return torch.nn.functional.interpolate(logits[None], size_hw, mode="bilinear")[0]
