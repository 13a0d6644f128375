"""Graphs whose shapes are computed at run time, and the same graphs without that: the same bytes from every interpreter and the engine."""
import numpy as np
import pytest
from conftest import shared
from helpers import at_once

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.layouts import LAYOUTS
from mobilenet_keras.engine.lowering import lower, reference
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu.tflm import lint_tflm
from mobilenet_keras.tasks.centroids import Centroids
from mobilenet_keras.tflite.builder import Builder
from mobilenet_keras.tflite.folding import misdeclared, shape_ops
from mobilenet_keras.tflite.interpreters import Interpreter, installed_runtimes
from mobilenet_keras.tflite.model import Model

EXACT = [n for n in ("tflm", "litert-reference", "tflite-runtime-reference") if installed_runtimes()[n] is True]
needs_tflm = pytest.mark.skipif("tflm" not in EXACT or len(EXACT) < 2, reason="needs tflite-micro and another exact interpreter")


def inputs(model, n=6):
    return np.random.default_rng(0).integers(-128, 128, (n, *model.inputs[0].shape[1:]), np.int8)


def flattened(product=False, gain=None):
    """Flatten with a batch of any size: SHAPE, STRIDED_SLICE, PACK (or GATHER, REDUCE_PROD, PACK), RESHAPE, whose output is declared as (1, 1)."""
    b = Builder((1, 12, 10, 3), 1).conv(6, 3, 2).depthwise()
    x, n = b.last, int(np.prod(b.shape[1:]))

    def integers(shape, *value):
        at = b.tensor(shape, None, 0, np.array(value, np.int32).reshape(shape) if value else None)
        b.tensors[at][1] = np.int8(2)
        return at
    size, batch, wanted = integers((4,)), integers(()), integers((2,))
    b.ops.append((77, [x], size, (55, {0: np.int8(2)})))
    b.ops.append((45, [size, integers((1,), 0), integers((1,), 1), integers((1,), 1)], batch, (32, {4: np.int32(1)})))
    last = integers((), n)
    if product:
        rest, last = integers((3,)), integers(())
        b.ops.append((36, [size, integers((3,), 1, 2, 3)], rest, (23, {})))
        b.ops.append((81, [rest, integers((1,), 0)], last, (27, {})))
    b.ops.append((83, [batch, last], wanted, (59, {0: np.int32(2)})))
    b.op(22, [x, wanted], (1, 1), 6 / 255, -128, (17, {}))
    b.shape = (1, n)
    b.multiply(9, (4, n), 0, (1, 4), (8, {}), gain=1)
    return b.softmax().model("flattened")


@needs_tflm
@pytest.mark.parametrize("product", [False, True])
def test_the_same_bytes(product):
    model, x = flattened(product), inputs(flattened(product))
    small = model.folded()
    wanted = Interpreter(model, "litert-reference" if "litert-reference" in EXACT else EXACT[1]).run(x)[0]
    assert len(np.unique(wanted, axis=0)) > 3, "it isn't flat"
    assert len(shape_ops(model)) == (5 if product else 3) and len(small.ops) == len(model.ops) - len(shape_ops(model))
    for name in EXACT:
        assert (Interpreter(small, name).run(x)[0] == wanted).all(), name
    assert (Engine(compile_model(model)).run(x).reshape(wanted.shape) == wanted).all()
    assert (reference(lower(model), x[0])[-1].reshape(-1) == wanted[0]).all()


def test_what_stays():
    model = Builder((1, 8, 8, 3)).conv(4, 3, 2).mean().dense(2).softmax().model()
    assert model.folded() is model and shape_ops(model) == set()
    whole = flattened()
    told = whole.with_metadata(list("abcd"), author="me").described(resize="crop")
    assert told.folded().classes == list("abcd") and told.folded().preprocessing.resize == "crop" and told.folded().name == "flattened"
    assert whole.folded().folded().data == whole.folded().data
    finds = whole.with_metadata(list("abcd"), task=Centroids(tuple("abcd"), .3), provenance=dict(source="here"))
    assert finds.folded().task == Centroids(tuple("abcd"), .3) and finds.folded().provenance["source"] == "here"


