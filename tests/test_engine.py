"""The streaming engine against TensorFlow Lite Micro, byte for byte; its memory, its files, its C."""
import os
import shutil
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, shared

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine, engine_sources
from mobilenet_keras.engine.lowering import graph_ends, lower, reference
from mobilenet_keras.engine.mbn import MAGIC, compile_model
from mobilenet_keras.engine.planner import _cuts, _stage, plan
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.inputs import noise_photos
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.model import Model
from mobilenet_keras.tflite.profile import profile

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
VWW, PERSON = "mlperf_tiny/vww_96_int8", "tflite_micro/person_detect"
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


class Judge:
    """TensorFlow Lite Micro, compiled for this machine, with every tensor kept."""

    def __init__(self, model):
        from tflite_micro import runtime
        self.model, keep = model, runtime.InterpreterConfig.kPreserveAllTensors
        self.interpreter = runtime.Interpreter.from_bytes(model.data, arena_size=1 << 25, intrepreter_config=keep)

    def __call__(self, image):
        self.interpreter.set_input(image[None], 0)
        self.interpreter.invoke()
        return np.concatenate([np.array(self.interpreter.get_output(i)).ravel() for i in range(len(self.model.outputs))])

    def output_of(self, op):
        return np.asarray(self.interpreter.GetTensor(self.model.ops[op].outputs[0], 0)["tensor_data"]).ravel()


