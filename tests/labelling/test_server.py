"""The server: what the page gets, and what a stranger does not."""

import json
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from support.label_run import EMPTY, GIVEN, PORT, Client, box_of, make_deep_run, make_run, served

from meddistill.base.errors import ConfigError, StageError
from meddistill.data.formats.pictures import load_picture
from meddistill.labelling.access import MOST_BODY_BYTES, Access
from meddistill.labelling.book import LabelBook
from meddistill.labelling.serving import open_socket
from meddistill.labelling.web import page_files
from meddistill.run import lock
from meddistill.run.layout import RunDir
from meddistill.run.lock import lock_path
from meddistill.stages.label import LabelRequest, _until_stopped, labelling

DRAW = {
    "id": "a1",
    "image": "images/002.png",
    "do": "draw",
    "box": {"id": "b1", "xyxy": [8, 8, 24, 24], "finding": "lesion", "source": "drawn"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("server"), count=6)


@pytest.fixture(scope="module")
def running(run):
    with served(run) as running:
        yield running


@pytest.fixture(scope="module")
def client(running):
    client = Client(running)
    deadline = time.monotonic() + 60
    while client.get("/api/news")["teacher"]["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return client


def lines(run):
    return (run.labels / "me.jsonl").read_text().count("\n")


# ---- what the page gets


def test_the_page_and_its_files(client):
    for path in ("/", *(f"/page/{name}" for name in page_files())):
        answer = client.ask("GET", path)
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert {"index.html", "app.js", "style.css"} <= page_files().keys()


def test_nothing_of_the_page_is_elsewhere():
    for name, (content, _) in page_files().items():
        text = content.decode().replace("http://www.w3.org", "")
        assert "http:" not in text, name
        assert "https:" not in text, name
        assert "//" not in [text[at : at + 2] for at in range(len(text)) if text[at - 1] in "'\"("]


def test_session(client):
    about = client.get("/api/session")
    assert about["names"] == [f"{number:03d}" for number in range(6)]
    assert (about["findings"], about["user"], about["splits"]) == (["lesion"], "me", "tttttt")
    assert about["statuses"][GIVEN] + about["statuses"][EMPTY] == "be"


def test_an_image_and_its_pixels(client, run):
    image = client.get(f"/api/images/{GIVEN}")
    assert (image["width"], image["height"], image["image"]) == (64, 64, "images/000.png")
    assert image["actions"][0]["boxes"][0]["xyxy"] == box_of(GIVEN)
    picture = client.ask("GET", "/api/images/0/picture").content
    assert picture == (run.data / "images/train/000.png").read_bytes()
    assert client.ask("GET", "/api/images/0/thumbnail").content[:2] == b"\xff\xd8"


def test_a_mask(client, tmp_path):
    answer = client.ask("GET", "/api/images/3/mask?box=10,20,30,40")
    assert answer.headers["x-predicted-iou"] == "0.900"
    (tmp_path / "mask.png").write_bytes(answer.content)
    inside = load_picture(tmp_path / "mask.png") > 127
    assert inside[20:40, 10:30].all()
    assert inside.sum() == 400


@pytest.mark.parametrize(
    "box", ["", "1,2,3", "1,2,x,4", "nan,2,3,4", "5,5,5,9", "-1,2,3,4", "1,2,65,4", "inf,1,2,3"]
)
def test_a_box_that_is_none_gets_no_mask(client, box):
    assert client.ask("GET", f"/api/images/3/mask?box={box}").status == 400


def test_actions_are_saved_before_they_are_answered(client, run):
    before = lines(run)
    client.draw(2)
    assert lines(run) == before + 1
    (action,) = client.get("/api/images/2")["actions"]
    assert action["box"]["xyxy"] == [8, 8, 24, 24]
    client.act(2, "undo", of=action["id"])
    assert client.get("/api/session")["statuses"][2] == "o"


def test_an_action_sent_again_is_answered_and_done_once(client, run):
    first = client.act(2, "skip")
    before = lines(run)
    client.act(2, "skip", id=first)
    assert lines(run) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"image": "../../etc/passwd"}, "there is no image"),
        ({"do": "given"}, "is no list"),
        ({"box": {**DRAW["box"], "xyxy": [0, 0, 9, 10**400]}}, "is not four numbers"),
        ({"box": {**DRAW["box"], "xyxy": [0, 0, 500, 500]}}, "outside the image"),
        ({"box": {**DRAW["box"], "xyxy": [5, 5, 9, 5.001]}}, "at least 1 px wide and high"),
        ({"box": {**DRAW["box"], "finding": "<script>"}}, "is none of lesion"),
        ({"id": "../../x"}, "no plain name"),
    ],
)
def test_what_cannot_be_saved_says_why(client, run, change, why):
    before = lines(run)
    answer = client.post("/api/actions", {**DRAW, **change})
    assert answer.status == 400
    assert why in json.loads(answer.content)["error"]
    assert lines(run) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 20_000, b"null", b"\xff\xfe", b'{"id": NaN}'])
