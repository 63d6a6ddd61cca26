"""Familiarity, signals and the readout of both; what is odd about an image; the files of trust."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from meddistill.base.errors import InputError, MedDistillError
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.settings.layers import load_config
from meddistill.stages.export import compare_readings, run_export
from meddistill.student.export.onnx_student import OnnxPredictor, OnnxStudent
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.student import Student, build_student, load_student, save_student
from meddistill.student.trust.familiarity import Familiarity, fit_likeness
from meddistill.student.trust.fits import RISES, SIGNALS, Interval, Line, Meaning
from meddistill.student.trust.input_checks import fit_ranges, glance, input_doubts
from meddistill.student.trust.likeness import LOOK_LIMIT
from meddistill.student.trust.reading import NUMBERS, OfFinding, Reading, review
from meddistill.student.trust.readout import Readout
from meddistill.student.trust.signals import mask_signals
from meddistill.student.trust.trust import Expected, FindingTrust, Trust, save_trust
from meddistill.training.trusting import MOST_HELD, MOST_TRAINED

FILTERS = [4, 6, 8]
FEATURES = sum(FILTERS)


def likeness(seed=0, held=60):
    rng = np.random.default_rng(seed)
    own = rng.normal(0, 1, (100 + held, FEATURES)).astype(np.float32)
    return fit_likeness(own[:100], own[100:])


def disk(logit_inside, radius=8, size=32, at=(16, 16)):
    rows, columns = np.mgrid[:size, :size]
    inside = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 <= radius**2
    return torch.tensor(np.where(inside, logit_inside, -8.0), dtype=torch.float32)[None, None]


def signals_of(logits, cut=0.5):
    return dict(zip(SIGNALS, mask_signals(logits, torch.tensor([cut]))[0, 0].tolist(), strict=True))


def own_trust(**changes):
    expected = Expected(
        Line(np.array([0.5, 1.0, -1.0, 0.1, 0.3, -0.2, -0.5]), 0.2),
        Interval(np.array([0.2, 0.5, 0.8]), np.array([0.0, 0.2, 0.6]), np.array([0.5, 0.8, 0.95])),
    )
    present = Line(np.array([1.0, 1.0, -1.0, 0.1, 1.0, -0.1]), 0.0)
    look = np.random.default_rng(2).normal(0, 0.3, FEATURES).astype(np.float32)
    finding = FindingTrust(
        expected, present=present, present_look=look, meaning=Meaning(0.5, 0.6, 0.1)
    )
    return Trust((dataclasses.replace(finding, **changes),), likeness(), facts={"sentences": []})


def test_own_images_are_familiar_and_foreign_ones_are_not():
    rng = np.random.default_rng(1)
    found = Familiarity(likeness())
    own, _ = found(torch.from_numpy(rng.normal(0, 1, (400, FEATURES)).astype(np.float32)))
    far, _ = found(torch.from_numpy(rng.normal(4, 1, (20, FEATURES)).astype(np.float32)))
    assert 0.01 < (own < 0.05).float().mean() < 0.12  # p-values of own images are about uniform
    assert 0.4 < own.mean() < 0.6
    torch.testing.assert_close(far, torch.full((20,), 1 / 61))  # none can be lower


def test_a_p_value_has_no_jump():
    found = Familiarity(likeness())
    distances = torch.linspace(0, 5, 20001)
    steps = found.p_value(distances).diff()
    assert (steps <= 0).all()
    assert steps.min() > -0.05


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_said(bad):
    features = np.zeros((3, FEATURES), np.float32)
    broken = features.copy()
    broken[1, 2] = bad
    with pytest.raises(
        InputError,
        match=r"features of 1 of 3 held-back images are not finite.*settings of its run.json",
    ):
        fit_likeness(features, broken)
    with pytest.raises(InputError, match="no training image"):
        fit_likeness(features[:0], features)


def test_identical_images_make_all_but_themselves_unfamiliar():
    same = np.ones((5, FEATURES), np.float32)
    found = Familiarity(fit_likeness(same, same))
    p_values, _ = found(torch.from_numpy(np.stack([same[0], same[0] + 1])))
    assert p_values[0] > 0.9
    assert p_values[1] == pytest.approx(1 / 6)


def test_few_alike_images_leave_no_step_that_rounding_crosses():
    """A step of 1e-4 is what another program's rounding takes the distance across."""
    same = np.ones((10, FEATURES), np.float32)
    assert np.diff(np.log(fit_likeness(same, same).held)) == pytest.approx(1e-3, rel=1e-2)
    same = np.ones((50, FEATURES), np.float32)
    assert np.diff(np.log(fit_likeness(same, same).held)) == pytest.approx(1e-4, rel=1e-2)


