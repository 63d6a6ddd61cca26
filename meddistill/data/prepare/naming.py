"""Which findings a source is prepared for: what the settings say, with what its dataset.json and
its annotation files name."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.data.annotations import is_nothing_there
from meddistill.data.findings import (
    LESION,
    Colour,
    Findings,
    hex_colour,
    names_in,
    parse_colour,
)
from meddistill.data.masks import FindingValues, Label, parse_labels
from meddistill.data.prepare.label_tables import BACKGROUND, label_table, table_colours
from meddistill.data.prepare.mask_values import MaskValues
from meddistill.data.raw_case import RawCase
from meddistill.settings.prepare import PrepareConfig

_VALUES = 8
_OTHERS = "--label any makes them one, --label VALUE takes one alone"
AUTO, FROM_CLASS = "auto", "from-class"
FINDINGS_COLUMN = "findings"
"""Of a table of groups or cases: what was looked for in each."""


@dataclasses.dataclass(frozen=True)
class Naming:
    """What is asked for, before the source is listed. `names`: in their order; empty: those that
    the source's classes have. `values`: of the label maps; None where nothing names any. `table`:
    the dataset.json that was read. `colours`: RGB by name, of those that somebody chose."""

    names: tuple[str, ...] = LESION.names
    values: FindingValues | None = None
    from_class: bool = False
    of_segments: bool = False
    table: Path | None = None
    colours: Mapping[str, Colour] = dataclasses.field(default_factory=dict)

    @property
    def is_one(self) -> bool:
        return len(self.names) == 1 and not self.from_class

    @property
    def in_names(self) -> tuple[str, ...] | None:
        """The findings that files of masks may be called by; () for any, None where values or the
        case's class tell them apart."""
        several = len(self.names) != 1 and not (self.from_class or self.of_segments)
        return self.names if several and self.values is None else None

    @property
    def left_out(self) -> str:
        """Which values of the dataset.json mean none of the findings, in a line; '' for none."""
        if self.values is None or self.table is None or not self.values.background:
            return ""
        values = sorted(f"{value:g}" for value in self.values.background)
        count = "count" if len(values) > 1 else "counts"
        return (
            f"{', '.join(values)} of {self.table.name} (ignore, or not asked for) {count} as nothing "
            "there"
        )

    def findings(
        self, cases: Sequence[RawCase], box_classes: Sequence[str] | None, overlap: str
    ) -> Findings:
        """The findings of the cases listed. Raises: InputError where nothing in the source has a
        name; ConfigError for a colour of one that is not there.

        Args:
            cases: of the source.
            box_classes: names that its annotation files know.
            overlap: `exclusive`, `overlapping`, or `auto`: by the values, else overlapping where
                they are boxed or drawn.
        """
        if self.values is not None:
            found = self.values.findings
            apart = found.exclusive and (found.is_one or overlap != "overlapping")
            return dataclasses.replace(found, exclusive=apart)
        names = self.names
        if not names and self.from_class:
            classes = {case.class_name for case in cases if case.class_name}
            # `normal` is a kind of case, and nothing that a case shows.
            names = tuple(sorted(name for name in classes if not is_nothing_there(name)))
        elif not names:
            boxed = {name for case in cases for name in case.box_findings}
            boxed |= {name for case in cases for name, _ in case.finding_masks}
            names = tuple(sorted((boxed | set(box_classes or ())) - {""}))
        if not names:
            raise InputError(
                "findings are to be named by the source, but it names none; give them, such as "
                "--findings a,b, or --findings a=1,b=2 for the values of its masks"
            )
        exclusive = overlap == "exclusive" or (
            overlap == "auto" and (self.from_class or len(names) == 1)
        )
        return named_findings(names, exclusive, self.colours)


