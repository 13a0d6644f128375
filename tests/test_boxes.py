"""Boxes hold what they were given, as arrays of stated types, and refuse rows that don't belong together."""
import numpy as np
import pytest

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.boxes import Boxes


def test_centers_and_sizes_give_the_corners_back():
    rng = np.random.default_rng(0)
    xyxy = np.sort(rng.random((50, 2, 2)), axis=1).reshape(50, 4)
    boxes = Boxes(xyxy, rng.integers(0, 3, 50).astype(np.int32), rng.random(50))
    assert (boxes.xyxy.dtype, boxes.labels.dtype, boxes.scores.dtype) == (np.float32, np.int64, np.float32)
    again = np.concatenate([boxes.centers - boxes.sizes / 2, boxes.centers + boxes.sizes / 2], axis=1)
    assert len(boxes) == 50 and abs(again - xyxy).max() < 1e-6 and (boxes.sizes >= 0).all()


def test_nothing_is_a_photo_without_things():
    none = Boxes([], [], [])
    assert len(none) == 0 and repr(none) == "0 boxes" and none.sizes.shape == none.centers.shape == (0, 2)


@pytest.mark.parametrize("given", [([[0, 0, 1]], [0]), ([[0, 0, 1, 1]] * 2, [0]), ([[0, 0, 1, 1]], [0], [[1.]]), ([], 0), ([0, 0, 1, 1], [0])])
def test_rows_that_do_not_belong_together(given):
    with pytest.raises(MobileNetError, match="Received: xyxy of shape"):
        Boxes(*given)
