"""Known answers of the loss terms, and that no case's loss depends on its batch."""

import math

import pytest
import torch

from meddistill.training.losses import (
    box_emptiness_loss,
    box_tightness_loss,
    confidence_from_uncertainty,
    cosine_feature_loss,
    generalised_cross_entropy_loss,
    normalised_mse_feature_loss,
    probability_mse_loss,
    soft_bce_loss,
    soft_dice_agreement,
    soft_dice_loss,
)

MASK_LOSSES = [soft_bce_loss, soft_dice_loss, probability_mse_loss, generalised_cross_entropy_loss]
NONE = [math.nan] * 4
FEATURE_LOSSES = [cosine_feature_loss, normalised_mse_feature_loss]


def row(*values):
    return torch.tensor([[[list(values)]]], dtype=torch.float32)


def logit(*values):
    return torch.logit(row(*values))


@pytest.mark.parametrize("loss", MASK_LOSSES)
def test_unsure_pixels_do_not_move_the_loss(loss):
    target, student = row(1.0, 1.0), row(12.0, -12.0)  # wrong on the right pixel only
    assert loss(student, target, row(1.0, 0.0)).item() == pytest.approx(0, abs=0.01)
    assert loss(student, target, row(1.0, 1.0)).item() > 0.2


@pytest.mark.parametrize("loss", [soft_bce_loss, soft_dice_loss, probability_mse_loss])
def test_a_soft_target_is_met_at_its_own_value(loss):
    target = row(0.3, 0.8, 0.05)
    student = logit(0.3, 0.8, 0.05).requires_grad_()
    best = loss(student, target, torch.ones_like(target))
    for sharper in (logit(0.1, 0.95, 0.01), logit(0.5, 0.6, 0.2)):
        assert loss(sharper, target, torch.ones_like(target)).item() > best.item()


def test_bce_known_values():
    sure = row(1.0, 1.0)
    assert soft_bce_loss(row(0.0, 0.0), row(1.0, 0.0), sure).item() == pytest.approx(
        0.693147, abs=1e-5
    )
    assert soft_bce_loss(row(0.0, 0.0), row(1.0, 0.0), 0 * sure).item() == 0


def test_dice_known_values():
    sure = torch.ones(1, 1, 1, 4)
    hard = row(1.0, 1.0, 0.0, 0.0)
    yes = row(30.0, 30.0, -30.0, -30.0)
    assert soft_dice_loss(yes, hard, sure).item() == pytest.approx(0, abs=1e-6)
    # One of two lesion pixels found: |p - q| = 1, p + q = 3, plus the smoothing pixel.
    assert soft_dice_loss(row(30.0, -30.0, -30.0, -30.0), hard, sure).item() == pytest.approx(1 / 4)
    assert soft_dice_loss(-30 * sure, 0 * sure, sure).item() == pytest.approx(0, abs=1e-6)


def dice_loss(student, target, known=None):
    """Of one case with a finding a row."""
    maps = [torch.tensor(rows, dtype=torch.float32)[None, :, None] for rows in (student, target)]
    return soft_dice_loss(torch.logit(maps[0]), maps[1], torch.ones_like(maps[1]), known)[
        0
    ].tolist()


