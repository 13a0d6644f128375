"""Anchors as the paper's formulas say them, learnt sizes, matching, and boxes as numbers and back."""
import math

import numpy as np
import pytest
from conftest import shared

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.anchors import anchor_corners, decode_boxes, encode_boxes, grid_anchors, learnt_sizes, match_anchors, ssd_sizes
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tasks.overlap import iou

MAPS = [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def by_the_formulas(maps, reduced):
    """Liu et al. 2016, section 2.2, and TensorFlow's fixed three, with loops."""
    m, out = len(maps), []
    scale = [.2 + .75 * k / (m - 1) for k in range(m)] + [1]
    for k, (height, width) in enumerate(maps):
        for row in range(height):
            for column in range(width):
                x, y = (column + .5) / width, (row + .5) / height
                if reduced and k == 0:
                    out += [(x, y, .1, .1), (x, y, .2 * math.sqrt(2), .2 / math.sqrt(2)), (x, y, .2 / math.sqrt(2), .2 * math.sqrt(2))]
                else:
                    out += [(x, y, scale[k] * math.sqrt(a), scale[k] / math.sqrt(a)) for a in (1, 2, 3, 1 / 2, 1 / 3)]
                    out.append((x, y, *[math.sqrt(scale[k] * scale[k + 1])] * 2))
    return np.array(out)


@pytest.mark.parametrize("maps", [MAPS, [(4, 7), (2, 3)], [(20, 15), (10, 8), (5, 4)]])
@pytest.mark.parametrize("reduced", [True, False])
def test_anchors_are_the_papers(maps, reduced):
    anchors, wanted = grid_anchors(maps, ssd_sizes(len(maps), reduced=reduced)), by_the_formulas(maps, reduced)
    assert anchors.dtype == np.float32 and anchors.shape == wanted.shape and abs(anchors - wanted).max() < 1e-6
    assert len(anchors) == sum(h * w * (3 if reduced and not k else 6) for k, (h, w) in enumerate(maps))


def test_squares_stay_squares_in_a_photo_that_is_none():
    for aspect in (.5, 4 / 3, 2):
        for of_photo, of_square in zip(ssd_sizes(3, aspect=aspect), ssd_sizes(3)):
            pixels = of_photo * ([300 * aspect, 300] if aspect > 1 else [300, 300 / aspect])
            assert np.allclose(pixels, of_square * 300)


@pytest.mark.parametrize("wrong", [dict(maps=0), dict(maps=2, least=0), dict(maps=2, least=.9, most=.3), dict(maps=2, ratios=()),
                                   dict(maps=2, ratios=(1, -1)), dict(maps=1, aspect=0)])
def test_wrong_sizes(wrong):
    with pytest.raises(MobileNetError, match="Received"):
        ssd_sizes(**wrong)


def test_maps_and_sizes_belong_together():
    with pytest.raises(MobileNetError, match="6 maps, sizes for 5"):
        grid_anchors(MAPS, ssd_sizes(5))


def greedy(anchors, boxes, threshold):
    """Matching with sorted pairs: each thing takes its best anchor that is free, the largest overlap first."""
    overlap = iou(anchor_corners(anchors), boxes)
    out = [int(row.argmax()) if row.max() >= threshold else -1 for row in overlap]
    pairs = sorted((-overlap[a, t], a, t) for a in range(len(anchors)) for t in range(len(boxes)) if overlap[a, t] > 0)
    anchors_taken, things_taken = set(), set()
    for _, a, t in pairs:
        if a not in anchors_taken and t not in things_taken:
            out[a] = t
            anchors_taken.add(a), things_taken.add(t)
    return out


@pytest.mark.parametrize("seed", range(6))
def test_matching_is_greedy(seed):
    rng = np.random.default_rng(seed)
    anchors = grid_anchors([(6, 6), (3, 3)], ssd_sizes(2))
    corner = rng.integers(0, 12, (12, 2)) / 16
    boxes = np.concatenate([corner, corner + rng.integers(1, 5, (12, 2)) / 16], 1)
    found = match_anchors(anchors, boxes)
    assert found.tolist() == greedy(anchors, boxes, .5)
    assert set(range(12)) <= set(found), "each thing is learnt"
    assert match_anchors(anchors, boxes, 2).tolist().count(-1) == len(anchors) - 12, "one anchor each where none overlaps enough"


def test_matching_without_things_anchors_or_overlap():
    anchors = grid_anchors([(2, 2)], [[[.1, .1]]])
    assert match_anchors(anchors, []).tolist() == [-1] * 4 and match_anchors(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0,)
    assert match_anchors(anchors, [[.45, .45, .55, .55]]).tolist() == [-1] * 4, "no anchor touches it"
    assert sorted(match_anchors(anchors, [[0, 0, 1, 1]] * 6)) == [0, 1, 2, 3], "more things than anchors"


@pytest.mark.parametrize("variances", [(.1, .2), (1, 1)])
def test_there_and_back(variances):
    rng = np.random.default_rng(0)
    anchors = grid_anchors(MAPS, ssd_sizes(6))
    deltas = rng.normal(0, 1, (len(anchors), 4)) / variances[1] / 5
    assert abs(encode_boxes(decode_boxes(deltas, anchors, variances), anchors, variances) - deltas).max() < 1e-4
    corner = rng.uniform(0, .5, (len(anchors), 2))
    boxes = Boxes(np.concatenate([corner, corner + rng.uniform(.001, .5, corner.shape)], 1), np.zeros(len(anchors)))
    assert abs(decode_boxes(encode_boxes(boxes, anchors, variances), anchors, variances) - boxes.xyxy).max() < 1e-5


def test_encoding_by_hand():
    (dx, dy, dw, dh), = encode_boxes([[.3, .2, .7, .4]], [[.4, .4, .2, .4]])
    assert np.allclose([dx, dy, dw, dh], [.1 / .2 / .1, -.1 / .4 / .1, math.log(2) / .2, math.log(.5) / .2], atol=1e-5)


def test_what_is_untrained_says_anything():
    anchors = grid_anchors(MAPS[3:], ssd_sizes(3))
    assert np.isfinite(decode_boxes(np.full((len(anchors), 4), 1e6), anchors)).all()
    assert np.isfinite(encode_boxes(np.zeros((len(anchors), 4)), anchors)).all(), "a box without an area"


def test_learnt_sizes():
    rng = np.random.default_rng(0)
    sizes = np.array([[.1, .3], [.3, .1], [.5, .5]])[rng.integers(0, 3, 300)] * rng.normal(1, .03, (300, 1))
    boxes = [Boxes(np.concatenate([np.zeros((100, 2)), part], 1), np.zeros(100)) for part in np.split(sizes, 3)]
    found, fit = learnt_sizes(boxes, 3)
    assert np.allclose(sorted(found.tolist()), [[.1, .3], [.3, .1], [.5, .5]], atol=.01) and fit > .93
    assert learnt_sizes(boxes, 1)[1] < learnt_sizes(boxes, 2)[1] < fit <= learnt_sizes(boxes, 9)[1]
    assert np.array_equal(learnt_sizes(boxes, 5, seed=3)[0], learnt_sizes(boxes, 5, seed=3)[0])
    few, exact = learnt_sizes(Boxes([[0, 0, .1, .1], [0, 0, .5, .5], [0, 0, 0, 1]], [0, 0, 0]), 2)
    assert np.allclose(few, [[.1, .1], [.5, .5]]) and abs(exact - 1) < 1e-9, "a box without an area is none"
    assert learnt_sizes(Boxes([[0, 0, .5, .5]] * 4, [0] * 4), 3)[1] == 1, "fewer sizes than asked for"
    for k, some in ((4, Boxes([[0, 0, 1, 1]], [0])), (0, boxes), (1, [])):
        with pytest.raises(MobileNetError, match="Received"):
            learnt_sizes(some, k)


def test_sizes_of_playing_cards_fit_them_better_than_ssds():
    """Real boxes: six learnt sizes against the six of SSD's best scale."""
    import csv
    with open(shared("data/cards") / "train/boxes.csv", newline="", encoding="utf-8") as f:
        rows = [[float(r[k]) for k in ("x1", "y1", "x2", "y2", "width", "height")] for r in csv.DictReader(f)]
    v = np.array(rows)
    boxes = Boxes(v[:, :4] / v[:, [4, 5, 4, 5]], np.zeros(len(v)))
    on_one_centre = np.concatenate([-boxes.sizes / 2, boxes.sizes / 2], 1)
    fits = [iou(on_one_centre, np.concatenate([-s / 2, s / 2], 1)).max(1).mean() for s in ssd_sizes(6, reduced=False)]
    assert learnt_sizes(boxes, 6)[1] > max(fits) + .03