def test_signals_rise_with_a_surer_mask():
    sure, unsure = signals_of(disk(6.0)), signals_of(disk(0.6))
    for name, sign in zip(SIGNALS, RISES, strict=True):
        assert sign * (sure[name] - unsure[name]) >= -0.02, name
    assert sure["own_dice"] > 0.95 > unsure["own_dice"]
    assert sure["log_spread"] == pytest.approx(0, abs=0.1)  # one disk
    two = torch.maximum(disk(6.0, 4, at=(6, 6)), disk(6.0, 4, at=(26, 26)))
    assert signals_of(two)["log_spread"] > 1
    assert signals_of(disk(-4.0))["own_dice"] < 0.05  # nothing there


def test_signals_move_with_the_threshold():
    moved = signals_of(disk(6.0) - 2.0, float(torch.sigmoid(torch.tensor(-2.0))))
    for name, value in signals_of(disk(6.0)).items():
        assert moved[name] == pytest.approx(value, abs=1e-4), name


def picture(value=120, size=(40, 40)):
    image = np.full(size, 20, np.uint8)
    image[: size[0] // 2, : size[1] // 3] = value
    return image


def own_ranges():
    return fit_ranges(*[[glance(picture(value)) for value in range(100, 140, 4)]] * 2)


def test_nothing_is_odd_about_an_own_image():
    assert input_doubts(picture(118), own_ranges()) == []
    assert input_doubts(np.repeat(picture(118)[..., None], 3, axis=2), own_ranges()) == []


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.full((1, 1), 7, np.uint8), "constant"),
        (np.zeros((40, 40), np.uint8), "constant"),
        (np.full((40, 40, 3), (200, 150, 120), np.uint8), "constant"),
        (picture(size=(200, 200)), "size 200x200, trained on 40 px"),
        (picture(size=(40, 20)), "width over height 0.50"),
        (picture()[::-1].copy(), "looks turned"),
        (np.rot90(picture()).copy(), "looks turned"),
        (255 - picture(), "looks like a negative"),
        (np.stack([picture(), picture() // 2, picture() // 4], axis=2), "in colour"),
    ],
)
def test_what_is_odd_is_said(image, told):
    assert any(told in doubt for doubt in input_doubts(image, own_ranges()))


def test_review_says_why():
    sure = Reading(0.5, (OfFinding(0.9, 0.8, 1.0, 0.95),))
    assert review(sure, 0, True, [], 0.7).wanted is False
    poor = Reading(0.01, (OfFinding(0.4, 0.1, 0.7, 0.2),))
    found = review(poor, 0, True, ["turned"], 0.7)
    assert found.wanted
    assert found.why == (
        "turned",
        "unfamiliar (p 0.010)",
        "expected Dice 0.40",
        "perhaps nothing there (p 0.20)",
    )
    missed = review(Reading(0.5, (OfFinding(0.1, 0, 1, 0.8),)), 0, False, [], 0.7)
    assert missed.why == ("nothing segmented, perhaps missed (p 0.80)",)
    assert review(None, 0, True, [], 0.7).wanted is None


def test_where_nothing_is_known_no_review_is_not_promised():
    nothing = Reading(None, (OfFinding(),))
    assert review(nothing, 0, True, [], 0.7).wanted is None
    assert review(nothing, 0, True, ["turned"], 0.7).wanted is True
    for known in (
        Reading(0.5, (OfFinding(),)),
        Reading(None, (OfFinding(p_finding=0.9),)),
        Reading(None, (OfFinding(0.8, 0.5, 1.0),)),
    ):
        assert review(known, 0, True, [], 0.7).wanted is False


@pytest.mark.parametrize(
    ("told", "has_mask"),
    [
        pytest.param(Reading(0.5, (OfFinding(),), least=1 / 6), True, id="none so unfamiliar"),
        pytest.param(Reading(None, (OfFinding(0.8, 0.0, 1.0),)), True, id="any Dice"),
        pytest.param(Reading(None, (OfFinding(0.8, 0.5, 1.0),)), False, id="Dice of no mask"),
    ],
)
def test_where_no_number_could_be_a_reason_no_review_is_not_promised(told, has_mask):
    assert review(told, 0, has_mask, [], 0.7).wanted is None
    assert review(told, 0, has_mask, ["turned"], 0.7).wanted is True


def test_a_graph_promises_no_more_than_its_student(tmp_path):
    torch.manual_seed(0)
    save_student(tmp_path, NestedUNet(FILTERS), Preprocessing(image_size=32))
    nothing = Interval(np.array([0.0, 1.0]), np.zeros(2), np.ones(2))
    expected = dataclasses.replace(own_trust().findings[0].expected, interval=nothing)
    trust = Trust((FindingTrust(expected),), likeness(held=5), facts={})
    save_trust(tmp_path, trust)
    write_png(tmp_path / "images" / "a.png", images()[0])
    run_export(tmp_path, images=[str(tmp_path / "images")])
    for student in (load_student(tmp_path), OnnxPredictor(tmp_path)):
        (seen,) = student.look(images()[:1])
        assert seen.reading.least == pytest.approx(1 / 6)
        assert seen.reading.findings[0].expected_dice is not None
        assert review(seen.reading, 0, True, [], 0.0).wanted is None


@pytest.fixture
def student_dir(tmp_path):
    torch.manual_seed(0)
    save_student(tmp_path, NestedUNet(FILTERS), Preprocessing(image_size=32, threshold=0.4))
    return tmp_path


def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, size, dtype=np.uint8) for size in ((30, 40), (64, 20), (1, 1))]


