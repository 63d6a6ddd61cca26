"""RUN/data/report.html: what the data look like, on one page without scripts, fonts or network."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.data.formats.pictures import encode_png
from meddistill.data.pixels import draw_boxes, resize
from meddistill.data.prepare.convert import Converted
from meddistill.data.prepare.duplicates import Duplicate
from meddistill.data.prepare.splits import seeded_order
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case, Rejected

_SAMPLES = 10
_WITHOUT_BOX = 2
_SAMPLE_SIDE_PX = 200
_HISTOGRAM_IMAGES = 100
_SHOWN_ROWS = 30
_STYLE = """
:root { color-scheme: light dark;
--text: #1b2733; --quiet: #51606d; --line: #dde3e8; --warning: #fff4d6; --bar: #2f6f9f; }
@media (prefers-color-scheme: dark) {
:root { --text: #e4e9ee; --quiet: #9aa7b4; --line: #2f3944; --warning: #3b3013; --bar: #5fa8dc; }
body { background: #14191f; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; color: var(--text); }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin: 1.8em 0 .5em; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .25em .8em; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.text { text-align: left; min-width: 6em; overflow-wrap: anywhere; }
.warning { background: var(--warning); border-left: 4px solid #d99a00; padding: .5em .8em; margin: .5em 0; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5em; }
figure { margin: 0; }
figcaption { font-size: .85em; color: var(--quiet); }
svg { max-width: 100%; fill: var(--bar); } svg text { fill: var(--quiet); }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5em, 1fr)); gap: .8em; }
.samples img { width: 100%; background: #000; } .samples figcaption { overflow-wrap: anywhere; }
"""


def data_report(
    data_dir: Path,
    rows: Sequence[Case],
    results: Mapping[str, Converted],
    rejected: Sequence[Rejected],
    duplicates: Sequence[Duplicate],
    summary: Mapping[str, Any],
) -> str:
    """The page as HTML. Reads at most some hundred images; boxes that are hidden from training are
    not shown.

    Args:
        data_dir: RUN/data, with the images in their places.
        rows: the cases.
        results: their conversions by case id.
        rejected: the rows of rejected.csv.
        duplicates: the rows of duplicates.csv.
        summary: what run.json says.
    """
    parts = [
        f"<h1>Data: {len(rows)} cases from a source of layout "
        f"'{escape(str(summary['dataset']))}'</h1>"
    ]
    parts += [f'<p class="warning">{escape(warning)}</p>' for warning in summary["warnings"]]
    if understood := summary.get("understood"):
        parts += ["<h2>What was understood</h2>", _table(["", ""], understood, text=True)]
    parts += [
        "<h2>Samples: does each box lie where it should?</h2>",
        '<div class="samples">',
        *_samples(data_dir, rows, results),
        "</div>",
    ]
    parts += ["<h2>Counts</h2>", _counts(summary)]
    parts += [
        "<h2>Boxes and brightness</h2>",
        '<div class="charts">',
        *_charts(data_dir, rows, results),
        "</div>",
    ]
    if duplicates:
        parts += [
            f"<h2>{len(duplicates)} pairs look the same across splits</h2>",
            _duplicates(duplicates),
        ]
    if rejected:
        parts += [f"<h2>{len(rejected)} files were rejected</h2>", _rejected(rejected)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>MedDistill: data</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _counts(summary: Mapping[str, Any]) -> str:
    classes = sorted({name for counts in summary["splits"].values() for name in counts["classes"]})
    head = ["split", "cases", "groups", "with boxes", "no lesion", "unknown", "with mask", *classes]
    lines = []
    for split, counts in summary["splits"].items():
        numbers = [
            counts[key] for key in ("cases", "groups", "boxes", "none", "unknown", "with_mask")
        ]
        lines.append([split, *numbers, *(counts["classes"].get(name, 0) for name in classes)])
    return _table(head, lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[Any]], text: bool = False) -> str:
    cell = '<td class="text">' if text else "<td>"
    header = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f"{cell}{escape(str(v))}</td>" for v in line) + "</tr>\n" for line in lines
    )
    header = f"<tr>{header}</tr>\n" if any(head) else ""
    return f'<div class="wide"><table>\n{header}{body}</table></div>'


def _charts(data_dir: Path, rows: Sequence[Case], results: Mapping[str, Converted]) -> list[str]:
    shares, centres = [], []
    for row in rows:
        for x1, y1, x2, y2 in _visible_boxes(row, results):
            shares.append(100 * (x2 - x1) * (y2 - y1) / (row.width * row.height))
            centres.append(((x1 + x2) / 2 / row.width, (y1 + y2) / 2 / row.height))
    charts = []
    if shares:
        edges = np.linspace(0, max(shares), 25)
        caption = (
            f"Box area, % of the image (median {np.median(shares):.2g} %, {len(shares)} boxes)"
        )
        charts.append(_figure(_bars(np.histogram(shares, edges)[0], f"{edges[-1]:.3g} %"), caption))
        charts.append(_figure(_positions(centres), "Where box centres lie in the image"))
    histogram = np.zeros(64, dtype=np.int64)
    dataset = Dataset(data_dir, rows)
    for case_id in seeded_order(dataset.by_id, 0, "histogram")[:_HISTOGRAM_IMAGES]:
        image = dataset.image(dataset.by_id[case_id])
        histogram += np.bincount(image.ravel() >> 2, minlength=64)
    # Background is often black altogether: its bar would leave nothing of the others.
    charts.append(
        _figure(
            _bars(histogram[1:], "255"),
            f"Brightness of {min(len(rows), _HISTOGRAM_IMAGES)} images, without 0-3",
        )
    )
    return charts


def _visible_boxes(row: Case, results: Mapping[str, Converted]) -> list[list[float]]:
    return results[row.case_id].boxes if row.n_boxes else []


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _bars(counts: np.ndarray, last_label: str) -> str:
    """An SVG bar chart of counts, from 0 to `last_label`."""
    width, height = 280, 150
    step = width / len(counts)
    scale = (height - 20) / max(1, int(counts.max()))
    bars = "".join(
        f'<rect x="{index * step:.1f}" y="{height - 16 - count * scale:.1f}" '
        f'width="{max(step - 1, 0.5):.1f}" '
        f'height="{count * scale:.1f}"/>'
        for index, count in enumerate(counts)
    )
    labels = (
        f'<text x="0" y="{height - 3}" font-size="11">0</text>'
        f'<text x="{width}" y="{height - 3}" font-size="11" '
        f'text-anchor="end">{escape(last_label)}</text>'
    )
    return f'<svg width="{width}" height="{height}" aria-hidden="true">{bars}{labels}</svg>'


def _positions(centres: Sequence[tuple[float, float]]) -> str:
    """An SVG map of 16x16 cells, the darker the more box centres lie there."""
    side, cells = 150, 16
    counts = Counter(
        (min(cells - 1, int(x * cells)), min(cells - 1, int(y * cells))) for x, y in centres
    )
    most, step = max(counts.values()), side / cells
    squares = "".join(
        f'<rect x="{x * step:.1f}" y="{y * step:.1f}" width="{step:.1f}" height="{step:.1f}" '
        f'fill-opacity="{count / most:.2f}"/>'
        for (x, y), count in sorted(counts.items())
    )
    frame = f'<rect width="{side}" height="{side}" fill="none" stroke="gray"/>'
    return f'<svg width="{side}" height="{side}" aria-hidden="true">{squares}{frame}</svg>'


def _samples(data_dir: Path, rows: Sequence[Case], results: Mapping[str, Converted]) -> list[str]:
    """Ten pictures with their boxes; two of them without any, where there are such."""
    by_id = {row.case_id: row for row in rows}
    order = seeded_order(by_id, 0, "samples")
    bare = [case_id for case_id in order if not by_id[case_id].n_boxes]
    boxed = [case_id for case_id in order if by_id[case_id].n_boxes]
    boxed = boxed[: _SAMPLES - min(_WITHOUT_BOX, len(bare))]
    figures = []
    for case_id in [*boxed, *bare[: _SAMPLES - len(boxed)]]:
        row = by_id[case_id]
        image = Dataset(data_dir, rows).image(row)
        scale = _SAMPLE_SIDE_PX / max(row.height, row.width)
        size_hw = max(1, round(row.height * scale)), max(1, round(row.width * scale))
        boxes = np.array(_visible_boxes(row, results), dtype=np.float32).reshape(-1, 4) * scale
        content = encode_png(draw_boxes(resize(image, size_hw), boxes))
        facts = ", ".join(part for part in (row.split, row.class_name, _annotation(row)) if part)
        picture = f'<img alt="" src="data:image/png;base64,{base64.b64encode(content).decode()}">'
        figures.append(_figure(picture, f"{row.source}: {facts}"))
    return figures


def _annotation(row: Case) -> str:
    return {
        "boxes": f"{row.n_boxes} box{'es' if row.n_boxes > 1 else ''}",
        "none": "no lesion",
    }.get(row.annotation, "unknown")


def _duplicates(duplicates: Sequence[Duplicate]) -> str:
    lines = [
        (each.case_id, each.split, each.other_id, each.other_split, each.bits)
        for each in duplicates[:_SHOWN_ROWS]
    ]
    return _table(["case", "split", "looks like", "split", "differing bits"], lines, text=True)


def _rejected(rejected: Sequence[Rejected]) -> str:
    lines = [(row.source, row.reason) for row in rejected[:_SHOWN_ROWS]]
    more = (
        f"<p>... and {len(rejected) - _SHOWN_ROWS} more in rejected.csv</p>"
        if len(rejected) > _SHOWN_ROWS
        else ""
    )
    return _table(["file", "reason"], lines, text=True) + more
