"""The same prediction from interpreter, engine, emulated board and console; and how it looks."""
import html.parser
import io
import json
import shutil
import sys

import numpy as np
import pytest
from conftest import shared
from console_app import Running, app_data, build
from helpers import sample
from PIL import Image

import mobilenet_keras
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.mbn import compile_model, read_io
from mobilenet_keras.mcu.console import Device
from mobilenet_keras.mcu.simulate import simulate, simulate_tflm
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.interpreters import Classifier, installed_runtimes
from mobilenet_keras.tflite.model import Model
from mobilenet_keras.tflite.prediction import SIGMOID, IOSpec, ModelOutput, Prediction, int8_output

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
GRAY = Preprocessing.preset("keras", 96, 1)


def person_detect():
    return Model.open(shared("models/tflite_micro/person_detect.tflite")).with_metadata(["no person", "person"], GRAY)


def made(scores, output=None, classes=None, **facts):
    scores = np.asarray(scores)
    return Prediction("m", "engine", (scores,), output or int8_output(scores.shape, 1 / 256, -128), classes, **facts)


@needs_tflm
@pytest.mark.parametrize("name", sample(["person", "no_person"], kept=["person"]))
def test_one_prediction_everywhere(tmp_path, name):
    pytest.importorskip("ziglang"), pytest.importorskip("unicorn")
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    model, photo = person_detect(), shared(f"models/tflite_micro/{name}.bmp")
    engine = Engine(model)
    built = engine.io.input.prepare().one
    board = Running(build(tmp_path, app_data(model, built, engine.run(built)), "-O2"))
    with Device(board.port) as client:
        exact = [name for name in ("litert-reference", "tflm") if installed_runtimes()[name] is True]
        found = [Classifier(model, "tflm").predict(photo), model.predict(photo, exact[0]),
                 engine.predict(photo), simulate(model, "mps2-an386", photo, emulator="unicorn"), client.predict(photo), simulate_tflm(model, photo)]
        test = client.self_test()
        client.leave()
    board.close()
    for other in found:
        assert other == found[0] and other.label == name.replace("_", " ") and other.top(2) == found[0].top(2) and isinstance(other, Prediction)
        assert (other.probabilities == found[0].probabilities).all() and other.outputs[0].dtype == np.int8
        assert abs(other.photo.astype(int) - found[0].photo).max() <= 1, "a board shows what its int8 input still tells of the photo"
    assert [p.runtime for p in found] == ["tflm", found[1].runtime, "engine", "engine", "engine", "tflm"] and found[5].verified
    assert found[3].board == "mps2-an386" and found[3].instructions > 1e6 and found[4].board == "host" and found[4].as_built is None and test.as_built
    assert found[0] != Classifier(model.with_metadata(["a", "b"]), "tflm").predict(photo), "other names are another prediction"


@pytest.mark.parametrize("head", ["softmax", "logistic", None])
@pytest.mark.parametrize("classes", [1, 4])
def test_what_the_values_mean(head, classes):
    """The `.tflite`'s graph, and the compiled model's scale and zero point, say the same."""
    b = Builder((1, 24, 24, 3), 2).conv(8, 3, 2).mean().dense(classes)
    model = (getattr(b, head)() if head else b).model()
    io = IOSpec.of(model)
    assert io == compile_model(model).io == Engine(model).io == read_io(compile_model(model).data) and io.outputs[0].logits == (head is None)
    found = Engine(model).predict()
    if classes == 1 and head is None:
        assert found.label is None and found.probabilities is None and found.top() == [] and "int8" in str(found) and "int8" in found._repr_html_()
        return
    real = io.outputs[0].real(found.scores)
    p = np.array([1 - real[0], real[0]]) if classes == 1 else real if head else np.exp(real) / np.exp(real).sum()
    names = list(SIGMOID) if classes == 1 else list(map(str, range(classes)))
    assert found.probabilities == pytest.approx(p) and found.label == names[p.argmax()] and len(found.top(9)) == max(2, classes)
    if classes > 1 and head != "logistic":
        assert found.probabilities.sum() == pytest.approx(1, abs=.02)


