"""Foundation models that turn boxes into soft masks: a Protocol, its backends, and the registry of what there is."""

from meddistill.models.teachers.base import BoxMasks, Encoded, Teacher

__all__ = ["BoxMasks", "Encoded", "Teacher"]