def test_a_body_that_is_none_is_refused(client, body):
    assert client.post("/api/actions", body).status == 400


@pytest.mark.parametrize("path", ["/api/actions", "/api/order"])
def test_who_goes_in_the_middle_of_a_request_leaves_no_traceback(client, run, caplog, path):
    before = lines(run)
    sent = {**client.headers, "Origin": client.origin, "Content-Type": "application/json"}
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection(("127.0.0.1", client.running.port)) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}Content-Length: 500\r\n\r\n{{".encode())
        time.sleep(0.1)
    time.sleep(0.3)
    assert client.get("/api/news")["counts"]
    assert [record for record in caplog.records if record.exc_info] == []
    assert lines(run) == before


def test_a_journal_that_gets_damaged_is_told_and_the_page_goes_on(client, run):
    path = run.labels / "x.jsonl"
    path.write_text("half\n")
    try:
        for _ in range(2):
            assert "x.jsonl line 1 is no JSON" in client.get("/api/news")["problem"]
        assert client.get("/api/session")["counts"]
    finally:
        path.unlink()
    assert client.get("/api/news")["problem"] == ""


def test_next_goes_round_what_is_left(client):
    assert client.get("/api/next?after=2&after=3&after=4")["number"] == 5
    assert client.get("/api/next?after=2&after=3&after=4&after=5") == {"number": None}
    seen, number = [], client.get("/api/next")["number"]
    for _ in range(4):
        seen.append(number)
        client.act(number, "empty", finding="")
        number = client.get(f"/api/next?after={number}")["number"]
    assert sorted(seen) == [2, 3, 4, 5]
    assert number is None
    for number in seen:
        client.act(number, "unsure", finding="")


def test_an_order_by_name(client):
    assert client.post("/api/order", {"order": "listed"}).status == 200
    assert client.get("/api/session")["order"] == "listed"
    assert client.post("/api/order", {"order": "worst"}).status == 400
    for body in (b"[]", b"{", b'{"order": []}', b'{"order": {}}'):
        assert client.post("/api/order", body).status == 400, body


@pytest.mark.parametrize("number", ["%C2%B2", "9" * 5000, "-1", "1e3", ""])
def test_a_number_that_is_none_is_no_error_of_the_server(client, number):
    assert client.ask("GET", f"/api/images/{number}").status == 404
    assert client.ask("GET", f"/api/images/{number}/mask?box=1,1,9,9").status == 404
    assert "statuses" in client.get(f"/api/news?since={number}")
    assert client.get(f"/api/next?after={number}").keys() == {"number"}


def test_a_full_disk_does_not_end_the_page(monkeypatch, capsys):
    """The journal says of each box whether it is saved; boxes.csv follows once there is room."""
    monkeypatch.setattr("meddistill.stages.label._BOXES_EVERY_S", 0)
    tries = [OSError(28, "No space left on device", "boxes.csv"), None, OSError(28, "No"), None]
    left = list(tries)

    def write_boxes():
        if (found := left.pop(0)) is not None:
            raise found

    book = SimpleNamespace(write_boxes=write_boxes)
    server = SimpleNamespace(is_running=lambda: bool(left))
    _until_stopped(SimpleNamespace(server=server, session=SimpleNamespace(book=book)))
    said = capsys.readouterr().err
    assert said.count("boxes.csv is late: boxes.csv: the disk is full") == 1


# ---- what a stranger does not get


def test_without_the_cookie_nothing_is_told(client):
    for path in ("/", "/page/app.js", "/api/session", "/api/images/0/picture", "/api/nothing"):
        answer = client.ask("GET", path, headers={"Cookie": None})
        assert answer.status == 403, path
        assert b"meddistill label" in answer.content
    wrong = client.ask(
        "GET", "/api/session", headers={"Cookie": f"meddistill-{client.running.port}=x"}
    )
    assert wrong.status == 403


def test_cookies_of_other_servers_on_this_machine_do_no_harm(client):
    """Browsers send those of all ports, and some are none by the book."""
    own = client.headers["Cookie"]
    for header in (f'a[b]={{"x": 1}}; {own}', f"{own}; ; =; \u00e9=1; x", f'x="; {own}'):
        answer = client.ask("GET", "/api/news", headers={"Cookie": header.encode("latin-1")})
        assert answer.status == 200, header


@pytest.mark.parametrize("token", ["", "x", "%00", "%C3%A9"])
def test_a_wrong_token_gives_no_cookie(client, token):
    answer = client.ask("GET", f"/?token={token}", headers={"Cookie": None})
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def test_the_cookie_is_not_for_scripts_or_other_sites(client):
    assert "HttpOnly" in client.set_cookie
    assert "SameSite=Strict" in client.set_cookie
    assert client.running.address.split("token=")[1] not in client.set_cookie


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:PORT",
        "127.0.0.1",
        "127.0.0.1:1",
        "",
        "127.0.0.1.evil.example",
    ],
)
def test_another_host_is_refused(client, host):
    """DNS rebinding: the attacker's name resolves to this machine."""
    for path in ("/", "/api/session", client.running.address.split(str(client.running.port))[1]):
        named = host.replace("PORT", str(PORT))  # not in the parameter: each process has its own
        assert client.ask("GET", path, headers={"Host": named}).status == 421


