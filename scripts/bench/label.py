"""How long a person who labels waits: for a mask, for the next image, for a page of many images.

Draws sample slices, serves them with LiteMedSAM, and asks as the page does while the teacher goes on
encoding in the background. Takes about two minutes on two cores.

    .venv/bin/python scripts/bench/label.py --images 40 --listed 10000
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import typer

from meddistill.base.console import console, say
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import MedDistillError
from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import CASES_CSV, RunDir
from meddistill.run.tables import Case, read_cases
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.label import LabelRequest, Served, labelling
from meddistill.stages.prepare import run_prepare

WAIT_S = 0.02


class Asking:
    """Asks a server as its page does, and measures."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._headers = {"Host": f"127.0.0.1:{served.port}"}
        answer = self.get("/?" + served.address.split("?")[1])
        self._headers["Cookie"] = answer.headers["set-cookie"].split(";")[0]
        self.content = b""

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._served.port, timeout=60)
        connection.request("GET", path, headers=self._headers)
        answer = connection.getresponse()
        self.content = answer.read()
        connection.close()
        return answer

    def json(self, path: str) -> Any:
        self.get(path)
        return json.loads(self.content)

    def took(self, *paths: str) -> float:
        """Milliseconds to get them all, one after the other."""
        begun = time.perf_counter()
        for path in paths:
            self.get(path)
        return 1000 * (time.perf_counter() - begun)

    def teacher(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json("/api/news")["teacher"]
        return found


def told(title: str, took_ms: list[float]) -> str:
    took = sorted(took_ms)
    worst = took[min(len(took) - 1, int(0.95 * len(took)))]
    return f"{title}: median {statistics.median(took):.0f} ms, 95 % within {worst:.0f} ms"


def measure_masks(root: Path, images: int) -> list[str]:
    """Masks and next images, while the background still encodes."""
    write_phantom(root / "source", cases=images, seed=0)
    run = RunDir(root / "run")
    run_prepare(run, PrepareConfig(source=str(root / "source" / "images")), seed=0)
    masks, shown, next_ms = [], [], []
    with labelling(run, LabelRequest(port=18650, browser=False)) as served:
        asking = Asking(served)
        while asking.teacher()["encoded"] < 3:
            time.sleep(WAIT_S)
        began, first = time.perf_counter(), asking.teacher()["encoded"]
        number = asking.json("/api/next")["number"]
        while asking.teacher()["encoded"] < images and len(masks) < 10 * images:
            asking.get(f"/api/images/{number}/encoding")
            for side in (90, 100, 110):
                masks.append(asking.took(f"/api/images/{number}/mask?box=60,60,{side},{side}"))
            next_ms.append(asking.took(f"/api/next?after={number}"))
            number = json.loads(asking.content)["number"]
            shown.append(asking.took(f"/api/images/{number}", f"/api/images/{number}/picture"))
            time.sleep(0.5)
        encoded = asking.teacher()["encoded"] - first
        pace = (time.perf_counter() - began) / max(1, encoded)
        alone, cpu = measure_alone(asking, number or 0)
    return [
        told("mask after a box, others being encoded meanwhile", masks),
        told("mask after a box, nothing else running", alone),
        f"CPU time of a mask, all threads, server and client: {cpu:.0f} ms",
        told("which image is next", next_ms),
        told("the next image itself", shown),
        f"an encoding ahead: {pace:.1f} s, masks being asked for meanwhile",
    ]


def measure_alone(asking: Asking, number: int) -> tuple[list[float], float]:
    """Milliseconds of each mask, and of CPU time a mask: the figure to compare on a machine that
    others use, too."""
    while asking.teacher()["encoded"] < asking.teacher()["wanted"]:
        time.sleep(WAIT_S)
    time.sleep(1)  # the last encoding's end
    asking.get(f"/api/images/{number}/encoding")
    cpu = time.process_time()
    took = [
        asking.took(f"/api/images/{number}/mask?box=60,60,{side},{side}") for side in range(80, 110)
    ]
    return took, 1000 * (time.process_time() - cpu) / len(took)


def measure_list(root: Path, listed: int) -> list[str]:
    """A RUN of many images, all of them the same few files."""
    run = RunDir(root / "run")
    cases = read_cases(run.data)
    many = [
        dataclasses.replace(
            cases[number % len(cases)], case_id=f"c{number:06d}", source=f"{number}.png"
        )
        for number in range(listed)
    ]
    big = RunDir(root / "big", other_data=None)
    (big.data / "x").parent.mkdir(parents=True)
    for name in ("images", "run.json", "data.yaml"):
        (big.data / name).symlink_to((run.data / name).resolve())
    write_table(big.data / CASES_CSV, Case, many)
    with labelling(big, LabelRequest(port=18650, browser=False, teacher="none")) as served:
        asking = Asking(served)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        page = [asking.took("/", "/api/session") for _ in range(5)]
        tiles = [asking.took(f"/api/images/{number}/thumbnail") for number in range(200)]
        ahead = [asking.took(f"/api/next?after={number}") for number in range(20)]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        told(f"page and list of {listed:,} images", page),
        told("a thumbnail", tiles),
        told(f"which of {listed:,} is next", ahead),
        f"memory grew by {grown:.0f} MB meanwhile",
    ]


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    images: Annotated[int, typer.Option(help="Images to encode and label.")] = 40,
    listed: Annotated[int, typer.Option(help="Images of the long list.")] = 10_000,
) -> None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            lines = measure_masks(Path(folder), images)
            lines += measure_list(Path(folder), listed)
    except MedDistillError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    say(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    typer.echo("\n".join(lines))


if __name__ == "__main__":
    app()
