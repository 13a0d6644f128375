"""Judging what finds things: any form of a model, parts and paths, and what doesn't fit."""
import json

import numpy as np
import pytest
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.evaluation import evaluate
from mobilenet_keras.photos import AnnotatedPart, Part
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.task_evaluation import evaluate_task, task_in
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tasks.centroids import Centroids
from mobilenet_keras.tflite.builder import Builder, example


@pytest.fixture(scope="module")
def finder():
    """A network of one op that finds what is bright in each of 3 x 4 cells: a 1x1 convolution of 12 pixels, and a sigmoid."""
    b = Builder((1, 3, 4, 3))
    b.tensors[0][4] |= {2: [np.float32(2/255)], 3: [np.int64(0)]}
    w = np.full((2, 1, 1, 3), 100, np.int8)
    w[1] = -100
    inputs = [b.last, b.tensor(w.shape, [.05]*2, 0, w), b.tensor((2,), [.1/255]*2, 0, np.zeros(2, np.int32))]
    b.op(3, inputs, (1, 3, 4, 2), .2, 0, (1, {1: np.int32(1), 2: np.int32(1)})).logistic()
    return b.model("finder").with_metadata(["bright", "dark"], Preprocessing(3, 4), task=Centroids(("bright", "dark"), .9))


def part(n=6, known=None):
    pixels, truth = np.full((n, 3, 4, 3), 128, np.uint8), []
    for i in range(n):
        pixels[i, i % 3, i % 4] = 255 if i % 2 else 0
        x, y = i % 4, i % 3
        truth.append(Boxes([[x/4, y/3, (x + 1)/4, (y + 1)/3]], [1 - i % 2]))
    return AnnotatedPart(pixels, np.zeros(n, int), tuple(f"{i}.png" for i in range(n)), ("bright", "dark"), None, known, truth=tuple(truth))


def test_every_form_of_a_model_finds_the_same(finder, tmp_path):
    path, mbn = finder.save(tmp_path / "finder.tflite"), tmp_path / "finder.mbn"
    compiled = finder.compile()
    mbn.write_bytes(compiled.data)
    found = [evaluate(m, part()) for m in (finder, path, compiled, mbn)]
    assert [f.value for f in found] == [1]*4 and {f.task for f in found} == {finder.task} == {task_in(m) for m in (finder, path, compiled, mbn)}
    assert json.loads(json.dumps(found[0].to_dict()))["interval"] == [1, 1] and "F1 1.000 on 6 photos" in repr(found[0])
    assert "bright" in str(found[0]) and len(found[0].worst()) == 0 and "<img" not in found[0]._repr_html_()


def test_what_is_wrong_is_shown(finder):
    wrong = part()
    moved = tuple(Boxes(np.roll(t.xyxy, 1, 1).clip(0, .2), t.labels) for t in wrong.truth[:2])
    known = np.array([True, True, False, False, False, False])
    some = AnnotatedPart(wrong.pixels, wrong.labels, wrong.paths, wrong.classes, None, known, truth=moved + wrong.truth[2:])
    found = evaluate(finder, some)
    assert found.value == pytest.approx(2*4/(2*4 + 2 + 2)) and found.worst().tolist() == [0, 1]
    assert found.unlike_training() == dict(n=4, value=1.0, interval=[1, 1]) and "resemble a training photo 100.0%" in repr(found)
    assert found.mistakes_sheet().size[1] > 600 and "<img" in found._repr_html_()


def test_a_path_is_read_as_the_model_takes_photos(finder, tmp_path):
    """Test photos where there are any; classes that the model doesn't know are passed over."""
    rows = ["file,class,x1,y1,x2,y2,width,height"]
    for name, where in (("test", part()), ("train", part(2))):
        folder = tmp_path / "set" / name
        (folder / "images").mkdir(parents=True)
        lines = list(rows)
        for i, (pixels, truth) in enumerate(zip(where.pixels, where.truth)):
            Image.fromarray(np.kron(pixels, np.ones((8, 8, 1), np.uint8))).save(folder / "images" / f"{i}.png")
            (box,), (label,) = truth.xyxy, truth.labels
            lines.append(f"{i}.png,{where.classes[label]},{','.join(f'{v:g}' for v in box*[32, 24, 32, 24])},32,24")
        (folder / "boxes.csv").write_text("\n".join(lines))
    assert len(evaluate(finder, tmp_path / "set")) == 6 and evaluate(finder, tmp_path / "set").value == 1
    assert len(evaluate(finder, tmp_path / "set", "train")) == 2
    with pytest.raises(MobileNetError, match="no validation photos"):
        evaluate(finder, tmp_path / "set", "validation")


def test_what_does_not_fit(finder):
    good = part()
    for model, photos, says in (
            (example().with_metadata(list("abcde")), good, "says what a photo is, not where things are"),
            (finder, Part(good.pixels, good.labels, good.paths, good.classes), "don't say where they are"),
            (finder, good.take(slice(0, 0)), "no photos to evaluate on"),
            (finder, AnnotatedPart(good.pixels[:, :2], good.labels, good.paths, good.classes, truth=good.truth), "Read them at its size"),
            (finder, AnnotatedPart(good.pixels, good.labels, good.paths, ("a", "b"), truth=good.truth), "Wanted the same, in the same order"),
            (finder, "nowhere", "No such file or folder")):
        with pytest.raises(MobileNetError, match=says):
            evaluate_task(model, photos)
    with pytest.raises(MobileNetError, match="No such model"):
        evaluate("nothing.tflite", good)
