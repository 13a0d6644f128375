"""Float `.tflite` files as plain graphs: the same function, and int8 as TensorFlow's converter makes it of the network itself."""
import numpy as np
import pytest
from conftest import shared

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tflite.float_graphs import _CODES, _Writing, blank_int8, float_graph, plain_float
from mobilenet_keras.tflite.inputs import noise_photos
from mobilenet_keras.tflite.model import Model
from mobilenet_keras.training.quantization import origin_of

RULE = dict(mean=127.5, std=127.5)


@pytest.fixture(scope="module", autouse=True)
def networks(tensorflow):
    global keras, KL, tf, q
    import keras
    import tensorflow as tf

    from mobilenet_keras.training import quantization as q
    KL = keras.layers


def scores(model, inputs):
    """What TensorFlow Lite computes, photo by photo."""
    return np.stack([trace[model.outputs[0].index].ravel() for trace in q.traces(model, inputs)])


@pytest.fixture(scope="module")
def network(networks):
    """Every op that is known: paddings, pools, shortcuts, ReLUs alone and fused, a flattened map, two dense layers."""
    keras.utils.set_random_seed(0)
    photo = keras.Input((24, 24, 3))
    x = KL.ReLU(6.)(KL.BatchNormalization()(KL.Conv2D(8, 3, 2, use_bias=False)(KL.ZeroPadding2D(2)(photo))))
    y = KL.Conv2D(8, 1)(KL.ReLU()(KL.DepthwiseConv2D(3, padding="same")(x)))
    x = KL.ReLU()(KL.Add()([x, y]))
    x = KL.AveragePooling2D(3, 2, "same")(KL.MaxPooling2D(2)(x))
    x = KL.Flatten()(x)
    net = keras.Model(photo, KL.Dense(4, "softmax")(KL.Dense(6, "relu")(x)), name="all_ops")
    for w in net.weights:
        w.assign(w + keras.random.normal(w.shape, stddev=.1, seed=len(w.path)) * (0 if "variance" in w.path else 1))
    return net, noise_photos(32, 24, 24, 3).astype(np.float32) / 127.5 - 1


@pytest.fixture(scope="module")
def real(network):
    return Model(q.convert(network[0]), "all_ops")


def test_the_plain_form_is_the_same_function(network, real):
    net, inputs = network
    plain = plain_float(float_graph(real))
    np.testing.assert_allclose(scores(plain, inputs[:4]), np.asarray(net(inputs[:4])), atol=1e-5)
    assert [op.name for op in plain.ops] == [op.name for op in real.ops]
    assert {"PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED",
            "SOFTMAX"} <= {op.name for op in plain.ops}


@pytest.mark.parametrize("kind", ["float16", "dynamic range"])
def test_weights_of_other_types(network, kind):
    """As TensorFlow's converter packs them; the plain form has the ops of the float one."""
    net, inputs = network
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    packed = Model(converter.convert())
    plain = plain_float(float_graph(packed))
    assert len(plain.ops) < len(packed.ops) or kind != "float16"
    assert all(t.dtype in ("float32", "int32") for t in plain.tensors)
    np.testing.assert_allclose(scores(plain, inputs[:4]), np.asarray(net(inputs[:4])), atol=2e-3 if kind == "float16" else .03)


@pytest.mark.parametrize("io_dtype", ["int8", "uint8"])
def test_int8_is_the_converters(network, real, io_dtype):
    """Of the float file alone: the converter's ops and shapes, its weights, its scales to a hair, its scores within a few steps.

    But for one tensor: TensorFlow 2.21 calibrates a shortcut's map after ADD has written its sum over it, and takes a wider range than it has.
    """
    net, inputs = network
    theirs = Model(q.convert(net, inputs, io_dtype))
    graph = float_graph(real)
    seen = q.observe(plain_float(graph), inputs)
    low, high = inputs.min(), inputs.max()
    ours = q.requantize(plain_float(graph), blank_int8(graph, *q._scale_zero(low, high), io_dtype), seen)
    shapes = [[(op.name, model.tensors[op.outputs[0]].shape, model.tensors[op.outputs[0]].dtype) for op in model.ops] for model in (theirs, ours)]
    added = {t for op in theirs.ops if op.name == "ADD" for t in op.inputs}
    assert shapes[0] == shapes[1] and not ours.float_ops and ours.inputs[0].dtype == io_dtype
    for a, b in zip(theirs.ops, ours.ops):
        for s, t in zip(a.inputs + a.outputs, b.inputs + b.outputs):
            s, t = theirs.tensors[s], ours.tensors[t]
            assert (s.shape, s.dtype) == (t.shape, t.dtype)
            if s.index in added:
                assert t.scale[0] < 1.002 * s.scale[0]
            elif s.scale is not None:
                np.testing.assert_allclose(t.scale, s.scale, rtol=2e-3)
                np.testing.assert_allclose(t.zero_point, s.zero_point, atol=1)
            if s.dtype == "int8" and s.data is not None:
                assert abs(s.data.astype(int) - t.data).max() <= 1 and s.axis == t.axis
    t, info = ours.inputs[0], np.iinfo(io_dtype)
    x = np.clip(np.round(inputs[:8] / t.scale[0]) + t.zero_point[0], info.min, info.max).astype(io_dtype)
    np.testing.assert_allclose(scores(ours, x), scores(theirs, x), atol=3 / 256)
    assert len(set(scores(ours, x).ravel().round(3))) > 8, "it tells photos apart"