def test_trust_survives_the_disk(student_dir):
    plain = load_student(student_dir)
    assert plain.trust is None
    assert plain.predict(images()[0]).reading is None
    save_trust(student_dir, own_trust())
    kept = load_student(student_dir)
    given = Student(plain.module, plain.preprocessing, trust=own_trust())
    for image in images():
        assert kept.predict(image).reading == given.predict(image).reading
        reading = kept.predict(image).reading
        assert 0 < reading.familiarity <= 1
        of = reading.findings[0]
        assert of.expected_dice_low <= of.expected_dice <= of.expected_dice_high
        assert 0 <= of.p_finding <= 1


def test_the_look_of_an_image_tells_whether_anything_is_there(student_dir):
    plain = load_student(student_dir)
    odds = []
    for look in (np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32), None):
        trust = own_trust(present_look=look)
        student = Student(plain.module, plain.preprocessing, trust=trust)
        odds.append(student.predict(images()[0]).reading.findings[0].p_finding)
    assert odds[0] == odds[2] != odds[1]
    far = own_trust().likeness.looks(np.full((1, FEATURES), 1e9, np.float32))
    np.testing.assert_array_equal(far, np.full((1, FEATURES), LOOK_LIMIT))


def test_trust_of_an_earlier_version_is_read(student_dir):
    given = own_trust(present_look=None)
    save_trust(student_dir, given)
    path = student_dir / "trust.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 1}))
    kept = load_student(student_dir)
    assert kept.trust.findings[0].present_look is None
    fresh = Student(kept.module, kept.preprocessing, trust=given)
    assert kept.predict(images()[0]).reading == fresh.predict(images()[0]).reading
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 3}))
    with pytest.raises(
        InputError, match="another version of meddistill: run `meddistill calibrate`"
    ):
        load_student(student_dir)


