"""One photo, every way that it can be given and every door that it can go in by: the same bytes."""
import functools
import io
import shutil

import numpy as np
import pytest
from console_app import Running, app_data, build
from PIL import Image

from mobilenet_keras import evaluation
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu import firmware, simulate
from mobilenet_keras.mcu.console import Device
from mobilenet_keras.mcu.micropython import bundle
from mobilenet_keras.mcu.tflm import app_input
from mobilenet_keras.photos import Photo
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite import verify as verifying
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.inputs import ModelInput
from mobilenet_keras.tflite.interpreters import Classifier, Interpreter, installed_runtimes
from mobilenet_keras.tflite.model import Model, one_op_model

SHAPE = (17, 15, 3)
RULE = Preprocessing(*SHAPE, resize="crop", crop=.8, order="bgr", mean=(100, 110, 120), std=(60, 70, 80))
RUNS = any(state is True for state in installed_runtimes().values())


@functools.cache
def model():
    return example((1, *SHAPE)).with_metadata(list("abcde"), RULE)


def photo():
    return np.random.default_rng(0).integers(0, 256, (40, 33, 3), np.uint8)


def wanted():
    """The bytes, by the rule alone."""
    t = model().inputs[0]
    return RULE.quantize(RULE.pixels(photo()), t.scale[0], t.zero_point[0])


def test_however_it_is_given(tmp_path):
    png, path = io.BytesIO(), tmp_path / "photo.png"
    Image.fromarray(photo()).save(png, "PNG")
    path.write_bytes(png.getvalue())
    np.save(tmp_path / "input.npy", wanted())
    pixels = RULE.pixels(photo())
    given = ModelInput.of(model())
    for one in (photo(), png.getvalue(), path, str(path), Image.fromarray(photo()), wanted(), tmp_path / "input.npy", Photo(path, 0, "a", pixels)):
        found = given.prepare(one)
        assert (found.values == wanted()[None]).all() and found.values.dtype == np.int8 and not found.many, type(one)
        assert (given.prepare([one, one]).values == wanted()[None]).all() and given.prepare([one]).many
    assert (given.prepare(pixels[None]).values == wanted()[None]).all(), "a batch of the model's size is prepared already"
    assert (given.prepare(input=wanted()[None]).one == wanted()).all() and (given.prepare(input=str(tmp_path / "input.npy")).one == wanted()).all()


def heard(monkeypatch, owner, name):
    """What a function is called with, in a list that grows."""
    calls, plain = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: calls.append(args) or plain(*args, **kwargs))
    return calls


@pytest.mark.skipif(not RUNS, reason="no interpreter is installed")
def test_by_the_doors_of_interpreters(monkeypatch):
    ran = heard(monkeypatch, Interpreter, "run")
    Classifier(model()).predict(photo())
    model().predict(photo())
    isolated = heard(monkeypatch, verifying, "run_isolated")
    model().verify([photo()])
    for batch in (ran[0][1], ran[1][1], isolated[0][1]):
        assert (batch == wanted()[None]).all()


def test_by_the_doors_of_the_engine(monkeypatch, tmp_path):
    compiled = compile_model(model())
    engine, ran = Engine(compiled), heard(monkeypatch, Engine, "run")
    engine.predict(photo())
    (tmp_path / "a").mkdir()
    Image.fromarray(photo()).save(tmp_path / "a/1.png")
    evaluation.evaluate(compiled.save(tmp_path / "m.mbn"), tmp_path)
    assert (ran[0][1] == wanted()).all() and (ran[1][1] == wanted()).all()
    assert (engine.prepare(RULE.pixels(photo())) == wanted()).all(), "the C of the engine, by the file's own table"


def test_by_the_doors_of_boards(monkeypatch):
    monkeypatch.setattr(firmware, "link", lambda t, data, *how: data)
    assert f"app_photo[{wanted().size}]" in (data := firmware.build(model(), "pico", photo()).elf)
    numbers = data.split("app_photo[")[1].split("{")[1].split("}")[0]
    assert [int(n) for n in numbers.replace("\n", "").split(",") if n.strip()] == wanted().ravel().tolist()
    made = bundle(model(), photo())
    assert made.photo[1].endswith(RULE.pixels(photo()).tobytes()) and (made.expected == Engine(model()).run(wanted())).all()
    app = app_input(model())
    values = app.table[RULE.pixels(photo()), [2, 1, 0]]  # as main.cc does it, which turns the channels around
    assert app.blue_first and (app.table[RULE.pixels(photo())[..., ::-1], np.arange(3)] == wanted()).all() and values.shape == SHAPE


def test_by_the_door_of_an_emulated_board(monkeypatch):
    pytest.importorskip("ziglang"), pytest.importorskip("unicorn")
    built = firmware.build(model(), "mps2-an386")
    ran = heard(monkeypatch, simulate, "run_firmware")
    simulate.simulate(built, photo=photo(), emulator="unicorn", counted=False)
    assert ran[0][0].elf.read("app_photo") == wanted().tobytes() and built.about() == compile_model(model()).io


