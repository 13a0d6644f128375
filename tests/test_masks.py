"""Masks: TensorFlow's resizing, scikit-learn's confusion matrix, void pixels, and what a coarse map can reach on real nuclei."""
import numpy as np
import pytest
from conftest import shared
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.masks import VOID, average_scores, coarse_bound, mask_score, resize_scores, to_mask

CLASSES = ["ground", "cat", "dog", "never"]


@pytest.mark.parametrize("shape, size", [((40, 40, 3), (240, 320)), ((7, 5, 2), (31, 33)), ((33, 31, 4), (7, 9)), ((1, 1, 2), (9, 4)),
                                         ((5, 5, 1), (5, 5)), ((2, 9, 1), (1, 100)), ((20, 20, 1), (320, 320))])
def test_resizing_is_tensorflows(tensorflow, shape, size):
    scores = np.random.default_rng(0).normal(0, 4, shape).astype(np.float32)
    wanted = tensorflow.image.resize(scores, size).numpy()
    found = resize_scores(scores, size)
    assert found.dtype == np.float32 and found.shape == wanted.shape and abs(found - wanted).max() < 4e-6
    assert np.array_equal(resize_scores(scores[..., 0], size), found[..., 0])


@pytest.mark.parametrize("shape, size", [((60, 80), (10, 12)), ((31, 33), (7, 5)), ((12, 12), (12, 12)), ((9, 9), (1, 1)), ((5, 7), (10, 21))])
def test_averages_are_those_of_pixels_cut_into_parts(shape, size):
    """Each pixel repeated so often that every cell has whole parts."""
    v = np.random.default_rng(0).random(shape)
    parts = v.repeat(size[0], 0).repeat(size[1], 1).reshape(size[0], shape[0], size[1], shape[1])
    assert np.allclose(average_scores(v, size), parts.mean((1, 3)), atol=1e-6)


@pytest.mark.parametrize("values, size", [([1, 2], (1, 1)), (np.zeros((0, 3)), (2, 2)), (np.zeros((3, 3)), (0, 2)), (np.zeros((1, 2, 2, 1)), (2, 2))])
def test_what_is_no_map(values, size):
    for how in (resize_scores, average_scores, to_mask):
        with pytest.raises(MobileNetError, match="Received"):
            how(values, size)


def test_masks_of_scores():
    rng = np.random.default_rng(0)
    scores = rng.random((6, 8, 3))
    mask = to_mask(scores, (6, 8))
    assert mask.dtype == np.uint8 and np.array_equal(mask, scores.argmax(2)) and to_mask(np.zeros((2, 2, 300)), (2, 2)).dtype == np.int64
    one = scores[..., :1]
    assert np.array_equal(to_mask(one, (6, 8)), scores[..., 0] > .5) and np.array_equal(to_mask(one[..., 0], (6, 8), .2), scores[..., 0] > .2)
    assert np.array_equal(to_mask(one, (24, 32)), to_mask(np.concatenate([1 - one, one], 2), (24, 32))), "one class or two"


def some_masks(rng, n=6):
    truths = [rng.integers(0, 3, rng.integers(5, 30, 2)).astype(np.uint8) for _ in range(n)]
    said = [np.where(rng.random(t.shape) < .6, t, rng.integers(0, 3, t.shape)) for t in truths]
    return said, [np.where(rng.random(t.shape) < .1, VOID, t) for t in truths]


