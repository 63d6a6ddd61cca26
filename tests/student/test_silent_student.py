"""A student that says nothing of itself sends nobody to a command that refuses it."""

import json

from meddistill.student.silent_student import how_to_know


def test_calibrate_is_named_only_to_a_student_that_it_takes(tmp_path):
    assert "meddistill calibrate RUN" in how_to_know(tmp_path)
    for tiled, told in ((False, "calibrate RUN"), (True, "sees images in tiles never does")):
        (tmp_path / "preprocessing.json").write_text(json.dumps({"tiled": tiled}))
        assert told in how_to_know(tmp_path)


def test_one_that_was_fitted_in_vain_is_told_to_be_shown_images(tmp_path):
    (tmp_path / "trust.json").write_text("{}")
    assert "calibrate RUN --images DIR" in how_to_know(tmp_path)