def test_two_hosts_are_refused(client):
    with socket.create_connection(("127.0.0.1", client.running.port)) as raw:
        cookie = client.headers["Cookie"]
        host = f"127.0.0.1:{client.running.port}"
        text = (
            f"GET /api/session HTTP/1.1\r\nHost: {host}\r\nHost: evil\r\nCookie: {cookie}\r\n\r\n"
        )
        raw.sendall(text.encode())
        assert raw.recv(100).split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "https://127.0.0.1:PORT", "http://127.0.0.1:1"],
)
def test_another_origin_changes_nothing(client, run, origin):
    """CSRF: a page of the attacker sends a form, or a request, with our cookie."""
    before = lines(run)
    named = origin and origin.replace("PORT", str(PORT))
    assert client.post("/api/actions", DRAW, {"Origin": named}).status == 403
    assert lines(run) == before


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_asks_for_nothing(client, site):
    assert client.ask("GET", "/api/session", headers={"Sec-Fetch-Site": site}).status == 403
    assert (
        client.ask("GET", "/api/images/0/picture", headers={"Sec-Fetch-Site": site}).status == 403
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Length": str(MOST_BODY_BYTES + 1)}, 413),
        ({"Content-Length": None, "Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_only_short_json_is_read(client, run, headers, status):
    before = lines(run)
    answer = client.post("/api/actions", b"0\r\n\r\n" if status == 411 else DRAW, headers)
    assert answer.status == status
    assert lines(run) == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(client, method):
    assert client.ask(method, "/api/session").status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../settings/config.py",
        "/page/..%2f..%2fsettings%2fconfig.py",
        "/page/%2e%2e/journal.py",
        "/page/%00",
        "/page//etc/passwd",
        "/etc/passwd",
        "/api/images/..%2f..%2fdata/picture",
        "/api/images/-1",
        "/api/images/6",
        "/api/images/99999999999999999999",
        "/api/images/0/picture/../../run.json",
        "/api/images/0.png",
        "//evil.example/",
    ],
)
def test_no_path_is_opened(client, path):
    answer = client.ask("GET", path)
    assert answer.status == 404
    assert len(answer.content) < 200


def test_a_picture_is_only_read(client):
    assert client.post("/api/images/0/picture", {}).status == 405
    assert client.ask("GET", "/api/actions").status == 405


def test_noise_does_not_stop_it(client):
    for noise in (
        b"\0" * 500,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", client.running.port)) as raw:
            raw.sendall(noise)
            raw.settimeout(5)
            raw.recv(200)
    assert client.get("/api/session")["user"] == "me"


@pytest.mark.parametrize(
    ("port", "host", "is_named"),
    [(80, "127.0.0.1", True), (80, "127.0.0.1:80", True), (8787, "127.0.0.1", False)],
)
def test_of_the_port_of_http_a_browser_says_nothing(port, host, is_named):
    refusal = Access(["127.0.0.1"], port).refuse("GET", "/", {"host": host})
    assert (refusal.status == 421) != is_named


def test_tokens_are_long_and_new_each_time():
    one, other = Access(["127.0.0.1"], 1), Access(["127.0.0.1"], 1)
    assert len({one.token, one.cookie, other.token, other.cookie}) == 4
    assert min(map(len, (one.token, one.cookie))) >= 32
    assert one.token not in repr(one)


# ---- beginning


def test_a_port_in_use_takes_the_next(client):
    port = client.running.port
    with open_socket("127.0.0.1", port) as next_one:
        assert port < next_one.getsockname()[1] <= port + 5


def test_another_host_wants_a_word_and_tells_the_tunnel(run):
    with (
        pytest.raises(ConfigError, match=r"ssh -N -L 8787:127\.0\.0\.1:8787 .*--allow-remote"),
        labelling(run, LabelRequest(host="0.0.0.0", teacher="none")),
    ):
        pass


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"order": "randon"}, "did you mean 'random'"),
        ({"port": 0}, "port is 0"),
        ({"findings": ["a", "a"]}, "each of them once"),
        ({"findings": [""]}, "each of them once"),
    ],
)
def test_bad_requests_are_one_line(run, request_, why):
    with pytest.raises(ConfigError, match=why), labelling(run, LabelRequest(**request_)):
        pass