def test_masks_are_the_same_while_probabilities_get_a_meaning(student_dir):
    plain = load_student(student_dir)
    save_trust(student_dir, own_trust())
    kept = load_student(student_dir)
    for image in images():
        before, after = plain.predict(image), kept.predict(image)
        np.testing.assert_array_equal(before.mask, after.mask)
        np.testing.assert_array_equal(kept.predict_probs([image])[0], before.probs)
        meaning = kept.trust.findings[0].meaning
        np.testing.assert_allclose(after.probs, meaning(before.probs))
        assert not np.allclose(after.probs, before.probs)
        moved = float(meaning(np.array([0.4], np.float32))[0])
        np.testing.assert_array_equal(after.probs >= moved, after.mask > 0)


def test_readings_do_not_depend_on_the_batch(student_dir):
    save_trust(student_dir, own_trust())
    student = load_student(student_dir)
    several = student.look(images(), batch_size=3)
    for image, seen in zip(images(), several, strict=True):
        (alone,) = student.look([image])
        assert alone.reading.familiarity == pytest.approx(seen.reading.familiarity, abs=1e-4)


def test_what_nobody_could_fit_is_unknown(student_dir):
    nothing = Trust((FindingTrust(),), None, facts={"sentences": []})
    save_trust(student_dir, nothing)
    reading = load_student(student_dir).predict(images()[0]).reading
    assert reading.familiarity is None
    assert reading.findings == (OfFinding(None, None, None, None),)


@pytest.mark.parametrize("knows", [True, False])
def test_a_student_whose_answers_are_no_numbers_says_so(student_dir, knows):
    torch.manual_seed(0)
    network = NestedUNet(FILTERS)
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    save_student(student_dir, network, Preprocessing(image_size=32))
    if knows:
        save_trust(student_dir, own_trust())
    student = load_student(student_dir)
    for ask in (student.predict, lambda image: student.predict_probs([image])):
        with pytest.raises(
            InputError, match=r"answers to 1 of 1 images are not finite.*settings of its run.json"
        ):
            ask(images()[0])


def test_new_weights_forget_what_was_known_of_the_old(student_dir):
    save_trust(student_dir, own_trust())
    save_student(student_dir, NestedUNet(FILTERS), Preprocessing(image_size=32))
    assert load_student(student_dir).trust is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 9}, "another version"),
        ({"weights_sha256": "0" * 64}, "of other weights"),
        ({"arrays_sha256": "0" * 64}, r"does not go with trust\.safetensors"),
        ({"findings": []}, r"knows 0 finding\(s\), the student has 1"),
        ({"findings": None}, "cannot be read"),
        (None, r"does not go with trust\.safetensors"),
    ],
)
def test_trust_that_is_not_this_student_s_is_said_in_a_line(student_dir, change, told):
    save_trust(student_dir, own_trust())
    path = student_dir / "trust.json"
    if change is None:
        (student_dir / "trust.safetensors").unlink()
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=told) as raised:
        load_student(student_dir)
    assert "meddistill calibrate" in str(raised.value)


