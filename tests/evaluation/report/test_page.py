"""report.html: complete, escaped, one bounded file; and alive in a real browser."""

import re
import types

import numpy as np
import pytest
from support.chromium import Page, find_chromium
from support.evaluation_data import (
    SIZE_HW,
    BrightnessStudent,
    add_detector,
    make_run,
    picture_of,
    square,
    truth_of,
)
from support.findings_run import THREE, ColourStudent, add_findings_detector, make_findings_run

from meddistill.base.errors import InputError
from meddistill.base.files import write_json
from meddistill.data.formats.pictures import write_png
from meddistill.evaluation import baselines
from meddistill.evaluation.report import charts
from meddistill.evaluation.report.gallery import choose_cases, outline_path, uncertainty_picture
from meddistill.evaluation.report.training_curves import read_history
from meddistill.evaluation.request import FolderRequest
from meddistill.settings.evaluate import EvalConfig
from meddistill.stages.evaluate import run_eval, run_eval_folders

HOSTILE = "<img src=x onerror=alert(1)>"


def write_history(run):
    (run.student / "metrics.csv").write_text(
        "epoch,loss,bce,feature,weight_mask,agreement,brand_new_term\n0,2.0,1.5,0.5,0.8,,7\n1,1.0,0.75,0.25,0.8,0.9,8\n"
    )
    curve = {"confidence": [0.9, 0.4, 0.1], "recall": [0.3, 0.8, 0.9], "precision": [1.0, 0.9, 0.5]}
    splits = {"test": {"n_cases": 4, "n_cases_without_box": 2}}
    write_json(
        run.detector / "metrics.json",
        {
            "confidence": 0.4,
            "recall50_val": 0.8,
            "precision50_val": 0.9,
            "map50_val": 0.77,
            "map50_95_val": 0.5,
            "pr_curve_val": curve,
            "splits": splits,
        },
    )


def page_of_run(root):
    """The report of a RUN with all three methods, a training log and detector's metrics."""
    run = make_run(root)
    add_detector(run)
    write_history(run)

    def guess(subject, size_hw):
        mask = truth_of(subject.case_id)[None] & (subject.case_id != "b1")
        return baselines.Guess(mask, mask.astype(np.float32))

    with pytest.MonkeyPatch.context() as patch:
        found = baselines.find_baselines

        def with_teacher(*arguments):
            all_three = found(*arguments)
            all_three.guesses[baselines.TEACHER] = guess
            return all_three

        patch.setattr("meddistill.stages.evaluate.find_baselines", with_teacher)
        return run_eval(run, EvalConfig(), seed=0, predictor=BrightnessStudent()) / "report.html"


def page_of_folders(root):
    """The report of 40 cases in two classes, with a hostile file name and class: 1 missed, 1 false
    alarm, 1 bad."""
    rng = np.random.default_rng(0)
    for number in range(40):
        name = HOSTILE if number == 7 else f"case {number:02}"
        folder = "glioma" if number % 4 else 'a"><b>class'
        top, left, side = rng.integers(2, 20, 3)
        truth = square(top, left, side + 4) if number != 2 else np.zeros(SIZE_HW, dtype=bool)
        pred = {1: np.zeros_like(truth), 2: square(5, 5, 8), 3: np.roll(truth, 9, axis=1)}.get(
            number, truth
        )
        write_png(root / "images" / folder / f"{name}.png", picture_of(pred))
        write_png(root / "masks" / f"{name}.png", truth.astype(np.uint8) * 255)
    (root / "student").mkdir()
    for name in ("config.json", "model.safetensors", "preprocessing.json"):
        (root / "student" / name).write_text("{}")
    out = run_eval_folders(
        FolderRequest(root / "images", root / "masks", root / "student", root / "out"),
        EvalConfig(gallery_cases=30),
        seed=0,
        predictor=BrightnessStudent(),
    )
    return out / "report.html"