def test_without_data_it_says_what_to_do(tmp_path):
    with (
        pytest.raises(StageError, match="run `meddistill prepare` first"),
        labelling(RunDir(tmp_path / "none"), LabelRequest()),
    ):
        pass


def test_a_run_in_use_is_refused(run):
    lock.acquire(run.data)
    try:
        with pytest.raises(StageError, match="is being written"), labelling(run, LabelRequest()):
            pass
    finally:
        lock.release(run.data)


def test_without_a_teacher_it_labels_all_the_same(tmp_path):
    run = make_run(tmp_path, count=3)
    with labelling(run, LabelRequest(port=PORT, teacher="none")) as running:
        client = Client(running)
        assert client.get("/api/news")["teacher"]["state"] == "off"
        answer = client.ask("GET", "/api/images/2/mask?box=1,1,9,9")
        assert (answer.status, b"no teacher" in answer.content) == (503, True)
        client.draw(2)
        assert client.get("/api/images/2/proposals") == {"boxes": []}
    assert "002.png,8.0,8.0,24.0,24.0,lesion,drawn" in (run.labels / "boxes.csv").read_text()
    assert not lock_path(run.labels / "me").exists()


def test_a_teacher_that_cannot_be_had_says_why(tmp_path):
    run = make_run(tmp_path, count=3)
    with labelling(run, LabelRequest(port=PORT, teacher="no-such-teacher")) as running:
        client = Client(running)
        deadline = time.monotonic() + 60
        while (told := client.get("/api/news")["teacher"])["state"] == "loading":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert told["state"] == "failed"
        assert "teacher 'no-such-teacher' is not known" in told["message"]
        client.draw(2)


