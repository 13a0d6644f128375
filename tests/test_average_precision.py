"""Average precision and recall: pycocotools' own evaluation, on random photos and on nasty ones."""
import contextlib
import io

import numpy as np
import pytest

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.average_precision import COCO, average_precision
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tasks.overlap import nms, take

CLASSES = ["a", "b", "c", "never"]


def xywh(box):
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]


def coco_of(predictions, truths, crowds):
    """COCO's own evaluation object of the same boxes, at all sizes."""
    coco_api, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    images = [dict(id=i + 1) for i in range(len(truths))]
    crowds = crowds or [np.zeros(len(t)) for t in truths]
    flags = [(i, *thing) for i, t in enumerate(truths) for thing in zip(t.xyxy, t.labels, crowds[i])]
    things = [dict(id=n + 1, image_id=i + 1, category_id=int(label) + 1, bbox=xywh(box), area=1., iscrowd=int(crowd))
              for n, (i, box, label, crowd) in enumerate(flags)]
    found = [dict(image_id=i + 1, category_id=int(label) + 1, bbox=xywh(box), score=float(score))
             for i, p in enumerate(predictions) for box, label, score in zip(p.xyxy, p.labels, () if p.scores is None else p.scores)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_api.COCO()
        categories = [dict(id=k + 1, name=name) for k, name in enumerate(CLASSES)]
        truth.dataset = dict(images=images, categories=categories, annotations=things, info={})
        truth.createIndex()
        said = truth.loadRes(found) if found else coco_api.COCO()
        if not found:
            said.dataset = dict(images=images, annotations=[])
            said.createIndex()
        judge = evaluation.COCOeval(truth, said, "bbox")
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][..., 0, :], judge.eval["recall"][..., 0, :]  # (T, 101, classes, maxDets), (T, classes, maxDets)


def agree(predictions, truths, crowds=None):
    precision, recall = coco_of(predictions, truths, crowds)
    for m, most in enumerate((1, 10, 100)):
        score = average_precision(predictions, truths, CLASSES, COCO, most, crowds)
        wanted = precision[..., m].mean(1)
        assert np.array_equal(np.isnan(score.precision), wanted == -1)
        assert np.allclose(np.nan_to_num(score.precision, nan=-1), wanted, rtol=0, atol=1e-12)
        assert np.allclose(np.nan_to_num(score.recall, nan=-1), recall[..., m], rtol=0, atol=1e-12)
    p = precision[..., 2]
    there = p[p > -1]
    if len(there):
        assert abs(score.mean - there.mean()) < 1e-12
        for t, threshold in ((0, .5), (5, .75)):
            assert abs(score.at(threshold) - p[t][p[t] > -1].mean()) < 1e-12
        assert abs(average_precision(predictions, truths, CLASSES, (.5,), crowds=crowds).mean - score.at(.5)) < 1e-12
    return score


def photos(seed, n=40, cells=None, levels=None, many=8):
    """Photos whose boxes are the truth, a little off, and others; on a grid overlaps are exact, and ties of overlap and score are many."""
    rng = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(n):
        k = rng.integers(0, many)
        corner, size = rng.uniform(0, .7, (k, 2)), rng.uniform(.1, .3, (k, 2))
        t, labels = np.concatenate([corner, corner + size], 1), rng.integers(0, 3, k)
        again = rng.integers(0, k, rng.integers(0, 2 * k)) if k else np.zeros(0, int)
        off = t[again] + rng.normal(0, .015, (len(again), 4))
        lies = np.concatenate([rng.uniform(0, .5, (3, 2)), rng.uniform(.5, 1, (3, 2))], 1)
        p, scores = np.concatenate([off, lies]), rng.random(len(off) + 3)
        if cells:
            t, p = np.rint(t * cells) / cells, np.rint(p * cells) / cells
        if levels:
            scores = np.ceil(scores * levels) / levels
        truths.append(Boxes(t, labels))
        found.append(Boxes(p, np.append(labels[again], rng.integers(0, 3, 3)), scores))
    return found, truths


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cells, levels", [(None, None), (None, 4), (16, None), (16, 2), (8, 1)])
def test_random_photos(seed, cells, levels):
    assert 0 < agree(*photos(seed, cells=cells, levels=levels)).mean < 1


@pytest.mark.parametrize("seed", range(3))
def test_crowds(seed):
    found, truths = photos(seed, cells=16, levels=5)
    rng = np.random.default_rng(seed)
    agree(found, truths, [rng.random(len(t)) < .3 for t in truths])
    agree(found, truths, [np.ones(len(t), bool) for t in truths])  # nothing to find


def test_more_boxes_than_count():
    found, truths = photos(0, n=4, cells=32, levels=6, many=30)
    rng = np.random.default_rng(0)
    more = [p.xyxy[rng.integers(0, len(p), 300)] for p in found]
    found = [Boxes([*p.xyxy, *m], rng.integers(0, 2, len(p) + 300), np.ceil(rng.random(len(p) + 300) * 9) / 9) for p, m in zip(found, more)]
    agree(found, truths)


