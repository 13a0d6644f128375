"""Pictures for people: where a line is, what can be read, and that nothing is drawn for nothing."""
import numpy as np
import pytest
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tasks.drawing import PALETTE, READABLE, class_color, draw_boxes, draw_mask, text_color


def test_a_box_is_drawn_where_it_is():
    """The outermost pixels of its colour, at its edges, for photos of any size and shape."""
    rng = np.random.default_rng(0)
    for size in ((40, 30), (96, 96), (640, 480), (300, 1200)):
        corners = np.sort(rng.uniform(.1, .9, (2, 2)), axis=0).ravel()
        corners[2:] = np.maximum(corners[2:], corners[:2] + .08)
        picture = draw_boxes(Image.new("RGB", size, "gray"), Boxes([corners], [3]), list("abcd"))
        assert max(picture.size) >= READABLE and picture.width * size[1] == picture.height * size[0]
        ours = (np.asarray(picture) == class_color(3)).all(-1)
        x1, y1, x2, y2 = (corners * np.tile(picture.size, 2)).round().astype(int)
        middle_x, middle_y = (x1 + x2) // 2, (y1 + y2) // 2
        rows, columns = np.flatnonzero(ours[:, x2 - 4]), np.flatnonzero(ours[middle_y])
        assert abs(columns[0] - x1) <= 1 and abs(columns[-1] - x2) <= 1 and middle_x
        assert min(abs(rows - y1)) <= 1 and min(abs(rows - y2)) <= 1


def test_names_lie_in_the_picture_and_not_on_one_another():
    """Four boxes in the four corners, and one that fills all: five names, each on a field of its own colour."""
    corners = [[0, 0, .2, .2], [.8, 0, 1, .2], [0, .8, .2, 1], [.8, .8, 1, 1], [0, 0, 1, 1]]
    picture = np.asarray(draw_boxes(Image.new("RGB", (480, 480), "gray"), Boxes(corners, range(5)), ["a long name"] * 5))
    areas = [int((picture == class_color(i)).all(-1).sum()) for i in range(5)]
    without = np.asarray(draw_boxes(Image.new("RGB", (480, 480), "gray"), Boxes(corners, range(5)), [""] * 5))
    assert all(a > int((without == class_color(i)).all(-1).sum()) + 300 for i, a in enumerate(areas)), areas


def test_anything_that_boxes_may_hold_can_be_drawn():
    """Outside, inverted, NaN, no area; names in other scripts; gray photos of a pixel."""
    odd = Boxes([[-9, -9, 9, 9], [.9, .9, .1, .1], [np.nan] * 4, [.5, .5, .5, .5], [np.inf, 0, -np.inf, 1]], [0, 1, 2, 7, 8], [np.nan, 0, 1, 2, 3])
    picture = draw_boxes(np.zeros((1, 1), np.uint8), odd, ["卡片", "карта", "é", "", "x" * 200, "a", "b", "c", "d"])
    assert picture.mode == "RGB" and picture.size == (480, 480)
    with pytest.raises(MobileNetError, match="Labels are 0 to 1"):
        draw_boxes(np.zeros((9, 9, 3), np.uint8), odd, ["a", "b"])
    with pytest.raises(MobileNetError, match="Received: float64"):
        draw_boxes(np.zeros((9, 9, 3)), odd, list("abcdefghi"))


def test_a_mask_is_drawn_where_it_is():
    """Every pixel of a whole veil has its class's colour; the background is the photo's."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (480, 600, 3), dtype=np.uint8)
    mask = rng.integers(0, 9, (48, 60)).astype(np.uint8)
    drawn = np.asarray(draw_mask(photo, mask, veil=1))
    large = mask.repeat(10, 0).repeat(10, 1)
    for v in range(1, 9):
        assert (drawn[large == v] == class_color(v - 1)).all()
    assert (drawn[large == 0] == photo[large == 0]).all()
    legend = draw_mask(photo, mask, [f"class {i} with a long name" for i in range(9)])
    assert legend.width == 600 and legend.height >= 480 + 3 * 26, "of several lines"
    assert draw_mask(photo[:40, :60], mask, least=0).size == (60, 40) and draw_boxes(photo[:40, :60], Boxes([], []), [], 0).size == (60, 40)
    with pytest.raises(MobileNetError, match="A mask is uint8"):
        draw_mask(photo, mask.astype(int))


def test_colors_can_be_told_apart():
    assert len(set(PALETTE)) == 7 and class_color(7) == class_color(0) and {text_color(c) for c in PALETTE} == {(0, 0, 0), (255, 255, 255)}