def test_several_outputs_are_kept():
    b = Builder((1, 24, 24, 3)).conv(8, 3, 2).conv(6)
    middle = b.last
    b.mean().dense(4).softmax()
    model = b.model(outputs=[b.last, middle])
    found, compiled = Engine(model).predict(), compile_model(model)
    assert [o.shape for o in found.outputs] == [(4,), (12, 12, 6)] and len(found.to_dict()["outputs"][1]) == 12 * 12 * 6
    assert [compiled.steps[i].out[2] for i, in compiled.output_steps] == [4, 6]
    json.dumps(found.to_dict())


def test_ties_and_names():
    found = made(np.array([0, 5, 5, -1], np.int8), classes=("a", "b", "c", "d"))
    assert found.label == "b" and [n for n, _ in found.top(3)] == ["b", "c", "a"], "the first of equals, as on a board"
    assert made(np.array([0, 5], np.int8), classes=("a",)).names == ["0", "1"], "another number of names is no names"
    sigmoid = made(np.array([0], np.int8), int8_output((1,), 1 / 256, -128), ("no", "yes"))
    assert sigmoid.label == "no" and sigmoid.probabilities.tolist() == [.5, .5]
    assert made(np.array([1000., 0.]), ModelOutput((2,), "float64")).probabilities.tolist() == [1, 0], "large logits overflow nothing"


@pytest.mark.parametrize("encoding, bar", [("utf-8", "█"), ("cp437", "#"), ("cp1252", "#"), ("ascii", "#")])
def test_bars_in_a_terminal(monkeypatch, encoding, bar):
    """Where eighths of a block have no code, as in cp1252, whole signs stand for them."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    found = made(np.array([110, -110], np.int8), classes=("cat", "dog"), board="pico", emulator="unicorn", instructions=1234567, arena_bytes=2000)
    lines = str(found).split("\n")
    assert lines[0].startswith("cat   93.0 %  " + 9 * bar) and lines[1].startswith("dog    7.0 %")
    assert lines[2] == "m on an emulated pico (unicorn): 1,234,567 instructions; arena 2,000 bytes"
    str(found).encode(encoding)


class Page(html.parser.HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_in_a_notebook():
    photo = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    page = Page(made(np.array([110, -110], np.int8), classes=("<cat>", "dog"), photo=photo, tested="untested on hardware")._repr_html_())
    image, = (a for tag, a in page.tags if tag == "img")
    assert "<cat>" in image["alt"] and image["src"].startswith("data:image/png;base64,"), "nothing is fetched, and a reader without eyes is told"
    import base64
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1])))) == photo).all()
    assert not {"script", "link", "style"} & {tag for tag, _ in page.tags} and "93.0 %" in page.text and "untested on hardware" in page.text
    hidden = [a for _, a in page.tags if a.get("aria-hidden") == "true"]
    assert len(hidden) == 2 and len([a for _, a in page.tags if a.get("role") == "listitem"]) == 2
    assert "img" not in [t for t, _ in Page(made(np.zeros(3, np.int8))._repr_html_()).tags], "no photo, no picture"


def test_simulate_draws_what_the_board_saw():
    pytest.importorskip("ziglang"), pytest.importorskip("unicorn")
    photo = np.random.default_rng(0).integers(0, 256, (17, 15, 3), np.uint8)
    found = simulate(example((1, 17, 15, 3)), "mps2-an386", photo, emulator="unicorn", counted=False)
    assert (found.photo == photo).all() and "<img" in found._repr_html_() and "<pre" not in found._repr_html_()
    own = simulate(example((1, 17, 15, 3)), "mps2-an386", emulator="unicorn", counted=False)
    assert own.as_built and own.photo.shape == (17, 15, 3)


def test_a_model_has_all_its_methods():
    names = "verify boards lint predict simulate build compile profile flash".split()
    assert all(callable(getattr(mobilenet_keras.Model, name)) for name in names) and mobilenet_keras.Prediction is Prediction
    assert person_detect().lint().ok or installed_runtimes()["tflm"] is not True
    with pytest.raises(mobilenet_keras.MobileNetError, match="lint knows tflm"):
        person_detect().lint("edgetpu")