def some_images(shape, n, seed=0):
    """int8: half with a photo's spectrum, of varied contrast, color and brightness; half white noise and flat extremes."""
    rng = np.random.default_rng(seed)
    white = rng.integers(-128, 128, (n - n // 2, *shape)).astype(np.int8)
    white[0], white[-1] = -128, 127
    gain, shift = rng.uniform(.2, 2, (n // 2, 1, 1, 1)), rng.normal(0, 50, (n // 2, 1, 1, shape[2]))
    varied = (noise_photos(n // 2, *shape, seed=seed) - 128.) * gain + shift
    return np.concatenate([varied.clip(-128, 127).astype(np.int8), white])


def photos(shape, n):
    """Real photos as the models want them."""
    rule = Preprocessing.preset("keras", shape[0], shape[2])
    found = [p for p in sorted(shared("data/trash6").rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, n).astype(int)]
    return np.stack([(rule.pixels(p).reshape(shape).astype(np.int16) - 128).astype(np.int8) for p in chosen])


GROUPS = [dict(group=n) for n in (1, 2, 4, 8, 1 << 16)]  # pixels at once; the last is the whole row
PLANS = [{}, dict(slack=0), dict(slack=10), *GROUPS]


def flat(found):
    return np.concatenate([y.ravel() for y in found]) if isinstance(found, list) else found.ravel()


def agree(model, images, layers=2):
    """Held and streamed, the engine equals TFLM on all images, each with the default plan and with one of the others in turn; the
    reference equals it on all layers of some."""
    judge, steps = Judge(model), lower(model)
    engines = {kind: [Engine(compile_model(model, kind, **how)) for how in PLANS] for kind in ("streamed", "held")}
    nominal = [0 if s.passes else s.out[0] * s.out[1] for s in steps]
    outputs, maps = [], []
    for i, image in enumerate(images):
        outputs.append(judge(image))
        for kind, (default, *others) in engines.items():
            for engine in (default, others[i % len(others)]):
                before = engine.counts()
                assert (flat(engine.run(image)) == outputs[-1]).all(), (kind, i)
                assert (engine.counts() - before).tolist() == nominal, "each pixel of each step is made exactly once"
        if i < layers or i >= len(images) - layers:
            maps.append(reference(steps, np.moveaxis(image, 0, -1) if default.nchw else image))
            for step, found in zip(steps, maps[-1], strict=True):
                assert step.passes or step.op == "recall" or (found.ravel() == judge.output_of(step.index)).all(), (step.op, step.index)
    assert all((a != b).any() for a, b in zip(maps[0], maps[-1], strict=True) if a.size > 99), "every map must react to the input"
    assert all(engine.canaries_intact for some in engines.values() for engine in some)
    assert sum(s.macs for s in steps) == profile(model).macs
    return np.stack(outputs)


@needs_tflm
@pytest.mark.parametrize("name", [VWW, PERSON])
def test_real_models_are_tflm_byte_for_byte(name):
    model = Model.open(shared(f"models/{name}.tflite"))
    shape = lower(model)[0].shape
    outputs = agree(model, np.concatenate([photos(shape, 100), some_images(shape, 100)]))
    assert len({o.tobytes() for o in outputs}) > 40, "the outputs must react to the input"


def v1(shape, seed, head="mean", **more):
    b = Builder(shape, seed).conv(8, 3, 2, **more).depthwise().conv(12).depthwise(3, 2).conv(16).depthwise(3, 2).conv(24)
    return (b.average_pool() if head == "average" else b.mean()).dense(7).softmax().model()


def v2(shape, seed):
    b = Builder(shape, seed).conv(8, 3, 2).depthwise().conv(8, relu6=False)
    for channels, stride in ((8, 1), (12, 2), (12, 1), (12, 1), (16, 2), (16, 1)):
        b.inverted_residual(channels, stride)
    return b.conv(40).mean().dense(6).softmax().model()


def padded(shape, seed):
    """Keras writes a PAD before convolutions with stride 2."""
    b = Builder(shape, seed).pad(0, 1, 0, 1).conv(8, 3, 2, same=False).pad(1, 1, 1, 1).depthwise(3, 2, same=False).conv(8)
    return b.mean().dense(4).softmax().model()


def strange(shape, seed):
    """5x5 kernels, a depth multiplier, strides without overlap, VALID with rows left over, a dense layer on a map."""
    b = Builder(shape, seed).depthwise(5, 2, depth_multiplier=3).conv(6, 1, 2).conv(7, 2, 3, same=False).depthwise(3, 1, same=False)
    return b.dense(5).model()


def shortcuts(shape, seed):
    """A shortcut from the very input, 5x5 and 7x7 in blocks, no pool at the end."""
    b = Builder(shape, seed).inverted_residual(shape[3], k=5).inverted_residual(shape[3], k=7).inverted_residual(shape[3])
    return b.conv(3, 3, 2).model()


def yes_or_no(shape, seed):
    """LOGISTIC, first on a whole map, then on one score."""
    return Builder(shape, seed).conv(6, 3, 2, relu6=False).logistic().depthwise(3, 2).conv(16).mean().dense(1).logistic().model()


def pools(shape, seed):
    """MAX_POOL and AVERAGE_POOL of part of the map, with and without padding, overlapping or not."""
    b = Builder(shape, seed).conv(8, 3, 2).pool(17, 3, 2).conv(12).pool(1, 3, 1).depthwise().pool(1, 2, 2, same=False)
    return b.conv(9).pool(17, 2, 1, same=False).pool(1, 5, 2).conv(6).mean().dense(4).model()


def padded_pools(shape, seed):
    """An AVERAGE_POOL counts what a PAD added, but not its own padding."""
    b = Builder(shape, seed).conv(8, 3, 2).pad(1, 1, 1, 1).pool(1, 3, 2, same=False).conv(8, relu6=False).pad(0, 1, 2, 1).pool(17, 3, 1, same=False)
    return b.conv(6).mean().dense(4).model()


def two_heads(shape, seed):
    """A class and a box from one pool, and the pooled features themselves: three outputs."""
    b = Builder(shape, seed).conv(8, 3, 2).depthwise().conv(8, relu6=False).inverted_residual(8).conv(20).mean()
    pooled = b.mark()
    scores = b.dense(5).softmax().last
    return b.back(pooled).dense(4).model("two heads", [scores, b.last, pooled[0]])


def branches(shape, seed):
    """Two convolutions on one map, side by side, as the heads of a detector; a map in the middle is an output, too."""
    b = Builder(shape, seed).conv(8, 3, 2).inverted_residual(8)
    features = b.mark()
    scores = b.depthwise().conv(6, relu6=False).logistic().last
    return b.back(features).conv(8).depthwise(5).conv(4, relu6=False).model("branches", [features[0], scores, b.last])


def branches_that_meet(shape, seed):
    """An ADD of two branches, neither of which is the op before's input."""
    b = Builder(shape, seed).conv(8, 3, 2)
    features = b.mark()
    left = b.depthwise().last
    other = b.back(features).conv(8).last
    return b.op(0, [left, other], b.shape, .05, 5, (11, {})).conv(8).mean().dense(4).model()


def dense_on_a_map(shape, seed):
    """FULLY_CONNECTED of a 4-D input works on each pixel; SOFTMAX over the channels of each pixel."""
    b = Builder(shape, seed).conv(12, 3, 2)
    _, h, w, c = b.shape
    b.multiply(9, (7, c), 0, (1, h, w, 7), (8, {2: np.int8(1)}), gain=4.)
    return b.softmax().model()


def bare(shape, seed):
    """As other converters write it: a RESHAPE without options, fully connected layers without bias (absent, or -1)."""
    b = Builder(shape, seed).conv(8, 3, 2).conv(10, 3, 2).average_pool()
    b.op(22, [b.last], (1, 1, 10), b.scale, b.zero, (0, {})).op(22, [b.last], (1, 10), b.scale, b.zero, (0, {}))
    for i, out in enumerate((12, 4)):
        b.dense(out)
        code, (x, w, _), y, options = b.ops.pop()
        b.ops.append((code, [x, w, -1][:2 + i], y, options))
    return b.model()


SMALL = {"v1": (v1, (1, 48, 48, 3)), "v1 odd": (v1, (1, 45, 51, 1)), "v1 four channels": (v1, (1, 33, 64, 4)),
         "v2": (v2, (1, 64, 64, 3)), "v2 odd": (v2, (1, 57, 43, 3)), "v2 tall, two channels": (v2, (1, 90, 17, 2)),
         "padded": (padded, (1, 34, 38, 3)), "strange": (strange, (1, 41, 37, 2)), "strange odd": (strange, (1, 44, 47, 1)),
         "yes or no": (yes_or_no, (1, 37, 30, 3)),
         "shortcuts": (shortcuts, (1, 19, 22, 4)), "one pixel wide": (v1, (1, 70, 1, 3)), "one row": (v2, (1, 1, 40, 3)),
         "bare": (bare, (1, 24, 31, 3)),
         "pools": (pools, (1, 43, 38, 3)), "padded pools": (padded_pools, (1, 30, 33, 2)),
         "two heads": (two_heads, (1, 32, 28, 3)), "branches": (branches, (1, 27, 30, 3)), "branches that meet": (branches_that_meet, (1, 21, 20, 3)),
         "dense on a map": (dense_on_a_map, (1, 14, 11, 3))}


@needs_tflm
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_small_models_are_tflm_byte_for_byte(name, seed):
    """Weights of the size that keeps the spread of activations, so that outputs react; every plan on four images."""
    make, shape = SMALL[name]
    outputs = agree(make(shape, seed), some_images(shape[1:], 28, seed))
    assert len({o.tobytes() for o in outputs}) > 8


@needs_tflm
@pytest.mark.parametrize("scale, zero", [(.1, 3), (.05, -20), (.02, 0), (.3, 10), (1e-3, -128), (2., 127)])
@pytest.mark.parametrize("code", [14, 25])
def test_tables_are_tflm_for_all_inputs(code, scale, zero):
    """LOGISTIC and SOFTMAX of every int8 value; a softmax of two classes for every difference."""
    if code == 14:
        b = Builder((1, 16, 16, 1))
        b.tensors[0][4] |= {2: [np.float32(scale)], 3: [np.int64(zero)]}
        images = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    else:
        b = Builder((1, 1, 1, 2))
        b.tensors[0][4] |= {2: [np.float32(scale)], 3: [np.int64(zero)]}
        images = np.stack([np.full(256, 127), np.arange(-128, 128)], 1).astype(np.int8).reshape(256, 1, 1, 2)
    model = (b.logistic() if code == 14 else b.softmax()).model()
    judge, steps, engine = Judge(model), lower(model), Engine(model)
    for image in images:
        wanted = judge(image)
        assert (reference(steps, image)[-1].ravel() == wanted).all() and (engine.run(image).ravel() == wanted).all()


@pytest.mark.parametrize("classes, score", [(511, -127), (512, -128), (1000, -128)])
def test_a_softmax_of_many_equal_classes(classes, score):
    """From 512 on each has half of a 256th or less. There TFLM aborts: it would shift 32 bits by more than 31."""
    model, image = Builder((1, 1, 1, classes)).softmax().model(), np.zeros((1, 1, classes), np.int8)
    assert (Engine(model).run(image) == score).all() and (reference(lower(model), image)[-1] == score).all()


@needs_tflm
def test_float_ends_are_stripped():
    """QUANTIZE and DEQUANTIZE at the ends: the file says how to do it, the engine takes and gives int8."""
    b = Builder((1, 20, 24, 3), 4)
    b.tensors[0] = {**{k: v for k, v in b.tensors[0].items() if k != 4}, 1: np.int8(0)}
    b.op(114, [0], (1, 20, 24, 3), .02, -9, (0, {})).conv(8, 3, 2).depthwise().mean().dense(5)
    b.op(6, [b.last], b.shape, .1, 0, (0, {}))
    b.tensors[-1] = {**{k: v for k, v in b.tensors[-1].items() if k != 4}, 1: np.int8(0)}
    model = b.model()
    end, engine, judge = graph_ends(model), Engine(compile_model(model)), Judge(model)
    x, (y,) = end.input, end.outputs
    assert (engine.scale, engine.zero) == (x.scale[0], -9) and engine.outputs[0][2:] == (y.scale[0], y.zero_point[0])
    for image in some_images((20, 24, 3), 8):
        real = judge((image.astype(np.float32) + 9) * x.scale[0])
        assert (engine.run(image) == np.round(real / y.scale[0]) + y.zero_point[0]).all()


@needs_tflm
def test_uint8_ends_are_stripped():
    """As converters write them: a QUANTIZE that only flips the sign bit, at the input and at the output."""
    b = Builder((1, 20, 24, 3), 4)
    quantized = lambda zero: b.tensors[-1][4] | {3: [np.int64(zero)]}  # noqa: E731
    b.tensors[0] |= {1: np.int8(3), 4: quantized(131)}
    b.op(114, [0], (1, 20, 24, 3), b.scale, 3, (0, {})).conv(8, 3, 2).depthwise().mean().dense(5).softmax()
    b.op(114, [b.last], b.shape, 1 / 256, 0, (0, {}))
    b.tensors[-1] |= {1: np.int8(3), 4: quantized(0)}
    model = b.model()
    engine, judge = Engine(model), Judge(model)
    for image in some_images((20, 24, 3), 8):
        assert (engine.run(image) + 128 == judge((image.astype(int) + 128).astype(np.uint8))).all()
    from mobilenet_keras.mcu.simulate import simulate_tflm
    beside = simulate_tflm(model, input=(image.astype(int) + 128).astype(np.uint8))
    assert beside.engine_agrees and "the same bytes out" in beside.engine, "simulate --runtime tflm gives both the same photo"


@needs_tflm
def test_planes_first():
    """A file from PyTorch takes (channels, height, width); the engine takes that too, and rows of pixels."""
    b = Builder((1, 3, 30, 26), 2)
    perm = b.tensor((4,), None, 0, np.array([0, 2, 3, 1], np.int32))
    model = b.op(39, [0, perm], (1, 30, 26, 3), b.scale, b.zero, (26, {})).conv(8, 3, 2).depthwise().conv(12).mean().dense(4).model()
    images = some_images((30, 26, 3), 12)
    agree(model, np.moveaxis(images, -1, 1))
    engine = Engine(model)
    engine.begin()
    for row in images[0]:
        engine.push_row(row)
    assert (engine.finish() == engine.run(np.moveaxis(images[0], -1, 0))).all()
    with pytest.raises(MobileNetError, match=r"takes int8 .3, 30, 26."):
        engine.run(images[0])


@needs_tflm
def test_average_pool_is_tflm():
    agree(v1((1, 49, 47, 3), 3, "average"), some_images((49, 47, 3), 12))


def digit_images(shape, n, seed):
    """(float32 images in [-1, 1], labels): handwritten digits (scikit-learn's), moved about, a color for each channel, with noise."""
    data, rng = pytest.importorskip("sklearn.datasets").load_digits(), np.random.default_rng(seed)
    chosen = rng.integers(0, len(data.target), n)
    h, w, c = shape
    rows, columns = (np.clip((np.arange(size) - rng.integers(-1, 2, (n, 1))) * 8 // size, 0, 7) for size in (h, w))
    small = data.images[chosen] / 8 - 1
    images = small[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]][..., None] * rng.uniform(.6, 1, (n, 1, 1, c))
    return (images + rng.normal(0, .05, images.shape)).clip(-1, 1).astype(np.float32), data.target[chosen]


TRAINED = {"V1 .25, gray": ("V1", .25, (32, 32, 1), 10, "softmax"), "V1 .5, odd, logits": ("V1", .5, (27, 35, 3), 10, None),
           "V2 .35": ("V2", .35, (32, 40, 3), 10, "softmax"), "V2 .1, odd, four channels, sigmoid": ("V2", .1, (35, 29, 4), 1, "sigmoid")}


@needs_tflm
@pytest.mark.parametrize("name", TRAINED)
def test_trained_models_are_tflm(name, tmp_path):
    """The converter's graph, weights that learned something: 200 images each. And their app for TFLM."""
    models, quantization = (pytest.importorskip(f"mobilenet_keras.{n}") for n in ("networks.models", "training.quantization"))
    version, alpha, shape, classes, head = TRAINED[name]
    models.keras.utils.set_random_seed(5)
    x, labels = digit_images(shape, 640, 0)
    y = labels if classes == 10 else labels < 5
    net = getattr(models, f"MobileNet{version}")(alpha, shape, classes, None, classifier_activation=head, output_stride=16, dilation=False)
    loss = {"softmax": "sparse_categorical_crossentropy", "sigmoid": "binary_crossentropy"}.get(head)
    net.compile(models.keras.optimizers.Adam(1e-2), loss or models.keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    net.fit(x, y, batch_size=32, epochs=8, verbose=0)
    seen, wanted = digit_images(shape, 100, 1)
    model = Model(quantization.convert(net, x[:100]), "net")
    end = graph_ends(model).input
    images = (seen / end.scale[0] + end.zero_point[0]).round().clip(-128, 127).astype(np.int8)
    outputs = agree(model, np.concatenate([images, some_images(shape, 100)]), layers=1)
    said = outputs[:100].argmax(1) if classes == 10 else outputs[:100, 0] < 0
    assert (said == (wanted if classes == 10 else wanted >= 5)).mean() > (.3 if classes == 10 else .65), "it learned something"
    assert len({o.tobytes() for o in outputs}) > 40
    if shape[2] in (1, 3) and shutil.which("g++"):
        from test_tflm import check_app
        check_app(model.with_metadata(map(str, range(10)), Preprocessing.preset("keras", shape[:2], shape[2])), tmp_path / "app")


TARGETS = {("V1", .25, 96): (16_700, 36_000, 100_724), ("V2", .35, 96): (13_500, 33_000, 204_692), ("V2", .35, 160): (28_000, 88_000, 450_452),
           ("V2", .35, 224): (47_000, 168_000, None), ("V2", 1., 224): (106_000, 212_000, None)}


@pytest.mark.parametrize("version, alpha, size", TARGETS)
def test_arena_of_the_published_networks(version, alpha, size):
    model = network(version, alpha, size)
    streamed, held, tflm = TARGETS[version, alpha, size]
    started = time.process_time()
    found = {kind: compile_model(model, kind) for kind in ("streamed", "held")}
    assert time.process_time() - started < 4, "under 2 s each"
    assert found["streamed"].arena <= streamed and found["held"].arena <= held
    assert tflm is None or found["streamed"].arena * 6 < tflm
    shape = (size, size, 3)
    for compiled in found.values():  # not only promised: it runs in it
        engine = Engine(compiled)
        image = some_images(shape, 2)[0]
        assert (engine.run(image) == engine.run(image)).all() and engine.canaries_intact


def network(version, alpha, size, classes=10, channels=3):
    """The published architecture with arbitrary weights: arenas depend on shapes only."""
    divisible = lambda v: (lambda n: n + 8 if n < .9 * v else n)(max(8, int(v + 4) // 8 * 8))  # noqa: E731
    b = Builder((1, size, size, channels))
    if version == "V1":
        b.conv(int(32 * alpha), 3, 2)
        for channels, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)):
            b.depthwise(3, stride).conv(int(channels * alpha))
        return b.mean().dense(classes).softmax().model(f"V1 {alpha} {size}")
    b.conv(divisible(32 * alpha), 3, 2).depthwise().conv(divisible(16 * alpha), relu6=False)
    for channels, times, stride in ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)):
        for i in range(times):
            b.inverted_residual(divisible(channels * alpha), stride if i == 0 else 1, 6)
    return b.conv(int(1280 * max(alpha, 1))).mean().dense(classes).softmax().model(f"V2 {alpha} {size}")


@pytest.mark.parametrize("seed", range(12))
def test_plan_of_random_networks(seed):
    """The plan is the best of all ways to cut, and the C, whose sanitized twin is below, stays inside it."""
    import itertools

    rng = np.random.default_rng(seed)
    b = Builder((1, *map(int, rng.integers(9, 40, 2)), int(rng.integers(1, 5))), seed).conv(int(rng.integers(2, 9)), 3, int(rng.integers(1, 3)))
    for _ in range(rng.integers(1, 4)):
        if rng.random() < .6:
            channels = b.shape[3] if rng.random() < .6 else int(rng.integers(2, 12))
            b.inverted_residual(channels, int(rng.integers(1, 3)), int(rng.integers(1, 5)), int(rng.choice([3, 5])))
        else:
            k, s, same = int(rng.integers(1, 6)), int(rng.integers(1, 3)), bool(rng.random() < .5 or min(b.shape[1:3]) < 6)
            b.depthwise(k, s, same).conv(int(rng.integers(2, 12)))
    model = b.mean().dense(3).model()
    steps = lower(model)
    for kind in ("streamed", "held"):
        cuts = _cuts(steps)
        inner = itertools.chain.from_iterable(itertools.combinations(cuts[1:-1], n) for n in range(len(cuts) - 1))
        ends = {(a, z): _stage(steps, a, z, 1, kind == "held" or a > 0).end for a in cuts for z in cuts if a < z}
        assert plan(steps, kind).least == min(max(ends[e] for e in zip((0, *c), (*c, len(steps)), strict=True)) for c in inner)
        image = some_images(steps[0].shape, 2)[0]
        for slack in (0, .1, 10):
            engine = Engine(compile_model(model, kind, slack))
            assert (engine.run(image) == reference(steps, image)[-1].ravel()).all() and engine.canaries_intact


# ---- files ----

@pytest.fixture(scope="module")
def small():
    return compile_model(example())


def test_the_file_is_little_more_than_the_weights_and_always_the_same(small):
    assert small.data == compile_model(Model(example().data, "example")).data
    for name in (VWW, PERSON):
        compiled = compile_model(shared(f"models/{name}.tflite"))
        multiplying = [s for s in compiled.steps if s.weights is not None]
        budget = sum(s.weights.size for s in multiplying) + 10 * sum(s.out[2] for s in multiplying) + 64 * len(compiled.steps) + 2048
        assert len(compiled.data) <= budget


def test_saved_and_opened_again(small, tmp_path):
    image = some_images((33, 31, 3), 2)[0]
    assert (Engine(small.save(tmp_path / "m.mbn")).run(image) == Engine(small).run(image)).all()


@pytest.mark.parametrize("n", [0, 3, 63, 64, 100, 1000, -1])
def test_a_file_that_is_cut_short(small, n):
    with pytest.raises(MobileNetError, match="shorter than it says|a compiled model has more"):
        Engine(small.data[:n])


def test_every_flipped_bit_is_noticed(small):
    for at in range(0, len(small.data) * 8, 97):
        broken = bytearray(small.data)
        broken[at // 8] ^= 1 << at % 8
        with pytest.raises(MobileNetError):
            Engine(bytes(broken))


def test_other_versions_and_layouts_are_told_apart(small):
    for offset, what in ((0, "does not begin with MBN1"), (4, "another version"), (6, "laid out for other kernels")):
        broken = bytearray(small.data)
        broken[offset] ^= 2
        with pytest.raises(MobileNetError, match=what):
            Engine(bytes(broken))


def test_a_table_of_60000_steps_is_refused_at_once(small):
    broken = bytearray(small.data) + bytes(60_000 * 52)
    struct.pack_into("<I", broken, 8, len(broken))
    struct.pack_into("<H", broken, 26, 60_000)
    struct.pack_into("<H", broken, 72 + 24 + 2, 60_000)
    started = time.process_time()
    with pytest.raises(MobileNetError, match="contradicts itself"):
        Engine(bytes(broken))
    assert time.process_time() - started < 1


def test_maps_too_large_for_the_file_are_refused():
    with pytest.raises(MobileNetError, match="too large"):
        lower(Builder((1, 1, 70_000, 1)).conv(1).model())


def test_limits_of_a_call(small):
    engine = Engine(small)
    address, n, arena = engine._file.ctypes.data, len(small.data), engine.arena.ctypes.data + 64
    said = lambda status: engine.lib.mbn_status_text(status).decode()  # noqa: E731
    opened = lambda file, size, bytes_, work=0: said(engine.lib.mbn_open(engine._m, file, n, size, bytes_, work))  # noqa: E731
    assert "smaller than mbn_arena_bytes" in opened(address, arena, small.arena - 1)
    assert "multiple of its alignment" in opened(address, arena + 2, small.arena)
    assert "multiple of its alignment" in opened(address + 2, arena, small.arena)
    assert "more than the limit" in opened(address, arena, small.arena, small.macs // 2)
    assert opened(address, arena, small.arena, small.macs * 2) == "Done."


def test_rows_are_counted(small):
    engine, image = Engine(small), some_images((33, 31, 3), 2)[0]
    with pytest.raises(MobileNetError, match="More rows"):
        engine.push_row(image[0])
    engine.begin()
    for row in image:
        engine.push_row(row)
    with pytest.raises(MobileNetError, match="More rows"):
        engine.push_row(image[0])
    assert (engine.finish() == engine.run(image)).all()
    with pytest.raises(MobileNetError, match="before all rows"):
        engine.finish()


@pytest.mark.parametrize("kind", ["streamed", "held"])
def test_two_models_interleaved_and_one_begun_again(kind):
    a, b = Engine(example(seed=1), kind), Engine(example(seed=2), kind)
    image = some_images((33, 31, 3), 2)[0]
    wanted = a.run(image), b.run(image)
    a.begin()
    for row in image[:9]:
        a.push_row(row)
    a.begin(), b.begin()
    for row in image:
        a.push_row(row), b.push_row(row)
    assert (a.finish() == wanted[0]).all() and (b.finish() == wanted[1]).all()
    assert not (wanted[0] == wanted[1]).all()


def test_work_of_each_row_is_what_the_plan_says():
    """Multiply-adds that each pushed row sets off, counted."""
    for name in ("v2", "strange", "pools", "padded"):
        make, shape = SMALL[name]
        compiled = compile_model(make(shape, 0))
        engine, image = Engine(compiled), some_images(shape[1:], 2)[0]
        per_pixel = np.array([0 if s.passes else s.macs // (s.out[0] * s.out[1]) for s in compiled.steps])
        engine.begin()
        found, last = [], engine.counts()
        for row in image:
            engine.push_row(row)
            found.append(((engine.counts() - last) * per_pixel).sum())
            last = engine.counts()
        engine.finish()
        assert found == compiled.plan.row_macs().tolist()
        assert ((engine.counts() - last) * per_pixel).sum() == compiled.plan.finish_macs
        assert compile_model(make(shape, 0), "held").plan.finish_macs == compiled.macs


def test_yield(small):
    """Called in the middle of rows; may run another model, not this one; may stop it."""
    engine, other, image = Engine(small), Engine(small), some_images((33, 31, 3), 2)[0]
    wanted, turns, said = engine.run(image), [], []

    def inside():
        turns.append((other.run(image) == wanted).all())
        for call in (engine.begin, lambda: engine.push_row(image[0]), engine.finish, lambda: engine.run(image)):
            try:
                call()
            except MobileNetError as e:
                said.append(str(e))

    engine.on_yield(inside)
    engine.begin()
    for row in image:
        engine.push_row(row)
    in_rows = len(turns)
    assert (engine.finish() == wanted).all() and all(turns)
    assert len(turns) > in_rows > 4 * len(image), "several times a row"
    assert len(said) == 4 * len(turns) and all("called from its own yield function" in text for text in said)
    countdown = iter([0] * 50 + [1])
    engine.on_yield(lambda: next(countdown))
    with pytest.raises(MobileNetError, match="asked to stop"):
        engine.run(image)
    with pytest.raises(MobileNetError, match="asked to stop"):  # until it is begun again
        engine.push_row(image[0])
    for wrong in (5, "f", [], 0):
        with pytest.raises(MobileNetError, match="on_yield takes a function .* Received: "):
            engine.on_yield(wrong)
    engine.on_yield(None)
    assert (engine.run(image) == wanted).all() and engine.canaries_intact


def test_class_names_and_outputs_lie_in_the_file(harness, tmp_path):
    names = ["a b", 'quote"s', "Zebra 🦓", "", "-"]
    engine = Engine(example().with_metadata(names, Preprocessing.preset("caffe", (33, 31))))
    assert engine.labels == names and engine.lib.mbn_label(engine._file.ctypes.data, 5) is None and engine.header.flags == 4
    assert Engine(example()).labels is None
    make, shape = SMALL["branches"]
    model, image = make(shape, 0), some_images(shape[1:], 2)[0]
    engine = Engine(model)
    found = engine.run(image)
    assert [y.shape for y in found] == [o.shape[1:] for o in model.outputs]
    assert [(o.scale, o.zero) for o in engine.outputs] == [(o.scale[0], o.zero_point[0]) for o in model.outputs]
    many = engine.run(np.stack([image, image]))
    assert all((y == two[1]).all() for y, two in zip(found, many, strict=True)) and not engine.lib.mbn_get_output(engine._m, 3)


@pytest.mark.parametrize("wrong", [np.zeros((33, 31, 3), np.uint8), np.zeros((31, 33, 3), np.int8), np.zeros((1, 1, 33, 31, 3), np.int8)])
def test_wrong_images_are_refused(small, wrong):
    with pytest.raises(MobileNetError, match="takes int8"):
        Engine(small).run(wrong)


def test_what_can_not_be_streamed_is_refused_by_name():
    def refused(builder, match):
        with pytest.raises(MobileNetError, match=match):
            lower(builder.model())
    start = lambda: Builder((1, 16, 16, 4)).conv(8)  # noqa: E731
    refused(start().op(28, [0], (1, 16, 16, 4), .1, 0, (0, {})), "Op 1 of example, TANH.*engine has no such step")
    refused(start().depthwise(9), "kernel is .9, 9.")
    refused(start().pad(1, 1, 1, 1).mean(), "goes to something else than a convolution or a pool")
    refused(start().pool(1, 9), "kernel is .9, 9.")
    for k in (2, 3):  # SAME adds padding of its own, for an even kernel below and to the right only
        refused(start().pad(1, 0, 1, 0).pool(17, k), "pads what a PAD has padded already")
    b = start()
    refused(b.op(0, [b.last, b.last], b.shape, .1, 0, (11, {})), "adds a tensor to itself")
    b = start()
    large = b.mark()
    left = b.conv(8, 3, 2).mean().dense(3).last
    with pytest.raises(MobileNetError, match="Op 4 of example, DEPTHWISE_CONV_2D.*Let branches begin behind the global pool"):
        lower(b.back(large).depthwise().mean().model("example", [left, b.last]))
    b = start()
    refused(b.op(22, [b.last], (1, 8, 16, 16), b.scale, b.zero, (17, {})).depthwise(), "was reshaped")
    b = start()
    mark = b.mark()
    with pytest.raises(MobileNetError, match="nothing needs its output"):
        lower(b.depthwise().model("example", [mark[0]]))
    with pytest.raises(MobileNetError, match="uint8"):
        lower(shared("models/coral/mobilenet_v1_0.25_128_quant.tflite"))


# ---- the C ----

def compiled_with(command, target, *more):
    sources = [str(p) for p in engine_sources() if p.suffix == ".c"]
    done = subprocess.run([*command, *WARNINGS, *more, *sources, "-o", str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """The engine under the address and undefined-behaviour sanitizers."""
    cc = shutil.which("gcc") or shutil.which("clang")
    if not cc or sys.platform == "win32":
        pytest.skip("needs gcc or clang")
    target = tmp_path_factory.mktemp("c") / "harness"
    return compiled_with([cc], target, "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", str(ROOT / "tests/engine_harness.c"))


@pytest.mark.parametrize("name", ["v1 odd", "v2", "strange", "shortcuts", "padded"])
@pytest.mark.parametrize("kind", ["streamed", "held"])
def test_sanitized_in_exactly_its_memory(harness, tmp_path, name, kind):
    make, shape = SMALL[name]
    for slack in (0, 10):
        compiled, images = compile_model(make(shape, 1), kind, slack), some_images(shape[1:], 4)
        images.tofile(tmp_path / "images")
        done = subprocess.run([harness, "run", compiled.save(tmp_path / "m.mbn"), tmp_path / "images"], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        wanted = np.concatenate([reference(compiled.steps, image)[-1].ravel() for image in images])
        assert (np.frombuffer(done.stdout, np.int8) == wanted).all()


def test_hostile_files_give_a_status(tmp_path):
    """What the fuzzer of benchmarks/engine_fuzz.py found worth keeping, sizes and checksum repaired: never a wild access, undefined
    behaviour, a hang, a wrong status, or outputs that depend on what lay in the arena before."""
    cc = shutil.which("gcc") or shutil.which("clang")
    if not cc or sys.platform == "win32":
        pytest.skip("needs gcc or clang")
    sanitized = ["-DREPLAY", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    replay = compiled_with([cc], tmp_path / "replay", *sanitized, str(ROOT / "tests/engine_fuzzer.c"))
    files = sorted((ROOT / "tests/engine_corpus").iterdir())
    done = subprocess.run([replay, *files], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [tuple(map(int, line.split()[:2])) for line in done.stdout.splitlines()]
    assert len(found) == len(files) and sum(f.stat().st_size for f in files) < 210_000
    assert sum(ran for _, ran in found) > 8 and {0, 1, 2, 3, 4, 7} <= {status for status, _ in found}, "sound ones, and every kind of broken one"


ZIG = [sys.executable, "-m", "ziglang", "cc"]
CORES = ["cortex_m0plus", "cortex_m4", "cortex_m33", "cortex_m7", "cortex_m55"]
FREE = {"memcpy", "memmove", "memset"}  # what any freestanding compiler may call


@pytest.mark.parametrize("compiler", ["ziglang", "gcc"])
@pytest.mark.parametrize("core", CORES)
def test_freestanding_and_at_most_12_kb(core, compiler, tmp_path, capsys):
    """By both compilers, without a warning."""
    gcc = shutil.which("arm-none-eabi-gcc")
    if compiler == "ziglang":
        pytest.importorskip("ziglang")
    elif not gcc:
        pytest.skip("needs arm-none-eabi-gcc")
    by_gcc = [gcc, "-mthumb", f"-mcpu={core.replace('_', '-')}", "-mfloat-abi=soft"]
    command = [*ZIG, "-target", "thumb-freestanding-eabi", f"-mcpu={core}"] if compiler == "ziglang" else by_gcc
    total, wanted = 0, set()
    for source in (p for p in engine_sources() if p.suffix == ".c"):
        target = tmp_path / f"{source.stem}.o"
        done = subprocess.run([*command, "-Os", "-ffreestanding", *WARNINGS, "-c", source, "-o", target], capture_output=True, text=True,
                              env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig")})
        assert done.returncode == 0, done.stderr
        size, undefined = elf_facts(target.read_bytes())
        total, wanted = total + size, wanted | undefined
    with capsys.disabled():
        print(f"\n{core}, {compiler}: {total:,} bytes of code and constants")
    assert total <= 12 * 1024
    ours = {n for n in wanted if n.startswith("mbn_")}
    assert {n for n in wanted - ours if not n.startswith(("__aeabi_", "__gnu_thumb1_case_"))} <= FREE, wanted


USER = """#include "mbn.h"
#include "../boards/board.h"
#include "../boards/console.h"
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>
static std::vector<char> read(const char *path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
int main(int, char **argv) {
  const std::vector<char> model = read(argv[1]), image = read(argv[2]);
  std::vector<uint64_t> arena(mbn_arena_bytes(reinterpret_cast<const mbn_header *>(model.data())) / 8 + 1);
  mbn *m = nullptr;
  const int8_t *out = nullptr;
  const uint32_t bytes = static_cast<uint32_t>(arena.size() * 8);
  mbn_status status = mbn_open(&m, model.data(), static_cast<uint32_t>(model.size()), arena.data(), bytes, 0);
  if (!status) status = mbn_run(m, reinterpret_cast<const int8_t *>(image.data()), &out);
  if (status) return std::puts(mbn_status_text(status)), 1;
  for (uint32_t i = 0; i < mbn_outputs(m->file)->bytes; i++) std::printf("%d ", out[i]);
}
"""


@pytest.mark.skipif(not shutil.which("g++") or not shutil.which("gcc"), reason="needs gcc and g++")
def test_a_cpp_program_calls_the_engine(small, tmp_path):
    """Its headers are C++, too, and name C functions: without a linkage of "C" this would not link."""
    image, folder = some_images((33, 31, 3), 1)[0], ROOT / "microcontroller/engine"
    for name, data in {"user.cc": USER.encode(), "m.mbn": small.data, "image": image.tobytes()}.items():
        (tmp_path / name).write_bytes(data)
    run = lambda *command: subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True)  # noqa: E731
    done = run("gcc", "-std=c99", "-O1", "-c", *(p for p in engine_sources() if p.suffix == ".c"))
    for standard in ("c++11", "c++20"):
        flags = f"-std={standard} -Wall -Wextra -pedantic -Werror -I {folder}".split()
        done = run("g++", *flags, "user.cc", *tmp_path.glob("*.o"), "-o", "user")
        assert done.returncode == 0, done.stderr
    done = run("./user", "m.mbn", "image")
    assert list(map(int, done.stdout.split())) == Engine(small).run(image).tolist(), done.stdout


def elf_facts(data):
    """(bytes of code and constants, undefined symbols) of a 32-bit little-endian object file."""
    at, = struct.unpack_from("<I", data, 32)
    width, count = struct.unpack_from("<HH", data, 46)
    sections = [struct.unpack_from("<10I", data, at + i * width) for i in range(count)]  # name type flags addr offset size link ...
    size = sum(s[5] for s in sections if s[1] == 1 and s[2] & 2)
    symbols = next(s for s in sections if s[1] == 2)
    names = data[sections[symbols[6]][4]:]
    entries = [struct.unpack_from("<IIIBBH", data, symbols[4] + i) for i in range(16, symbols[5], 16)]
    return size, {names[e[0]:names.index(b"\0", e[0])].decode() for e in entries if e[5] == 0}


def test_the_header_says_what_the_file_holds(small):
    """mbn_format.h and the writer describe the same structs."""
    header = (ROOT / "microcontroller/engine/mbn_format.h").read_text(encoding="utf-8")
    assert f"{MAGIC:#x}u" in header
    assert struct.unpack_from("<IHHI", small.data) == (MAGIC, 1, 0, len(small.data))
