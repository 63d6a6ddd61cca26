"""The page in a real browser: drawing, masks, keys, touch; and that no box is lost on the way."""

import json
import random
import threading
import time

import pytest
from support.chromium import Page, find_chromium
from support.label_run import Client, make_run, served

from meddistill.data.findings import Findings
from meddistill.labelling.actions import Action, Box, from_plain, to_plain
from meddistill.labelling.asking import LOOK_S, stop_if_gone
from meddistill.labelling.labelled import Proposed
from meddistill.labelling.state import can_redo, can_undo, derive
from meddistill.run.dataset import Dataset
from meddistill.run.findings import write_data_yaml

FINDINGS = ["lesion", "cyst"]
READY = "document.getElementById('view').dataset.shown"
SAVED = "document.getElementById('saved').textContent == 'saved'"


@pytest.fixture(scope="module")
def program():
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


@pytest.fixture(scope="module")
def browser(program, tmp_path_factory):
    with Page(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, count=8)


@pytest.fixture
def running(run):
    with served(run, order="listed", findings=FINDINGS) as running:
        client = Client(running)
        while client.get("/api/news")["teacher"]["encoded"] < 8:
            time.sleep(0.02)
        yield running


@pytest.fixture
def page(browser, running):
    browser.errors.clear()
    # What the test before it left unsent: all are served by one address.
    browser.forget(f"http://127.0.0.1:{running.port}")
    browser.open(running.address + "#5", 1366, 768)
    browser.until(READY)
    browser.until(f"{SAVED} && document.getElementById('teacher').textContent.includes('of 8')")
    yield browser
    browser.connect(True)
    browser.open("about:blank")  # it asks for news until it is gone
    ours = ("ERR_INTERNET_DISCONNECTED", "Canvas2D")  # what the tests themselves cause
    left = [text for text in browser.errors if not any(part in text for part in ours)]
    assert left == []


def test_a_finding_is_drawn_in_the_colour_that_somebody_chose(browser, run):
    lesion = Findings(chosen_colours={"lesion": (0, 160, 255)})
    write_data_yaml(run.data, lesion, {})
    with served(run, order="listed", findings=FINDINGS) as running:
        browser.open(running.address + "#5", 1366, 768)
        browser.until(READY)
        dots = browser.run(
            "[...document.querySelectorAll('#findings .dot')].map(d => d.style.background)"
        )
        assert dots == ["rgb(0, 160, 255)", "rgb(62, 193, 240)"]
        browser.open("about:blank")


def place(page, x, y):
    """Where on the page a pixel of the image lies (64 px, fitted)."""
    left, top, width, height = page.run(
        "(r => [r.left, r.top, r.width, r.height])(document.getElementById('overlay').getBoundingClientRect())"
    )
    scale = min(width - 40, height - 40) / 64
    return left + (width - 64 * scale) / 2 + x * scale, top + (height - 64 * scale) / 2 + y * scale


def drag(page, xyxy):
    page.drag(place(page, *xyxy[:2]), place(page, *xyxy[2:]))


def shown(page, number):
    page.until(f"document.getElementById('view').dataset.shown == '{number}'")


def lines(run):
    return [json.loads(line) for line in (run.labels / "me.jsonl").read_text().splitlines()[1:]]


def text(page, name):
    return page.run(f"document.getElementById('{name}').textContent")