def test_by_the_door_of_a_console(monkeypatch, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    engine = Engine(model())
    board = Running(build(tmp_path, app_data(model(), wanted(), engine.run(wanted()))))
    with Device(board.port) as client:
        assert client.identify().io == engine.io, "the board says how photos are prepared"
        asked = heard(monkeypatch, Device, "_ask")
        found = client.predict(photo())
        client.leave()
    assert b"".join(call[3] for call in asked if call[1] == "row") == wanted().tobytes() and found == engine.predict(photo())
    assert board.close() == (0, "")


def test_noise_is_the_same_everywhere(monkeypatch):
    noise = ModelInput.of(model()).prepare().one
    assert (noise == compile_model(model()).io.input.prepare().one).all() and (noise == app_input(model()).prepare().one).all()
    monkeypatch.setattr(firmware, "link", lambda t, data, *how: data)
    assert ",".join(map(str, noise.ravel()[:32].tolist())) in firmware.build(model(), "pico").elf
    assert (bundle(model()).expected == Engine(model()).run(noise)).all()


def test_what_is_guessed_is_said_once(capsys):
    given = ModelInput.of(example((1, *SHAPE)))
    given.prepare()
    assert capsys.readouterr().err == "", "noise is noise: nothing to say"
    given.prepare([photo(), photo()])
    given.prepare(photo())
    assert capsys.readouterr().err.count("doesn't say how photos are prepared; pixels 0 to 255 are given as") == 1
    assert (given.prepare(photo()).values == given.rule.pixels(photo()).astype(int) - 128).all(), "the bytes straight in, whatever the scale"


@pytest.mark.parametrize("order, channels", [("rgb", 3), ("bgr", 3), ("rgb", 1)])
def test_what_a_board_saw_can_be_drawn(order, channels):
    rule = Preprocessing(17, 15, channels, order=order)
    given = ModelInput("m", rule.shape, "int8", 2 / 255, 0, rule)
    found = given.prepare(photo())
    assert abs(given.seen(found.one).astype(int) - found.pixels[0]).max() <= 1
    assert ModelInput("m", (9, 9, 4), "int8", .1).seen(np.zeros((9, 9, 4), np.int8)) is None


def test_planes_first():
    """A file from PyTorch: a photo goes in as planes at an interpreter, and as rows of pixels at a board; both may be given."""
    b = Builder((1, 3, 30, 26), 2)
    perm = b.tensor((4,), None, 0, np.array([0, 2, 3, 1], np.int32))
    planes = b.op(39, [0, perm], (1, 30, 26, 3), b.scale, b.zero, (26, {})).conv(8, 3, 2).mean().dense(4).model()
    given = ModelInput.of(planes).prepare(photo())
    assert given.values.shape == (1, 30, 26, 3) and given.tensor.shape == (1, 3, 30, 26) and ModelInput.of(planes) == Engine(planes).io.input
    for again in (given.values[0], given.tensor[0], given.tensor):
        assert (ModelInput.of(planes).prepare(again).values == given.values).all()
    assert (Engine(planes).predict(photo()).scores == Engine(planes).run(given.tensor[0])).all()
    if RUNS:
        assert planes.predict(photo()).scores.shape == (4,)


@pytest.mark.parametrize("what, said", [
    (dict(photo=np.zeros((17, 15, 3), np.int16)), r"takes int8 \(17, 15, 3\), one or a batch of them, or a photo. Received: int16 \(17, 15, 3\)"),
    (dict(photo=np.zeros((5, 15, 3), np.int8)), r"Received: int8 \(5, 15, 3\)"), (dict(photo=np.zeros((0, 17, 15, 3), np.int8)), "Received: int8"),
    (dict(photo=[]), "No photos were given"), (dict(photo="nowhere.jpg"), "No such photo: nowhere.jpg"), (dict(photo="nowhere.npy"), "no .npy file"),
    (dict(photo=b"no photo"), "not an image"), (dict(photo=3), "int"), (dict(photo=photo(), input=np.zeros(3)), "not both")])
def test_errors_say_what_was_wanted(what, said):
    with pytest.raises(MobileNetError, match=said):
        ModelInput.of(model()).prepare(**what)


def test_errors_of_the_model():
    with pytest.raises(MobileNetError, match=r"takes int8 \(10,\), which is not a photo"):
        ModelInput.of(Model(one_op_model())).prepare("photo.jpg")
    with pytest.raises(MobileNetError, match="One photo at a time is wanted here. Received: 2"):
        assert ModelInput.of(model()).prepare([photo(), photo()]).one
    with pytest.raises(MobileNetError, match=r"takes photos of \(17, 15, 3\), and the preprocessing makes"):
        ModelInput.of(model(), Preprocessing(20, 20)).prepare(photo())
