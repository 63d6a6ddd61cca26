"""The server's answers, over HTTP. Images are asked for by number: no path that a client sends is
ever opened. The only module that imports Starlette."""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meddistill.base.errors import InputError, disk_problem, in_one_line
from meddistill.data.formats.pictures import encode_png
from meddistill.data.pixels import shrink
from meddistill.labelling.access import MOST_BODY_BYTES, SECURITY_HEADERS, Access
from meddistill.labelling.asking import GoneError, asked_until
from meddistill.labelling.assistant import MASK_SIDE, NotReadyError
from meddistill.labelling.audit import AuditSession
from meddistill.labelling.book import RefusedActionError
from meddistill.labelling.edits import read_edits
from meddistill.labelling.orders import ORDERS
from meddistill.labelling.session import Session
from meddistill.run.tables import Case

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE = "index.html"


def page_files() -> dict[str, tuple[bytes, str]]:
    """Content and type of the page's files, by name: all that can be asked for."""
    folder = resources.files("meddistill.labelling") / "page"
    found = {}
    for file in folder.iterdir():
        kind = _KINDS.get("." + file.name.rsplit(".", 1)[-1])
        if kind is not None:
            found[file.name] = (file.read_bytes(), kind)
    return found


def make_app(session: Session, access: Access) -> ASGIApp:
    """The server's application over one session."""
    files = page_files()
    answers = _Answers(session, access.start)

    def page(request: Request) -> Response:
        content, kind = files[request.path_params.get("name", _PAGE)]
        return Response(content, media_type=kind)

    def page_file(request: Request) -> Response:
        return page(request) if request.path_params["name"] in files else _nothing()

    image = "/api/images/{number}"
    routes = [
        Route("/", page),
        Route("/page/{name}", page_file),
        Route("/api/session", answers.about),
        Route("/api/news", answers.news),
        Route("/api/next", answers.next),
        Route("/api/order", answers.order, methods=["POST"]),
        Route(image, answers.of_image(answers.image)),
        Route(f"{image}/picture", answers.of_image(answers.picture)),
        Route(f"{image}/thumbnail", answers.of_image(answers.thumbnail)),
        Route(f"{image}/mask", while_there(answers.of_image(answers.mask))),
        Route(f"{image}/proposals", while_there(answers.of_image(answers.proposals))),
        Route(f"{image}/encoding", while_there(answers.of_image(answers.encoding))),
        Route(f"{image}/student", answers.of_image(answers.student)),
        Route(f"{image}/grey", answers.of_image(answers.grey)),
        Route(f"{image}/tile", answers.of_image(answers.tile)),
        Route(f"{image}/edited", answers.edited, methods=["POST"]),
        Route("/api/review", answers.review),
        Route("/api/actions", answers.act, methods=["POST"]),
    ]
    return _Guard(Starlette(routes=routes), access)


def while_there(answer: Callable[[Request], Response]) -> Callable[..., Awaitable[Response]]:
    """The answer, given up once the client has gone."""

    async def found(request: Request) -> Response:
        return await _until_gone(request, answer, request)

    return found


async def _until_gone(request: Request, answer: Callable[..., Response], *given: Any) -> Response:
    gone = threading.Event()

    def asked() -> Response:
        try:
            with asked_until(gone):
                return answer(*given)
        except GoneError:
            return _refused("nobody waits for it", 503)

    watching = asyncio.ensure_future(_watch(request, gone))
    try:
        # Not a thread of those that save: questions that wait for the teacher may take all of these.
        return await asyncio.to_thread(asked)
    finally:
        gone.set()
        watching.cancel()


async def _watch(request: Request, gone: threading.Event) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone.set()


