"""What networks learn: targets that move with the pixels, the focal loss, and a small training that finds squares."""
import json

import numpy as np
import pytest
from small_finding import CHOICES, SIDE, network, three_parts

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.photos import AnnotatedPart, Part, Photos, seen_boxes
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tasks.boxes import Boxes


@pytest.fixture(scope="module")
def photos():
    return three_parts()


def test_parts_of_annotated_photos(photos):
    part = photos.train
    assert photos.kind == "boxes" and sum(part.counts().values()) == sum(len(t) for t in part.truth) > 64
    few = part.take(slice(None, None, 8))
    assert len(few) == len(few.truth) == 8 and few.truth[1] is part.truth[8] and few[1].name == part[8].name
    assert set(few[0].name.split(", ")) <= {"1 x bright", "2 x bright", "1 x dark", "2 x dark"}
    assert "photos     64          16    16" in repr(photos) and photos.subsample(8).train.truth == few.truth


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_boxes_are_cut_as_photos_are(resize):
    rule = Preprocessing(40, 60, resize=resize)
    photo = np.zeros((100, 80, 3), np.uint8)
    photo[45:60, 30:50] = 255
    boxes = seen_boxes(Boxes([[30/80, .45, 50/80, .6], [0, 0, 1, .01]], [1, 0]), rule, (80, 100))
    rows, columns = np.nonzero(rule.pixels(photo)[..., 0] > 127)
    seen = np.array([columns.min()/60, rows.min()/40, (columns.max() + 1)/60, (rows.max() + 1)/40])
    assert np.abs(boxes.xyxy[0] - seen).max() <= 1/40 and boxes.labels[0] == 1
    assert len(boxes) == (1 if resize == "crop" else 2), "what a crop cuts away is gone"
    assert len(seen_boxes(Boxes([], []), rule, (80, 100))) == 0


@pytest.mark.parametrize("seed", range(4))
def test_targets_move_with_the_pixels(tensorflow, photos, seed):
    """The square in a turned, shifted, mirrored and zoomed view is where its box says."""
    from mobilenet_keras.training.augment import Augment, draw_augmentation, moved_boxes
    n = 12
    pixels = np.zeros((n, 96, 96, 3), np.float32)
    corners = np.random.default_rng(seed).integers(24, 56, (n, 2))
    for photo, (x, y) in zip(pixels, corners):
        photo[y:y + 16, x:x + 12] = 255
    choices = dict(flip="both", shift=.1, rotation=.05, zoom=.2)
    warp, light = draw_augmentation(choices, n, (64, 64, 3), seed, 0, (96, 96))
    views = Augment((64, 64, 3))(pixels, warp, light)
    for view, (x, y), w in zip(views, corners, warp):
        moved = moved_boxes(Boxes([[x/96, y/96, (x + 12)/96, (y + 16)/96]], [0]), w, (64, 64), (96, 96))
        rows, columns = np.nonzero(view[..., 0] > 127)
        if len(moved) and min(rows.min(), columns.min()) > 0 and max(rows.max(), columns.max()) < 63:
            seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])/64
            assert np.abs(moved.xyxy[0] - seen).max() < 2.5/64
            assert np.abs(moved.centers[0] - [(columns.mean() + .5)/64, (rows.mean() + .5)/64]).max() < 1/64


def test_the_loss_is_the_papers(tensorflow):
    """Equation 1 of Zhou et al. 2019, written down in NumPy."""
    from mobilenet_keras.training.goals import FocalLoss
    rng = np.random.default_rng(0)
    y, z = np.minimum(rng.uniform(0, 1.3, (3, 5, 5, 2)), 1).astype(np.float32), rng.normal(0, 2, (3, 5, 5, 2)).astype(np.float32)
    p = 1/(1 + np.exp(-z.astype(float)))
    each = np.where(y == 1, (1 - p)**2*np.log(p), (1 - y)**4*p**2*np.log(1 - p))
    assert float(FocalLoss()(y, z)) == pytest.approx(-each.sum()/(y == 1).sum(), rel=1e-5)
    nothing = float(FocalLoss()(np.zeros_like(y), np.full_like(z, -100)))
    assert nothing == pytest.approx(0, abs=1e-6) and np.isfinite(float(FocalLoss()(y, np.full_like(z, 200))))


@pytest.fixture(scope="module")
def learned(tensorflow, photos, tmp_path_factory):
    """A run from scratch that finds squares."""
    from mobilenet_keras.training.fine_tune import fine_tune
    return fine_tune(network(tensorflow), photos, folder=tmp_path_factory.mktemp("squares") / "run", **CHOICES)