def wait_until(true, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def colour_at(page, x, y):
    """RGBA of the layer over the image."""
    left, top = place(page, x, y)
    return page.run(
        "(() => { const c = document.getElementById('overlay'); const r = c.getBoundingClientRect();"
        f" return [...c.getContext('2d').getImageData({left} - r.left, {top} - r.top, 1, 1).data] }})()"
    )


def test_a_dragged_box_is_saved_and_gets_the_teachers_mask(page, run):
    drag(page, (10, 20, 30, 50))
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 1")
    (line,) = lines(run)
    assert (line["image"], line["do"], line["box"]["source"]) == ("images/004.png", "draw", "drawn")
    assert line["box"]["xyxy"] == pytest.approx([10, 20, 30, 50], abs=0.3)
    for _ in range(100):
        if colour_at(page, 20, 35)[3] > 0:
            break
        time.sleep(0.1)
    assert colour_at(page, 20, 35)[3] > 0  # the mask, inside the box
    assert colour_at(page, 50, 35)[3] == 0
    page.press("m")
    time.sleep(0.1)
    assert colour_at(page, 20, 35)[3] == 0
    page.press("m")


def test_an_edge_is_moved_and_everything_undone_and_done_again(page, run):
    drag(page, (10, 20, 30, 50))
    drag(page, (30, 35, 40, 35))  # the right edge
    page.until(SAVED)
    assert lines(run)[-1]["do"] == "move"
    assert lines(run)[-1]["xyxy"] == pytest.approx([10, 20, 40, 50], abs=0.4)
    page.press("z")
    page.press("z")
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 0")
    assert text(page, "state") == "None yet. Drag over the image."
    page.press("y")
    page.press("y")
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 1")
    assert [line["do"] for line in lines(run)] == ["draw", "move", "undo", "undo", "redo", "redo"]
    assert text(page, "boxes").startswith("lesion 30 \N{MULTIPLICATION SIGN} 30")


@pytest.fixture
def proposed(page, running):
    """The heads propose one box on each image."""
    assistant = running.session.assistant
    box = Proposed((20.0, 20.0, 44.0, 40.0), "lesion", 0.9)
    assistant.propose = lambda case: [box]
    assistant._proposer.learnt_from = 5
    page.until("!document.getElementById('accept').hidden")
    return box.xyxy


@pytest.mark.parametrize(
    ("pulled", "becomes"),
    [
        ((20, 20, 23, 22), (23, 22, 44, 40)),  # a corner, by a little
        ((44, 40, 52, 47), (20, 20, 52, 47)),  # outwards, by more
        ((44, 30, 38, 31), (20, 20, 38, 40)),  # a side, by a hand that strays
        ((44, 30, 60, 33), (20, 20, 60, 40)),
    ],
)
def test_a_proposal_is_corrected_by_its_sides_and_corners(page, run, proposed, pulled, becomes):
    drag(page, pulled)
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 1")
    (line,) = lines(run)
    assert line["box"]["source"] == "corrected"
    assert line["box"]["xyxy"] == pytest.approx(becomes, abs=0.4)


@pytest.mark.parametrize(
    "drawn",
    [
        (20, 20, 44, 40),  # the same from corner to corner
        (20.5, 20.5, 43, 37),
        (44, 20, 20, 40),  # from another corner
        (20, 20, 58, 24),  # flat and far
        (19.5, 20.5, 36, 34),  # smaller
        (30, 20, 50, 50),  # from a side
        (20, 40, 43, 60),
    ],
)
def test_a_box_drawn_over_a_proposal_is_a_box_of_its_own(page, run, proposed, drawn):
    drag(page, drawn)
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 1")
    (line,) = lines(run)
    assert line["box"]["source"] == "drawn"
    x1, y1, x2, y2 = drawn
    wanted = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    assert line["box"]["xyxy"] == pytest.approx(wanted, abs=0.4)


def test_a_side_of_a_proposal_pulled_straight_over_the_other_makes_no_sliver(page, run, proposed):
    drag(page, (20, 30, 52, 30.3))
    time.sleep(0.3)
    assert lines(run) == []
    assert not page.run("document.getElementById('accept').hidden")


def test_a_saved_box_is_pulled_across_as_ever(page, run):
    drag(page, (10, 20, 30, 50))
    drag(page, (30, 50, 6, 10))
    page.until(SAVED)
    assert lines(run)[-1]["xyxy"] == pytest.approx([6, 10, 10, 20], abs=0.4)


@pytest.mark.parametrize("pulled", [(20, 20, 23, 22), (20, 20, 43, 37)])
def test_undo_brings_a_proposal_back(page, run, proposed, pulled):
    drag(page, pulled)
    page.until(f"{SAVED} && document.getElementById('accept').hidden")
    page.press("z")
    page.until(f"{SAVED} && !document.getElementById('accept').hidden")
    assert text(page, "accept-text") == "Accept proposal"
    page.press("a")  # goes on; undo goes back
    page.until(f"document.getElementById('view').dataset.shown != '4' && {SAVED}")
    page.press("z")
    shown(page, 4)
    page.until(f"{SAVED} && !document.getElementById('accept').hidden")
    assert [line["do"] for line in lines(run)] == ["draw", "undo", "draw", "undo"]


def test_a_corrected_proposal_leaves_the_others_of_its_finding(page, run, running):
    boxes = [(4.0, 4.0, 24.0, 20.0), (36.0, 36.0, 60.0, 56.0)]
    running.session.assistant.propose = lambda case: [Proposed(b, "lesion", 0.9) for b in boxes]
    running.session.assistant._proposer.learnt_from = 5
    told = "document.getElementById('accept-text').textContent == '{}'".format
    page.until(told("Accept 2 proposals"))
    drag(page, (24, 12, 28, 12.3))
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 1")
    page.until(f"{told('Accept proposal')} && !document.getElementById('accept').hidden")
    drag(page, (60, 46, 56, 46.3))
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 2")
    assert page.run("document.getElementById('accept').hidden")
    page.press("z")  # of two that were corrected one is undone
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 1")
    page.until("!document.getElementById('accept').hidden")
    page.press("a")
    page.until(f"document.getElementById('view').dataset.shown != '4' && {SAVED}")
    drawn = [line["box"] for line in lines(run) if line["do"] == "draw"]
    assert [box["source"] for box in drawn] == ["corrected", "corrected", "accepted"]
    assert drawn[0]["xyxy"] == pytest.approx([4, 4, 28, 20], abs=0.4)
    assert drawn[2]["xyxy"] == list(boxes[1])


def test_keys(page, run):
    """A day's work without a mouse."""
    page.press("2")
    page.press("b")
    page.press("ArrowRight")
    page.press("Escape")
    page.until(SAVED)
    page.until("document.querySelectorAll('#boxes li').length == 1")
    page.press("Enter")
    shown(page, 2)
    page.press("e")
    shown(page, 3)
    page.press("u")
    shown(page, 5)
    page.press("s")
    shown(page, 6)
    page.press("z")  # what was skipped comes back
    shown(page, 5)
    page.until(SAVED)
    done = [(line["image"][7:10], line["do"]) for line in lines(run)]
    assert done == [("004", "draw"), ("004", "move"), ("002", "empty"), ("003", "unsure"),
                    ("005", "skip"), ("005", "undo")]  # fmt: skip
    assert lines(run)[0]["box"]["finding"] == "cyst"
    assert lines(run)[1]["xyxy"][0] == lines(run)[0]["box"]["xyxy"][0] + 1
    assert "2 boxed · 2 empty · 1 not sure · 3 left" in text(page, "progress")
    page.press("ArrowLeft")
    shown(page, 4)
    page.press("?")
    page.until("document.getElementById('keys').open")
    page.press("Escape")
    page.until("!document.getElementById('keys').open")


def test_an_image_whose_answer_is_not_saved_yet_is_not_shown_again(page, run, running):
    save = running.session.book.save

    def slow(action):
        time.sleep(0.5)  # a network drive
        return save(action)

    running.session.book.save = slow
    seen = []
    for _ in range(3):
        page.press("e")
        shown_before = seen[-1] if seen else "4"
        page.until(
            f"!['{shown_before}', ''].includes(document.getElementById('view').dataset.shown)"
        )
        seen.append(page.run("document.getElementById('view').dataset.shown"))
    page.until(SAVED)
    assert seen == ["2", "3", "5"]
    assert [line["do"] for line in lines(run)] == ["empty"] * 3


def test_two_boxes_moved_by_keys_in_a_moment_both_move(page, run):
    drag(page, (10, 20, 30, 50))
    drag(page, (40, 10, 60, 30))
    page.press("Escape")
    page.run("document.getElementById('overlay').focus()")
    for key in ("Tab", "ArrowRight", "Tab", "ArrowDown", "ArrowDown"):
        page.press(key)
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 2")
    first, second = (line["box"]["xyxy"] for line in lines(run)[:2])
    moves = {line["box_id"]: line["xyxy"] for line in lines(run)[2:]}
    assert list(moves.values()) == [
        pytest.approx([first[0] + 1, first[1], first[2] + 1, first[3]]),
        pytest.approx([second[0], second[1] + 2, second[2], second[3] + 2]),
    ]


def test_who_has_no_mouse_presses_buttons_and_moves_the_image(page, run):
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", modifiers=8)  # Shift
    page.call("Input.dispatchKeyEvent", type="keyUp", key="ArrowRight")
    time.sleep(0.1)
    drag(page, (10, 20, 30, 50))
    page.until(SAVED)
    (line,) = lines(run)
    scale = place(page, 1, 0)[0] - place(page, 0, 0)[0]
    assert line["box"]["xyxy"] == pytest.approx([10 + 80 / scale, 20, 30 + 80 / scale, 50], abs=0.4)
    page.press("Escape")
    page.run("document.querySelector('[data-do=empty]').focus()")
    page.press("Enter")
    shown(page, 2)
    page.until(SAVED)
    assert [line["do"] for line in lines(run)] == ["draw", "empty"]


def test_nothing_of_one_finding_by_a_button(page, run):
    page.press("2")
    page.until("document.getElementById('empty-one-text').textContent == 'No cyst'")
    x, y = page.run(
        "(r => [r.left + 9, r.top + 9])(document.getElementById('empty-one').getBoundingClientRect())"
    )
    page.drag((x, y), (x, y))
    page.until(f"document.getElementById('findings').textContent.includes('not there') && {SAVED}")
    (line,) = lines(run)
    assert (line["do"], line["finding"]) == ("empty", "cyst")


def test_a_reload_shows_what_was_saved(page, running):
    drag(page, (10, 20, 30, 50))
    page.until(SAVED)
    page.open(running.address + "#5", 1366, 768)
    page.until("document.querySelectorAll('#boxes li').length == 1")
    assert "token" not in page.run("location.href")


def test_without_a_connection_boxes_are_kept_and_sent_again(page, run):
    page.connect(False)
    drag(page, (10, 20, 30, 50))
    page.until("document.getElementById('saved').textContent.includes('1 kept here')")
    assert lines(run) == []
    page.press("z")
    page.press("y")
    page.until("document.getElementById('saved').textContent.includes('3 kept here')")
    page.connect(True)
    page.until(SAVED)
    assert [line["do"] for line in lines(run)] == ["draw", "undo", "redo"]


def test_a_lost_connection_is_told_before_anything_is_drawn(page):
    page.connect(False)
    page.until("document.getElementById('saved').textContent == 'no connection to the server'")
    page.connect(True)
    page.until(SAVED)


def test_a_name_is_shown_with_its_picture(page, run, running, monkeypatch):
    may = threading.Event()
    image_path = Dataset.image_path
    monkeypatch.setattr(Dataset, "image_path", lambda *given: may.wait(30) and image_path(*given))
    page.press("ArrowLeft")
    time.sleep(0.3)
    assert text(page, "name") == "004"
    drag(page, (10, 20, 30, 50))  # on the picture that is still there
    page.until(SAVED)
    may.set()
    shown(page, 3)
    assert text(page, "name") == "003"
    assert lines(run)[0]["image"] == "images/004.png"


def test_a_box_that_is_too_small_is_told(page, run):
    drag(page, (10, 20, 11.5, 50))
    page.until("document.getElementById('toast').textContent.startsWith('too small: a box is at')")
    assert lines(run) == []


def test_boxes_that_nothing_there_takes_away_are_told(page, run):
    drag(page, (10, 20, 30, 50))
    drag(page, (40, 10, 60, 30))
    page.press("e")
    shown(page, 2)
    told = "2 boxes were taken away; Z brings them back"
    page.until(f"document.getElementById('toast').textContent == '{told}'")
    page.press("z")
    shown(page, 4)
    page.until("document.querySelectorAll('#boxes li').length == 2")


@pytest.mark.parametrize("control", ["#width", "#onward", "label:has(#onward)", "#order"])
def test_after_a_click_on_a_control_keys_are_the_pages(page, run, control):
    x, y = page.run(
        "(r => [r.left + r.width / 2, r.top + r.height / 2])"
        f"(document.querySelector('{control}').getBoundingClientRect())"
    )
    if control == "#order":
        page.run("document.getElementById('order').focus()")
        page.run("document.getElementById('order').dispatchEvent(new Event('change'))")
    else:
        page.drag((x, y), (x, y))
    page.press("Enter")
    shown(page, 2)


def test_what_was_not_sent_survives_a_reload(page, run, running):
    # The journal's disk is full, as far as the page can see.
    save = running.session.book.save

    def full(action):
        raise OSError(28, "No space left on device")

    running.session.book.save = full
    drag(page, (10, 20, 30, 50))
    page.until("document.getElementById('saved').textContent.includes('disk is full')")
    page.errors.clear()  # the browser notes each refused request
    page.open(running.address + "#5", 1366, 768)
    page.until("document.querySelectorAll('#boxes li').length == 1")
    running.session.book.save = save
    page.until(SAVED)
    assert [line["do"] for line in lines(run)] == ["draw"]
    assert page.run("Object.keys(localStorage).filter(key => key.includes('/')).length") == 0
    page.errors.clear()


def test_two_tabs_see_each_other(page, run, running):
    client = Client(running)
    client.draw(4, (1, 1, 9, 9), box_id="of-another-tab")
    page.until("document.querySelectorAll('#boxes li').length == 1")
    drag(page, (10, 20, 30, 50))
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 2")
    assert len(client.get("/api/images/4")["actions"]) == 2


def test_what_others_did_is_counted_though_one_saves_right_after(page, running):
    Client(running).draw(6)
    drag(page, (10, 20, 30, 50))
    page.until("document.getElementById('progress').textContent.startsWith('3 boxed')")


def draw_as_the_server_is_gone(browser, run):
    """The port that it was served at; the page keeps the box."""
    with served(run, order="listed") as running:
        browser.open(running.address + "#5", 1366, 768)
        browser.until(READY)
    drag(browser, (10, 20, 30, 50))
    browser.until("document.getElementById('saved').textContent.includes('1 kept here')")
    return running.port


def test_a_server_that_was_killed_and_started_anew_gets_what_was_drawn(browser, run):
    port = draw_as_the_server_is_gone(browser, run)
    with served(run, order="listed", port=port) as running:
        assert running.port == port
        browser.until(
            "document.getElementById('saved').textContent.includes('open the address')", 20
        )
        assert lines(run) == []
        browser.press("Escape")
        browser.press("ArrowLeft")  # it is not the image's fault
        browser.until("document.getElementById('message').textContent.includes('open the address')")
        browser.open(running.address + "#5", 1366, 768)
        browser.until(f"{READY} && {SAVED}")
        assert [line["do"] for line in lines(run)] == ["draw"]
        browser.open("about:blank")


def test_what_was_drawn_in_one_run_never_goes_to_another(browser, run, tmp_path):
    """Its page is still open when another RUN is served by the same address."""
    port = draw_as_the_server_is_gone(browser, run)
    other = make_run(tmp_path / "other", count=8)
    with served(other, order="listed", port=port) as running:
        assert running.port == port
        browser.run(f"fetch('/?{running.address.split('?')[1]}').then(answer => answer.ok)")
        told = "`meddistill label` was started anew: reload this page; 1 kept here"
        browser.until(f"document.getElementById('saved').textContent.startsWith('{told}')")
        assert lines(other) == []
    with served(run, order="listed", port=port) as running:
        browser.open(running.address + "#5", 1366, 768)
        browser.until(f"{READY} && {SAVED}")
        assert [line["do"] for line in lines(run)] == ["draw"]
        browser.open("about:blank")


def test_fingers_draw_and_pinch(page, run):
    page.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    page.touch([place(page, 10, 20), place(page, 20, 30), place(page, 30, 50)])
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 1")
    before = text(page, "zoom")
    one, other = place(page, 30, 32), place(page, 34, 32)
    page.touch([one, (one[0] - 90, one[1])], [other, (other[0] + 90, other[1])])
    time.sleep(0.1)
    page.press("1")
    assert text(page, "zoom") != before
    assert len(lines(run)) == 1  # a pinch draws nothing
    page.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_the_window_changes_what_is_seen_not_what_is_there(page):
    page.run(
        "(e => { e.value = 40; e.dispatchEvent(new Event('input')) })(document.getElementById('width'))"
    )
    assert page.run("document.querySelector('#window feFuncR').getAttribute('slope')") == "2.5"
    page.press("w")
    assert page.run("document.querySelector('#window feFuncR').getAttribute('slope')") == "1"


def test_an_image_that_is_gone_is_told_and_passed_over(page, run):
    (run.data / "images/train/005.png").unlink()
    page.press("ArrowRight")
    page.until("document.getElementById('message').textContent.includes('cannot be read')")
    page.press("ArrowRight")
    page.until("document.getElementById('message').hidden")
    assert text(page, "name") == "006"
    page.errors.clear()


def test_nothing_is_asked_of_another_machine(page, running):
    own = running.address.split("/?")[0]
    assert {url.split("/page/")[0][: len(own)] for url in page.requests if "http" in url[:4]} <= {
        own
    }


def test_images_that_were_passed_keep_nobody_waiting(page, run, running):
    asked, there = [], []

    def look_at(case):  # of a teacher that never comes to an end
        asked.append(case.case_id)
        there.append(case.case_id)
        try:
            while True:
                stop_if_gone()
                time.sleep(LOOK_S)
        finally:
            there.remove(case.case_id)

    running.session.assistant.look_at = look_at
    for count, key in enumerate(["ArrowRight"] * 3 + ["ArrowLeft"] * 5, 1):
        page.press(key)
        wait_until(lambda count=count: len(asked) == count)
    drag(page, (10, 20, 30, 50))
    page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 1", 10)
    assert len(lines(run)) == 1
    wait_until(lambda: len(there) == 1)
    page.press("Enter")
    wait_until(lambda: len(asked) == 9)


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (820, 1180), (1024, 768), (390, 800)])
def test_it_fits_the_screen(page, running, width, height):
    page.open(running.address, width, height)
    page.until(READY)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.querySelector('#view').clientHeight") > 0.3 * height
    for name in ("empty", "unsure", "skip", "next"):
        x, y = page.run(
            "(r => [r.left + r.width / 2, r.top + r.height / 2])"
            f"(document.querySelector('[data-do={name}]').getBoundingClientRect())"
        )
        assert 0 < x < width, name
        assert 0 < y < height, name


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 800)])
def test_long_names_push_no_button_away_and_no_button_covers_the_image(browser, run, width, height):
    names = ["lesion", "oedema around it, with all that a long name says"]
    with served(run, order="listed", findings=names) as running:
        Client(running).draw(4, finding=names[1])
        browser.open(running.address + "#5", width, height)
        browser.until(READY)
        browser.press("2")
        browser.until("document.querySelectorAll('#boxes li').length == 1")
        assert browser.run(
            "[...document.querySelectorAll('aside button, aside kbd')].every(e =>"
            " e.getBoundingClientRect().right <= innerWidth)"
        )
        bar, overlay = (
            browser.run(
                f"(r => [r.left, r.top, r.right, r.bottom])(document.querySelector('{name}').getBoundingClientRect())"
            )
            for name in (".tools", "#overlay")
        )
        browser.press("m")
        lit = browser.run(
            "(c => { const d = c.getContext('2d'); const [x, y] = "
            f"[{bar[0] - overlay[0]}, {bar[1] - overlay[1]}];"
            f" const part = d.getImageData(x, y, {bar[2] - bar[0]}, {bar[3] - bar[1]}).data;"
            " return part.some(value => value > 0); })(document.getElementById('picture'))"
        )
        assert not lit
        browser.press("m")
        browser.open("about:blank")


