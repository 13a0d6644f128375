"""int8 against float: the arithmetic of our own numbers, judged by TensorFlow Lite's converter and interpreters."""
import numpy as np
import pytest

keras = pytest.importorskip("keras")
from mobilenet_keras import quantization as q  # noqa: E402
from mobilenet_keras import runtime, tflite  # noqa: E402
from mobilenet_keras.data import Photos  # noqa: E402
from mobilenet_keras.models import MobileNetV1  # noqa: E402


def network(size=32):
    """A net whose batch normalization has seen data, so that its activations have a trained net's ranges."""
    keras.utils.set_random_seed(0)
    net = MobileNetV1(alpha=.25, input_shape=(size, size, 3), classes=4, output_stride=4, dilation=False)
    pixels = runtime.noise_photos(48, size, size, 3)
    rule = net.preprocessing
    for _ in range(3):
        net(rule(pixels), training=True)
    return net, rule, pixels


@pytest.fixture(scope="module")
def made():
    net, rule, pixels = network()
    inputs = rule(pixels[:24])
    return tflite.Model(q.convert(net)), tflite.Model(q.convert(net, inputs)), rule, pixels, inputs


def db(real, model, pixels, own, rule):
    truth = q._logits(real, pixels, rule)
    return 10 * np.log10(np.square(truth).sum() / np.square(q._logits(model, pixels, own) - truth).sum())


def test_without_correction_ours_is_the_converters(made):
    """The same photos, min-max: every weight is the converter's, every scale to a hair, every bias within one step."""
    real, model, rule, pixels, inputs = made
    ours = q.requantize(real, model, q.observe(real, inputs))
    for a, b in zip(model.tensors, ours.tensors):
        if a.scale is not None:
            np.testing.assert_allclose(b.scale, a.scale, rtol=1e-4, atol=1e-9)
            np.testing.assert_allclose(b.zero_point, a.zero_point, atol=1)
        if a.dtype == "int8" and a.data is not None:
            assert abs(a.data.astype(int) - b.data).max() <= 1 and (a.data != b.data).mean() < .01
    assert len(ours.data) == len(model.data)


def test_bias_correction_and_the_photos_bytes(made):
    real, model, rule, pixels, inputs = made
    folded = q.fold_input(rule)
    ours = q.requantize(real, model, q.observe(real, inputs), "min-max", inputs, folded)
    assert db(real, ours, pixels[24:], folded[3], rule) > db(real, model, pixels[24:], rule, rule)
    np.testing.assert_array_equal(runtime.quantized(ours, pixels[:2], folded[3]), (pixels[:2].astype(int) - 128).astype(np.int8))


def test_equalized_is_the_same_function_on_calibration_photos(made):
    real, _, rule, pixels, inputs = made
    seen = q.observe(real, inputs)
    equal = q.equalize(real, seen)
    assert any(not np.array_equal(a.data, b.data) for a, b in zip(real.tensors, equal.tensors) if a.data is not None)
    a, b = (q._logits(m, pixels[:24], rule) for m in (real, equal))
    np.testing.assert_allclose(a, b, atol=1e-3 * abs(a).max())
    high = q.observe(equal, inputs).high
    first = real.ops[0].outputs[0]
    assert high[first].max() < 6.001 and np.median(high[first]) > np.median(seen.high[first])


def test_quantize_uint8_ends():
    """A photo's bytes go in as they are, and a report names the worst layer."""
    net, rule, pixels = network()
    labels = np.arange(48) % 4
    net.classes = list("abcd")
    photos = Photos.from_arrays((pixels[:32], labels[:32]), (pixels[32:], labels[32:]), net.classes)
    model = q.quantize(net, photos, samples=24, ends="uint8", equalization=False, calibration="min-max")
    assert (model.inputs[0].dtype, model.outputs[0].dtype) == ("uint8", "uint8")
    np.testing.assert_array_equal(runtime.quantized(model, pixels[:2], model.preprocessing), pixels[:2])
    report = model.report
    assert report["worst"] == min(report["layers"], key=lambda r: r["db"]) and report["kernels"].endswith("reference")
    assert report["candidates"][1]["db"] > report["candidates"][0]["db"]
