"""Every setting with its default and meaning, read from the text of this room: help texts repeat
none by hand.

A docstring below a field exists in the source alone; and reading that is quicker than importing it,
which `--help` must not wait for.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from meddistill.base.errors import ConfigError, nearest


@dataclasses.dataclass(frozen=True)
class Setting:
    """`key`: as `--set` takes it. `default`: a plain value. `doc`: its docstring, on one line."""

    key: str
    default: Any
    doc: str


@cache
def all_settings() -> dict[str, Setting]:
    """Settings by key, in the order of `Config`; those of a section follow each other."""
    texts = [
        path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))
    ]
    nodes = [node for text in texts for node in ast.parse(text).body]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    return {setting.key: setting for setting in _fields("Config", classes, "")}


def sections() -> list[str]:
    """`prepare`, `detect`, ..., and those inside them, such as `distill.targets`."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in all_settings() if "." in key))


def settings_of(name: str) -> list[Setting]:
    """The settings of a section with all below it, or the one with that key; all of them for an
    empty name.

    Raises: ConfigError with the nearest right name.
    """
    found = [
        setting
        for key, setting in all_settings().items()
        if not name or key == name or key.startswith(f"{name}.")
    ]
    if not found:
        keys = list(all_settings())
        close = nearest(name, [*sections(), *keys])
        raise ConfigError(
            "no section or setting "
            f"'{name}'{close if len(close) < 80 else nearest(name, sections())}"
        )
    return found


def default_text(default: Any) -> str:
    """A default as a person reads it; `empty` is what the docstrings call a value that is not
    there."""
    if default is None or default == "" or default == []:
        return "empty"
    if isinstance(default, bool):
        return "true" if default else "false"
    return ", ".join(map(str, default)) if isinstance(default, list) else str(default)


def with_default(text: str, default: str) -> str:
    """`Passes over the cases (default: 60).`"""
    return f"{text.removesuffix('.')} (default: {default})."


def _fields(name: str, classes: dict[str, ast.ClassDef], prefix: str) -> Iterator[Setting]:
    body = classes[name].body
    for node, below in itertools.pairwise([*body, ast.Pass()]):
        if not (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.value is not None
        ):
            continue
        key = prefix + node.target.id
        if isinstance(node.annotation, ast.Name) and node.annotation.id in classes:
            yield from _fields(node.annotation.id, classes, f"{key}.")
        else:
            yield Setting(key, _default(node.value), _docstring(below))


def _default(value: ast.expr) -> Any:
    # `setting(default, ROLE)`
    return ast.literal_eval(value.args[0] if isinstance(value, ast.Call) else value)


def _docstring(node: ast.stmt) -> str:
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return " ".join(inspect.cleandoc(node.value.value).split())
    return ""
