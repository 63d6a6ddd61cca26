"""Names of cases and of what is made of files: allowed everywhere, and no two alike."""

import pytest

from meddistill.data.case_ids import file_names, unique_names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("benign (10)", "benign (10)"),
        ("Größe 3 мм", "Größe 3 мм"),
        ("画像", "画像"),
        ("a/b:c*d", "a_b_c_d"),
        ("..", "_"),
        (".hidden", "_hidden"),
        ("-rf", "_rf"),
        ("ends. ", "ends"),
        ("nul.t1", "_nul.t1"),
        ("case@7", "case_7"),
        ("bad\udcff", "bad_"),
        ("ä" * 200, "ä" * 90),
    ],
)
def test_what_is_made_of_a_file_is_called_as_it_is_as_far_as_systems_allow(name, expected):
    assert file_names([name], ["source"]) == [expected]


def test_names_that_a_file_system_may_take_for_one_are_told_apart():
    names = ["Scan", "scan", "a\u0308", "ä", "alone"]
    found = file_names(names, ["1", "2", "3", "4", "5"])
    assert found[-1] == "alone"
    assert all(name.startswith(f"{own}-") for name, own in zip(found[:4], names[:4], strict=True))
    assert len(set(found)) == 5


def test_case_ids_are_ascii():
    assert unique_names(["benign (10)", "b"], ["1", "2"]) == ["benign_10", "b"]