def some_actions(rng):
    """Any actions in any order, some about things that are not there."""
    actions = []
    for number in range(rng.randrange(1, 25)):
        kind = rng.choice(
            [
                "draw",
                "draw",
                "move",
                "name",
                "delete",
                "empty",
                "unsure",
                "skip",
                "undo",
                "redo",
                "given",
            ]
        )
        user, box_id = rng.choice(["me", "me", "ann"]), f"b{rng.randrange(4)}"
        finding = rng.choice(["", *FINDINGS])
        corners = (rng.randrange(5), rng.randrange(5), 9 + rng.randrange(5), 9 + rng.randrange(5))
        of = can_undo(actions, user) if kind == "undo" else can_redo(actions, user)
        box = Box(
            box_id, corners, finding or "cyst", rng.choice(["drawn", "accepted", "corrected"])
        )
        actions.append(
            Action(f"a{number}", "a.png", kind, user, number, box, box_id, corners,
                   finding or "cyst" if kind == "name" else finding, of or "a0",
                   (box,) if kind == "given" else (), ("cyst",) if kind == "given" else (),
                   among=rng.choice([(), ("cyst",)]) if kind in ("empty", "unsure") else ())
        )  # fmt: skip
    return actions


def test_page_and_server_understand_a_journal_alike(page):
    rng = random.Random(0)
    journals = [some_actions(rng) for _ in range(200)]
    plain = [[{**to_plain(each), "user": each.user} for each in actions] for actions in journals]
    page.call("Runtime.evaluate", expression=f"window.journals = {json.dumps(plain)}")
    said = page.run(
        "import('/page/state.js').then(({ derive, statusOf, undoable }) => journals.map((actions) => {"
        f" const findings = {json.dumps(FINDINGS)}; const state = derive(actions, findings);"
        " const { undo, redo } = undoable(actions, 'me');"
        " return { boxes: state.boxes.map((box) => [box.id, ...box.xyxy, box.finding, box.source]),"
        " nothing: [...state.nothing].sort(), unsure: [...state.unsure].sort(),"
        " status: statusOf(state, findings), undo, redo }; }))"
    )
    for actions, page_says in zip(journals, said, strict=True):
        read = [from_plain(to_plain(each), each.user) for each in actions]
        state = derive(read, FINDINGS)
        assert page_says == {
            "boxes": [[b.box_id, *b.xyxy, b.finding, b.source] for b in state.boxes],
            "nothing": sorted(state.nothing),
            "unsure": sorted(state.unsure),
            "status": state.status(FINDINGS),
            "undo": can_undo(read, "me"),
            "redo": can_redo(read, "me"),
        }
