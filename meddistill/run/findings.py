"""The findings of prepared data, as RUN/data/data.yaml names them."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import write_text
from meddistill.data.findings import LESION, Findings
from meddistill.data.formats.yaml_files import read_yaml
from meddistill.run.layout import DATA_YAML


def write_data_yaml(data_dir: Path, findings: Findings, lists: dict[str, str]) -> None:
    """data.yaml, in Ultralytics' form: `names` are the findings, and of several whether they
    exclude each other and their colours stand beside them, as they do where a colour was chosen.
    `lists`: the file of each split."""
    lines = ["# Annotated cases only; the paths are relative to this file.\n"]
    lines += [f"{split}: {name}\n" for split, name in lists.items()]
    lines.append("names:\n")
    lines += [f"  {index}: {_quoted(name)}\n" for index, name in enumerate(findings.names)]
    if not findings.is_one or findings.chosen_colours:
        about = findings.as_dict()
        lines.append(f"exclusive: {'true' if findings.exclusive else 'false'}\n")
        lines.append("colours:\n")
        lines += [f"  - '{colour}'\n" for colour in about["colours"]]
    write_text(data_dir / DATA_YAML, "".join(lines))


def read_findings(data_dir: Path) -> Findings:
    """The findings of prepared data; one `lesion` where there is no data.yaml. Raises: InputError
    for one that is damaged."""
    path = data_dir / DATA_YAML
    if not path.is_file():
        return LESION
    content = read_yaml(path)
    try:
        names = content["names"]
        numbered = dict(names.items() if isinstance(names, dict) else enumerate(names))
        ordered = tuple(str(numbered[index]) for index in range(len(numbered)))
        findings = Findings(ordered, bool(content.get("exclusive", True)))
        return findings.in_colours(content.get("colours", ()))
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} names no findings ({error}); run `meddistill prepare` again"
        ) from error


def _quoted(name: str) -> str:
    # YAML takes `no` and `on` for something else; `lesion` has always stood there as it is.
    return name if LESION.names == (name,) else "'" + name.replace("'", "''") + "'"
