"""The page where masks are settled, the sheet of disagreements, the curve, volumes and their grey
values, in a real browser."""

import threading
import time

import numpy as np
import pytest
from support.chromium import Page, find_chromium
from support.label_run import Client, box_of, give_student, make_deep_run, make_run, served

from meddistill.base.errors import InputError
from meddistill.data.masks import read_mask
from meddistill.labelling.rounds import CurvePoint
from meddistill.run.audits import audit_folder

SAVED = "document.getElementById('saved').textContent == 'saved'"
MASK = "document.getElementById('overlay').getContext('2d').getImageData({x}, {y}, 1, 1).data[3]"
DRAFTS = "Object.keys(localStorage).filter(key => key.includes('draft'))"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Page(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def run(tmp_path, monkeypatch):
    run = make_run(tmp_path, count=8, test=0.4)
    give_student(run, monkeypatch)
    return run


@pytest.fixture
def page(browser):
    browser.errors.clear()
    yield browser
    browser.open("about:blank")
    ours = ("Canvas2D", "ERR_CONNECTION_REFUSED")  # the tests read pixels, and end the server first
    left = [text for text in browser.errors if not any(part in text for part in ours)]
    assert left == []


def open_page(page, running):
    # What the test before it did not take: all are served by one address.
    page.forget(f"http://127.0.0.1:{running.port}")
    page.open(running.address, 1366, 768)
    page.until(f"document.getElementById('view').dataset.shown && {SAVED}")
    client = Client(running)
    deadline = time.monotonic() + 60
    while client.get("/api/news")["teacher"]["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def place(page, x, y):
    """Where on the page a pixel of the image lies (64 px, fitted)."""
    left, top, width, height = page.run(
        "(r => [r.left, r.top, r.width, r.height])(document.getElementById('overlay').getBoundingClientRect())"
    )
    scale = min(width - 40, height - 40) / 64
    return left + (width - 64 * scale) / 2 + x * scale, top + (height - 64 * scale) / 2 + y * scale


def text(page, name):
    return page.run(f"document.getElementById('{name}').textContent")


def until_settled(page, count):
    page.until(
        f"{SAVED} && document.getElementById('result').textContent.includes('{count} settled')"
    )


def until_masked(page, x, y, there=True):
    left, top = place(page, x, y)
    rect = "document.getElementById('overlay').getBoundingClientRect()"
    alpha = MASK.format(x=f"{left} - {rect}.left", y=f"{top} - {rect}.top")
    page.until(f"({alpha} > 0) == {str(there).lower()}")


def test_masks_are_accepted_and_corrected_with_every_tool(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        assert page.run("getComputedStyle(document.querySelector('.boxes')).display") == "none"
        number = int(text(page, "name"))
        x1, y1, x2, y2 = box_of(number)
        until_masked(page, (x1 + x2) / 2, (y1 + y2) / 2)
        page.drag(place(page, 2, 2), place(page, 30, 60))
        page.until("document.getElementById('settled').textContent.startsWith('one correction')")
        until_masked(page, 4, 58)
        page.press("z")
        page.until("document.getElementById('settled').textContent == 'Not settled yet.'")
        page.press("a")
        until_settled(page, 1)
        assert "Dice of the student 1.00" in text(page, "result")

        page.until(f"document.getElementById('name').textContent != '{number:03d}'")
        second = int(text(page, "name"))
        box = box_of(second)
        until_masked(page, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        hint = "document.querySelector('[data-do=next]').title"
        assert page.run(hint) == "Next to look at (Enter)"
        page.press("p")
        page.drag(place(page, 60, 10), place(page, 60, 50))
        until_masked(page, 60, 30)
        assert page.run(hint) == "Next to look at (N)"  # Enter takes the correction
        page.press("r")
        page.drag(place(page, 60, 10), place(page, 60, 20))
        until_masked(page, 60, 14, there=False)
        page.press("g")
        for corner in ((2, 58), (10, 58), (10, 63)):
            page.drag(place(page, *corner), place(page, *corner))
        assert page.run(hint) == "Next to look at (N)"  # Enter closes the polygon
        page.press("Enter")
        page.until("document.getElementById('settled').textContent.startsWith('3 corrections')")
        page.press("Enter")
        until_settled(page, 2)
        assert "1 accepted · 1 corrected · 1 left" in text(page, "progress")
        running.session.book.write_boxes()
        row = next(r for r in running.session.book.audits() if r.case_id == f"{second:03d}")
        settled = read_mask(audit_folder(run.labels) / row.mask)
        assert settled[40, 60]
        assert not settled[14, 60]
        assert settled[59, 8]
        assert settled[box[1] : box[3], box[0] : box[2]].all()

        third = text(page, "name")
        page.press("e")
        until_settled(page, 3)
        page.until(f"document.getElementById('name').textContent == '{third}'")
        page.press("z")
        until_settled(page, 2)
        assert page.run("document.documentElement.scrollWidth") <= 1366


def enters(page):
    """On which buttons Enter is printed."""
    return page.run(
        "[...document.querySelectorAll('button kbd')].filter(key => key.textContent == 'Enter' &&"
        " key.checkVisibility({ visibilityProperty: true }))"
        ".map(key => key.closest('button').querySelector('span').textContent)"
    )


def test_enter_is_printed_on_what_it_does(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        x1, y1, x2, y2 = box_of(int(text(page, "name")))
        until_masked(page, (x1 + x2) / 2, (y1 + y2) / 2)
        assert enters(page) == ["Next"]
        page.press("p")
        page.drag(place(page, 60, 10), place(page, 60, 50))
        assert enters(page) == ["Take corrections"]
        page.press("z")
        assert enters(page) == ["Next"]
        page.press("g")
        for corner in ((2, 58), (10, 58), (10, 63)):
            page.drag(place(page, *corner), place(page, *corner))
            assert text(page, "settled") == "Enter closes the polygon."
            assert enters(page) == []
        page.press("Enter")
        assert enters(page) == ["Take corrections"]
        page.press("Enter")
        until_settled(page, 1)
        page.until("document.body.dataset.enter == 'next'")
        assert enters(page) == ["Next"]


def test_a_mask_is_not_accepted_before_it_is_shown(page, run):
    with served(run, audit=3) as running:
        may = threading.Event()
        edited = running.session.edited
        running.session.edited = lambda *given: may.wait(30) and edited(*given)
        open_page(page, running)
        page.press("a")
        page.until("document.getElementById('toast').textContent.includes('not shown yet')")
        may.set()
        x1, y1, x2, y2 = box_of(int(text(page, "name")))
        until_masked(page, (x1 + x2) / 2, (y1 + y2) / 2)
        page.press("a")
        until_settled(page, 1)


def test_the_sheet_leads_to_the_worst_and_a_box_there_is_a_correction(page, run):
    with served(run, order="listed") as running:
        client = Client(running)
        names = client.get("/api/session")["names"]
        number = names.index("002")
        client.draw(2, (0, 0, 9, 9))
        open_page(page, running)
        page.until("!document.getElementById('sheet-button').hidden")
        page.press("c")
        page.until(f"document.querySelectorAll('#sheet .card').length == {len(names)}", 30)
        first = "[...document.querySelectorAll('#sheet .card')].sort((a, b) => a.style.order - b.style.order)"
        assert page.run(f"{first}[0].querySelector('small').textContent").startswith("agree 0")
        page.run(
            "(e => { e.value = 'open'; e.dispatchEvent(new Event('input')) })"
            "(document.getElementById('sheet-status'))"
        )
        page.until(f"document.querySelectorAll('#sheet .card').length == {len(names) - 3}")
        page.run(
            "(e => { e.value = ''; e.dispatchEvent(new Event('input')) })"
            "(document.getElementById('sheet-status'))"
        )
        page.run(
            f"[...document.querySelectorAll('#sheet .card')].find(e => e.row.number == {number}).click()"
        )
        page.until(f"document.getElementById('view').dataset.shown == '{number}'")
        x1, y1, x2, y2 = box_of(2)
        until_masked(page, (x1 + x2) / 2, (y1 + y2) / 2)  # the student's mask
        page.drag(place(page, x1, y1), place(page, x2, y2))
        page.until(f"{SAVED} && document.querySelectorAll('#boxes li').length == 2")
        state = running.session.book.state(running.session.data.cases[number])
        assert [box.source for box in state.boxes] == ["drawn", "corrected"]
        np.testing.assert_allclose(state.boxes[1].xyxy, box_of(2), atol=0.4)


def test_the_curve_says_whether_more_boxes_would_help(page, run):
    with served(run, train=True) as running:
        running.session.rounds.points = [
            CurvePoint(10, None, 0.4, 0.3, "would likely help: from half"),
            CurvePoint(20, None, 0.6, 0.59, "would hardly help: from half"),
        ]
        open_page(page, running)
        page.until("!document.getElementById('curve').hidden")
        assert (
            text(page, "curve-text")
            == "you can stop · agreement of proposals 0.60 · training at 30 boxed"
        )
        assert page.run("document.querySelector('#curve polyline').points.length") == 2


def shown_greys(page):
    """The darkest and the lightest grey of the picture."""
    return page.run(
        "(c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let low = 255, high = 0;"
        " for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) { low = Math.min(low, d[i]);"
        " high = Math.max(high, d[i]); } return [low, high]; })(document.getElementById('picture'))"
    )


def test_arrows_go_through_a_volume_and_the_window_is_of_its_own_values(page, tmp_path):
    run, _ = make_deep_run(tmp_path)
    with served(run, order="listed", source=tmp_path / "source") as running:
        page.open(running.address + "#1", 1366, 768)
        page.until(f"document.getElementById('view').dataset.shown == '0' && {SAVED}")
        assert "slice 2 of 2" in text(page, "place")
        page.press("ArrowDown")  # the last one
        page.press("ArrowUp")
        page.until("document.getElementById('view').dataset.shown == '1'")
        assert "slice 1 of 2" in text(page, "place")
        assert shown_greys(page) == [0, 255]  # what lies beyond was cut off by `prepare`
        width = "(e => { e.value = 200; e.dispatchEvent(new Event('input')) })"
        page.run(f"{width}(document.getElementById('width'))")
        page.until("document.getElementById('view').dataset.grey == 'own'")
        time.sleep(0.2)
        low, high = shown_greys(page)  # twice as wide: black and white of before, and a bit beyond
        assert 50 < low < 70
        assert 185 < high < 205


@pytest.mark.parametrize("key", ["Enter", "n"])
def test_the_key_that_next_names_goes_on(page, run, key):
    with served(run, audit=3) as running:
        open_page(page, running)
        first = text(page, "name")
        if key == "n":  # Enter would take what was drawn
            page.press("p")
            page.drag(place(page, 60, 10), place(page, 60, 50))
            page.until("document.body.dataset.enter == 'save'")
        page.press(key)
        page.until(f"document.getElementById('name').textContent != '{first}'")
        assert text(page, "settled") == "Not settled yet."


def brush(page, *corners):
    page.press("p")
    for start, end in zip(corners[::2], corners[1::2], strict=True):
        page.drag(place(page, *start), place(page, *end))


def toast(page):
    return page.run("(e => e.hidden ? '' : e.textContent)(document.getElementById('toast'))")


def settled_edits(running):
    """How many corrections each settled mask has, by the image's name."""
    book = running.session.book
    return {
        row.case_id: len(book.actions(book.data.by_id[row.case_id])[-1].audit.edits)
        for row in book.audits()
    }


def test_what_was_drawn_and_not_taken_is_there_after_the_next_image_and_a_reload(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        first = text(page, "name")
        brush(page, (60, 10), (60, 50), (4, 10), (4, 50))
        page.press("g")
        page.drag(place(page, 2, 58), place(page, 2, 58))
        page.press("b")  # a corner is no reason to stay with a tool
        page.press("n")
        page.until(f"document.getElementById('name').textContent != '{first}'")
        assert toast(page) == f"{first}: 2 corrections kept, not taken"
        assert text(page, "progress") == "0 accepted · 0 corrected · 3 left · 1 drawn, not taken"
        assert text(page, "settled") == "Not settled yet."
        page.open(running.address, 1366, 768)
        page.until("document.getElementById('name').textContent != 'loading'")
        for _ in range(3):
            if text(page, "name") == first:
                break
            shown = text(page, "name")
            page.press("n")
            page.until(f"document.getElementById('name').textContent != '{shown}'")
        assert text(page, "settled") == "Enter closes the polygon."
        assert text(page, "saved") == "not taken"
        page.press("Escape")
        assert text(page, "settled") == "2 corrections: Enter takes them."
        until_masked(page, 60, 30)
        page.press("Enter")
        until_settled(page, 1)
        assert settled_edits(running) == {first: 2}
        assert text(page, "progress") == "0 accepted · 1 corrected · 2 left"
        assert page.run(DRAFTS) == []


def test_a_polygon_that_is_left_open_is_told_as_one(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        first = text(page, "name")
        page.press("g")
        page.drag(place(page, 2, 58), place(page, 2, 58))
        page.press("n")
        page.until(f"document.getElementById('name').textContent != '{first}'")
        assert toast(page) == f"{first}: an open polygon kept, not taken"


def test_what_is_drawn_in_an_audit_of_more_images_is_not_counted_in_a_smaller_one(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        page.press("ArrowRight")
        page.until("document.getElementById('place').textContent.startsWith('2 of 3')")
        brush(page, (60, 10), (60, 50))
        assert text(page, "progress").endswith("1 drawn, not taken")
        port = running.port
    with served(run, audit=1, port=port) as running:
        page.open(running.address, 1366, 768)
        page.until("document.getElementById('place').textContent.startsWith('1 of 1')")
        assert text(page, "progress") == "0 accepted · 0 corrected · 1 left"
        assert len(page.run(DRAFTS)) == 1


def test_accept_takes_the_mask_that_is_shown(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        first = text(page, "name")
        brush(page, (60, 10), (60, 50))
        until_masked(page, 60, 30)
        page.press("a")
        until_settled(page, 1)
        assert settled_edits(running) == {first: 1}
        page.press("ArrowLeft" if first != text(page, "name") else "Escape")
        page.until(f"document.getElementById('name').textContent == '{first}'")
        until_masked(page, 60, 30)
        page.press("a")  # looked at again: it stays
        page.until(f"document.getElementById('name').textContent != '{first}'")
        assert settled_edits(running) == {first: 1}


def test_a_stroke_that_was_undone_is_done_again(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        brush(page, (60, 10), (60, 50))
        page.press("z")
        page.until("document.getElementById('settled').textContent == 'Not settled yet.'")
        page.press("y")
        page.until("document.getElementById('settled').textContent.startsWith('one correction')")
        until_masked(page, 60, 30)


def test_next_does_not_say_that_all_is_done_where_something_is_drawn(page, run):
    with served(run, audit=1) as running:
        open_page(page, running)
        page.press("n")
        page.until("!document.getElementById('toast').hidden")
        assert toast(page) == "every other image was looked at"
        brush(page, (60, 10), (60, 50))
        page.press("n")
        told = "what is drawn here is not taken yet: Enter takes it"
        page.until(f"document.getElementById('toast').textContent == '{told}'")
        page.press("Enter")
        until_settled(page, 1)
        page.until("document.getElementById('toast').textContent == 'every image was looked at'")


def test_what_the_server_refuses_is_a_draft_again(page, run, monkeypatch):
    with served(run, audit=3) as running:
        open_page(page, running)
        first = text(page, "name")
        brush(page, (60, 10), (60, 50))
        until_masked(page, 60, 30)
        prepared = running.session.prepared

        def refuse(action):
            raise ValueError("another student was trained meanwhile: look at its mask")

        monkeypatch.setattr(running.session, "prepared", refuse)
        page.press("Enter")
        page.until("document.getElementById('toast').textContent.startsWith('not saved: another')")
        page.until("document.getElementById('progress').textContent.includes('1 drawn, not taken')")
        monkeypatch.setattr(running.session, "prepared", prepared)
        page.errors.clear()
        if text(page, "name") != first:
            page.press("ArrowLeft")
            page.until(f"document.getElementById('name').textContent == '{first}'")
        until_masked(page, 60, 30)
        page.press("Enter")
        until_settled(page, 1)
        assert settled_edits(running) == {first: 1}


def test_a_long_stroke_is_taken_to_its_end(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        page.press("p")
        there, back = place(page, 4, 4), place(page, 60, 60)
        page.run(
            "(() => { const o = document.getElementById('overlay');"
            f" const [x1, y1, x2, y2] = {[*there, *back]};"
            " const tell = (type, x, y) => o.dispatchEvent(new PointerEvent(type, { clientX: x, clientY: y,"
            " pointerId: 1, pointerType: 'mouse', button: 0, buttons: 1 }));"
            " o.setPointerCapture = () => {}; tell('pointerdown', x1, y1);"
            " for (let i = 0; i < 2600; i++) tell('pointermove', x1 + 4 * (i % 2), y1 + (i % 2));"
            " tell('pointermove', x2, y2); tell('pointerup', x2, y2); })()"
        )
        page.until("document.getElementById('settled').textContent.startsWith('2 corrections')")
        until_masked(page, 60, 60)
        page.press("Enter")
        until_settled(page, 1)


def test_the_keys_that_are_listed_are_those_of_the_page(page, run):
    with served(run, audit=3) as running:
        open_page(page, running)
        page.press("?")
        page.until("document.getElementById('keys').open")
        shown = page.run("document.getElementById('keys').innerText")
        assert "rubber" in shown
        assert "finding" not in shown
        page.press("Escape")


def test_one_image_that_cannot_be_saved_holds_up_no_other(page, run, monkeypatch):
    with served(run, audit=3) as running:
        open_page(page, running)
        first = text(page, "name")
        until_masked(page, *[sum(box_of(int(first))[i::2]) / 2 for i in (0, 1)])
        case = running.session.data.by_id[first]
        mask = running.session.pupil.mask

        def gone(asked):
            if asked.case_id == case.case_id:
                raise InputError(f"{first}.png cannot be read")
            return mask(asked)

        monkeypatch.setattr(running.session.pupil, "mask", gone)
        page.press("a")
        page.until(f"document.getElementById('saved').textContent.startsWith('{first}.png cannot')")
        page.until(f"document.getElementById('name').textContent != '{first}'")
        second = text(page, "name")
        until_masked(page, *[sum(box_of(int(second))[i::2]) / 2 for i in (0, 1)])
        page.press("a")
        page.until("document.getElementById('result').textContent.includes('1 settled')")
        assert "1 kept here" in text(page, "saved")
        monkeypatch.setattr(running.session.pupil, "mask", mask)
        until_settled(page, 2)
        page.errors.clear()
