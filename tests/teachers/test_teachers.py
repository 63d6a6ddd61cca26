"""Teachers: equal to the official predictors, batched equal to one by one, and no weights that are
not theirs."""

import dataclasses

import numpy as np
import pytest
import torch
from support.small_sam2 import small_yaml

from meddistill.base.errors import ConfigError, InputError, WeightsError
from meddistill.teachers import known_teachers, litemedsam, sam2
from meddistill.teachers.litemedsam import LiteMedSam, packaged_weights, to_input
from meddistill.teachers.loading import TEACHERS, describe_teachers, fetch_teacher, load_teacher
from meddistill.teachers.resample import area_weights, resize_area
from meddistill.teachers.teacher import DECODED_LEVEL, Encoded

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small_sam2(tmp_path_factory):
    torch.manual_seed(0)
    network = sam2.build_network(small_yaml(tmp_path_factory.mktemp("sam2")))
    return sam2.Sam2("small", network, "random", CPU)


@pytest.fixture(scope="module")
def lite():
    return load_teacher("litemedsam")


@pytest.fixture(scope="module")
def encoded(small_sam2, lite):
    """Teacher's name -> its encoding of the images of `_SIZES`; nobody writes into it."""
    return {teacher.name: teacher.encode(_images()) for teacher in (small_sam2, lite)}


def _image(size_hw, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (*size_hw, 3)).astype(np.uint8)


_BOXES = [
    np.array([[10, 12, 40, 50]], np.float32),
    np.zeros((0, 4), np.float32),
    np.array([[5, 5, 60, 30], [30, 2, 50, 40], [0, 0, 70, 60]], np.float32),
]
_SIZES = [(96, 96), (60, 80), (100, 70)]


def _images():
    return [_image(size, seed) for seed, size in enumerate(_SIZES)]


def _check_against_predictor(teacher, encoded):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    images = _images()
    answers = teacher.decode(encoded, _BOXES)
    predictor = SAM2ImagePredictor(teacher.net)
    for image, boxes, answer in zip(images, _BOXES, answers, strict=True):
        assert answer.logits.shape == (len(boxes), 256, 256)
        assert answer.predicted_iou.shape == (len(boxes),)
        if len(boxes) == 0:
            assert teacher.to_image(answer.logits, image.shape[:2]).shape == (0, *image.shape[:2])
            continue
        predictor.set_image(image)
        masks, ious, low = predictor.predict(box=boxes, multimask_output=False, return_logits=True)
        size = image.shape[:2]
        np.testing.assert_allclose(
            answer.logits.clamp(-32, 32).numpy(), low.reshape(-1, 256, 256), atol=1e-4
        )
        np.testing.assert_allclose(answer.predicted_iou.numpy(), ious.reshape(-1), atol=1e-4)
        on_image = teacher.to_image(answer.logits, size).numpy()
        np.testing.assert_allclose(on_image, masks.reshape(-1, *size), atol=1e-4)


