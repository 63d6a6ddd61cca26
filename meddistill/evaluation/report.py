"""report.html: one page that holds everything it shows and asks the network for nothing."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from meddistill.artifacts import write_text
from meddistill.data.images import encode_png
from meddistill.evaluation.summary import format_interval

GALLERY_CASES = 60


@dataclasses.dataclass(frozen=True)
class GalleryItem:
    """One case of the gallery. `picture`: uint8 (H, W', 3), prediction beside truth. `dice` is None without a truth."""

    name: str
    class_name: str
    dice: float | None
    picture: np.ndarray


def write_report(path: Path, summary: dict[str, Any], gallery: Sequence[GalleryItem]) -> None:
    """Write the page. Every text in it (case names, classes) is escaped; pictures are data URIs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["interval"] = format_interval
    items = [{**dataclasses.asdict(item), "picture": data_uri(item.picture)} for item in gallery]
    write_text(path, environment.get_template("report.html").render(summary=summary, gallery=items))


def data_uri(image: np.ndarray) -> str:
    """A uint8 picture as a PNG inside an address."""
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()
