"""Quality scores, the zoom window and the picture of the least trusted: known answers on masks one
can draw."""

import dataclasses

import numpy as np
import pytest
import torch

from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import read_rgb
from meddistill.run.tables import QualityRow
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.contact_sheet import least_trusted, write_contact_sheet
from meddistill.targets.gating import grade
from meddistill.targets.prompts import ANNOTATED, DETECTED
from meddistill.targets.scores import Scores, box_ious_of_masks, mask_iou, stability
from meddistill.targets.zoom import boxes_in_window, cut_and_enlarge, zoom_window


def _mask(x1, y1, x2, y2, side=20):
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_mask_iou_of_equal_shifted_and_empty_masks():
    square, empty = _mask(2, 2, 6, 6), torch.zeros(20, 20, dtype=torch.bool)
    shifted = _mask(3, 2, 7, 6)
    assert mask_iou(square, square) == 1
    assert float(mask_iou(square, shifted)) == pytest.approx(12 / 20)
    assert mask_iou(square, empty) == 0
    assert mask_iou(empty, empty) == 1


def test_stability_is_the_share_that_survives_a_change_of_threshold():
    logits = torch.full((1, 10, 10), -5.0)
    logits[0, :4, :5] = 5.0
    assert stability(logits) == 1
    logits[0, 4:8, :5] = 0.0  # doubtful: above -1, below +1
    assert stability(logits) == pytest.approx(0.5)
    assert stability(torch.full((1, 10, 10), -5.0)) == 0


def test_box_iou_compares_the_masks_extent_with_its_prompt():
    boxes = torch.tensor([[2.0, 2.0, 12.0, 12.0], [0.0, 0.0, 5.0, 5.0]])
    assert box_ious_of_masks(_mask(2, 2, 12, 12)[None], boxes[:1]) == [1]
    assert box_ious_of_masks(_mask(2, 2, 7, 12)[None], boxes[:1]) == pytest.approx([0.5])
    empty = torch.zeros(1, 20, 20, dtype=torch.bool)
    assert box_ious_of_masks(torch.cat([_mask(2, 2, 12, 12)[None], empty]), boxes) == [1, 0]


def test_an_empty_mask_is_never_accepted():
    verdict = grade(Scores(area_share=0.0, predicted_iou=0.99), TargetsConfig())
    assert (verdict.accepted, verdict.weight) == (False, 0.0)
    assert "empty" in verdict.reason


def test_doubt_and_weight_stay_in_their_range_whatever_the_teacher_says_of_itself():
    for predicted in (-0.5, 0.0, 0.4, 0.8, 1.0, 1.4):
        verdict = grade(Scores(area_share=0.1, predicted_iou=predicted), TargetsConfig())
        assert 0 <= verdict.doubt <= 1
        assert 0 <= verdict.weight <= 1
        assert verdict.accepted == (verdict.reason == "")


def test_the_window_is_square_around_the_box_and_moves_inwards_at_the_border():
    assert zoom_window(np.array([40, 44, 60, 56]), (100, 100), 2.0) == (30, 30, 70, 70)
    assert zoom_window(np.array([0, 0, 20, 20]), (100, 100), 2.0) == (0, 0, 40, 40)
    assert zoom_window(np.array([80, 90, 100, 100]), (100, 100), 2.0) == (60, 60, 100, 100)
    # Larger than the image: the whole of it.
    assert zoom_window(np.array([10, 10, 90, 90]), (100, 120), 3.0) == (0, 0, 120, 100)


def test_a_cut_is_enlarged_to_the_images_longest_side_and_boxes_go_with_it():
    image = np.zeros((64, 96, 3), np.uint8)
    image[20:30, 40:60] = 200
    window = (30, 10, 70, 50)
    cut = cut_and_enlarge(image, window)
    assert cut.shape == (96, 96, 3)
    box = boxes_in_window(np.array([[40, 20, 60, 30]]), window, (96, 96))[0]
    assert box.tolist() == pytest.approx([24, 24, 72, 48])
    inside = cut[26:46, 26:70]
    assert inside.min() > 190
    assert cut[60:].max() < 20
    assert cut_and_enlarge(image, (0, 0, 96, 64)).shape == image.shape


def test_a_cut_of_a_large_image_is_enlarged_to_what_an_encoder_sees_and_never_shrunk():
    image = np.zeros((3000, 2000, 3), np.uint8)
    assert cut_and_enlarge(image, (0, 0, 80, 40)).shape == (512, 1024, 3)
    assert cut_and_enlarge(image, (0, 0, 1500, 1600)).shape == (1600, 1500, 3)
    assert cut_and_enlarge(image[:900, :700], (0, 0, 80, 40)).shape == (450, 900, 3)


