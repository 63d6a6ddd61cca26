"""Encodings are kept under a budget, and a budget changes no result."""

import dataclasses
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.bright_squares import prepare_squares
from support.painting_teacher import PaintingTeacher

from meddistill.base.hashing import sha256_file
from meddistill.data.formats.pictures import write_png
from meddistill.data.views import some_views
from meddistill.run.dataset import Dataset
from meddistill.run.layout import TEACHER_TXT
from meddistill.targets import encodings
from meddistill.targets.encodings import EncodingStore
from meddistill.teachers.teacher import Encoded


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Dataset.open(prepare_squares(tmp_path_factory.mktemp("squares"), count=12).data)


def maps(store, data, cases=None):
    found = store.of_cases(data.cases if cases is None else cases, data)
    return {case.case_id: encoded.features["embedding"] for case, encoded in found}


def test_what_was_encoded_is_read_back(tmp_path, data):
    first = EncodingStore(tmp_path, PaintingTeacher(), 1.0)
    fresh = maps(first, data)
    again = EncodingStore(tmp_path, PaintingTeacher(), 1.0)
    kept = maps(again, data)
    assert (first.encoded, again.encoded) == (len(data.cases), 0)
    assert list(fresh) == [case.case_id for case in data.cases]
    assert all(torch.equal(fresh[name], kept[name]) for name in fresh)


def test_without_a_budget_all_is_encoded_again_to_the_same(tmp_path, data):
    store = EncodingStore(tmp_path, PaintingTeacher(), 0.0)
    kept = maps(EncodingStore(tmp_path / "kept", PaintingTeacher(), 1.0), data)
    fresh = maps(store, data)
    maps(store, data)
    assert store.encoded == 2 * len(data.cases)
    assert not list(tmp_path.glob("*.npz"))
    assert all(torch.equal(fresh[name], kept[name]) for name in fresh)


def size_of_one(tmp_path, data):
    maps(EncodingStore(tmp_path, PaintingTeacher(), 1.0), data, data.cases[:1])
    (path,) = tmp_path.glob("*.npz")
    os.utime(path, (1, 1))
    return path.stat().st_size


def test_passes_over_the_same_images_keep_what_fits(tmp_path, data):
    size = size_of_one(tmp_path, data)
    store = EncodingStore(tmp_path, PaintingTeacher(), 4.1 * size / 1e9)
    for _ in range(3):
        maps(store, data, data.cases[1:7])
    assert len(list(tmp_path.glob("*.npz"))) == 4
    assert (tmp_path / TEACHER_TXT).read_text() == store.teacher.name
    assert data.cases[0].case_id not in {path.name.split(".")[0] for path in tmp_path.glob("*")}
    assert store.encoded == 6 + 2 + 2
    again = EncodingStore(tmp_path, PaintingTeacher(), 4.1 * size / 1e9)
    maps(again, data, data.cases[1:7])
    assert again.encoded == 2


def test_what_another_process_removes_or_writes_is_passed_over(tmp_path, data, monkeypatch):
    size = size_of_one(tmp_path, data)
    (tmp_path / ".half.7.tmp.npz").write_bytes(b"half" * size)
    os.utime(tmp_path / ".half.7.tmp.npz", (0, 0))
    store = EncodingStore(tmp_path, PaintingTeacher(), 2.5 * size / 1e9)
    (gone,) = (path for path in tmp_path.glob("*.npz") if not path.name.startswith("."))
    listed = os.scandir

    def scandir(directory):
        found = listed(directory)
        gone.unlink(missing_ok=True)  # between the listing and the look at each file
        return found

    monkeypatch.setattr(encodings.os, "scandir", scandir)
    maps(store, data, data.cases[1:5])
    assert (tmp_path / ".half.7.tmp.npz").exists()
    assert (gone.exists(), store.encoded) == (False, 4)


def test_one_who_looks_in_turn_keeps_the_latest(tmp_path, data):
    size = size_of_one(tmp_path, data)
    store = EncodingStore(tmp_path, PaintingTeacher(), 3.5 * size / 1e9, latest=True)
    maps(store, data, data.cases[1:5])
    names = {path.name.split(".")[0] for path in tmp_path.glob("*.npz")}
    assert len(names) <= 3
    assert data.cases[0].case_id not in names
    assert data.cases[4].case_id in names


def test_threads_read_one_at_a_time(tmp_path, data, monkeypatch):
    maps(EncodingStore(tmp_path, PaintingTeacher(), 1.0), data)
    from_arrays, inside, most = Encoded.from_arrays, [], []

    def slowly(arrays):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return from_arrays(arrays)

    monkeypatch.setattr(encodings.Encoded, "from_arrays", slowly)
    stores = [EncodingStore(tmp_path, PaintingTeacher(), 1.0) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda store: len(maps(store, data)), stores))
    assert found == [len(data.cases)] * 2
    assert max(most) == 1