def named_findings(
    names: tuple[str, ...], exclusive: bool, colours: Mapping[str, Colour]
) -> Findings:
    """The findings, drawn in the colours that somebody chose, RGB by name. Raises: ConfigError for a
    colour of none of them, black, or one that two of them have."""
    owners: dict[Colour, str] = {(0, 0, 0): ""}
    for name, colour in colours.items():
        if name not in names:
            raise ConfigError(
                f"'{name}' has the colour {hex_colour(colour)}, and is none of the findings "
                f"{', '.join(names)}"
            )
        other = owners.setdefault(colour, name)
        if other != name:
            raise ConfigError(
                f"finding '{name}' is to be {hex_colour(colour)}, as is "
                f"{repr(other) if other else 'what is no finding'}: choose another colour"
            )
    return Findings(names, exclusive, dict(colours))


def name_findings(config: PrepareConfig, directory: Path) -> Naming:
    """What `prepare.findings` asks for; reads the source's dataset.json where it names values.

    Raises: ConfigError for names or values that do not go together; InputError as `label_table`.
    """
    items = [_parsed(item.strip()) for item in config.findings]
    if not items:
        return Naming()
    colours = {item.name: item.colour for item in items if item.colour is not None}
    asked = [item.name for item in items if item.values or item.colour is None]
    if asked == [FROM_CLASS]:
        return Naming((), from_class=True, colours=colours)
    to_name = None if AUTO in asked else [item.name for item in items if not item.values]
    table, known = label_table(directory, to_name)
    own: dict[str, tuple[Label, ...]] = {}
    for item in items:
        if item.name != AUTO:
            if item.values and own.get(item.name, item.values) not in ((), item.values):
                raise ConfigError(
                    f"finding '{item.name}' is named twice with other values: NAME=1+2 gives both"
                )
            own[item.name] = item.values or own.get(item.name, ())
    background = own.pop(BACKGROUND, None) or ()
    names = tuple(name for name in known if name != BACKGROUND) if AUTO in asked else tuple(own)
    if table and known:
        colours = {n: c for n, c in table_colours(table, known).items() if n in names} | colours
    values = {name: own.get(name) or known.get(name) or () for name in names}
    without = [name for name, found in values.items() if not found]
    if without and len(without) < len(names):
        raise ConfigError(
            f"finding '{without[0]}' has no value, others have: write {without[0]}=VALUE"
            f"{nearest(without[0], known) if known else ''}"
        )
    if not names or without:
        return Naming(names, colours=colours)
    rest = {value for name, found in known.items() if name not in names for value in found}
    _check_nesting(values)
    exclusive = config.overlap == "exclusive" or (
        config.overlap == "auto" and not _share_values(values)
    )
    if exclusive and _share_values(values):
        raise ConfigError("prepare.overlap is 'exclusive', but a value means several findings")
    findings = named_findings(names, exclusive, colours)
    ordered = tuple(values[name] for name in names)
    return Naming(
        names,
        FindingValues(findings, ordered, (*background, *sorted(rest))),  # type: ignore[type-var]
        table=table if known else None,
    )


def name_values(found: MaskValues, directory: Path) -> tuple[Naming, str]:
    """The findings of label maps of which the user said nothing: as a dataset.json names them, else
    each value is one; a value that is alone is the lesion. And how it was decided, in a line.

    Raises: InputError where the values may as well number objects, and as `label_table`.
    """
    table, known = label_table(directory)
    names = {value: name for name, of in known.items() for value in of if name != BACKGROUND}
    nothing = known.get(BACKGROUND, ())
    unnamed = [value for value in found.values if value not in names and value not in nothing]
    listed = ", ".join(map(str, found.values[:_VALUES])) + ", ..." * (len(found.values) > _VALUES)
    if table and not unnamed:
        naming = name_findings(PrepareConfig(findings=[AUTO]), directory)
        told = f"{listed} are named by {table.name}: {', '.join(naming.names)}"
        if ignored := [f"{value:g}" for value in nothing if value in found.values]:
            told += f"; {', '.join(ignored)} (ignore, or background) counts as nothing there"
        return naming, f"{told}; {_OTHERS}"
    if found.may_number:
        raise InputError(
            f"masks hold the values {listed}, which may number objects, or tell findings apart: "
            "--label instances makes each a box of its own, --findings auto (or a=1,b=2) takes them as "
            "findings, --label any as one"
        )
    if len(found.values) == 1:
        lesion = FindingValues(LESION, (found.values,))
        return Naming(values=lesion), f"{listed} alone: the lesion"
    named = tuple(str(names.get(value, f"value {value}")) for value in found.values)
    colours = table_colours(table, known) if table and known else {}
    colours = {name: colour for name, colour in colours.items() if name in named}
    findings = named_findings(named, True, colours)
    values = FindingValues(findings, tuple((float(value),) for value in found.values))
    example = ",".join(
        f"{'abcdefgh'[place]}={value}" for place, value in enumerate(found.values[:8])
    )
    return (
        Naming(named, values, table=table if names else None),
        f"{listed}: each a finding of its own ({', '.join(named)}); --findings {example} names "
        f"them, {_OTHERS}",
    )


