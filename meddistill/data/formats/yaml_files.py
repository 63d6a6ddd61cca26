"""YAML files of other tools, as plain dicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from meddistill.base.errors import FileError, in_one_line


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises: InputError where it cannot be read or holds
    something else."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
        if not isinstance(content, dict):
            raise TypeError(f"expected a mapping, got {type(content).__name__}")
    except Exception as error:  # unreadable, or not YAML: of many types
        raise FileError(path, f"cannot be read: {in_one_line(error)}") from error
    return {str(key): value for key, value in content.items()}
