"""Models for the engine, images for them, and TensorFlow Lite Micro as their judge."""
import numpy as np
import pytest
from conftest import shared

from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.lowering import reference
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import Builder
from mobilenet_keras.tflite.inputs import noise_photos
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.profile import profile

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")


VWW, PERSON = "mlperf_tiny/vww_96_int8", "tflite_micro/person_detect"


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
    judge = Judge(model)
    compiled = {kind: [compile_model(model, kind, **how) for how in PLANS] for kind in ("streamed", "held")}
    engines = {kind: list(map(Engine, some)) for kind, some in compiled.items()}
    nominal = {kind: [0 if s.passes else s.out[0] * s.out[1] for s in some[0].steps] for kind, some in compiled.items()}
    steps = compiled["streamed"][0].whole
    outputs, maps = [], []
    for i, image in enumerate(images):
        outputs.append(judge(image))
        for kind, (default, *others) in engines.items():
            for engine in (default, others[i % len(others)]):
                before = engine.counts()
                assert (flat(engine.run(image)) == outputs[-1]).all(), (kind, i)
                assert (engine.counts() - before).tolist() == nominal[kind], "each pixel of each step is made exactly once"
        if i < layers or i >= len(images) - layers:
            maps.append(reference(steps, np.moveaxis(image, 0, -1) if default.nchw else image))
            for step, found in zip(steps, maps[-1], strict=True):
                if not step.passes and step.op not in ("recall", "concat"):  # one pixel may stand for a map
                    wanted = judge.output_of(step.index).reshape(-1, found.shape[2])
                    assert (found.reshape(-1, found.shape[2]) == wanted).all(), (step.op, step.index)
    assert all((a != b).any() for a, b in zip(maps[0], maps[-1], strict=True) if a.size > 99), "every map must react to the input"
    assert all(engine.canaries_intact for some in engines.values() for engine in some)
    assert sum(s.macs for s in steps) == profile(model).macs
    return np.stack(outputs)


def v1(shape, seed, head="mean", **more):
    b = Builder(shape, seed).conv(8, 3, 2, **more).depthwise().conv(12).depthwise(3, 2).conv(16).depthwise(3, 2).conv(24)
    return (b.average_pool() if head == "average" else b.mean()).dense(7).softmax().model()


def v2(shape, seed):
    b = Builder(shape, seed).conv(8, 3, 2).depthwise().conv(8, relu6=False)
    for channels, stride in ((8, 1), (12, 2), (12, 1), (12, 1), (16, 2), (16, 1)):
        b.inverted_residual(channels, stride)
    return b.conv(40).mean().dense(6).softmax().model()


def int4(shape, seed):
    """Weights of 4 bits: of windows, of pixels and of odd numbers of taps, of dilated kernels, depthwise ones, and a dense layer; some stay bytes."""
    b = Builder(shape, seed).conv(8, 3, 2).depthwise().conv(9, relu6=False).inverted_residual(9).inverted_residual(12, 2).conv(7, 3, dilation=2)
    return b.conv(21).mean().dense(6).softmax().int4([0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 13]).model()


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


def boxes(shape, seed):
    """SSDLite: from three maps boxes and classes, which are joined one behind the other; the second map is an output, too."""
    b, parts, maps = Builder(shape, seed).conv(8, 3, 2).inverted_residual(8), [[], []], []
    for _ in range(3):
        maps.append(b.depthwise(3, 2).conv(12).mark())
        for found, values in zip(parts, (4, 3), strict=True):
            b.back(maps[-1]).depthwise().conv(2 * values, relu6=False)
            found.append(b.reshape(b.shape[1] * b.shape[2] * 2, values).last)
        b.back(maps[-1])
    return b.model("boxes", [maps[1][0], *(b.concat(found, 1).last for found in parts)])


def second_chain(shape, seed):
    """A classifier, and a second network of its own strides that begins at a map in the middle of it; both begin with the input's map."""
    b = Builder(shape, seed)
    start, middle = b.mark(), b.conv(6, 3, 2).inverted_residual(6).mark()
    classes = b.depthwise(3, 2).conv(16).mean().dense(5).softmax().last
    other = b.back(middle).pool(17, 3, 2).conv(9).depthwise(5, 2).conv(4, relu6=False).last
    return b.back(start).conv(3, 5, 3).model("second chain", [classes, other, b.last])


