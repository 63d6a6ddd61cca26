"""One `Config` out of its layers: defaults < preset of `distill.size` < YAML file < typed flags <
`--set section.key=value`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from meddistill.base.errors import ConfigError, InputError, first_line, nearest
from meddistill.settings.config import Config
from meddistill.settings.docs import sections
from meddistill.settings.presets import PRESETS


def load_config(
    yaml_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """Merge defaults < preset < YAML file < typed flags < `section.key=value` overrides. Flags that
    are None were not given. Whichever layer names the preset, all of them lie over it.

    Raises: ConfigError naming the key (with the nearest right name) or the value that does not fit;
    InputError where the file cannot be read.
    """
    layers: list[tuple[str, DictConfig]] = []
    if yaml_file is not None:
        layers.append((str(yaml_file), _read_yaml(yaml_file)))
    for key, value in (flags or {}).items():
        if value is not None:
            layer = OmegaConf.create()
            OmegaConf.update(layer, key, _as_typed(value))
            layers.append((f"--{key.rsplit('.', 1)[-1].replace('_', '-')}", layer))
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"--set expects section.key=value, got {override!r}")
        try:
            layers.append((f"--set {override}", OmegaConf.from_dotlist([override])))
        except Exception as error:  # whatever OmegaConf's YAML parser raises on a malformed value
            raise ConfigError(f"--set {override}: {_what_yaml_says(error)}") from error
    merged = _merged(layers)
    preset = PRESETS.get(merged.distill.size)
    if preset:
        merged = _merged([("distill.size", OmegaConf.create({"distill": preset})), *layers])
    _check_sections(merged)
    config = _as_object(merged)
    assert isinstance(config, Config)
    return config


def _check_sections(merged: Any) -> None:
    """Build each section by itself, the inner ones first, so that what is wrong is told with the
    section's name: several have an `lr`."""
    for section in sorted(sections(), key=lambda name: -name.count(".")):
        try:
            _as_object(OmegaConf.select(merged, section))
        except ConfigError as error:
            raise ConfigError(f"{section}.{error}") from error


def _as_object(merged: Any) -> Any:
    try:
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(first_line(error)) from error


def _merged(layers: Sequence[tuple[str, DictConfig]]) -> Any:
    """The defaults with `layers` over them, each with a name for messages."""
    merged = _unlocked(OmegaConf.structured(Config))
    for where, layer in layers:
        try:
            _check_keys(layer, merged, where)
            merged = _unlocked(OmegaConf.merge(merged, layer))
        except OmegaConfBaseException as error:
            raise ConfigError(
                f"{where}: {error.full_key or ''} {first_line(error)}".replace(":  ", ": ")
            ) from error
    return merged


def _read_yaml(path: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(path)
    except FileNotFoundError:
        raise InputError(f"config file {path} does not exist") from None
    except Exception as error:  # unreadable, not UTF-8, not YAML
        raise InputError(f"config file {path} cannot be read: {_what_yaml_says(error)}") from error
    if not isinstance(loaded, DictConfig):
        raise InputError(
            f"config file {path} must hold sections such as `distill:`, got a list or a bare value"
        )
    return loaded


def _what_yaml_says(error: Exception) -> str:
    """What is wrong and in which line, where a parser says so below what it was about to do."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem and mark:
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return first_line(error)


def _as_typed(value: Any) -> Any:
    """A path may hold `${`, which OmegaConf would take for the name of another value."""
    if isinstance(value, list):
        return [_as_typed(each) for each in value]
    return value.replace("${", r"\${") if isinstance(value, str) else value


def _unlocked(config: Any) -> Any:
    # Frozen dataclasses come back read-only at every level, and OmegaConf then refuses to merge.
    OmegaConf.set_readonly(config, False)
    for key in config:
        if OmegaConf.is_dict(config[key]):
            _unlocked(config[key])
    return config


def _check_keys(layer: Any, schema: Any, where: str, prefix: str = "") -> None:
    for key in layer:
        if key not in schema:
            raise ConfigError(
                f"{where}: unknown key '{prefix}{key}'{nearest(str(key), [str(k) for k in schema])}"
            )
        if OmegaConf.is_list(schema[key]) and not OmegaConf.is_list(layer[key]):
            raise ConfigError(
                f"{where}: '{prefix}{key}' is a list in brackets, [a, b], got {layer[key]!r}"
            )
        if not OmegaConf.is_missing(layer, key) and not OmegaConf.is_interpolation(layer, key):
            _check_kind(f"{where}: '{prefix}{key}'", layer[key], schema[key])
        if OmegaConf.is_dict(schema[key]):
            if not OmegaConf.is_dict(layer[key]):
                raise ConfigError(
                    f"{where}: '{prefix}{key}' is a section with keys, got {layer[key]!r}"
                )
            _check_keys(layer[key], schema[key], where, f"{prefix}{key}.")


def _check_kind(what: str, value: Any, default: Any) -> None:
    """Refuse what OmegaConf would turn into something else without a word. `default`: whose kind the
    value is to have."""
    if (
        isinstance(default, bool)
        and re.fullmatch(r"[+-]?[0-9]+", str(value))
        and int(value) not in (0, 1)
    ):
        raise ConfigError(f"{what} is true or false, got {value}")
    if isinstance(default, str) and value is None:
        raise ConfigError(f"{what} is a text, got nothing; put one with a # in quotes, '' is empty")
    items = value if OmegaConf.is_list(default) else [value] if isinstance(default, str) else []
    for item in items:
        if isinstance(item, bool):
            raise ConfigError(
                f"{what} is a text, got {str(item).lower()}, as which YAML reads yes, no, on and off; "
                "put it in quotes"
            )
        if OmegaConf.is_config(item):
            raise ConfigError(f"{what} takes single values, got {item}")