def test_scaling_in_front_is_taken_off():
    """What the tutorials' `Rescaling` becomes, from whichever side the constant comes."""
    out = _Writing()
    x, y = (out.tensor(name, (1, 4, 4, 3), 0) for name in "xy")
    z, c, d = out.tensor("z", (1, 4, 4, 3), 0), out.tensor("c", (3,), 0, np.float32([2, 4, 8])), out.tensor("d", (), 0, np.float32(5))
    w, flat, end = out.tensor("w", (2, 48), 0, np.eye(2, 48, dtype=np.float32)), out.tensor("flat", (1, 48), 0), out.tensor("end", (1, 2), 0)
    out.op("MUL", [c, x], y, (21, {})), out.op("SUB", [y, d], z, (28, {}))
    out.op("RESHAPE", [z], flat), out.op("FULLY_CONNECTED", [flat, w], end, (8, {}))
    graph = float_graph(out.model(x, end, "scaled", {**_CODES, "MUL": (18, 1), "SUB": (41, 1)}))
    np.testing.assert_array_equal((graph.factor, graph.offset), ([2, 4, 8], [-5, -5, -5]))
    assert [node.name for node in graph.nodes] == ["RESHAPE", "FULLY_CONNECTED"] and graph.scaled


def test_one_logit_becomes_a_probability():
    out = _Writing()
    x, w, y = out.tensor("x", (1, 4, 4, 3), 0), out.tensor("w", (1, 48), 0, np.full((1, 48), .1, np.float32)), out.tensor("y", (1, 1), 0)
    out.op("FULLY_CONNECTED", [x, w], y, (8, {}))
    graph = float_graph(out.model(x, y, "logit"))
    assert [node.name for node in graph.nodes] == ["FULLY_CONNECTED", "LOGISTIC"] and "probability" in graph.added
    photos = np.random.default_rng(0).normal(0, 1, (3, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(scores(plain_float(graph), photos).ravel(), 1 / (1 + np.exp(-.1 * photos.sum((1, 2, 3)))), atol=1e-5)


def a_file(op, code, options=(0, None), inputs=1, shape=(1, 4, 4, 3), out=(1, 4, 4, 3), constant=None):
    """x -> op -> reshape -> dense: a float file with one op in question."""
    w = _Writing()
    x, y = w.tensor("x", shape, 0), w.tensor("y", out, 0)
    more = [] if constant is None else [w.tensor("c", constant.shape, 0, constant)]
    w.op(op, [x] * inputs + more, y, options)
    n = int(np.prod(out))
    flat, filters, end = w.tensor("flat", (1, n), 0), w.tensor("w", (2, n), 0, np.ones((2, n), np.float32)), w.tensor("end", (1, 2), 0)
    w.op("RESHAPE", [y], flat), w.op("FULLY_CONNECTED", [flat, filters], end, (8, {}))
    return w.model(x, end, "own", {**_CODES, op: (code, 1)})


@pytest.mark.parametrize("made, said", [
    (dict(op="TANH", code=28), "Op 0 of own, TANH"), (dict(op="HARD_SWISH", code=117), "HARD_SWISH"),
    (dict(op="CONV_2D", code=3, options=(1, {})), "its filter is computed"),
    (dict(op="CONV_2D", code=3, options=(1, {}), constant=np.ones((3, 1, 1, 2), np.float32)), "doesn't fit an input"),
    (dict(op="CONV_2D", code=3, options=(1, {}), constant=np.full((3, 1, 1, 3), np.inf, np.float32)), "not finite"),
    (dict(op="CONV_2D", code=3, options=(1, {3: np.int8(4)}), constant=np.ones((3, 1, 1, 3), np.float32)), "its activation is TANH"),
    (dict(op="PAD", code=34), "its axes or paddings are computed"), (dict(op="LOGISTIC", code=14), "within the network"),
    (dict(op="RELU", code=19, out=(2, 4, 4, 3)), "its batch is not 1")])
def test_refused_by_name(made, said):
    with pytest.raises(MobileNetError, match=said):
        float_graph(a_file(**made))


@pytest.mark.parametrize("name, said", [("cases/files/int16x8", "quantized already"), ("cases/files/twosig", "2 graphs"),
                                        ("cases/files/v3ish", "quantized already")])
def test_other_files_are_refused(name, said):
    with pytest.raises(MobileNetError, match=said):
        float_graph(Model.open(shared(f"{name}.tflite")))


def test_a_published_float_file():
    """MLPerf Tiny's, with its average pool and reshape: the plain form computes the same."""
    model = Model.open(shared("models/mlperf_tiny/vww_96_float.tflite"))
    plain, inputs = plain_float(float_graph(model)), noise_photos(2, 96, 96, 3) / np.float32(255)
    np.testing.assert_allclose(scores(plain, inputs), scores(model, inputs), atol=1e-6)
    with pytest.raises(MobileNetError, match="takes photos of one size, 96x96. Leave out --size"):
        origin_of(model, "unit", (64, 64))