def joined_channels(shape, seed):
    """As in an Inception: branches of a map side by side, one of them the map itself; then one that was made in another chain."""
    b = Builder(shape, seed).conv(6, 3, 2)
    start, wide = b.mark(), b.depthwise(5).conv(5).last
    narrow = b.back(start).conv(4).last
    both = b.concat([narrow, start[0], wide]).mark()
    kept = b.conv(7).depthwise(3, 2).conv(6).last
    again = b.back(both).pool(1, 3, 1).depthwise(3, 2).conv(6).last
    total = b.op(0, [kept, again], b.shape, b.scale, b.zero, (11, {})).last
    return b.concat([kept, total]).conv(8).mean().dense(4).model("joined channels")


def dilated(shape, seed):
    """As in DeepLab: kernels whose taps lie apart, depthwise and not, with strides, padded and not."""
    b = Builder(shape, seed).conv(8, 3, 2).depthwise(dilation=2).conv(6, 3, relu6=False, dilation=2).depthwise(5, 2, dilation=2).conv(8)
    b.depthwise(3, 1, same=False, dilation=2).conv(5, 2, 1, dilation=3).depthwise(3, dilation=4)
    return b.conv(7, relu6=False).model()


def in_blocks(shape, seed):
    """A dilated convolution as older converters write it: SPACE_TO_BATCH_ND, an ordinary one, BATCH_TO_SPACE_ND."""
    b = Builder(shape, seed).conv(5, 3, 2)
    _, h, w, c = b.shape
    up = lambda n: -(-n // 2) * 2 + 4  # noqa: E731
    edges = np.array([[2, up(h) - h - 2], [2, up(w) - w - 2]], np.int32)
    block, crops = np.array([2, 2], np.int32), np.array([[0, up(h) - 4 - h], [0, up(w) - 4 - w]], np.int32)
    constant = lambda values: b.tensor(values.shape, None, 0, values)  # noqa: E731
    b.op(38, [b.last, constant(block), constant(edges)], (4, up(h) // 2, up(w) // 2, c), b.scale, b.zero, (0, {}))
    _, h4, w4, _ = b.shape
    b.multiply(4, (1, 3, 3, c), 3, (4, h4 - 2, w4 - 2, c), (2, {0: np.int8(1), 1: np.int32(1), 2: np.int32(1), 3: np.int32(1), 4: np.int8(3)}), True)
    b.op(37, [b.last, constant(block), constant(crops)], (1, h, w, c), b.scale, b.zero, (0, {}))
    return b.conv(7, relu6=False).model()


def resized(shape, seed):
    """As in a decoder: larger and smaller, between pixels and the nearest, by all three rules of where a pixel lies."""
    b = Builder(shape, seed).conv(6, 3, 2)
    _, h, w, _ = b.shape
    b.resize(2 * h, 2 * w, half_pixel_centers=True).depthwise().resize(h + 3, w, False).conv(5).resize(h, w + 4, align_corners=True)
    b.depthwise(3, 2).resize(2 * h + 1, 2 * w - 1).conv(4, relu6=False)
    return b.resize(h, w, False, align_corners=True).depthwise(3, 2).resize(7, 5, False, half_pixel_centers=True).model()


def gated(shape, seed):
    """As in a MobileNetV3: hard swish, and maps that a pool of themselves gates; a constant factor; a pooled pixel beside each other."""
    b = Builder(shape, seed).conv(8, 3, 2, relu6=False).bytewise(117, .02, -104)
    wide, last = b.mark(), b.depthwise(5).mark()
    b.mean().op(22, [b.last], (1, 1, 1, 8), b.scale, b.zero, (17, {0: [np.int32(n) for n in (1, 1, 1, 8)]}))
    b.conv(4, relu6=False).bytewise(19, .03, -128).conv(8, relu6=False).logistic()
    gate = b.last
    b.back(last).op(18, [last[0], gate], last[1], .02, -120, (21, {}))
    half = b.tensor((), 1 / 254, 0, np.array(127, np.int8))
    b.op(18, [b.last, half], b.shape, .011, -120, (21, {})).bytewise(114, .02, -118).bytewise(21, .02, -118).conv(6)
    pixel = b.back(wide).mean().op(22, [b.last], (1, 1, 1, 8), b.scale, b.zero, (17, {0: [np.int32(n) for n in (1, 1, 1, 8)]}))
    pixel.resize(*last[1][1:3]).bytewise(114, last[2], -128)
    joined = b.last
    return b.concat([last[0], joined]).conv(5, relu6=False).model("gated")


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


WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SMALL = {"v1": (v1, (1, 48, 48, 3)), "v1 odd": (v1, (1, 45, 51, 1)), "v1 four channels": (v1, (1, 33, 64, 4)),
         "v2": (v2, (1, 64, 64, 3)), "v2 odd": (v2, (1, 57, 43, 3)), "v2 tall, two channels": (v2, (1, 90, 17, 2)),
         "int4": (int4, (1, 41, 38, 3)), "int4 odd": (int4, (1, 30, 1, 1)),
         "padded": (padded, (1, 34, 38, 3)), "strange": (strange, (1, 41, 37, 2)), "strange odd": (strange, (1, 44, 47, 1)),
         "yes or no": (yes_or_no, (1, 37, 30, 3)),
         "shortcuts": (shortcuts, (1, 19, 22, 4)), "one pixel wide": (v1, (1, 70, 1, 3)), "one row": (v2, (1, 1, 40, 3)),
         "bare": (bare, (1, 24, 31, 3)),
         "pools": (pools, (1, 43, 38, 3)), "padded pools": (padded_pools, (1, 30, 33, 2)),
         "two heads": (two_heads, (1, 32, 28, 3)), "branches": (branches, (1, 27, 30, 3)), "branches that meet": (branches_that_meet, (1, 21, 20, 3)),
         "boxes": (boxes, (1, 37, 34, 3)), "second chain": (second_chain, (1, 31, 28, 3)), "dilated": (dilated, (1, 43, 38, 3)),
         "resized": (resized, (1, 22, 27, 3)), "gated": (gated, (1, 24, 21, 3)), "joined channels": (joined_channels, (1, 26, 23, 3)),
         "dense on a map": (dense_on_a_map, (1, 14, 11, 3))}


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


def ssdlite(alpha, size, classes, boxes, extra):
    """SSDLite V2 (paper, 6.2): its last convolution scaled by alpha, too; heads on the expansion at stride 16, at stride 32, and on smaller maps."""
    wide = lambda n: (lambda v: v + 8 if v < .9 * n * alpha else v)(max(8, int(n * alpha + 4) // 8 * 8))  # noqa: E731
    b, maps = Builder((1, size, size, 3)).conv(wide(32), 3, 2).depthwise().conv(wide(16), relu6=False), []
    for channels, times, stride in ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1)):
        for i in range(times):
            b.inverted_residual(wide(channels), stride if i == 0 else 1, 6)
    maps.append(b.conv(6 * b.shape[3]).mark())
    b.depthwise(3, 2).conv(wide(160), relu6=False)
    for channels in (160, 160, 320):
        b.inverted_residual(wide(channels), 1, 6)
    maps.append(b.conv(wide(1280)).mark())
    for channels in extra:
        maps.append(b.conv(wide(channels) // 2).depthwise(3, 2).conv(wide(channels)).mark())
    outputs = [b.back(m).depthwise().conv(boxes * n, relu6=False).last for m in maps for n in (4, classes)]
    return b.model(f"SSDLite V2 {alpha} {size}", outputs)


# SSDLite: alpha, size, classes, extra maps, boxes, bytes of arena
DETECTORS = [(.35, 96, 7, (512, 256), 300, 26_000), (1., 300, 21, (512, 256, 256, 128), 3000, 250_000)]
# Bytes of arena: rows streamed, image held, TFLM's
TARGETS = {("V1", .25, 96): (16_700, 36_000, 100_724), ("V2", .35, 96): (13_500, 33_000, 204_692), ("V2", .35, 160): (28_000, 88_000, 450_452),
           ("V2", .35, 224): (47_000, 168_000, None), ("V2", 1., 224): (106_000, 212_000, None)}