def page_of_findings(root):
    """The report of three findings: one case found as another, one missed, one false alarm."""
    run = make_findings_run(root)
    add_findings_detector(run)
    own = {
        "recall50_val": 0.625,
        "precision50_val": 0.5,
        "confidence": 0.3,
        "splits": {"test": {"recall50": 0.375}},
    }
    means = {"recall50_val": 0.5, "confidence": dict.fromkeys(THREE.names, 0.3)}
    findings = dict.fromkeys(THREE.names, own)
    write_json(run.detector / "metrics.json", {**means, "findings": findings})
    return run_eval(run, EvalConfig(), seed=0, predictor=ColourStudent()) / "report.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    return types.SimpleNamespace(
        run=page_of_run(root / "run"),
        folders=page_of_folders(root / "folders"),
        findings=page_of_findings(root / "findings"),
    )


def test_everything_is_on_the_page(pages):
    page = pages.run.read_text(encoding="utf-8")
    for text in (
        "Hausdorff distance: the largest distance from one outline to the other",
        "within 2 px of the other",
        "misses cost the diagonal",
        "missed by the detector",
        "wrong by the teacher",
        "by the student",
        "brand new term",
        "weight mask",
        "mAP50",
        "Research use only; not a medical device.",
    ):
        assert text in page
    assert page.count("<svg") > 10


def test_findings_have_a_table_and_colours_of_their_own(pages):
    page = pages.findings.read_text(encoding="utf-8")
    for text in (
        "By finding",
        "a mean Dice of",
        "1 lesion was taken for another finding",
        "0.5 (red), 0.5 (green), 0.5 (blue)",
        ".f1 { --f: #00b0ff;",
        "<td>0.375</td>",
        "Dice of the student by finding",
    ):
        assert text in page
    binary = pages.run.read_text(encoding="utf-8")
    assert 'id="findings"' not in binary
    assert 'class="swatch f' not in binary


def test_the_page_asks_the_network_for_nothing(pages):
    for page in (pages.run, pages.folders, pages.findings):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {
            "http://www.w3.org/2000/svg"
        }  # a name, not a place
        assert "default-src 'none'" in text
        assert not re.search(r"(src|href)=\"(?!data:|#)", text)


def test_names_are_escaped(pages):
    text = pages.folders.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert 'a"><b>class' not in text
    assert r"\u003cimg src=x onerror=alert(1)\u003e.png" in text
    assert "a&#34;&gt;&lt;b&gt;class" in text


def test_equal_evaluations_give_equal_pages(tmp_path, pages):
    assert page_of_run(tmp_path / "other").read_bytes() == pages.run.read_bytes()


def test_the_gallery_is_capped_at_the_worst_and_an_even_choice():
    dice = {f"c{number:03}": number / 100 for number in range(100)}
    chosen = choose_cases(dice, 20)
    assert len(chosen) == 20
    assert chosen == sorted(chosen)
    assert chosen[:10] == [f"c{number:03}" for number in range(10)]
    assert chosen[10:12] == ["c010", "c020"]
    assert chosen[-1] == "c099"
    assert choose_cases(dice, 100) == sorted(dice)
    assert choose_cases(dice, 0) == []
    assert choose_cases(dice, 1) == ["c000"]


def test_outlines_lie_on_pixel_edges_and_stay_short():
    path = outline_path(square(2, 3, 4))
    numbers = [float(text) for text in re.findall(r"[\d.]+", path)]
    assert (min(numbers[::2]), max(numbers[::2])) == (3, 7)
    assert (min(numbers[1::2]), max(numbers[1::2])) == (2, 6)
    assert outline_path(np.zeros((5, 5), dtype=bool)) == ""
    ring = square(5, 5, 20) & ~square(10, 10, 8)
    assert outline_path(ring).count("M") == 2
    ragged = np.random.default_rng(0).random((256, 256)) > 0.5
    assert 0 < len(outline_path(ragged)) < 30_000
    far = square(3900, 2900, 90, (4000, 3000))  # 1 px is 1 px also where numbers are large
    assert outline_path(far).startswith("M2990 3900") or "2900 3900" in outline_path(far)


