"""`meddistill label`: a page on this machine on which a person draws boxes, into RUN/labels."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meddistill.base import console
from meddistill.base.errors import (
    ConfigError,
    Interrupted,
    MissingPackageError,
    StageError,
    disk_problem,
    in_one_line,
    nearest,
)
from meddistill.labelling.access import Access
from meddistill.labelling.assistant import Assistant, Wishes
from meddistill.labelling.audit import AuditSession, audited_cases
from meddistill.labelling.book import LabelBook
from meddistill.labelling.labelled import Labelled, LabelledSoFar
from meddistill.labelling.orders import ORDERS
from meddistill.labelling.pupil import Pupil
from meddistill.labelling.rounds import Rounds, rounds_run
from meddistill.labelling.session import Session
from meddistill.run import lock
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.grid_file import read_grid
from meddistill.run.layout import BOXES_CSV, RunDir
from meddistill.run.next_commands import command, eval_again

if TYPE_CHECKING:
    from meddistill.labelling.serving import RunningServer
    from meddistill.teachers.teacher import Teacher

LOCAL = ("127.0.0.1", "localhost", "::1")
_BOXES_EVERY_S = 2.0


@dataclasses.dataclass(frozen=True)
class LabelRequest:
    """How to label. `teacher`: its name, `none` for no masks. `findings`: what is looked for; none
    given means those of the RUN. `source`: the folder of the originals, whose grey values can be
    windowed. `audit`: so many random test masks are settled instead, 0 for none; `train`: whether
    short rounds of training run meanwhile. `host` other than this machine's own wants
    `allow_remote`."""

    user: str = "me"
    teacher: str = "litemedsam"
    findings: Sequence[str] = ()
    order: str = "random"
    host: str = "127.0.0.1"
    port: int = 8787
    allow_remote: bool = False
    browser: bool = True
    device: str = "auto"
    encodings_gb: float = 20.0
    source: Path | None = None
    audit: int = 0
    train: bool = False


def run_label(run: RunDir, request: LabelRequest, *, teacher: Teacher | None = None) -> None:
    """Serve the page until Ctrl+C; what was drawn lies in RUN/labels.

    Raises: ConfigError, InputError and StageError for what the user can mend.

    Args:
        run: the RUN, prepared.
        request: how.
        teacher: one to use instead of loading `request.teacher` by name.
    """
    with labelling(run, request, teacher) as served:
        _announce(request, served)
        if request.browser:
            # It may wait for the browser's end.
            opener = threading.Thread(target=webbrowser.open, args=(served.address,), daemon=True)
            opener.start()
        _until_stopped(served)
        facts = _facts(served.session)
    if request.audit:
        console.summary("audit", facts, eval_again(run, run.student, split="test"))
        return
    facts.append(("boxes", str(run.labels / BOXES_CSV)))
    console.summary("label", facts, f"{command('prepare', run)} --update")


def _facts(session: Session) -> list[tuple[str, str]]:
    facts = [(status, str(count)) for status, count in session.counts().items()]
    result = session.audit_result()
    if result is not None:
        interval = result["ci95"]
        told = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        facts.append(("Dice of the student", f"{result['dice']:.3f}{told}"))
    return facts


@dataclasses.dataclass(frozen=True)
class Served:
    """The page while it is served: where, on which port, and what is behind it."""

    address: str
    port: int
    session: Session
    server: RunningServer


@contextlib.contextmanager
def labelling(
    run: RunDir, request: LabelRequest, teacher: Teacher | None = None
) -> Iterator[Served]:
    """The page, served within. Raises: as `run_label`."""
    _check(run, request)
    if read_grid(run.data) is not None:
        raise ConfigError(
            f"the images of {run.data} were resampled (prepare.spacing_mm), and boxes are drawn on "
            "the pixels of the source; label in a RUN that was prepared without"
        )
    data = Dataset.open(run.data)
    _check_findings(run, request)
    try:
        from meddistill.labelling.serving import RunningServer, open_socket
        from meddistill.labelling.web import make_app
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"labelling needs the package {error.name}; install it with "
            "`pip install 'meddistill[label]'`"
        ) from None

    with contextlib.ExitStack() as ends:
        listening = ends.enter_context(open_socket(request.host, request.port))
        port = listening.getsockname()[1]
        book = LabelBook(
            run.labels, data, request.findings or read_findings(run.data).names, request.user
        )
        ends.callback(book.close)
        session = _session(run, request, book, teacher)
        ends.callback(session.assistant.end)
        access = _access(request.host, port)
        if session.rounds is not None:
            session.rounds.start()
            ends.callback(session.rounds.end)
        server = RunningServer(make_app(session, access), listening)
        ends.callback(server.stop)
        yield Served(access.address, port, session, server)


def _check_findings(run: RunDir, request: LabelRequest) -> None:
    """Raise ConfigError for names that a RUN of several findings does not have, and for an audit of
    such a RUN."""
    known = read_findings(run.data)
    if request.audit and not known.is_one:
        raise ConfigError(
            f"--audit settles masks of one finding, {run.data} has {', '.join(known.names)}; draw "
            "boxes on test images instead, by which `meddistill eval` measures what is found"
        )
    for name in request.findings:
        if not known.is_one and name not in known.names:
            raise ConfigError(
                f"finding '{name}' is none of {', '.join(known.names)}, those of {run.data}"
            )


def _check(run: RunDir, request: LabelRequest) -> None:
    if request.order not in ORDERS:
        raise ConfigError(f"order '{request.order}' is not known{nearest(request.order, ORDERS)}")
    if not 0 < request.port < 65536:
        raise ConfigError(f"port is {request.port}, expected 1 to 65535")
    if len(set(request.findings)) != len(request.findings) or "" in request.findings:
        raise ConfigError(
            f"findings are {', '.join(request.findings)}; expected names, each of them once"
        )
    if request.host not in LOCAL and not request.allow_remote:
        here = socket.gethostname()
        raise ConfigError(
            f"--host {request.host} would show the images to the network; from another machine "
            f"rather type there: ssh -N -L {request.port}:127.0.0.1:{request.port} {here}, label "
            "here without --host, and open the printed address there; or pass --allow-remote"
        )
    if request.source is not None and not request.source.is_dir():
        raise ConfigError(f"--source is the folder of the originals, {request.source} is none")
    if request.audit < 0:
        raise ConfigError(f"--audit takes how many test masks, such as 30; got {request.audit}")
    if request.train and (request.audit or request.teacher == "none"):
        raise ConfigError(
            "--train learns from drawn boxes and a teacher: leave --audit and --teacher none away"
        )
    if lock.is_held(run.data):
        raise StageError(f"{run.data} is being written; label when `meddistill prepare` has ended")


def _session(
    run: RunDir, request: LabelRequest, book: LabelBook, teacher: Teacher | None
) -> Session:
    def load() -> Teacher:
        from meddistill.teachers.loading import load_teacher
        from meddistill.training.fabric import resolve_device

        if teacher is not None:
            return teacher
        return load_teacher(request.teacher, device=resolve_device(request.device))

    rounds_student = () if request.audit else (rounds_run(run).student,)
    pupil = Pupil(book.data, (run.student, *rounds_student))
    cases = audited_cases(run, book.data, request.audit) if request.audit else None
    if request.audit and not pupil.key():
        raise StageError(f"{run.student} is no student; run `{command('distill', run)}` first")
    labelled = LabelledSoFar(book)
    session: Session
    assistant = Assistant(
        book.data if cases is None else Dataset(book.data.directory, cases),
        run.teacher,
        None if request.teacher == "none" and teacher is None else load,
        Wishes(
            lambda: session.upcoming(),
            lambda: [] if request.audit else labelled(),
            lambda: session.doubted(),
            lambda: session.reviews.look_at_one(),
        ),
        request.encodings_gb,
    )
    if cases is not None:
        session = AuditSession(book, assistant, pupil, request.order, cases, request.source)
    else:
        session = Session(book, assistant, pupil, request.order, None, request.source)
        if request.train:
            session.rounds = Rounds(run, request.teacher, lambda: _boxed(labelled()))
    assistant.start()
    return session


def _boxed(labelled: Sequence[Labelled]) -> int:
    """Images with a box that train."""
    return sum(any(map(len, each.boxes.values())) for each in labelled)


def _access(host: str, port: int) -> Access:
    if host in LOCAL:
        return Access(("127.0.0.1", "localhost") if host != "::1" else ("[::1]", "localhost"), port)
    names = [host] if host not in ("0.0.0.0", "::") else []
    return Access((*names, socket.gethostname(), socket.getfqdn(), "127.0.0.1", "localhost"), port)


def _announce(request: LabelRequest, served: Served) -> None:
    if served.port != request.port:
        console.say(f"port {request.port} is in use: taking {served.port}")
    if request.host not in LOCAL:
        console.warn(
            "the page is open to the network, unencrypted, to whoever has the address below"
        )
    console.answer(f"label at {served.address}")
    console.say("Ctrl+C ends; every box that is shown as saved is on the disk")


def _until_stopped(served: Served) -> None:
    """Until Ctrl+C, which is how labelling ends; boxes.csv follows the journal meanwhile."""
    told = False
    with contextlib.suppress(Interrupted):
        while served.server.is_running():
            time.sleep(_BOXES_EVERY_S)
            try:
                served.session.book.write_boxes()
            except OSError as error:
                # It follows from the journal, and is written once there is room: the page goes on.
                if not told:
                    console.warn(
                        f"{BOXES_CSV} is late: {disk_problem(error) or in_one_line(error)}"
                    )
                told = True
