"""The training loop: it learns, repeats itself byte for byte, resumes, and logs every term."""

import copy
import datetime
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.paths import TESTS
from support.tiny_student import TinyStudent
from support.training_data import SIZE, bright_squares, rows, same_weights, settings, train
from torch import nn

from meddistill.base.errors import ConfigError, InputError, Interrupted, TrainingError
from meddistill.data.frames import Preprocessing
from meddistill.run.layout import LAST_CKPT, METRICS_CSV, PREVIOUS_CKPT
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.training import fabric, fitting, loop
from meddistill.training.adapters import FeatureAdapters
from meddistill.training.batches import Draw, ShuffledCases
from meddistill.training.fabric import (
    choose_precision,
    make_fabric,
    resolve_device,
    train_depthwise_in_float32,
)
from meddistill.training.learner import build_learner
from meddistill.training.loop import Training, start_from_share
from meddistill.training.optimiser_step import OptimiserStep
from meddistill.training.packed_cases import CaseTarget, PackedCases
from meddistill.training.schedules import cosine_lr, scheduled_lr
from meddistill.training.selection import choose_thresholds, validation_agreement


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of three epochs without an interruption, and where it lies; to be read and copied."""
    out = tmp_path_factory.mktemp("whole")
    return train(out), out


def test_it_learns_and_logs_every_term(tmp_path):
    trained = train(tmp_path, epochs=12)
    log = rows(tmp_path)
    assert len(log) == 12
    assert float(log[-1]["loss"]) < 0.7 * float(log[0]["loss"])
    assert trained.agreement > 0.8
    assert trained.agreement == pytest.approx(max(float(row["agreement"]) for row in log))
    assert float(log[trained.best_epoch - 1]["agreement"]) == pytest.approx(trained.agreement)
    for column in (
        "cross_entropy",
        "dice",
        "probability",
        "feature",
        "weight_mask",
        "weight_feature",
        "gradient_norm",
    ):
        assert float(log[0][column]) > 0
    assert list(tmp_path.glob("events.out.tfevents.*"))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path, precision):
    first = train(tmp_path / "a", precision=precision)
    assert same_weights(first, train(tmp_path / "b", precision=precision))
    assert (tmp_path / "a" / METRICS_CSV).read_bytes() == (
        tmp_path / "b" / METRICS_CSV
    ).read_bytes()
    assert not same_weights(first, train(tmp_path / "c", seed=1, precision=precision))


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, whole, monkeypatch):
    keep = Training.keep

    def stop_after_two(run, row, picture):
        keep(run, row, picture)
        if row.epoch == 2:
            raise KeyboardInterrupt("stop")

    monkeypatch.setattr(Training, "keep", stop_after_two)
    with pytest.raises(KeyboardInterrupt, match="stop"):
        train(tmp_path / "cut")
    monkeypatch.undo()
    assert len(rows(tmp_path / "cut")) == 2
    torch.manual_seed(99)
    resumed = train(tmp_path / "cut")
    assert same_weights(whole[0], resumed)
    assert (tmp_path / "cut" / METRICS_CSV).read_bytes() == (whole[1] / METRICS_CSV).read_bytes()


@pytest.mark.parametrize("damaged", [(LAST_CKPT,), (LAST_CKPT, PREVIOUS_CKPT)])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, whole, capsys, damaged):
    shutil.copytree(whole[1], tmp_path / "cut")
    for name in damaged:
        content = (tmp_path / "cut" / name).read_bytes()
        (tmp_path / "cut" / name).write_bytes(content[: len(content) // 2])
    capsys.readouterr()
    assert same_weights(whole[0], train(tmp_path / "cut"))
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("is damaged") == len(damaged)
    assert (
        "training starts again" if len(damaged) == 2 else "goes on from the checkpoint before"
    ) in said
    assert (tmp_path / "cut" / METRICS_CSV).read_bytes() == (whole[1] / METRICS_CSV).read_bytes()


def test_a_checkpoint_of_another_network_is_one_clear_line(tmp_path):
    train(tmp_path, epochs=1)
    with pytest.raises(InputError, match=r"last\.ckpt.*delete it to start again"):
        train(tmp_path, epochs=1, features=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_step_and_the_epoch_goes_on_there(
    tmp_path, whole, monkeypatch, number
):
    take, done = OptimiserStep.take, []

    def step(self, draw):
        done.append(len(done))
        if len(done) == 5:  # the second of the second epoch
            os.kill(os.getpid(), number)
        return take(self, draw)

    monkeypatch.setattr(OptimiserStep, "take", step)
    with pytest.raises(Interrupted) as stopped:
        train(tmp_path / "cut")
    assert stopped.value.signal_number == number
    assert len(done) == 5
    torch.manual_seed(99)
    assert same_weights(whole[0], train(tmp_path / "cut"))
    assert len(done) == 9  # no step was made twice
    assert (tmp_path / "cut" / METRICS_CSV).read_bytes() == (whole[1] / METRICS_CSV).read_bytes()


def test_a_signal_while_judging_keeps_the_steps_of_the_epoch(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", epochs=2)

    def stop(*_):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(loop, "validation_agreement", stop)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", epochs=2)
    monkeypatch.undo()
    monkeypatch.setattr(OptimiserStep, "take", counted := Counted(OptimiserStep.take))
    assert same_weights(whole, train(tmp_path / "cut", epochs=2))
    assert counted.calls == 3


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __get__(self, instance, owner):
        def call(*arguments):
            self.calls += 1
            return self.function(instance, *arguments)

        return call


@pytest.mark.parametrize("weighting", ["fixed", "paper", "learned", "ulwr"])
def test_a_step_makes_no_tensor_from_values_of_the_host(tmp_path, monkeypatch, weighting):
    # A GPU would have to be waited for, in every step.
    take, made = OptimiserStep.take, []
    tensor = torch.tensor

    def step(self, draw):
        assert draw.index.device == draw.cached_view.device == self.fabric.device
        monkeypatch.setattr(
            torch, "tensor", lambda *args, **kwargs: made.append(args) or tensor(*args, **kwargs)
        )
        sums = take(self, draw)
        monkeypatch.setattr(torch, "tensor", tensor)
        return sums

    train(tmp_path / "warm", weighting=weighting, epochs=1)
    monkeypatch.setattr(OptimiserStep, "take", step)
    train(tmp_path / "out", weighting=weighting, epochs=1)
    assert not made


def test_accumulated_parts_give_the_step_of_the_whole_batch(tmp_path):
    train(tmp_path / "one", per_case=True, batch_size=8)
    train(tmp_path / "four", per_case=True, batch_size=8, accumulate=4)
    losses = [[float(row["loss"]) for row in rows(tmp_path / name)] for name in ("one", "four")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def _fits_at_most(monkeypatch, cases, error):
    """Memory for so many cases a forward pass; returns the sizes that were tried."""
    batch, tried = ShuffledCases.batch, []

    def within(self, draw):
        tried.append(len(draw))
        if len(draw) > cases:
            raise error
        return batch(self, draw)

    monkeypatch.setattr(ShuffledCases, "batch", within)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),  # oneDNN, seen under a limit of memory
    ],
)
def test_a_step_without_memory_is_cut_until_it_fits(tmp_path, monkeypatch, capfd, error):
    train(tmp_path / "four", per_case=True, cases=8, batch_size=8, epochs=2, accumulate=4)
    tried = _fits_at_most(monkeypatch, 2, error)
    train(tmp_path / "cut", per_case=True, cases=8, batch_size=8, epochs=2)
    assert tried == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]  # the second epoch's step at once
    assert rows(tmp_path / "cut") == rows(tmp_path / "four")
    said = " ".join(capfd.readouterr().err.split())
    assert "the 8 images of a step are seen in 4 parts" in said


@pytest.mark.parametrize(("cases", "expected"), [(16, 4), (15, 3), (3, 1)])
def test_every_rank_makes_as_many_passes_as_any_other(cases, expected):
    # Of parts that it has cases for: BatchNorm is synchronised in each pass.
    draw = Draw(torch.arange(cases), torch.zeros(cases, dtype=torch.bool))
    learner = SimpleNamespace(network=SimpleNamespace(student=None))
    state = SimpleNamespace(skipped_in_a_row=torch.zeros(()))
    passes, sums = [], torch.zeros(2)
    for rank in range(4):
        fabric = SimpleNamespace(world_size=4, global_rank=rank)
        step = OptimiserStep(learner, state, None, None, DistillConfig(accumulate=4), fabric)
        step._backward = lambda mine, _, count: passes.append(len(mine.parts(count))) or sums
        step._update = lambda: (torch.zeros(()), torch.zeros(()))
        step.take(draw)
    assert passes == [expected] * 4


def test_a_case_that_does_not_fit_alone_is_one_clear_line(tmp_path, monkeypatch):
    _fits_at_most(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    told = r"one image at a time; lower distill\.image_size .* a new student: pass --overwrite"
    with pytest.raises(TrainingError, match=told):
        train(tmp_path, epochs=1)


def test_another_error_of_a_step_is_not_taken_for_a_lack_of_memory(tmp_path, monkeypatch):
    _fits_at_most(monkeypatch, 0, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(tmp_path, epochs=1)


def test_a_device_that_goes_away_leaves_the_checkpoint(tmp_path, monkeypatch):
    gone = RuntimeError("CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA`")
    whole = train(tmp_path / "whole", epochs=2)
    step, taken = OptimiserStep.take, []

    def take(self, draw):
        taken.append(draw)
        if len(taken) > self.source.steps_per_epoch:
            raise gone
        return step(self, draw)

    monkeypatch.setattr(OptimiserStep, "take", take)
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        train(tmp_path / "cut", epochs=2)
    assert (tmp_path / "cut" / LAST_CKPT).exists()
    monkeypatch.undo()
    assert same_weights(whole, train(tmp_path / "cut", epochs=2))


def test_without_features_no_feature_loss_is_logged(tmp_path):
    train(tmp_path, feature_weight=0.0)
    assert {row["feature"] for row in rows(tmp_path)} == {"0.0"}


def test_paper_weights_reach_the_log(tmp_path):
    train(tmp_path, weighting="paper", epochs=1, optimizer="adam", feature_loss="mse")
    assert float(rows(tmp_path)[0]["weight_mask"]) == pytest.approx(0.9266, abs=1e-3)


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    trained = train(tmp_path, val=0)
    assert trained.agreement is None
    assert trained.best_epoch == 3
    assert rows(tmp_path)[0]["agreement"] == ""


def test_no_training_case_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="no training case has a target"):
        train(tmp_path, cases=0)


def test_learning_rate_rises_then_falls():
    lrs = [cosine_lr(step, 100, 1.0, 0.1) for step in range(100)]
    assert lrs[0] == pytest.approx(0.1)
    assert lrs[9] == lrs[10] == 1.0
    assert lrs[10:] == sorted(lrs[10:], reverse=True)
    assert lrs[-1] == pytest.approx(0.01, abs=0.001)


def test_an_untrained_student_expects_lesions_as_rare_as_they_are():
    student, cases = TinyStudent(), bright_squares(6, 1)
    start_from_share(student, cases.foreground_share())
    assert cases.foreground_share() == pytest.approx(81 / SIZE**2)
    assert torch.sigmoid(student.head.bias).item() == pytest.approx(81 / SIZE**2, rel=1e-4)


def test_adapters_take_the_nearest_grid():
    adapters = FeatureAdapters(
        [(4, 32, 32), (5, 16, 16), (6, 8, 8)], {"a.b": (3, 16, 16), "c": (2, 6, 6)}
    )
    assert adapters.sources == {"a.b": 1, "c": 2}
    maps = [torch.randn(2, channels, side, side) for channels, side in ((4, 32), (5, 16), (6, 8))]
    assert {level: tuple(found.shape) for level, found in adapters(maps).items()} == {
        "a.b": (2, 3, 16, 16),
        "c": (2, 2, 6, 6),
    }


def test_adapters_fit_a_student_that_sees_neighbours():
    student = NestedUNet((4, 4, 6), in_channels=5)
    train = PackedCases(["a"], SIZE, {"embedding": (3, 8, 8)}, channels=5)
    settings = DistillConfig(precision="32-true")
    learner = build_learner(student, train, settings, make_fabric("cpu", "32-true"), 0)
    seen = learner.model(torch.zeros(2, 5, SIZE, SIZE))
    assert seen.features["embedding"].shape == (2, 3, 8, 8)


@pytest.mark.parametrize("weighting", ["learned", "ulwr"])
def test_other_weightings_learn_and_are_logged(tmp_path, weighting):
    train(tmp_path, weighting=weighting, epochs=2)
    log = rows(tmp_path)
    assert float(log[1]["loss"]) < float(log[0]["loss"])
    mask = [float(row["weight_mask"]) for row in log]
    assert mask[0] != mask[1] if weighting == "learned" else mask == pytest.approx([1, 1], abs=1e-4)


def test_ulwr_of_equally_sure_cases_is_fixed(tmp_path):
    fixed = train(tmp_path / "fixed", doubt=0.0)
    assert same_weights(fixed, train(tmp_path / "ulwr", doubt=0.0, weighting="ulwr"))
    assert not same_weights(fixed, train(tmp_path / "doubts", weighting="ulwr"))


def test_priors_and_noise_robust_loss_reach_the_log(tmp_path):
    train(tmp_path / "gce", mask_loss="gce", prior_weight=0.5, feature_weight=0.0, epochs=1)
    train(tmp_path / "bce", epochs=1)
    gce, bce = rows(tmp_path / "gce")[0], rows(tmp_path / "bce")[0]
    assert float(gce["prior"]) > 0
    assert float(bce["prior"]) == 0
    assert float(gce["cross_entropy"]) < float(bce["cross_entropy"])


def test_training_stops_early_and_keeps_the_best(tmp_path):
    trained = train(tmp_path, epochs=12, lr=1e-12, patience=2, per_case=True)
    assert (trained.best_epoch, trained.epochs) == (1, 3)


def test_the_last_epoch_is_kept_where_that_is_asked_for(tmp_path, monkeypatch):
    told = iter([0.5, 0.9, 0.1] * 2)
    monkeypatch.setattr(loop, "validation_agreement", lambda *_: next(told))
    best = train(tmp_path / "best", epochs=3)
    last = train(tmp_path / "last", epochs=3, keep="last")
    assert (best.best_epoch, best.agreement) == (2, 0.9)
    assert (last.best_epoch, last.agreement, last.epochs) == (3, 0.1, 3)
    assert not same_weights(best, last)


def test_a_step_without_a_finite_gradient_is_skipped_and_counted(tmp_path):
    trained = train(tmp_path, broken_cases=1)
    assert {row["skipped_steps"] for row in rows(tmp_path)} == {"1"}
    assert all(torch.isfinite(tensor).all() for tensor in trained.student.state_dict().values())
    assert trained.agreement > 0.3


def test_a_loss_that_stays_not_finite_stops_with_advice(tmp_path):
    with pytest.raises(TrainingError, match=r"not finite in \d+ steps in a row; lower distill\.lr"):
        train(tmp_path, broken_cases=10)


def test_the_threshold_that_agrees_best_is_chosen():
    val = bright_squares(4, 2)
    timid = nn.Module()
    # Probability 0.3 in the lesion, 0.1 elsewhere.
    timid.forward = lambda frames: torch.where(frames.mean(1, keepdim=True) > 0.5, -0.847, -2.197)
    fabric = make_fabric("cpu", "32-true")
    assert choose_thresholds(timid, val, Preprocessing(SIZE), fabric) == [0.3]
    assert choose_thresholds(timid, bright_squares(0, 2), Preprocessing(SIZE), fabric) == [0.5]
    few = DistillConfig(threshold=None, colearning=ColearningConfig(unboxed="propose"))
    trained = SimpleNamespace(student=timid)
    for count, cut in ((fitting.LEAST_TO_CHOOSE - 1, 0.5), (fitting.LEAST_TO_CHOOSE, 0.3)):
        val = bright_squares(count, 2)
        assert fitting._thresholds(few, trained, val, Preprocessing(SIZE), fabric) == [cut]


class SaysBoth(nn.Module):
    """Probability .9 of two findings on the left half of each frame, else none."""

    def forward(self, frames):
        logits = torch.full((len(frames), 2, SIZE, SIZE), -20.0)
        logits[..., : SIZE // 2] = 2.2
        return logits


def test_a_pixel_of_which_nothing_is_known_chooses_neither_epoch_nor_threshold():
    probs = np.zeros((2, SIZE, SIZE), np.float32)
    probs[0, :, : SIZE // 4] = 1
    probs[1, :, SIZE // 4 : SIZE // 2] = 1
    counts = np.ones_like(probs)
    counts[:, :, : SIZE // 2] = probs[:, :, : SIZE // 2]  # each where the other is

    def judged(pixel_weight):
        val = PackedCases(["a"], SIZE, findings=2)
        target = CaseTarget(probs, 0 * probs, weight=np.ones(2), pixel_weight=pixel_weight)
        val.put(0, np.zeros((SIZE, SIZE, 3), np.uint8), target)
        asked = SaysBoth(), val, Preprocessing(SIZE), make_fabric("cpu", "32-true")
        return validation_agreement(*asked), choose_thresholds(*asked)

    agreement, thresholds = judged(counts)
    assert agreement == pytest.approx(1 - 0.1 / 1.9, abs=0.01)
    assert thresholds == [0.5, 0.5]
    assert judged(None)[0] < 0.7


def test_a_constant_schedule_only_warms_up():
    constant = settings(lr_schedule="constant", warmup_share=0.1, lr=1.0)
    assert [scheduled_lr(step, 40, constant) for step in (0, 3, 4, 39)] == [0.25, 1.0, 1.0, 1.0]
    assert scheduled_lr(39, 40, settings(warmup_share=0.1, lr=1.0)) < 0.02


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(tmp_path):
    train(tmp_path / "one", per_case=True, batch_size=5)
    code = (
        "from pathlib import Path; from support.training_data import train; "
        "train(Path('two'), per_case=True, batch_size=5)"
    )
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "run_two",
    ]
    (tmp_path / "run_two.py").write_text(code)
    path = os.pathsep.join([str(TESTS), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run(launch, cwd=tmp_path, env=environment, check=True, timeout=300)
    ours, theirs = rows(tmp_path / "one"), rows(tmp_path / "two")
    for column in ("loss", "agreement", "gradient_norm"):
        assert [float(row[column]) for row in theirs] == pytest.approx(
            [float(row[column]) for row in ours], rel=1e-3
        )


def test_processes_wait_for_what_the_first_does_alone(monkeypatch):
    made = []

    class Launched:
        is_global_zero = True

        def __init__(self, **given):
            made.append(given["strategy"])

        def launch(self):
            pass

    monkeypatch.setattr(fabric, "Fabric", Launched)
    for world in ("1", "2"):
        monkeypatch.setenv("WORLD_SIZE", world)
        make_fabric("cpu", "32-true")
    alone, together = made
    assert alone == "auto"
    assert together._timeout >= datetime.timedelta(hours=12)


def test_srun_is_to_say_how_many_tasks_a_machine_has(monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "2")
    for name in ("SLURM_NTASKS_PER_NODE", "WORLD_SIZE", "SLURM_PTY_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="give it --ntasks-per-node"):
        make_fabric("cpu", "32-true")


def test_devices_that_are_not_there_are_refused():
    for name in ("gpu7x", "xpu"):
        with pytest.raises(ConfigError, match="choose from auto, cpu"):
            resolve_device(name)
    with pytest.raises(ConfigError, match="is not there"):
        resolve_device("cuda:99")
    if not torch.backends.mps.is_available():
        with pytest.raises(ConfigError, match="device 'mps' is not there"):
            resolve_device("mps")
    assert choose_precision(torch.device("cpu")) in ("32-true", "bf16-mixed")


@pytest.mark.parametrize(
    ("native", "amx", "intel", "expected"),
    [
        (False, False, True, "32-true"),
        (True, False, True, "32-true"),  # the same products in twice the instructions
        (True, True, True, "bf16-mixed"),
        (True, False, False, "bf16-mixed"),
    ],
)
def test_bf16_is_chosen_where_it_is_the_faster(monkeypatch, native, amx, intel, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(fabric, "is_intel", lambda: intel)
    assert choose_precision(torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("precision", "expected"), [("bf16-mixed", torch.float32), ("32-true", torch.bfloat16)]
)
def test_depthwise_convolutions_leave_bf16_on_a_cpu(precision, expected):
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    names = list(network.state_dict())
    train_depthwise_in_float32(network, make_fabric("cpu", precision))
    assert list(network.state_dict()) == names
    frames = torch.randn(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        depthwise = network[0](frames)
        assert depthwise.dtype == expected
        assert network[1](depthwise).dtype == torch.bfloat16
    alone = copy.deepcopy(network)
    with torch.no_grad():
        alone[0].weight.zero_()
        alone[0].bias.zero_()
    assert alone[0](frames).abs().max() == 0, "a copy must use its own weights"