@pytest.mark.parametrize("seed", range(4))
def test_the_score_is_that_of_the_confusion_matrix(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    said, truths = some_masks(np.random.default_rng(seed))
    score = mask_score(said, truths, CLASSES)
    p, t = (np.concatenate([np.ravel(v) for v in some]) for some in (said, truths))
    p, t = p[t != VOID], t[t != VOID]
    assert np.allclose(score.ious()[:3], metrics.jaccard_score(t, p, average=None, labels=[0, 1, 2]), rtol=0, atol=1e-12)
    assert np.allclose(score.dices[:3], metrics.f1_score(t, p, average=None, labels=[0, 1, 2]), rtol=0, atol=1e-12)
    assert abs(score.accuracy - metrics.accuracy_score(t, p)) < 1e-12 and np.isnan(score.ious()[3]) and np.isnan(score.dices[3])
    assert abs(score.mean - score.ious()[:3].mean()) < 1e-12 and score.per_class()[3] == dict(name="never", pixels=0, iou=None, dice=None)
    assert "never" in str(score) and f"{len(t):,} pixels in 6 photos" in repr(score)


def test_what_is_predicted_where_the_truth_is_void_counts_nowhere():
    truth = np.array([[0, 1, VOID, VOID]])
    one, two = (mask_score([[[0, 1, *rest]]], [truth], CLASSES) for rest in ((0, 0), (2, 250)))
    assert one.mean == two.mean == 1 and np.array_equal(one.counts, two.counts)
    void = mask_score([[[0]]], [[[VOID]]], CLASSES)
    assert np.isnan([void.mean, void.accuracy, *void.interval(repeats=5)]).all()


def test_drawn_photos_are_photos_and_their_copies():
    said, truths = some_masks(np.random.default_rng(0))
    score, drawn = mask_score(said, truths, CLASSES), np.array([0, 2, 1, 0, 3, 0])
    copied = [[m for m, n in zip(some, drawn) for _ in range(n)] for some in (said, truths)]
    assert np.array_equal(score.ious(drawn), mask_score(*copied, CLASSES).ious(), equal_nan=True)
    low, high = score.interval(repeats=200)
    assert low < score.mean < high and score.interval(1, repeats=50) == score.interval(1, repeats=50) != score.interval(0, repeats=50)


@pytest.mark.parametrize("said, true, classes, what", [
    ([[[0]]], [], CLASSES, "1 predictions, 0 truths"), ([], [], CLASSES, "0 predictions"), ([[[0]]], [[[0]]], [], "0 classes"),
    ([[[0]]], [[[0]]], list("ab") * 128, "256 classes"), ([[[0, 0]]], [[[0]]], CLASSES, r"\(1, 2\) and \(1, 1\)"), ([[0]], [[0]], CLASSES, r"\(1,\)"),
    ([[[4]]], [[[0]]], CLASSES, "predicted mask: 4"), ([[[0]]], [[[4]]], CLASSES, "true mask: 4"),
    ([[[-1]]], [[[0]]], CLASSES, "predicted mask: -1")])
def test_masks_that_do_not_belong_together(said, true, classes, what):
    with pytest.raises(MobileNetError, match=what):
        mask_score(said, true, classes)


def test_a_map_as_fine_as_the_mask_reaches_all():
    truths = [t[:20, :20] for t in some_masks(np.random.default_rng(0), 3)[1]]
    for truth in truths:
        score = coarse_bound([truth], CLASSES, truth.shape)
        assert score.mean == score.accuracy == 1
    two = np.array([[0, 0, 1, 1, VOID, VOID], [0, 0, 1, 1, VOID, 0]])
    assert coarse_bound([two], ["no", "yes"], (1, 3)).ious().tolist() == coarse_bound([two], ["no", "yes", "never"], (1, 3)).ious()[:2].tolist()


@pytest.mark.parametrize("size, stride, iou", [(160, 4, .855), (224, 4, .914), (160, 2, .953)])
def test_what_a_coarse_map_reaches_on_nuclei(size, stride, iou):
    """Photos of up to 320 px squashed to a network's input, which ends in a map of one cell for `stride` pixels of it."""
    masks = [np.asarray(Image.open(path)) for path in sorted((shared("data/nuclei") / "test/masks").glob("*.png"))]
    score = coarse_bound(masks, ["ground", "nucleus"], (size // stride,) * 2)
    low, high = score.interval(1, repeats=100)
    assert abs(score.ious()[1] - iou) < .001 and low < score.ious()[1] < high and len(score) == 136
