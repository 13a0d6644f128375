"""IoU and non-maximum suppression, against a count of cells, a walk over all pairs, and TensorFlow's."""
import numpy as np
import pytest

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tasks.overlap import areas, iou, nms, take


def some_boxes(rng, n, classes=3, cells=16, levels=8):
    """Boxes whose corners lie on a grid and whose scores repeat, so that overlaps are exact and ties are many."""
    at = rng.integers(0, cells - 1, (n, 2))
    size = 1 + rng.integers(0, cells // 2, (n, 2))
    return Boxes(np.concatenate([at, np.minimum(at + size, cells)], 1) / cells, rng.integers(0, classes, n), rng.integers(1, levels + 1, n) / levels)


def cells_of(box, cells=16):
    left, top, right, bottom = np.rint(np.asarray(box, float) * cells).astype(int)
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


def walk(boxes, threshold, per_class):
    """The same, said otherwise: a box stays if no box before it, of those that stay, overlaps it; overlaps are counted in cells."""
    cells, stay = [cells_of(box) for box in boxes.xyxy], []
    for i in sorted(range(len(boxes)), key=lambda i: (-boxes.scores[i], i)):
        near = [j for j in stay if not per_class or boxes.labels[i] == boxes.labels[j]]
        if all(len(cells[i] & cells[j]) <= threshold * len(cells[i] | cells[j]) for j in near):
            stay.append(i)
    return stay


def test_iou_counts_cells():
    a, b = (some_boxes(np.random.default_rng(seed), 40) for seed in (0, 1))
    counted = [[len(cells_of(p) & cells_of(q)) / len(cells_of(p) | cells_of(q)) for q in b.xyxy] for p in a.xyxy]
    assert np.allclose(iou(a, b), counted, rtol=0, atol=1e-15) and iou(a, b).shape == (40, 40)
    assert np.allclose(areas(a), [len(cells_of(p)) / 256 for p in a.xyxy], rtol=0, atol=0)
    assert np.array_equal(iou(a, b), iou(b, a).T) and np.allclose(iou(a.xyxy * [640, 480, 640, 480], b.xyxy * [640, 480, 640, 480]), iou(a, b))


@pytest.mark.parametrize("box", [[.5, .5, .5, .5], [.5, .2, .5, .9], [.9, .9, .1, .1], [.9, .1, .1, .9]])
def test_boxes_without_an_area_share_nothing(box):
    assert iou([box, [0, 0, 1, 1]], [box, [0, 0, 1, 1]]).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("threshold", [0, .25, .5, .75, 1])
def test_suppression_is_the_walk(threshold, per_class):
    for seed in range(20):
        boxes = some_boxes(np.random.default_rng(seed), 60)
        kept = nms(boxes, threshold, per_class)
        assert kept.tolist() == walk(boxes, threshold, per_class) and kept.dtype == np.int64
        if 0 < threshold < .6:
            assert len(kept) < 60
        assert nms(take(boxes, kept), threshold, per_class).tolist() == list(range(len(kept))), "nothing is left to suppress"


def test_suppression_is_tensorflows(tensorflow):
    for seed, threshold in enumerate([.1, .3, .5, .7, .9] * 4):
        boxes = some_boxes(np.random.default_rng(seed), 200, cells=64, levels=1 << 12)
        found = tensorflow.image.non_max_suppression(boxes.xyxy[:, [1, 0, 3, 2]], boxes.scores, 200, threshold).numpy()
        assert nms(boxes, threshold, per_class=False).tolist() == found.tolist()


@pytest.mark.parametrize("scores, said", [(None, "no scores"), ([.5, np.nan], "not a number"), ([np.inf, 0], "not a number")])
def test_boxes_without_an_order_are_refused(scores, said):
    with pytest.raises(MobileNetError, match=said):
        nms(Boxes([[0, 0, 1, 1]] * 2, [0, 0], scores))


def test_no_boxes():
    assert nms(Boxes([], [], [])).shape == (0,) and len(take(Boxes([], []), [])) == 0