def test_statistics_of_other_features_are_said_in_a_line(student_dir):
    rng = np.random.default_rng(0)
    other = rng.normal(size=(20, FEATURES + 1)).astype(np.float32)
    trust = dataclasses.replace(own_trust(), likeness=fit_likeness(other, other))
    save_trust(student_dir, trust)
    with pytest.raises(InputError, match=r"statistics of 19 features, the student has 18"):
        load_student(student_dir)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A student with trust, and its ONNX file beside it."""
    directory = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    save_student(directory, NestedUNet(FILTERS), Preprocessing(image_size=32, threshold=0.4))
    save_trust(directory, own_trust())
    for number, image in enumerate(images()[:2]):
        write_png(directory / "images" / f"{number}.png", image)
    run_export(directory, images=[str(directory / "images")])
    return directory


def test_one_graph_gives_the_same_numbers(exported):
    """Of images, too, whose short side does not change where the long one shrinks."""
    rng = np.random.default_rng(0)
    thin = [rng.integers(0, 255, size, dtype=np.uint8) for size in [(1, 300), (15, 33)]]
    shown = [*images(), *thin, np.zeros((1, 1), np.uint8)]
    torch_says = load_student(exported).look(shown)
    onnx = OnnxPredictor(exported)
    for ours, theirs in zip(torch_says, onnx.look(shown), strict=True):
        np.testing.assert_allclose(ours.probs, theirs.probs, atol=1e-3)
        assert ours.reading.familiarity == pytest.approx(theirs.reading.familiarity, abs=1e-3)
        for name in NUMBERS[1:]:
            given = getattr(theirs.reading.findings[0], name)
            assert getattr(ours.reading.findings[0], name) == pytest.approx(given, abs=1e-3)


@pytest.mark.parametrize("place", [0, 1])
def test_a_graph_that_knows_less_is_refused(exported, place):
    student, graph = load_student(exported), OnnxStudent(exported / "student.onnx")
    (image,) = images()[:1]
    assert compare_readings(student, graph, [image]) < 1e-3

    class Unknowing:
        knows_itself = True
        predict_probs = graph.predict_probs

        def read(self, pixels):
            probs, *told = graph.read(pixels)
            told[place] = told[place] * np.nan
            return probs, *told

    with pytest.raises(MedDistillError, match="differs from PyTorch by nan"):
        compare_readings(student, Unknowing(), [image])


def test_the_graph_gives_calibrated_probabilities_besides(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "student.onnx"))
    pixels = np.repeat(images()[0][None, None], 3, axis=1)
    raw, meant = session.run(["probability", "calibrated"], {"image": pixels})
    np.testing.assert_allclose(meant, own_trust().findings[0].meaning(raw), atol=1e-5)
    facts = json.loads((exported / "student.onnx.json").read_text())
    np.testing.assert_array_equal(
        meant >= float(facts["calibrated_threshold"]), raw >= float(facts["threshold"])
    )


def test_a_file_of_another_calibration_is_refused(exported):
    before = (exported / "trust.json").read_bytes()
    save_trust(exported, own_trust(present_cut=0.3))
    with pytest.raises(InputError, match=r"made of another trust\.json"):
        OnnxPredictor(exported)
    (exported / "trust.json").write_bytes(before)


def test_a_file_from_before_the_calibration_is_refused(tmp_path):
    torch.manual_seed(0)
    save_student(tmp_path, NestedUNet(FILTERS), Preprocessing(image_size=32))
    write_png(tmp_path / "images" / "a.png", images()[0])
    run_export(tmp_path, images=[str(tmp_path / "images")])
    assert OnnxPredictor(tmp_path).trust is None
    save_trust(tmp_path, own_trust())
    with pytest.raises(InputError, match=r"made of another trust\.json.*--overwrite"):
        OnnxPredictor(tmp_path)


def test_unknown_numbers_can_be_exported(tmp_path):
    torch.manual_seed(0)
    save_student(tmp_path, NestedUNet(FILTERS), Preprocessing(image_size=32))
    save_trust(tmp_path, Trust((FindingTrust(),), None, facts={}))
    write_png(tmp_path / "images" / "a.png", images()[0])
    run_export(tmp_path, images=[str(tmp_path / "images")])
    (seen,) = OnnxPredictor(tmp_path).look(images()[:1])
    assert seen.reading.familiarity is None
    assert seen.reading.findings == (OfFinding(None, None, None, None),)


def test_what_a_student_knows_of_itself_is_a_small_part_of_it():
    """The exported file may grow by a twentieth: its arrays lie in the graph as float32. The small
    network is the strictest; `scripts/bench/trust.py` measures whole files."""
    config = load_config(None, {}, ["distill.size=small"]).distill
    network = build_student(
        config.student,
        encoder=config.encoder,
        encoder_weights="none",
        decoder_channels=config.decoder_channels,
    )
    features = sum(network.feature_channels)
    own = np.random.default_rng(0).normal(0, 1, (MOST_TRAINED + MOST_HELD, features))
    kept = fit_likeness(
        own[:MOST_TRAINED].astype(np.float32), own[MOST_TRAINED:].astype(np.float32)
    )
    readout = Readout(dataclasses.replace(own_trust(), likeness=kept), (0.5,))
    added = sum(each.nbytes for each in readout.state_dict().values())
    weights = sum(each.nbytes for each in network.state_dict().values())
    assert added > 100_000
    assert added / weights < 0.05
