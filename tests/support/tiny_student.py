"""A student of two convolutions with the interface of the real ones, for tests of everything around
it."""

import torch
from torch import nn

from meddistill.student.networks.student_network import StudentNetwork


class TinyStudent(StudentNetwork):
    preprocessing_mean_std = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, channels=8, per_case=False):
        # `per_case`: no BatchNorm and no dropout, so that a case's gradient does not depend on its
        # batch.
        super().__init__()
        self.feature_channels = [channels, channels]
        self.fine = nn.Sequential(
            nn.Conv2d(3, channels, 5, padding=2),
            nn.Identity() if per_case else nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.coarse = nn.Sequential(
            nn.Conv2d(channels, channels, 5, padding=2, stride=2), nn.ReLU()
        )
        self.dropout = nn.Dropout(0.0 if per_case else 0.1)
        self.head = nn.Conv2d(2 * channels, 1, 1)

    def forward_with_features(self, frames):
        fine = self.fine(frames)
        coarse = self.coarse(fine)
        together = nn.functional.interpolate(coarse, fine.shape[-2:], mode="bilinear")
        joined = torch.cat([fine, together], dim=1)
        return self.head(self.dropout(joined)), [fine, coarse]

    def saved_config(self):
        return {"_model_class": "TinyStudent"}

    def saved_state(self):
        return self.state_dict()

    def load_saved_state(self, state):
        self.load_state_dict(state)