class _Guard:
    """Refuses what `Access` refuses before anything else sees it, gives the cookie for the token,
    and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), text.encode()) for name, text in _headers(scope)]
                names = {name for name, _ in own}
                kept = [pair for pair in message.get("headers", []) if pair[0] not in names]
                message = {**message, "headers": [*kept, *own]}
            await send(message)

        answer = self._answer(Request(scope))
        await (answer or self._app)(scope, receive, send_guarded)

    def _answer(self, request: Request) -> Response | None:
        refusal = self._access.refuse(request.method, request.url.path, _by_name(request.headers))
        by_address = request.method == "GET" and request.url.path == "/"
        token = request.query_params.get("token")
        if by_address and token is not None and (refusal is None or refusal.status == 403):
            if not self._access.is_token(token):
                return _plain("this address is of an earlier start: open the newest one", 403)
            # Away from the address line, the history and every screenshot.
            opened = RedirectResponse("/", 303)
            opened.headers["set-cookie"] = self._access.set_cookie()
            return opened
        if refusal is None:
            return None
        if request.url.path == "/":
            return _plain(refusal.reason, refusal.status)
        return _refused(refusal.reason, refusal.status)


def _headers(scope: Scope) -> list[tuple[str, str]]:
    # A picture's address holds its hash: it may stay in the browser.
    kept = scope["path"].endswith(("/picture", "/thumbnail")) and b"v=" in scope["query_string"]
    cache = {"Cache-Control": "private, max-age=86400"} if kept else {}
    return list({**SECURITY_HEADERS, **cache}.items())


def _by_name(headers: Headers) -> Mapping[str, str]:
    # A name that comes twice is joined, so that neither of two answers to a check alone.
    found: dict[str, str] = {}
    for name, value in headers.items():
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


class _Answers:
    """What each address answers."""

    def __init__(self, session: Session, start: str) -> None:
        self._session = session
        self._start = start

    def of_image(self, answer: Callable[[Request, int, Case], Response]) -> Callable[..., Response]:
        """An answer about the image whose number is in the address."""

        def found(request: Request) -> Response:
            number = _number(request.path_params["number"])
            case = self._session.case(number)
            if case is None:
                return _nothing()
            return _answered(lambda: answer(request, number, case))

        return found

    def about(self, request: Request) -> Response:
        return JSONResponse({**self._session.about(), "start": self._start})

    def news(self, request: Request) -> Response:
        return JSONResponse(self._session.news(_number(request.query_params.get("since", ""))))

    def next(self, request: Request) -> Response:
        passed = {_number(text) for text in request.query_params.getlist("after")}
        number = self._session.after(passed, self._session.order)
        return JSONResponse({"number": number})

    def image(self, request: Request, number: int, case: Case) -> Response:
        return JSONResponse(self._session.image(number, case))

    def picture(self, request: Request, number: int, case: Case) -> Response:
        path = self._session.data.image_path(case)
        if not path.is_file():
            self._session.note_unreadable(case)
            return _nothing()
        return FileResponse(path, media_type="image/png")

    def thumbnail(self, request: Request, number: int, case: Case) -> Response:
        try:
            return Response(self._session.thumbnails.of_case(case), media_type="image/jpeg")
        except InputError:
            self._session.note_unreadable(case)
            raise

    def mask(self, request: Request, number: int, case: Case) -> Response:
        box = _box_within(request.query_params.get("box", ""), case)
        if box is None:
            return _refused("expected box=x1,y1,x2,y2 inside the image", 400)
        probs, predicted_iou = self._session.mask(case, box)
        told = {"X-Predicted-IoU": f"{predicted_iou:.3f}"}
        return Response(encode_png(probs), media_type="image/png", headers=told)

    def encoding(self, request: Request, number: int, case: Case) -> Response:
        """Answers when the teacher has seen the image: from then on a mask is quick."""
        self._session.assistant.look_at(case)
        return JSONResponse({"encoded": True})

    def proposals(self, request: Request, number: int, case: Case) -> Response:
        return JSONResponse(self._session.proposals(case))

    def student(self, request: Request, number: int, case: Case) -> Response:
        """The student's mask, 0 or 255."""
        return _mask_picture(self._session.pupil.mask(case))

    def grey(self, request: Request, number: int, case: Case) -> Response:
        """The source's own values: uint16, little-endian, row by row; what they mean beside it."""
        values, meaning = self._session.grey_values(case)
        told = {"X-Grey": ",".join(f"{value:.6g}" for value in meaning)}
        return Response(
            values.astype("<u2").tobytes(), media_type="application/octet-stream", headers=told
        )

    def tile(self, request: Request, number: int, case: Case) -> Response:
        return Response(self._session.reviews.picture(case), media_type="image/jpeg")

    def review(self, request: Request) -> Response:
        return JSONResponse(self._session.reviews.sheet())

    async def edited(self, request: Request) -> Response:
        """The mask of an audit after the corrections that were sent; nothing is kept."""
        case = self._session.case(_number(request.path_params["number"]))
        if case is None or not isinstance(self._session, AuditSession):
            return _nothing()
        try:
            plain = await _json(request)
            edits = read_edits(plain.get("edits") if isinstance(plain, dict) else None)
        except ValueError as error:
            return _refused(in_one_line(error), 400)
        edited = self._session.edited
        return await _until_gone(request, _answered, lambda: _mask_picture(edited(case, edits)))

    async def order(self, request: Request) -> Response:
        try:
            wanted = await _json(request)
        except ValueError as error:
            return _refused(in_one_line(error), 400)
        name = wanted.get("order") if isinstance(wanted, dict) else None
        if not isinstance(name, str) or name not in ORDERS:
            return _refused(f"expected an order of {', '.join(ORDERS)}", 400)
        self._session.follow(name)
        return JSONResponse({"order": name})

    async def act(self, request: Request) -> Response:
        try:
            plain = await _json(request)
            return JSONResponse(await run_in_threadpool(self._session.act, plain))
        except (ValueError, RefusedActionError) as error:
            return _refused(in_one_line(error), 400)
        except NotReadyError as error:
            return _refused(in_one_line(error), 503)
        except InputError as error:
            return _refused(in_one_line(error), 422)
        except OSError as error:
            return _refused(disk_problem(error) or in_one_line(error), 507)


def _answered(answer: Callable[[], Response]) -> Response:
    try:
        return answer()
    except InputError as error:
        return _refused(in_one_line(error), 422)
    except NotReadyError as error:
        return _refused(in_one_line(error), 503)


async def _json(request: Request) -> Any:
    """The body. Raises: ValueError for what is no JSON, or longer than it said."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BODY_BYTES:
                raise ValueError(f"expected at most {MOST_BODY_BYTES} bytes")
    except ClientDisconnect:
        raise ValueError("the rest of it did not come") from None
    try:
        return json.loads(bytes(body))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _number(text: str) -> int:
    """A number as a client wrote it; -1 for what is none of an image or a version."""
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else -1


def _box_within(text: str, case: Case) -> list[float] | None:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    if len(box) != 4 or not all(map(math.isfinite, box)):
        return None
    x1, y1, x2, y2 = box
    return box if 0 <= x1 < x2 <= case.width and 0 <= y1 < y2 <= case.height else None


def _mask_picture(mask: np.ndarray) -> Response:
    """A mask bool (H, W) as PNG of 0 and 255, its longest side at most `MASK_SIDE`."""
    pixels = shrink(mask.astype(np.uint8) * 255, MASK_SIDE)
    return Response(encode_png(pixels), media_type="image/png")


def _refused(reason: str, status: int) -> Response:
    return JSONResponse({"error": reason}, status)


def _plain(text: str, status: int) -> Response:
    return Response(f"{text}\n", status, media_type="text/plain; charset=utf-8")


def _nothing() -> Response:
    return _refused("there is nothing by this address", 404)
