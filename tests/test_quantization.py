"""int8 against float: the arithmetic of our own numbers, judged by TensorFlow Lite's converter and interpreters."""
import numpy as np
import pytest

from mobilenet_keras.photos import Photos
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.inputs import ModelInput, noise_photos
from mobilenet_keras.tflite.model import Model


@pytest.fixture(scope="module", autouse=True)
def networks(tensorflow):
    """Imported where the tests run, and not in each process that collects them."""
    global keras, q, Style, Strides, classifier_v1, depthwise_separable, stem
    import keras

    from mobilenet_keras.networks.layers import Style, classifier_v1, depthwise_separable
    from mobilenet_keras.networks.models import Strides, stem
    from mobilenet_keras.training import quantization as q


@pytest.fixture(scope="module")
def network(networks):
    """The beginning of MobileNetV1, whose batch normalization has seen data: its activations have a trained net's ranges."""
    keras.utils.set_random_seed(0)
    style = Style(bn_momentum=.5)
    x = inputs = keras.Input((32, 32, 3))
    x = stem(x, 8, Strides(), style, ("conv1", "conv1_bn", "conv1_relu"))
    for i, (filters, stride) in enumerate([(16, 1), (32, 2), (32, 1), (64, 2), (64, 1)], 1):
        x = depthwise_separable(x, filters, stride, i, style)
    net = keras.Model(inputs, classifier_v1(x, 4, 0, "softmax"), name="beginning")
    rule, pixels = Preprocessing(32, 32), noise_photos(48, 32, 32, 3)
    net.classes, net.preprocessing = list("abcd"), rule
    for _ in range(4):
        net(rule(pixels), training=True)
    return net, rule, pixels


@pytest.fixture(scope="module")
def made(network):
    net, rule, pixels = network
    inputs = rule(pixels[:24])
    return Model(q.convert(net)), Model(q.convert(net, inputs)), rule, pixels, inputs


def graph(model):
    """Each op with what it takes: the op that made it, or its numbers."""
    makers = {t: i for i, op in enumerate(model.ops) for t in op.outputs}
    said = lambda t, x: (makers.get(t), x.shape, x.dtype, None if x.data is None else x.data.tobytes())  # noqa: E731
    return [(op.name, op.options, [said(t, model.tensors[t]) for t in op.inputs]) for op in model.ops]


def test_convert_makes_what_tensorflow_makes_of_keras(network, made):
    """Weights as constants are a quicker way into the converter than `from_keras_model`: the same ops, numbers and signature come out."""
    import tensorflow as tf
    one = keras.Input((32, 32, 3), batch_size=1, name="photo")
    theirs, ours = tf.lite.TFLiteConverter.from_keras_model(keras.Model(one, network[0](one, training=False))).convert(), made[0]
    assert len(ours.ops) > 12 and graph(ours) == graph(Model(theirs))
    signature = [tf.lite.Interpreter(model_content=data).get_signature_list() for data in (ours.data, theirs)]
    assert signature[0] == signature[1] == {"serving_default": {"inputs": ["photo"], "outputs": ["output_0"]}}


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
    """The noise that is the same for every photo goes, and photos' bytes can be the input as they are."""
    real, model, rule, pixels, inputs = made
    seen, folded = q.observe(real, inputs), q.fold_input(rule)
    constant = [np.mean([row["bias"] for row in q.layer_sqnr(real, m, pixels[:24], rule)][:-2])
                for m in (model, q.requantize(real, model, seen, "min-max", inputs))]
    assert constant[1] < constant[0] / 2, constant
    ours = q.requantize(real, model, seen, "min-max", inputs, folded)
    assert db(real, ours, pixels[24:], folded[3], rule) > db(real, model, pixels[24:], rule, rule) - 1
    np.testing.assert_array_equal(ModelInput.of(ours, folded[3]).values(pixels[:2]), (pixels[:2].astype(int) - 128).astype(np.int8))


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


def test_quantize_uint8_ends(network):
    """A photo's bytes go in as they are, and a report names the worst layer."""
    net, _, pixels = network
    labels = np.arange(48) % 4
    photos = Photos.from_arrays((pixels[:32], labels[:32]), (pixels[32:], labels[32:]), net.classes)
    model = q.quantize(net, photos, samples=24, io_dtype="uint8", equalization=False, calibration="min-max")
    assert (model.inputs[0].dtype, model.outputs[0].dtype) == ("uint8", "uint8")
    np.testing.assert_array_equal(ModelInput.of(model).values(pixels[:2]), pixels[:2])
    report = model.report
    assert report["worst"] == min(report["layers"], key=lambda r: r["db"]) and report["kernels"].endswith("reference")
    assert report["candidates"][1]["db"] > report["candidates"][0]["db"]


def test_the_number_of_calibration_photos_is_chosen(network, monkeypatch):
    """Sizes that the training photos allow are tried with the best rule, and a number that was asked for is obeyed."""
    net, rule, pixels = network
    labels, tried = np.arange(48) % 4, []
    part = Photos.from_arrays((pixels, labels), classes=net.classes, group=False).train
    monkeypatch.setattr(q, "CALIBRATION_SIZES", (8, 30, 900))
    monkeypatch.setattr(q, "observe", lambda model, inputs: None)
    monkeypatch.setattr(q, "_made", lambda choice, *_: tried.append(choice) or (choice, None, None, None))
    draw = lambda n: rule(part.pixels[q.representative_photos(part, n)])  # noqa: E731
    for samples, wanted in ((None, [len(part)] * 3 + [8, 30]), (12, [12] * 3)):
        tried.clear()
        for _ in q._candidates(None, None, draw, rule, samples, None, False, True, lambda: tried[0]):
            pass
        assert [c.samples for c in tried] == wanted and {c.method for c in tried[3:]} <= {tried[0].method}