def _row(case_id, doubt, accepted=True, split="train", n_boxes=1):
    scores = {
        "v": 0.0,
        "agreement": 1.0,
        "stability": 1.0,
        "predicted_iou": 1.0,
        "box_iou": 1.0,
        "area_share": 0.1,
    }
    return QualityRow(
        case_id=case_id,
        split=split,
        prompt_source="annotated",
        n_boxes=n_boxes,
        key="k",
        doubt=doubt,
        accepted=accepted,
        reason="",
        weight=1.0,
        **scores,
    )


def test_the_picture_shows_rejected_cases_first_then_the_doubtful(tmp_path):
    rows = [_row(f"c{n:02}", n / 100) for n in range(30)]
    rows += [
        _row("rejected", 0.0, accepted=False),
        _row("held", 1.0, split="test"),
        _row("bare", 1.0, n_boxes=0),
    ]
    chosen = least_trusted(rows)
    assert [row.case_id for row in chosen[:3]] == ["rejected", "c29", "c28"]
    assert len(chosen) == 25
    image = np.full((60, 80, 3), 90, np.uint8)
    probs = np.zeros((64, 64), np.float32)
    probs[16:32, 16:32] = 1  # frame of 64 for 80 px: image px 20 to 40
    write_contact_sheet(
        tmp_path / "sheet.png",
        chosen[:6],
        lambda row: (image, probs, np.array([[20.0, 20, 40, 40]])),
    )
    sheet = read_rgb(tmp_path / "sheet.png")
    assert sheet.shape[0] > 2 * 192  # the legend
    assert sheet.shape[1:] == (5 * 192, 3)
    yellow = (sheet[..., 0].astype(int) - sheet[..., 2]) > 40
    assert yellow[:192, :192].mean() > 0.05
    assert (sheet[192 : 2 * 192, 192:] == 255).all()
    assert (sheet[2 * 192 :] < 100).any()


def test_the_picture_tells_findings_apart(tmp_path):
    findings = Findings(("left", "right"))
    row = dataclasses.replace(_row("patient001_frame01_slice_6", 0.5), finding="right")
    image, probs = np.full((64, 64, 3), 90, np.uint8), np.zeros((64, 64), np.float32)
    probs[16:32, 16:32] = 1
    load = lambda _: (image, probs, np.array([[16.0, 16, 32, 32]]))  # noqa: E731
    write_contact_sheet(tmp_path / "sheet.png", [row], load, findings)
    sheet = read_rgb(tmp_path / "sheet.png").astype(int)
    assert (sheet[90, 90, 2] - sheet[90, 90, 0]) > 40  # blue, the second of the palette
    legend = sheet[192:]
    assert (legend == findings.colours[1]).all(axis=2).any()
    assert not (legend == findings.colours[0]).all(axis=2).any()


def test_doubt_follows_predicted_iou_and_the_overlap_with_the_box():
    sure = grade(Scores(area_share=0.1, predicted_iou=1.1, box_iou=1.0), TargetsConfig())
    poor = grade(Scores(area_share=0.1, predicted_iou=0.9, box_iou=0.4), TargetsConfig())
    assert (sure.doubt, sure.accepted, sure.weight) == (0.0, True, 1.0)
    assert poor.doubt == pytest.approx(1 - 0.36)
    assert not poor.accepted
    assert poor.reason == "trust 0.36 below 0.4: predicted IoU 0.90, mask and box overlap 0.40"
    assert grade(
        Scores(area_share=0.1, predicted_iou=0.9, box_iou=0.4), TargetsConfig(min_trust=0)
    ).accepted


def test_a_detected_box_is_no_witness_of_its_mask():
    filled = Scores(area_share=0.1, predicted_iou=0.75, box_iou=1.0)
    verdict = grade(filled, TargetsConfig(), source=DETECTED)
    assert (verdict.accepted, verdict.reason) == (False, "trust 0.75 below 0.8: predicted IoU 0.75")
    assert grade(filled, TargetsConfig(), source=ANNOTATED).accepted
    assert grade(filled, TargetsConfig(min_trust_detected=0.7), source=DETECTED).accepted
    missed = Scores(area_share=0.1, predicted_iou=0.9, box_iou=0.1)
    assert grade(missed, TargetsConfig(), source=DETECTED).doubt == pytest.approx(0.1)