@pytest.fixture(scope="module")
def int8(learned, photos):
    from mobilenet_keras.training.quantization import quantize
    return quantize(learned, photos, samples=20, calibration="min-max", equalization=False)


def test_a_network_learns_where_squares_are(learned, photos):
    """And the run keeps how to read its answer."""
    from mobilenet_keras import evaluation, run
    assert learned.metric == "f1" and learned.validation_score > .8
    assert [set(r) for r in learned.history] == [{"phase", "epoch", "loss", "validation_loss", "validation_f1"}]*12
    again = run.Run.open(learned.folder)
    assert json.loads((learned.folder / "run.json").read_text())["format"] == "1.1"
    assert again.task == learned.task == again.net.task and again.task.classes == ("bright", "dark")
    judged = evaluation.evaluate(again, photos.test)
    assert judged.value > .8 and judged.to_dict()["metric"] == "f1" and judged.interval[0] <= judged.value <= judged.interval[1]
    assert len(judged.worst()) == (judged.score.errors > 0).sum() and ("<img" in judged._repr_html_() or judged.value == 1)


@pytest.mark.slow
def test_cut_short_it_ends_with_the_same_bits(tensorflow, learned, photos, tmp_path):
    from mobilenet_keras.training.fine_tune import fine_tune

    class Stop(tensorflow.keras.callbacks.Callback):
        resumes = True

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 5:
                raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        fine_tune(network(tensorflow), photos, folder=tmp_path / "b", callbacks=[Stop()], **CHOICES)
    cut = fine_tune(network(tensorflow), photos, folder=tmp_path / "b", **CHOICES)
    assert all((np.array(a) == np.array(b)).all() for a, b in zip(cut.net.weights, learned.net.weights)) and cut.task == learned.task


def test_int8_finds_the_same(learned, int8, photos):
    from mobilenet_keras import evaluation
    assert int8.task == learned.task and int8.comparison["metric"] == "f1"
    assert abs(int8.comparison["int8_accuracy"] - int8.comparison["float_accuracy"]) < .1
    whole, board = (evaluation.evaluate(m, photos.test) for m in (int8, int8.compile()))
    assert abs(whole.value - board.value) < .05 and json.dumps(board.to_dict())
    prediction = int8.predict(photos.test.pixels[0])
    assert prediction.to_dict()["found"] == int8.task.listed(prediction.found) and prediction.drawn().shape[2] == 3
    assert prediction.label == photos.test[0].name or whole.value < 1


def test_what_does_not_fit_together_is_told(tensorflow, photos):
    from mobilenet_keras.networks.models import MobileNetV1
    from mobilenet_keras.training.fine_tune import fine_tune
    parts = photos.train, photos.validation, photos.test
    in_classes = Photos(*(Part(p.pixels, np.arange(len(p)) % 2, p.paths, p.classes) for p in parts), photos.preprocessing)
    for net, some, says, more in (
            (network(tensorflow), in_classes, "learns from photos with boxes, and these are photos in classes", {}),
            (MobileNetV1(.25, (SIDE, SIDE, 3), classes=["bright", "dark"]), photos, "head='centroid'", {}),
            (network(tensorflow), photos, "label_smoothing means nothing", dict(label_smoothing=.1)),
            (network(tensorflow), photos, "class_weights means nothing", dict(class_weights="balanced")),
            (network(tensorflow), photos, "frozen_epochs means nothing", dict(frozen_epochs=3))):
        with pytest.raises(MobileNetError, match=says):
            fine_tune(net, some, epochs=1, **more)
    with pytest.raises(MobileNetError, match="Heads are classify, centroid"):
        MobileNetV1(.25, (SIDE, SIDE, 3), classes=2, head="boxes")


def test_things_in_one_cell_are_told(tensorflow):
    """A map can't tell two middles in one cell apart."""
    from mobilenet_keras.training.goals import CentroidGoal
    crowd = Boxes([[.1, .1, .12, .12], [.09, .1, .13, .12], [.5, .5, .6, .6]], [0, 0, 1])
    part = AnnotatedPart(np.zeros((1, SIDE, SIDE, 3), np.uint8), np.zeros(1, int), ("a",), ("bright", "dark"), truth=(crowd,))
    few = Photos(part, part, part, Preprocessing(SIDE, SIDE))
    (remark,) = CentroidGoal(network(tensorflow), few).remarks(few)
    assert remark.startswith("1 of 3 things") and "a cell is 4 pixels" in remark
