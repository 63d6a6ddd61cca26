"""Views: what was drawn on an image turns with it, also in the student's frame."""

import numpy as np
import pytest
import torch

from meddistill.data.frames import to_frame
from meddistill.data.views import AS_IT_IS, some_views

ALL = some_views(4, (False, False))


@pytest.mark.parametrize("view", ALL, ids=lambda view: view.name or "as it is")
@pytest.mark.parametrize("size_hw", [(40, 24), (24, 40), (33, 33)])
def test_what_is_in_the_frame_is_seen_as_the_image_is(view, size_hw):
    image = np.random.default_rng(0).random((*size_hw, 2)).astype(np.float32)

    def framed(pixels):
        return to_frame(torch.from_numpy(pixels).movedim(-1, 0)[None].contiguous(), 16)[0].numpy()

    seen = view.of(image)
    assert seen.shape[:2] == view.size_hw(size_hw)
    np.testing.assert_allclose(
        view.of_framed(framed(image), size_hw), framed(seen), rtol=0, atol=1e-5
    )


def test_all_views_differ():
    image = np.arange(12).reshape(3, 4, 1)
    seen = [view.of(image).tobytes() for view in ALL]
    assert len(set(seen)) == len(ALL) == 4
    assert AS_IT_IS.of(image).tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("keeps_sides", "names"),
    [
        ((True, False), ["", "upside-down"]),
        ((False, True), ["", "mirrored"]),
        ((True, True), [""]),
    ],
)
def test_a_view_leaves_sides_where_they_are(keeps_sides, names):
    assert [view.name for view in some_views(4, keeps_sides)] == names


def test_no_more_views_than_asked_for():
    assert [len(some_views(count, (False, False))) for count in (0, 1, 2, 9)] == [1, 1, 2, 4]