def test_an_image_that_is_gone_or_damaged_is_told(tmp_path):
    run = make_run(tmp_path, count=4)
    (run.data / "images/train/002.png").unlink()
    (run.data / "images/train/003.png").write_bytes(b"no image")
    with served(run) as running:
        client = Client(running)
        assert client.ask("GET", "/api/images/2/picture").status == 404
        for number in (2, 3):
            answer = client.ask("GET", f"/api/images/{number}/thumbnail")
            assert (
                answer.status,
                b"cannot be read" in answer.content or b"decode" in answer.content,
            ) == (422, True)
        assert client.get("/api/images/3")["width"] == 64
        assert client.get("/api/news")["unreadable"] == 2
        assert client.get("/api/next") == {"number": None}  # the two others were looked at before


def test_many_requests_at_once(client):
    answers = []

    def ask(number):
        answers.append(client.ask("GET", f"/api/images/{number % 6}/mask?box=1,1,{9 + number},40"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [answer.status for answer in answers] == [200] * 12


def test_ten_thousand_images_are_listed_at_once(tmp_path):
    """Listing, statuses and what is next are of tables in memory: no image is opened."""
    from meddistill.labelling.assistant import Assistant, Wishes
    from meddistill.labelling.pupil import Pupil
    from meddistill.labelling.session import Session
    from meddistill.run.dataset import Dataset
    from meddistill.run.tables import Case

    cases = [
        Case(f"c{n:05d}", "train", "", "", "unknown", False, f"images/train/c{n:05d}.png",
             512, 512, 0, "", f"images/c{n:05d}.png", f"{n:064x}")
        for n in range(10_000)
    ]  # fmt: skip
    book = LabelBook(tmp_path / "labels", Dataset(tmp_path, cases), ("lesion",))
    assistant = Assistant(book.data, tmp_path, None, Wishes(list, list, list))
    session = Session(book, assistant, Pupil(book.data, ()), "random")
    begun = time.process_time()
    listed = json.dumps(session.about())
    number = session.after({17}, "random")
    assert time.process_time() - begun < 1.0
    assert len(json.loads(listed)["statuses"]) == 10_000
    assert 0 <= number < 10_000
    book.close()


def test_grey_values_of_the_source_and_slices_of_a_volume(tmp_path):
    run, deep = make_deep_run(tmp_path)
    with served(run, source=tmp_path / "source") as running:
        client = Client(running)
        assert client.get("/api/session")["originals"]
        answer = client.ask("GET", "/api/images/1/grey")
        low, high, black, white = map(float, answer.headers["X-Grey"].split(","))
        values = np.frombuffer(answer.content, "<u2").reshape(32, 40)
        np.testing.assert_allclose(low + values * (high - low) / 65535, deep + 1, atol=0.1)
        assert low <= black + 40
        assert white <= high + 40
        beside = [client.get(f"/api/images/{number}")["volume"] for number in range(3)]
        assert beside == [
            {"before": 1, "after": None, "place": 2, "of": 2},
            {"before": None, "after": 0, "place": 1, "of": 2},
            None,
        ]
    with served(run) as running:
        answer = Client(running).ask("GET", "/api/images/1/grey")
        assert (answer.status, b"give it as --source" in answer.content) == (422, True)
    with (
        pytest.raises(ConfigError, match="folder of the originals"),
        served(run, source=run.root / "no"),
    ):
        pass