def test_a_finding_that_is_absent_is_held_against_all_that_is_there():
    shown, absent = [[0.9, 0.9, 0.0], [0.3, 0.0, 0.0]], [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    # Its own Dice: .2 of 3.8 px; the absent one's .3 px of 4.1 px, not of .3 px.
    assert dice_loss(shown, absent) == pytest.approx([0.2 / 4.8, 0.3 / 5.1])
    # What is unknown there is no part of it.
    unknown = torch.tensor([[0.0, 1.0]])
    assert dice_loss(shown, absent, unknown)[1] == pytest.approx(0.3 / 1.3)
    # Where nothing is there, as with one finding alone.
    nothing = [[0.0] * 3]
    assert dice_loss([[0.3, 0.0, 0.0]], nothing) == pytest.approx([0.3 / 1.3])
    assert dice_loss(nothing * 2, nothing * 2) == pytest.approx([0, 0])
    # However many findings there are, what is seen of one in a healthy case weighs as much.
    seen = [[0.3, 0.0, 0.0], [0.9, 0.9, 0.0]]
    assert dice_loss(seen, nothing * 2) == pytest.approx([0.3 / 1.3, 1.8 / 2.8])


def test_a_case_without_it_does_not_pin_a_rare_finding_to_nothing():
    """A student that hardly sees either finding: one step must raise the shown one by more than it
    lowers the absent one."""
    logits = torch.full((1, 2, 8, 8), -6.0, requires_grad=True)
    target = torch.zeros(1, 2, 8, 8)
    target[0, 0, :4, :4] = 1
    soft_dice_loss(logits, target, torch.ones_like(target)).sum().backward()
    raised, lowered = -logits.grad[0, 0, :4, :4].sum(), logits.grad[0, 1, :4, :4].sum()
    assert raised > lowered > 0


def test_probability_mse_known_value():
    assert probability_mse_loss(
        row(0.0, 0.0), row(1.0, 0.5), row(1.0, 1.0)
    ).item() == pytest.approx(0.125)


def test_confidence_falls_from_one_to_zero():
    uncertainty = torch.tensor([0.0, 0.125, 0.25, 0.3])
    assert confidence_from_uncertainty(uncertainty, 1.0).tolist() == pytest.approx([1, 0.5, 0, 0])
    assert confidence_from_uncertainty(uncertainty, 2.0).tolist() == pytest.approx([1, 0.25, 0, 0])
    assert confidence_from_uncertainty(uncertainty, 0.0).tolist() == [1, 1, 1, 1]


def test_feature_losses_known_values():
    teacher = torch.randn(2, 6, 3, 3)
    assert cosine_feature_loss(3 * teacher, teacher).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert cosine_feature_loss(-teacher, teacher).tolist() == pytest.approx([2, 2], abs=1e-5)
    deviation, mean = torch.std_mean(teacher, dim=1, keepdim=True, correction=0)
    assert normalised_mse_feature_loss(
        (teacher - mean) / deviation, teacher
    ).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert normalised_mse_feature_loss(0 * teacher, teacher).tolist() == pytest.approx(
        [1, 1], abs=1e-4
    )
    # The teacher's scale and offset do not matter.
    assert normalised_mse_feature_loss(teacher, 5 * teacher + 2).tolist() == pytest.approx(
        normalised_mse_feature_loss(teacher, teacher).tolist(), abs=1e-4
    )


@pytest.mark.parametrize("loss", MASK_LOSSES)
def test_a_batch_gives_what_its_cases_give_alone(loss):
    student, target = torch.randn(4, 1, 5, 5), torch.rand(4, 1, 5, 5)
    target[2] = 0
    sure = torch.rand(4, 1, 5, 5)
    together = loss(student, target, sure).flatten()
    assert together.shape == (4,)
    alone = [loss(student[i : i + 1], target[i : i + 1], sure[i : i + 1]).item() for i in range(4)]
    assert together.tolist() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("loss", FEATURE_LOSSES)
def test_a_batch_of_features_gives_what_its_cases_give_alone(loss):
    student, teacher = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    alone = [loss(student[i : i + 1], teacher[i : i + 1]).item() for i in range(3)]
    assert loss(student, teacher).tolist() == pytest.approx(alone, rel=1e-5)


def test_agreement_known_values():
    hard = row(1.0, 1.0, 0.0, 0.0)
    assert soft_dice_agreement(hard, hard).item() == 1
    assert soft_dice_agreement(row(0.0, 1.0, 1.0, 0.0), hard).item() == pytest.approx(0.5)
    assert soft_dice_agreement(0 * hard, hard).item() == 0
    assert soft_dice_agreement(0 * hard, 0 * hard).item() == 1


@pytest.mark.parametrize("loss", MASK_LOSSES)
def test_shapes_that_differ_are_refused(loss):
    with pytest.raises(ValueError, match="shapes differ"):
        loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 2, 2))


def test_generalised_cross_entropy_lies_between_its_two_limits():
    student, target, sure = (
        torch.randn(3, 1, 4, 4),
        torch.randint(0, 2, (3, 1, 4, 4)).float(),
        torch.ones(3, 1, 4, 4),
    )
    nearly_bce = generalised_cross_entropy_loss(student, target, sure, q=0.001)
    assert nearly_bce.tolist() == pytest.approx(
        soft_bce_loss(student, target, sure).tolist(), rel=0.01
    )
    absolute = (torch.sigmoid(student) - target).abs().flatten(1).mean(1)
    assert generalised_cross_entropy_loss(student, target, sure, q=1.0).tolist() == pytest.approx(
        absolute.tolist()
    )


def test_a_hopeless_target_pulls_less_than_in_cross_entropy():
    def pull(loss):
        student = row(-9.0).requires_grad_()
        loss(student, row(1.0), row(1.0)).sum().backward()
        return student.grad.abs().item()

    assert pull(generalised_cross_entropy_loss) < 0.01 < 0.9 < pull(soft_bce_loss)


def box_case(*boxes):
    return torch.tensor([list(boxes)])


def test_nothing_is_allowed_outside_the_boxes():
    boxes = box_case([1.0, 1.0, 3.0, 3.0], NONE)
    logits = torch.full((1, 1, 4, 4), -30.0)
    logits[..., 1:3, 1:3] = 30
    assert box_emptiness_loss(logits, boxes).item() == pytest.approx(0, abs=1e-6)
    logits[..., 0, 0] = 30  # one of the 12 pixels outside
    assert box_emptiness_loss(logits, boxes).item() == pytest.approx(30 / 12)


def test_every_row_and_column_of_a_box_wants_a_pixel():
    boxes = box_case([1.0, 1.0, 3.0, 3.0])
    logits = torch.full((1, 1, 4, 4), -30.0)
    assert box_tightness_loss(logits, boxes).item() == pytest.approx(30)
    logits[..., 1, 1] = 30  # touches one of two rows, one of two columns
    assert box_tightness_loss(logits, boxes).item() == pytest.approx(15)
    logits[..., 2, 2] = 30
    assert box_tightness_loss(logits, boxes).item() == pytest.approx(0, abs=1e-6)
    logits[...] = -30.0
    logits[..., 0, :] = 30  # outside the box nothing counts
    assert box_tightness_loss(logits, boxes).item() == pytest.approx(30)


@pytest.mark.parametrize("loss", [box_emptiness_loss, box_tightness_loss])
def test_box_priors_know_nothing_of_a_case_without_boxes(loss):
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    boxes = torch.tensor([[NONE, NONE], [[0.0, 0.0, 2.0, 2.0], [2.0, 1.0, 4.0, 4.0]]])
    values = loss(logits, boxes)
    values.sum().backward()
    assert values[0].item() == 0
    assert values[1].item() == pytest.approx(loss(logits[1:], boxes[1:]).item())
    assert torch.isfinite(logits.grad).all()
    assert loss(logits, torch.zeros(2, 0, 4)).tolist() == [0, 0]
