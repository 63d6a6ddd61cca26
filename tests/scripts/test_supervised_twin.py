"""The twin learns the true masks with the distilled student's trainer."""

import pytest
import torch
from support.script_module import load_script
from support.tiny_student import TinyStudent

from meddistill.base.errors import InputError
from meddistill.data.findings import LESION
from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import RunDir
from meddistill.settings.distill import DistillConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare
from meddistill.training import fitting

CONFIG = DistillConfig(image_size=64, epochs=2, batch_size=4, precision="32-true")


@pytest.fixture
def twin(monkeypatch):
    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: TinyStudent())
    return load_script("studies/supervised_twin")


@pytest.fixture
def run(tmp_path):
    write_phantom(tmp_path / "source", cases=20, seed=0, size=64)
    run_prepare(
        RunDir(tmp_path / "run"),
        PrepareConfig(source=str(tmp_path / "source"), dataset="folder"),
        seed=0,
    )
    return RunDir(tmp_path / "run")


def test_it_writes_a_student(twin, run):
    out = twin.train_twin(run, CONFIG, run.root / "student-twin", seed=0, device="cpu")
    assert {"model.safetensors", "preprocessing.json", "metrics.csv", "run.json"} <= {
        p.name for p in out.iterdir()
    }


def test_true_masks_arrive_in_the_frame(twin, run):
    cases = [case for case in twin.read_cases(run.data) if case.n_boxes][:3]
    packed = twin._pack(cases, run, CONFIG, LESION)
    found = packed.batch(torch.arange(3))
    truth = torch.stack(
        [torch.from_numpy(twin.read_mask(twin.mask_path(run.data, case))) for case in cases]
    )
    assert torch.equal(found.probs[:, 0], truth.float())
    assert found.uncertainty.max() == 0


def test_data_without_masks_is_one_clear_line(twin, run):
    cases = (
        (run.data / "cases.csv")
        .read_text()
        .replace(",boxes,1,", ",boxes,0,")
        .replace(",none,1,", ",none,0,")
    )
    (run.data / "cases.csv").write_text(cases)
    with pytest.raises(InputError, match="no training case with a mask"):
        twin.train_twin(run, CONFIG, run.root / "student-twin", seed=0, device="cpu")