def test_broken_shape_ops_stay():
    """Indices outside, a stride of 0, a scalar that is sliced: the op stays, and nothing is raised but sentences."""
    rng, seen = np.random.default_rng(0), set()
    base = flattened(True).data
    for _ in range(300):
        data = bytearray(base)
        for at in rng.integers(8, len(data), rng.integers(1, 8)):
            data[at] = rng.choice([0, 1, 2, 255, rng.integers(256)])
        try:
            model = Model(bytes(data))
            small = model.folded()
            seen.add(len(small.ops))
            lower(model)
        except MobileNetError:
            seen.add("refused")
    assert "refused" in seen and len(seen) > 2


def added(seed, activation=0):
    """A map and vectors to which constants are added: one for each channel, on either side, and a scalar."""
    b = Builder((1, 12, 10, 3), seed).conv(8, 3, 2)
    k = b.tensor((8,), .05, 7, b.rng.integers(-128, 128, 8).astype(np.int8))
    b.op(0, [b.last, k], b.shape, .06, -9, (11, {0: np.int8(activation)})).depthwise().mean().dense(6)
    k = b.tensor((1, 6), .03, -4, b.rng.integers(-128, 128, 6).astype(np.int8))
    b.op(0, [k, b.last], b.shape, .06, -9, (11, {}))
    b.op(0, [b.last, b.tensor((), .03, -4, np.array(33, np.int8))], b.shape, .06, -9, (11, {}))
    return b.dense(4).softmax().model()


@needs_tflm
@pytest.mark.parametrize("seed", [0, 2, 5])
def test_constants_are_added_as_tflm_adds_them(seed):
    model = added(seed, seed % 2)
    x = inputs(model, 4)
    wanted = Interpreter(model, "tflm").run(x)[0]
    assert len(np.unique(wanted, axis=0)) > 2
    for layout in LAYOUTS:
        for kind in ("streamed", "held"):
            assert (Engine(compile_model(model, kind, layout=layout)).run(x).reshape(wanted.shape) == wanted).all(), (layout, kind)
    assert (reference(lower(model), x[0])[-1].reshape(-1) == wanted[0]).all()


def test_a_constant_map_is_refused():
    b = Builder((1, 8, 8, 3)).conv(4, 3, 2)
    k = b.tensor((1, 4, 4, 4), .05, 7, np.zeros((1, 4, 4, 4), np.int8))
    with pytest.raises(MobileNetError, match="adds a constant of the shape"):
        lower(b.op(0, [b.last, k], b.shape, .06, -9, (11, {})).model())


@needs_tflm
def test_edge_impulse(tmp_path, capsys, monkeypatch):
    """The file compiles, runs exactly, and `convert` makes one that TFLM runs."""
    monkeypatch.chdir(tmp_path)
    path = shared("cases/files/ei_0.1_1_int8.tflite")
    model = Model.open(path)
    x = inputs(model, 3)
    wanted = Interpreter(model, EXACT[1]).run(x)[0]
    assert (Engine(model).run(x).reshape(wanted.shape) == wanted).all() and (Interpreter(model.folded(), "tflm").run(x)[0] == wanted).all()
    found = lint_tflm(path)
    assert not found.ok and all("leaves it out" in f.remedy for f in found.findings if f.severity == "error")
    code, out, err = at_once(capsys, "convert", path, "-o", "b.tflite")
    assert code == 0 and "the 10 ops that only compute shapes" in out and lint_tflm(tmp_path / "b.tflite").ok
    code, out, err = at_once(capsys, "verify", path)
    assert code == 0 and "PASS" in out and "without the 10 ops that only compute shapes" in out


@needs_tflm
def test_a_shape_that_is_declared_wrongly(capsys):
    """A dilated convolution of a batch of any size: TFLM believes the file and computes other scores, which is told."""
    path = shared("cases/files/dm2.tflite")
    assert "makes (4, 10, 10, 8), and the file declares (1, 10, 10, 8)" in misdeclared(Model.open(path))
    assert not lint_tflm(path).ok
    code, out, err = at_once(capsys, "verify", path)
    assert code == 1 and "The cause may be that op 3 SPACE_TO_BATCH_ND makes" in out
    model = Model.open(path)  # the engine goes by what the ops make
    for x in inputs(model, 3):
        assert (Engine(model).run(x) == Interpreter(model, EXACT[1]).run(x[None])[0].ravel()).all()
