"""What a setting changes: each says so where it is defined, and whatever must be the same for a
result to be used again (`identity`) follows from that.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

_ROLE = "role"
_BEFORE = "before"


class Role(enum.Enum):
    """What a setting changes."""

    RESULT = "changes what its stage makes"
    TRAINING = "changes what its stage makes where that trains a detector"
    TARGETS = "changes the teacher's masks, so their key, and the student"
    CHOICE = "changes which of the teacher's masks the student learns and how much, not the masks"
    FEATURES = "changes the teacher's feature maps that are kept, and the student"
    BASELINE = "changes which masks the teacher makes for eval, not the student"
    SWITCH = "changes the student; whether it is on at all changes what the teacher is asked for"
    STUDENT = "changes the student, nothing that the teacher makes"
    CONTENT = "names a file or folder whose content counts"
    NOTHING = "changes no result: only what is shown, how fast it runs or whether it stops"


RESULT = Role.RESULT
TRAINING = Role.TRAINING
TARGETS = Role.TARGETS
CHOICE = Role.CHOICE
FEATURES = Role.FEATURES
BASELINE = Role.BASELINE
SWITCH = Role.SWITCH
STUDENT = Role.STUDENT
CONTENT = Role.CONTENT
NOTHING = Role.NOTHING


def setting(default: Value, role: Role, *, before: Any = dataclasses.MISSING) -> Value:
    """A field of a settings dataclass: its default and its role.

    A setting that is added to a stage of which there are RUNs says `before`, too: the value that
    gives the behaviour from before it existed. A RUN that was begun without it goes on with that
    value (`run.record.as_begun`), and targets made without it are found again.
    """
    metadata: dict[str, Any] = {_ROLE: role}
    if before is not dataclasses.MISSING:
        metadata[_BEFORE] = before
    if isinstance(default, list):
        copied = list(default)
        found: Any = dataclasses.field(default_factory=lambda: list(copied), metadata=metadata)
    else:
        found = dataclasses.field(default=default, metadata=metadata)
    return found  # type: ignore[no-any-return]


def role_of(field: dataclasses.Field[Any]) -> Role:
    """Raises: TypeError for a setting without a role."""
    if _ROLE not in field.metadata:
        raise TypeError(f"{field.name} has no role: define it with `setting(default, ROLE)`")
    role: Role = field.metadata[_ROLE]
    return role


def of_role(config: Any, *roles: Role) -> dict[str, Any]:
    """The settings of these roles in a section, in the order of definition; not those in sections
    inside it."""
    return {
        field.name: getattr(config, field.name)
        for field in _settings(config)
        if role_of(field) in roles
    }


def without_role(config: Any, *roles: Role) -> dict[str, Any]:
    """All settings but those of these roles, in the order of definition; a section inside is a
    dict."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found[field.name] = without_role(value, *roles)
        elif role_of(field) not in roles:
            found[field.name] = value
    return found


def befores(schema: type) -> dict[str, Any]:
    """What the absence of a setting means, for those that were added later; a section inside is a
    dict."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        if _is_section(field):
            inside = befores(field.default_factory)  # type: ignore[arg-type]
            if inside:
                found[field.name] = inside
        elif _BEFORE in field.metadata:
            found[field.name] = field.metadata[_BEFORE]
    return found


def in_use(schema: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` without those that were added later and have the value from before, as a key made
    without them has."""
    known = befores(schema)
    return {
        name: value for name, value in settings.items() if name not in known or value != known[name]
    }


def with_befores(schema: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` as a stage wrote them down, and what those that it did not know yet meant."""
    return _filled(befores(schema), settings)


def as_before(config: Value, written: Mapping[str, Any]) -> tuple[Value, dict[str, Any]]:
    """The config with the value from before of each setting that `written` does not know and that
    has its default now; and those values by key.

    One that was given another value than the default keeps it.
    """
    changes: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            inside = written.get(field.name, {})  # a section that was added later
            if isinstance(inside, Mapping):
                changes[field.name], below = as_before(value, inside)
                told |= {f"{field.name}.{key}": known for key, known in below.items()}
        elif _BEFORE in field.metadata and field.name not in written:
            before = field.metadata[_BEFORE]
            if value == _default(field) != before:
                changes[field.name] = told[field.name] = before
    return dataclasses.replace(config, **changes), told  # type: ignore[type-var]


def _filled(known: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    found = {**known, **settings}
    for name, inside in known.items():
        if isinstance(inside, dict) and isinstance(settings.get(name), Mapping):
            found[name] = _filled(inside, settings[name])
    return found


def _settings(config: Any) -> Iterator[dataclasses.Field[Any]]:
    for field in dataclasses.fields(config):
        if not _is_section(field):
            yield field


def _is_section(field: dataclasses.Field[Any]) -> bool:
    return dataclasses.is_dataclass(field.default_factory)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