def test_uncertainty_is_brightest_where_the_student_is_torn():
    picture = uncertainty_picture(np.array([[0.0, 0.5, 1.0, 0.1]], dtype=np.float32))
    assert picture.tolist() == [[0, 255, 0, 85]]
    assert uncertainty_picture(np.full((400, 200), 0.5, dtype=np.float32)).shape == (160, 80)


def test_charts_escape_and_survive_odd_data():
    series = [charts.Series("<b>", "student", [0.5, 0.5, 1.0], ["<i>", "b", "c"])]
    drawn = charts.strips(series, low=0, high=1, title='"x"')
    assert "<b>" not in drawn
    assert "&lt;i&gt;: 0.5" in drawn
    assert drawn.count("<circle") == 3
    many = [charts.Series("m", "student", np.linspace(0, 1, 5000).tolist(), ["n"] * 5000)]
    assert charts.strips(many, low=0, high=1, title="t").count("<circle") == 400
    assert charts.epochs([None, None], title="t") == ""
    gap = charts.epochs([1.0, 2.0, None, 1.0], title="t")
    assert gap.count('class="line"') == 2
    assert "nan" not in charts.epochs([1.0, 1.0], title="t")
    assert (
        charts.stack({"a": (0.2, "boxes"), "b": (-0.1, "student")}, title="t").count("<rect") == 1
    )
    assert "nan" not in charts.stack({"a": (0.0, "boxes")}, title="t")
    assert "whisker" not in charts.interval(0.5, None, css="student")