def name_segments(counts: Mapping[str, int]) -> tuple[Naming, str]:
    """The findings of masks whose headers name segments, of which the user said nothing; and how it was
    decided, in a line. `counts`: of each name in how many masks it is."""
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    told = f"segments of 3D Slicer by their names, each a finding of its own ({listed}); "
    name = next(iter(counts))
    return (
        Naming(tuple(sorted(counts)), of_segments=True),
        f"{told}--findings '{name}' takes one alone, --label any makes them one",
    )


class _Item(NamedTuple):
    """One of `prepare.findings`: a name, the values (or colours) of masks that mean it, and the
    colour that it is drawn in."""

    name: str
    values: tuple[Label, ...] = ()
    colour: Colour | None = None


def _parsed(item: str) -> _Item:
    """`name` or `name=1+2`, with values or colours of masks; with `:#rrggbb` behind it the colour
    that it is drawn in."""
    asked, colon, text = item.rpartition(":")
    colour = None
    if colon and ("=" in asked or text.strip().startswith("#")):
        try:
            item, colour = asked, parse_colour(text.strip())
        except ConfigError as error:
            raise ConfigError(f"prepare.findings, of '{asked}': {error}") from None
    name, equals, values = item.partition("=")
    if not equals:
        return _Item(name.strip(), (), colour)
    expected = f"finding '{item}': expected NAME=VALUE, or NAME=1+2 for several values"
    try:
        labels = parse_labels(values.replace("+", ","))
    except ConfigError:
        raise ConfigError(expected) from None
    if not isinstance(labels, tuple):
        raise ConfigError(expected)
    return _Item(name.strip(), labels, colour)


def _share_values(values: Mapping[str, Sequence[Label]]) -> bool:
    return any(set(a) & set(b) for a, b in itertools.combinations(values.values(), 2))


def _check_nesting(values: Mapping[str, Sequence[Label]]) -> None:
    for (a, first), (b, second) in itertools.combinations(values.items(), 2):
        one, two = set(first), set(second)
        if one == two:
            raise ConfigError(f"findings '{a}' and '{b}' have the same values: name one of them")
        if one & two and not (one < two or two < one):
            raise ConfigError(
                f"findings '{a}' and '{b}' share values without one lying in the other: regions "
                "nest (whole=1+2+3, core=2+3) or are apart"
            )


def looked_for(case: RawCase, findings: Findings, complete: bool) -> list[bool]:
    """Of each finding, whether somebody looked for it in a case that was annotated: by the source,
    by a column `findings` of the groups file; where neither says it and the boxes are not `complete`
    only what is boxed. Raises: InputError for a name that is none of them."""
    named = case.looked_for
    if case.columns.get(FINDINGS_COLUMN):
        named = names_in(case.columns[FINDINGS_COLUMN])
        for name in named:
            if name not in findings.names:
                raise InputError(
                    f"its column '{FINDINGS_COLUMN}' names '{name}', which is none of "
                    f"{', '.join(findings.names)}; --findings says what there is"
                )
    looked = [named is None or name in named for name in findings.names]
    if not complete and named is None:
        looked = [
            was and (findings.is_one or name in case.box_findings)
            for was, name in zip(looked, findings.names, strict=True)
        ]
    return looked
