"""Middles of things: targets, peaks, and the figures that judge them, against SciPy and brute force."""
import itertools

import numpy as np
import pytest

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tasks.centroids import Centroids, centroid_boxes, choose_threshold, find_centroids, heat_map, match_centers, score_centroids


def some(rng, n, scores=False, classes=3):
    corner, size = rng.uniform(0, .8, (n, 2)), rng.uniform(.05, .2, (n, 2))
    return Boxes(np.concatenate([corner, corner + size], 1), rng.integers(0, classes, n), rng.uniform(size=n) if scores else None)


@pytest.mark.parametrize("seed", range(5))
def test_peaks_are_those_of_a_maximum_filter(seed):
    ndimage = pytest.importorskip("scipy.ndimage")
    values = np.random.default_rng(seed).permutation(20*24*3).reshape(20, 24, 3).astype(np.int32)  # no two are equal
    best = values.max(2)
    wanted = np.argwhere((best == ndimage.maximum_filter(best, 3)) & (best >= 900))
    at, found = find_centroids(values, 900)
    assert sorted(map(tuple, at[:, :2].tolist())) == sorted(map(tuple, wanted.tolist()))
    assert (np.diff(found) < 0).all() and (values[tuple(at.T)] == found).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_plateau_is_at_most_one_thing_and_none_is_lost(seed):
    """int8 has few values; where equal cells touch, one answers, and a region's largest value never goes without an answer."""
    ndimage = pytest.importorskip("scipy.ndimage")
    values = np.random.default_rng(seed).integers(-2, 3, (9, 11, 2)).astype(np.int8)
    at, _ = find_centroids(values, 0)
    best = values.max(2)
    for (a, b) in itertools.combinations(at[:, :2].tolist(), 2):
        assert max(abs(a[0] - b[0]), abs(a[1] - b[1])) > 1, "two answers touch"
    label, n = ndimage.label(best == best.max(), np.ones((3, 3)))
    for i in range(1, n + 1):
        assert any(label[y, x] == i for y, x, _ in at) or best.max() < 0


def test_int8_and_real_values_answer_in_the_same_cells():
    q = np.random.default_rng(3).integers(-128, 128, (12, 12, 4)).astype(np.int8)
    real = (q.astype(float) + 128)/256
    assert find_centroids(q, 0)[0].tolist() == find_centroids(real, .5)[0].tolist()


def test_even_the_lowest_value_answers_at_the_rim():
    for values in (np.full((2, 3, 1), -128, np.int8), np.full((2, 3, 1), np.finfo(np.float32).min, np.float32)):
        assert find_centroids(values, values.min())[0].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("threshold", [1e-9, 1/256, .1, .35, .5, np.nextafter(.5, 0), np.nextafter(.5, 1), .95, 255/256, 255.5/256, .999, 1 - 1e-12])
def test_a_board_compares_integers_as_a_computer_compares_reals(threshold):
    q = np.arange(-128, 128)
    assert ((q + 128 >= Centroids(("a",), float(threshold)).least) == ((q.astype(float) + 128)*(1/256) >= threshold)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 2), (7, 1, 3)])
def test_narrow_maps(shape):
    values = np.zeros(shape)
    assert len(find_centroids(values, .5)[0]) == 0
    values[0, 0, -1] = .9
    assert find_centroids(values, .5)[0].tolist() == [[0, 0, shape[2] - 1]]
    with pytest.raises(MobileNetError, match="Wanted a map"):
        find_centroids(values[..., 0], .5)


def test_most():
    values = np.zeros((9, 9, 1))
    values[::2, ::2, 0] = np.linspace(.6, .9, 25).reshape(5, 5)
    at, found = find_centroids(values, .5, most=3)
    assert at[:, :2].tolist() == [[8, 8], [8, 6], [8, 4]] and found[0] == .9


@pytest.mark.parametrize("seed", range(30))
def test_what_was_put_in_is_found(seed):
    """Things in cells of their own, of one class or many, come back from their heat map."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(25)[:6]
    middles = np.stack([cells % 5, cells//5], 1)/5 + .1
    boxes = Boxes(np.concatenate([middles - .05, middles + .05], 1), rng.integers(0, 3, 6))
    found = centroid_boxes(heat_map(boxes, (20, 20, 3)), .9)
    assert score_centroids([found], [boxes], "abc").f1 == 1 and len(found) == 6


@pytest.mark.parametrize("seed", range(20))
def test_a_match_is_within_the_inner_ellipse_and_each_thing_is_found_once(seed):
    rng = np.random.default_rng(seed)
    found, truth = some(rng, 30, True), some(rng, 20)
    matched = match_centers(found, truth)
    assert len(set(matched[matched >= 0])) == (matched >= 0).sum()
    for i, j in enumerate(matched):
        if j >= 0:
            dx, dy = (found.centers[i] - truth.centers[j])/truth.sizes[j]
            assert found.labels[i] == truth.labels[j] and dx*dx + dy*dy <= .25 + 1e-6


def test_empty_photos():
    nothing, one = Boxes(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0)), Boxes([[.1, .1, .3, .3]], [0], [.9])
    score = score_centroids([nothing], [nothing], ["a"])
    assert (score.f1, score.precision, score.recall, score.interval) == (1, None, None, (1, 1))
    assert score_centroids([one], [nothing], ["a"]).f1 == score_centroids([nothing], [one], ["a"]).f1 == 0
    with pytest.raises(MobileNetError, match="at least one"):
        score_centroids([], [], ["a"])


def test_the_interval_holds_the_figure_and_is_the_same_each_time():
    rng = np.random.default_rng(0)
    truth = [some(rng, 4) for _ in range(40)]
    found = [Boxes(t.xyxy[:3], t.labels[:3], np.ones(3)) if i % 2 else some(rng, 2, True) for i, t in enumerate(truth)]
    score = score_centroids(found, truth, "abc")
    low, high = score.interval
    assert low < score.f1 < high and score.interval == (low, high) and high - low < .4
    assert score.errors.sum() == score.counts[..., 1:].sum() and sum(r["objects"] for r in score.per_class()) == 160


def test_a_threshold_is_chosen_where_it_parts_things_from_noise():
    rng = np.random.default_rng(0)
    truth = [some(rng, 2, classes=1) for _ in range(10)]
    maps = np.stack([np.maximum(heat_map(t, (12, 12, 1))*.8, rng.uniform(0, .3, (12, 12, 1))) for t in truth])
    task = Centroids(("thing",)).tuned([maps], truth)
    assert .3 <= task.threshold <= .8 and task.threshold == choose_threshold(maps, truth, ["thing"])
    assert task.score([task.found([m]) for m in maps], truth).f1 > .9


@pytest.mark.parametrize("threshold", [0, 1, -1, float("nan"), "high", None])
def test_thresholds_that_can_not_be(threshold):
    with pytest.raises(MobileNetError, match="threshold"):
        Centroids(("a",), threshold)