def test_a_damaged_file_is_made_again(tmp_path, data):
    maps(EncodingStore(tmp_path, PaintingTeacher(), 1.0), data)
    victim = next(tmp_path.glob("*.npz"))
    victim.write_bytes(victim.read_bytes()[:100])
    store = EncodingStore(tmp_path, PaintingTeacher(), 1.0)
    maps(store, data)
    assert store.encoded == 1


def test_processes_share_the_images_without_one_twice(tmp_path, data):
    stores = [EncodingStore(tmp_path, PaintingTeacher(), 1.0) for _ in range(2)]
    for number, store in enumerate(stores):
        store.fill(data.cases, data, (number, len(stores)))
    assert sum(store.encoded for store in stores) == len(data.cases)
    assert min(store.encoded for store in stores) >= 4
    last = EncodingStore(tmp_path, PaintingTeacher(), 1.0)
    maps(last, data)
    last.fill(data.cases, data, (0, 1))
    assert last.encoded == 0


def test_another_teacher_or_image_is_not_taken_for_it(tmp_path, data):
    maps(EncodingStore(tmp_path, PaintingTeacher(), 1.0), data)
    other = PaintingTeacher()
    other.fingerprint = "painting-2"
    store = EncodingStore(tmp_path, other, 1.0)
    maps(store, data, data.cases[:2])
    assert store.encoded == 2
    path = tmp_path / "other" / data.cases[0].image
    write_png(path, 255 - data.image(data.cases[0]))
    changed = dataclasses.replace(data.cases[0], sha256=sha256_file(path))
    again = EncodingStore(tmp_path, PaintingTeacher(), 1.0)
    list(again.of_cases([changed], Dataset(tmp_path / "other", [changed])))
    assert again.encoded == 1


def test_each_view_is_kept_by_itself(tmp_path, data):
    *_, turned = some_views(4, (False, False))
    plain = maps(EncodingStore(tmp_path, PaintingTeacher(), 1.0), data)
    store = EncodingStore(tmp_path, PaintingTeacher(), 1.0)
    seen = {
        case.case_id: encoded.features["embedding"]
        for case, encoded in store.of_cases(data.cases, data, view=turned)
    }
    assert store.encoded == len(data.cases)
    assert not any(torch.equal(plain[name], seen[name]) for name in plain)
    again = EncodingStore(tmp_path, PaintingTeacher(), 1.0)
    again.fill(data.cases, data, (0, 1), turned)
    assert (again.encoded, len(list(tmp_path.glob("*.npz")))) == (0, 2 * len(data.cases))
    assert maps(again, data).keys() == plain.keys()
    assert again.encoded == 0


class Layered(PaintingTeacher):
    head_levels = ("embedding", "stage2")

    def encode(self, images):
        found = super().encode(images)
        levels = dict.fromkeys(("embedding", "stage1", "stage2"), found.features["embedding"])
        return dataclasses.replace(found, features=levels)


def test_what_heads_read_is_kept_and_no_other_level(tmp_path, data):
    cases = data.cases[:2]
    for _ in range(2):  # made, and read back
        store = EncodingStore(tmp_path, Layered(), 1.0)
        for _, encoded in store.of_cases(cases, data):
            assert tuple(encoded.features) == ("embedding", "stage2")
    assert store.encoded == 0


def test_encodings_of_fewer_levels_are_made_anew(tmp_path, data):
    cases = data.cases[:2]
    for teacher in (PaintingTeacher(), Layered()):
        store = EncodingStore(tmp_path, teacher, 1.0)
        list(store.of_cases(cases, data))
        assert store.encoded == 2


def test_the_disk_is_never_filled(tmp_path, data, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    little = usage._replace(free=encodings.LEFT_FREE_BYTES + 100)
    cases = data.cases[:2]
    store = EncodingStore(tmp_path / "new" / "encodings", PaintingTeacher(), 1.0)
    monkeypatch.setattr(encodings.shutil, "disk_usage", lambda _: little)
    found = list(store.of_cases(cases, data))
    assert len(found) == 2
    assert (store.dropped, store.disk_is_full) == (2, True)
    assert not store.directory.exists()
    monkeypatch.setattr(encodings.shutil, "disk_usage", lambda _: usage._replace(free=10**12))
    list(store.of_cases(cases, data))
    assert len(list(store.directory.glob("*.npz"))) == 2