NONE, ONE = Boxes([], [], []), Boxes([[0, 0, 1, 1]], [0])


@pytest.mark.parametrize("found, truths", [
    ([NONE], [ONE]), ([NONE, NONE], [Boxes([], []), ONE]), ([Boxes([[0, 0, 1, 1]], [0], [.5])], [Boxes([], [])]), ([NONE], [Boxes([], [])]),
    ([Boxes([[0, 0, 1, 1]], [1], [.5])], [ONE]), ([Boxes([[0, 0, 1, 1]] * 3, [0] * 3, [.5] * 3)], [ONE]),
    ([Boxes([[0, 0, 1, 1]], [0], [0])], [ONE]), ([Boxes([[0, 0, 1, 1]], [0], [-3])], [ONE]),
    ([Boxes([[0, 0, 1, .5]], [0], [1])], [ONE]), ([Boxes([[0, 0, .5, 1]] * 2, [0, 0], [1, 1])], [Boxes([[0, 0, 1, 1]] * 2, [0, 0])]),
    ([Boxes([[0, 0, 1, 1]], [0], [1]), Boxes([], [])], [ONE, ONE])])
def test_nasty_photos(found, truths):
    agree(found, truths)


def test_drawn_photos_are_photos_and_their_copies():
    found, truths = photos(5, n=12, cells=16, levels=4)
    score = average_precision(found, truths, CLASSES, COCO)
    for seed in range(5):
        drawn = np.random.default_rng(seed).multinomial(12, np.full(12, 1 / 12))
        copied = [[boxes for boxes, n in zip(some, drawn) for _ in range(n)] for some in (found, truths)]
        again = average_precision(*copied, CLASSES, COCO)
        for k, m in enumerate(score.matches):
            if (curve := m.curve(drawn)) is None:
                assert np.isnan(again.precision[:, k]).all()
            else:
                assert np.array_equal(curve[0].mean(1), again.precision[:, k]) and np.array_equal(curve[1], again.recall[:, k])


def test_the_interval_holds_the_mean_and_shrinks_with_photos():
    wide, narrow = (average_precision(*photos(6, n=n), CLASSES).interval(repeats=150) for n in (15, 150))
    score = average_precision(*photos(6, n=150), CLASSES)
    assert narrow[0] < score.mean < narrow[1] and narrow[1] - narrow[0] < .5 * (wide[1] - wide[0])
    assert score.interval(.5, repeats=20) == score.interval(repeats=20) != score.interval(repeats=20, seed=1)


def test_suppressed_boxes_score_better():
    found, truths = photos(7)
    twice = [Boxes([*t.xyxy, *t.xyxy], [*t.labels, *t.labels], [*np.linspace(.6, 1, len(t)), *np.linspace(.5, .9, len(t))]) for t in truths]
    once = [take(t, nms(t)) for t in twice]
    assert average_precision(once, truths, CLASSES).mean > average_precision(twice, truths, CLASSES).mean


@pytest.mark.parametrize("found, truths, more, said", [
    ([], [], {}, "Received: 0 of a detector"), ([NONE], [ONE, ONE], {}, "1 of a detector, 2 of annotations"), ([ONE], [ONE], {}, "no scores"),
    ([Boxes([[0, 0, 1, 1]], [4], [1])], [ONE], {}, "Received in photo 0: 0, 4"), ([NONE], [Boxes([[0, 0, 1, 1]], [-1])], {}, "photo 0: -1"),
    ([Boxes([[0, 0, 1, 1]], [0], [np.nan])], [ONE], {}, "not a number"), ([NONE], [ONE], dict(crowds=[[]]), "bool for each"),
    ([NONE], [ONE], dict(thresholds=(0,)), "above 0"), ([NONE], [ONE], dict(thresholds=()), "above 0"), ([NONE], [ONE], dict(most=0), "0 boxes")])
def test_what_does_not_belong_together(found, truths, more, said):
    with pytest.raises(MobileNetError, match=said):
        average_precision(found, truths, CLASSES, **more)


def test_a_threshold_that_was_not_asked_for():
    score = average_precision([NONE], [ONE], CLASSES)
    for ask in (score.at, score.interval):
        with pytest.raises(MobileNetError, match="only at 0.5"):
            ask(.75)


def test_what_is_told_of_each_class():
    found, truths = photos(8)
    score = average_precision(found, truths, CLASSES, COCO)
    rows = score.per_class()
    assert [r["things"] for r in rows] == [sum(int((t.labels == k).sum()) for t in truths) for k in range(4)]
    assert rows[0]["precision"] == round(score.precision[:, 0].mean(), 4)
    assert rows[3] == dict(name="never", things=0, boxes=0, precision=None, recall=None)
    assert f"{score.mean:.3f} at IoU 0.50 to 0.95" in repr(score) and str(score).count("\n") == 5