def _check_batched_equals_one_by_one(teacher, together):
    images = _images()
    answers = teacher.decode(together, _BOXES)
    assert set(together.features) == set(teacher.feature_channels)
    for index, (image, boxes) in enumerate(zip(images, _BOXES, strict=True)):
        alone = teacher.encode([image])
        for level, channels in teacher.feature_channels.items():
            assert together.features[level].shape[1] == channels
            torch.testing.assert_close(
                together.features[level][index], alone.features[level][0], atol=1e-4, rtol=1e-4
            )
        for box, logits, iou in zip(
            boxes, answers[index].logits, answers[index].predicted_iou, strict=True
        ):
            answer = teacher.decode(alone, [box[None]])[0]
            torch.testing.assert_close(logits, answer.logits[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(iou, answer.predicted_iou[0], atol=1e-4, rtol=1e-4)


def test_a_small_sam2_equals_the_official_predictor(small_sam2, encoded):
    _check_against_predictor(small_sam2, encoded["small"])


def test_a_mask_prompts_sam2_as_it_does_the_official_predictor(small_sam2):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    image, boxes = _image((96, 96)), _BOXES[2][:2]
    guess = torch.full((2, 96, 96), -9.0)
    guess[0, 6:30, 6:40] = guess[1, 3:38, 32:48] = 40.0
    encoded = small_sam2.encode([image, image])
    prompted, plain = small_sam2.decode(encoded, [boxes, boxes], [guess, None])
    low = torch.nn.functional.interpolate(
        guess[:, None], (256, 256), mode="bilinear", antialias=True
    )
    predictor = SAM2ImagePredictor(small_sam2.net)
    predictor.set_image(image)
    for index, box in enumerate(boxes):
        _, iou, logits = predictor.predict(
            box=box,
            mask_input=low[index].clamp(-32, 32).numpy(),
            multimask_output=False,
            return_logits=True,
        )
        np.testing.assert_allclose(
            prompted.logits[index].clamp(-32, 32).numpy(), logits[0], atol=1e-4
        )
        np.testing.assert_allclose(prompted.predicted_iou[index].numpy(), iou[0], atol=1e-4)
    boxes_alone = small_sam2.decode(encoded, [boxes, boxes])[1]
    torch.testing.assert_close(plain.logits, boxes_alone.logits, atol=1e-5, rtol=1e-5)
    assert (prompted.logits - plain.logits).abs().max() > 1e-3


@pytest.mark.slow
def test_full_size_sam2_tiny_equals_the_official_predictor():
    torch.manual_seed(0)
    network = sam2.build_network(sam2.packaged_yaml("sam2.1/sam2.1_hiera_t.yaml"))
    teacher = sam2.Sam2("sam2.1-tiny", network, "random", CPU)
    _check_against_predictor(teacher, teacher.encode(_images()))


def test_sam2_batched_equals_one_by_one_below_1024_px(tmp_path):
    torch.manual_seed(0)
    network = sam2.build_network(small_yaml(tmp_path), image_size=256)
    teacher = sam2.Sam2("small", network, "random", CPU)
    _check_batched_equals_one_by_one(teacher, teacher.encode(_images()))
    assert teacher.decode(teacher.encode([_image((50, 50))]), [_BOXES[0]])[0].logits.shape == (
        1,
        64,
        64,
    )


def test_litemedsam_batched_equals_one_by_one(lite, encoded):
    _check_batched_equals_one_by_one(lite, encoded["litemedsam"])


def test_litemedsam_finds_a_bright_disc_in_its_box(lite):
    rows, columns = np.mgrid[:200, :160]
    disc = (rows - 90) ** 2 + (columns - 70) ** 2 < 30**2
    image = np.where(disc, 220, 60)[..., None].repeat(3, 2).astype(np.uint8)
    encoded = lite.encode([image])
    answer = lite.decode(encoded, [np.array([[40, 60, 101, 121]], np.float32)])[0]
    mask = (lite.to_image(answer.logits, (200, 160))[0] > 0).numpy()
    assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.9
    assert encoded.valid_share == [(1.0, 205 / 256)]


@pytest.mark.parametrize(
    "size_hw", [(512, 512), (300, 500), (301, 477), (100, 77), (256, 256), (40, 200)]
)
def test_litemedsam_preprocessing_is_the_official_one(size_hw):
    import cv2

    image = _image(size_hw)
    scale = 256 / max(size_hw)
    height, width = int(size_hw[0] * scale + 0.5), int(size_hw[1] * scale + 0.5)
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    expected = np.zeros((256, 256, 3))
    expected[:height, :width] = (resized - resized.min()) / max(resized.max() - resized.min(), 1e-8)
    # OpenCV rounds to whole grey values in fixed point: one grey value may differ.
    difference = np.abs(to_input(image).permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= 2.1 / 255
    assert difference.mean() < 1e-3


def test_an_image_of_one_value_gives_zeros_not_nan():
    assert to_input(np.full((40, 40, 3), 7, np.uint8)).abs().max() == 0


def test_area_weights_average_what_a_cell_covers():
    weights = area_weights(4, 2, 4, 2)
    assert weights.tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    # Three of four input cells are image and fill 1.5 of 2 output cells: the second sees the third
    # cell alone.
    padded = area_weights(3, 1.5, 4, 2)
    assert padded.tolist() == [[0.5, 0.5, 0, 0], [0, 0, 1, 0]]
    assert area_weights(2, 1, 4, 2)[1].sum() == 0


def test_resize_area_keeps_the_mean():
    image = torch.rand(3, 33, 57)
    assert float(resize_area(image, (11, 19)).mean()) == pytest.approx(
        float(image.mean()), abs=1e-5
    )


def test_fingerprints_follow_weights_alone(small_sam2, lite):
    network = small_sam2.net
    prints = [
        small_sam2.fingerprint,
        sam2.Sam2("small", network, "other weights", CPU).fingerprint,
        lite.fingerprint,
    ]
    assert len(set(prints)) == 3
    assert (
        sam2.Sam2("small", network, "random", CPU, "bf16-mixed").fingerprint
        == small_sam2.fingerprint
    )
    assert load_teacher("litemedsam").fingerprint == lite.fingerprint


def test_all_official_networks_can_be_built_by_name():
    names = [
        f"sam{version}-{size}"
        for version in ("2", "2.1")
        for size in ("tiny", "small", "base-plus", "large")
    ]
    for name in names:
        yaml = sam2.packaged_yaml(TEACHERS[name].model_yaml)
        assert yaml.is_file()
        assert TEACHERS[name].weights.address.endswith("/" + TEACHERS[name].weights.file)


def test_a_checkpoint_in_the_official_form_loads_and_others_do_not(tmp_path):
    yaml = small_yaml(tmp_path, image_size=256)
    network = sam2.build_network(yaml)
    good, partial, bare = (tmp_path / name for name in ("good.pt", "partial.pt", "bare.pt"))
    state = network.state_dict()
    torch.save({"model": state}, good)
    torch.save({"model": dict(list(state.items())[:-1])}, partial)
    torch.save(state, bare)
    loaded = sam2.load_network(yaml, good)
    assert all(
        (a == b).all() for a, b in zip(loaded.parameters(), network.parameters(), strict=True)
    )
    with pytest.raises(WeightsError, match=r"does not fit the network of small\.yaml"):
        sam2.load_network(yaml, partial)
    with pytest.raises(WeightsError, match="is not in SAM 2's form"):
        sam2.load_network(yaml, bare)
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="is not a checkpoint of tensors"):
        sam2.load_network(yaml, tmp_path / "junk.pt")


@pytest.mark.parametrize(
    "line",
    [
        "_target_: os.system",
        "_target_: sam2.build_sam.os.system",
        "_target_: sam2.modeling.sam2_utils.get_activation_fn",
    ],
)
def test_a_yaml_cannot_run_anything_but_networks_of_sam2(tmp_path, line):
    path = tmp_path / "evil.yaml"
    path.write_text(f"model:\n  image_encoder:\n    {line}\n    command: touch {tmp_path}/ran\n")
    with pytest.raises(InputError, match=r"only networks of `sam2` are allowed|does not have"):
        sam2.build_network(path)
    assert not (tmp_path / "ran").exists()


def test_litemedsam_refuses_other_weights(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not hold LiteMedSAM's weights"):
        load_teacher("litemedsam", checkpoint=str(tmp_path / "other.pth"))
    assert LiteMedSam(packaged_weights() / "lite_medsam.pth", CPU).name == "litemedsam"


def test_an_unknown_teacher_is_answered_with_the_nearest_name():
    with pytest.raises(
        ConfigError, match=r"'sam2\.1-larg' is not known; did you mean 'sam2\.1-large'"
    ):
        load_teacher("sam2.1-larg")


def test_the_table_says_what_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDISTILL_CACHE", str(tmp_path))
    table = describe_teachers()
    assert all(name in table for name in TEACHERS)
    lines = {line.split()[0]: line for line in table.splitlines()}
    assert "yes: " in lines["litemedsam"]
    assert lines["sam2.1-large"].endswith("no")


def test_weights_that_cannot_be_had_name_the_teachers_that_are_here(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDISTILL_CACHE", str(tmp_path))
    entry = TEACHERS["medsam2"]
    nowhere = dataclasses.replace(entry.weights, address="http://127.0.0.1:9/net.pt")
    monkeypatch.setitem(TEACHERS, "medsam2", dataclasses.replace(entry, weights=nowhere))
    with pytest.raises(
        WeightsError, match=r"cannot be downloaded .*; on this machine: --teacher litemedsam$"
    ):
        load_teacher("medsam2")


def test_a_custom_sam2_is_named_by_its_yaml(tmp_path):
    yaml = small_yaml(tmp_path, image_size=256)
    torch.save({"model": sam2.build_network(yaml).state_dict()}, tmp_path / "mine.pt")
    teacher = load_teacher(str(yaml), checkpoint=str(tmp_path / "mine.pt"))
    assert (teacher.name, teacher.input_size) == ("small", 256)
    with pytest.raises(
        ConfigError,
        match=r"small\.yaml needs its weights: give them as distill\.teacher_checkpoint",
    ):
        load_teacher(str(yaml))
    with pytest.raises(WeightsError, match=r"nowhere\.pt does not exist"):
        load_teacher(str(yaml), checkpoint="nowhere.pt")
    with pytest.raises(InputError, match=r"gone\.yaml cannot be read"):
        load_teacher("gone.yaml", checkpoint=str(tmp_path / "mine.pt"))


def test_medsam2_is_sam2_tiny_at_512_px(tmp_path):
    entry = TEACHERS["medsam2"]
    network = sam2.build_network(sam2.packaged_yaml(entry.model_yaml), entry.input_size)
    assert network.image_size == 512
    torch.save({"model": network.state_dict()}, tmp_path / "medsam2.pt")
    assert load_teacher("medsam2", checkpoint=str(tmp_path / "medsam2.pt")).input_size == 512


def test_fetch_puts_weights_on_this_machine():
    from typer.testing import CliRunner

    from meddistill.cli.app import app

    result = CliRunner().invoke(app, ["teachers", "--fetch", "litemedsam"])
    assert result.exit_code == 0
    assert fetch_teacher("litemedsam").name == "lite_medsam.pth"
    with pytest.raises(
        ConfigError, match="teacher 'litemedsm' is not known; did you mean 'litemedsam'"
    ):
        fetch_teacher("litemedsm")


@pytest.mark.parametrize("name", ["small_sam2", "lite"])
def test_a_stored_encoding_decodes_as_a_fresh_one(name, request, encoded, tmp_path):
    teacher = request.getfixturevalue(name)
    fresh = encoded[teacher.name]
    answers = teacher.decode(fresh, _BOXES)

    def stored(dtype):
        """An image a file, read back and put together in their order."""
        for index in range(len(fresh)):
            np.savez(tmp_path / f"{index}.npz", **fresh.of_one(index).to_arrays(dtype=dtype))
        parts = []
        for index in range(len(fresh)):
            with np.load(tmp_path / f"{index}.npz", allow_pickle=False) as arrays:
                parts.append(Encoded.from_arrays(dict(arrays)))
        return Encoded.stack(parts)

    whole, half = stored(np.float32), stored(np.float16)
    assert (whole.sizes_hw, whole.valid_share) == (list(fresh.sizes_hw), list(fresh.valid_share))
    assert set(whole.features) == {DECODED_LEVEL}
    for ours, exact, near in zip(
        answers, teacher.decode(whole, _BOXES), teacher.decode(half, _BOXES), strict=True
    ):
        # The same numbers in another order in memory: some processors add them up otherwise.
        torch.testing.assert_close(ours.logits, exact.logits, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(ours.predicted_iou, exact.predicted_iou, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.logits, near.logits, atol=0.05, rtol=0.01)
        torch.testing.assert_close(ours.predicted_iou, near.predicted_iou, atol=0.01, rtol=0.01)


def test_every_teacher_says_what_callers_ask_of_it(small_sam2, lite):
    for teacher in (small_sam2, lite):
        assert DECODED_LEVEL in teacher.feature_channels
        assert isinstance(teacher.takes_masks, bool)
        assert isinstance(teacher.logit_shift, float)


def test_litemedsam_is_listed_with_the_size_that_it_has():
    assert known_teachers.TEACHERS["litemedsam"].input_size == litemedsam.INPUT_SIZE