def test_a_damaged_log_is_named(tmp_path):
    assert read_history(tmp_path) == read_history(tmp_path / "nowhere", tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n0,soon\n")
    with pytest.raises(InputError, match=r"metrics\.csv cannot be read as a training log"):
        read_history(tmp_path)


# In a real browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with Page(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def gallery(browser, pages):
    browser.open(pages.folders)
    return browser


def names(page):
    return page.run(
        "[...document.querySelectorAll('#cards .item .caption span')].map(node => node.textContent)"
    )


def choose(page, control, value):
    page.run(f"document.getElementById('{control}').value = '{value}'")
    event = "input" if control == "search" else "change"
    page.run(f"document.getElementById('{control}').dispatchEvent(new Event('{event}'))")


def test_no_error_and_no_request_in_the_browser(browser, pages, request):
    artifacts = request.config.cache.mkdir("report")
    shown = (("run", pages.run), ("folders", pages.folders), ("findings", pages.findings))
    for name, page in shown:
        for width, dark in ((1280, False), (390, True)):
            browser.open(page, width=width, height=900, dark=dark)
            assert (
                browser.run("document.documentElement.scrollWidth") == width
            )  # nothing sticks out
            assert browser.run("document.documentElement.dataset.theme") == (
                "dark" if dark else "light"
            )
            browser.screenshot(artifacts / f"{name}-{width}.png", whole=name == "run" and not dark)
            assert (artifacts / f"{name}-{width}.png").stat().st_size > 20_000
    assert browser.errors == []
    assert {address.split(":")[0] for address in browser.requests} == {"file", "data"}


def test_the_worst_come_first_and_the_order_can_change(gallery):
    shown = names(gallery)
    assert len(shown) == 30
    assert set(shown[:2]) == {"case 01.png", "case 02.png"}
    assert shown[2] == "case 03.png"
    assert gallery.run("document.getElementById('count').textContent") == "30 of 30 shown"
    choose(gallery, "sort", "best")
    assert set(names(gallery)[-2:]) == {"case 01.png", "case 02.png"}
    choose(gallery, "sort", "name")
    assert names(gallery)[1:] == sorted(names(gallery)[1:])


def test_filters_by_class_outcome_and_name(gallery):
    gallery.run("document.querySelector('#classes [data-class=glioma]').click()")
    of_class = names(gallery)
    assert 0 < len(of_class) < 30
    assert (
        gallery.run(
            "document.querySelector('#classes [data-class=glioma]').getAttribute('aria-pressed')"
        )
        == "true"
    )
    choose(gallery, "outcome", "missed")
    assert names(gallery) == ["case 01.png"]
    choose(gallery, "outcome", "false")
    assert names(gallery) == ["case 02.png"]
    choose(gallery, "outcome", "low")
    assert set(names(gallery)) >= {"case 01.png", "case 02.png"}
    choose(gallery, "outcome", "")
    choose(gallery, "search", "CASE 03")
    assert names(gallery) == ["case 03.png"]
    choose(gallery, "search", "nobody")
    assert names(gallery) == []
    assert "No case fits" in gallery.run("document.getElementById('cards').textContent")


def visible(page, where, layer):
    return (
        page.run(f"getComputedStyle(document.querySelector('{where} path.{layer}')).display")
        != "none"
    )


def test_findings_can_be_hidden_and_cases_chosen_by_them(browser, pages):
    browser.open(pages.findings)
    choose(browser, "finding", "2")
    assert set(names(browser)) == {"a2", "b1", "c1"}  # blue is there or was found
    choose(browser, "outcome", "confused")
    assert names(browser) == ["a2"]
    choose(browser, "outcome", "")
    choose(browser, "finding", "")
    hue = "getComputedStyle(document.querySelector('[data-id=a1] path.pred.f1')).fill"
    assert browser.run(hue) == "rgb(0, 176, 255)"
    browser.run("document.querySelector('#finding-chips .f1').click()")
    assert not visible(browser, "[data-id=a1]", "pred.f1")
    assert visible(browser, "[data-id=a1]", "pred.f0")
    browser.run("document.querySelector('[data-id=a1]').click()")
    assert not visible(browser, "#stage", "truth.f1")
    told = browser.run("document.getElementById('v-scores').textContent")
    assert told.count("not there, not found") == 2  # blue, by both methods
    assert browser.errors == []


def test_layers_switch_by_mouse_and_key(gallery):
    gallery.run("document.querySelector('.item[data-id=case_03]').focus()")
    assert visible(gallery, "#cards", "truth")
    gallery.run("document.querySelector('#layers [data-layer=truth]').click()")
    assert not visible(gallery, "#cards", "truth")
    gallery.press("3")
    assert visible(gallery, "#cards", "truth")
    gallery.press("1")
    assert not visible(gallery, "#cards", "truth")
    assert not visible(gallery, "#cards", "pred")
    gallery.press("4")
    assert (
        gallery.run("getComputedStyle(document.querySelector('#cards .uncertainty')).display")
        != "none"
    )


def test_the_viewer_works_by_keyboard(gallery):
    gallery.run("document.querySelector('.item').focus()")
    gallery.press("ArrowRight")
    gallery.press("ArrowRight")
    assert gallery.run("document.activeElement.dataset.id") == "case_03"
    gallery.press("Enter")
    assert gallery.run("document.getElementById('viewer').open")
    assert gallery.run("document.getElementById('v-name').textContent") == "case 03.png"
    gallery.press("c")
    assert gallery.run("document.getElementById('v-wipe-label').hidden") is False
    clips = "[...document.querySelectorAll('#stage path')].map(node => node.getAttribute('clip-path') !== null)"
    assert gallery.run(clips) == [True, True]
    gallery.run("document.getElementById('v-wipe').value = 25")
    gallery.run("document.getElementById('v-wipe').dispatchEvent(new Event('input'))")
    assert gallery.run("document.querySelector('#stage line').getAttribute('x1')") == str(
        SIZE_HW[1] // 4
    )
    gallery.press("c")
    assert gallery.run(clips) == [False, False]
    gallery.press("ArrowLeft")
    assert gallery.run("document.getElementById('v-place').textContent") == "2 / 30"
    gallery.press("Escape")
    assert not gallery.run("document.getElementById('viewer').open")
    # The dialog tells that it closed a moment later, on a busy machine a long one.
    gallery.until("['case_01', 'case_02'].includes(document.activeElement.dataset.id)")
    gallery.press("/")
    assert gallery.run("document.activeElement.id") == "search"
    assert gallery.errors == []


def test_the_theme_button_turns_the_light_off(gallery):
    before = gallery.run("getComputedStyle(document.body).backgroundColor")
    gallery.run("document.getElementById('theme').click()")
    assert gallery.run("getComputedStyle(document.body).backgroundColor") != before
