"""int8 against float: the arithmetic of our own numbers, judged by TensorFlow Lite's converter and interpreters."""
import numpy as np
import pytest
from conftest import shared

from mobilenet_keras.core import MobileNetError
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
    report = model.comparison
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


# --- networks of one's own --------------------------------------------------------------------------------------------------

QUICK = dict(samples=12, calibration="min-max", equalization=False)


def own_photos(classes, size=24, channels=3):
    """Photos of as many brightnesses as classes, so that labels mean something."""
    pixels, labels = noise_photos(48, size, size, channels), np.arange(48) % len(classes)
    pixels = (pixels * .3 + 170 * labels[:, None, None, None] / len(classes)).astype(np.uint8)
    return Photos.from_arrays((pixels[:36], labels[:36]), (pixels[36:], labels[36:]), list(classes), channels=channels, group=False)


def own_network(outputs, activation, hidden=0, channels=3, scaling=True):
    """As a tutorial makes it: augmentation, scaling and a body in the network; it tells bright from dark."""
    keras.utils.set_random_seed(0)
    L = keras.layers
    body = keras.Sequential([keras.Input((24, 24, channels)), L.Conv2D(4, 3, 2, padding="same", use_bias=False), L.BatchNormalization(),
                             L.ReLU(6.)], name="body")
    x = photo = keras.Input((24, 24, channels))
    x = L.Rescaling(1 / 127.5, -1)(L.RandomFlip()(x)) if scaling else x
    x = L.Dropout(.2)(L.GlobalAveragePooling2D()(body(x)))
    x = L.Dense(hidden, "relu")(x) if hidden else x
    return keras.Model(photo, L.Dense(outputs, activation)(x), name="own")


@pytest.mark.parametrize("outputs, activation, hidden", [(3, "softmax", 8), (1, "sigmoid", 0), (2, "sigmoid", 0), (1, None, 0), (3, None, 0)])
def test_own_keras_file(tmp_path, capsys, outputs, activation, hidden):
    """Any head: the int8 file says what the network says, names its classes, and runs on a board's engine byte for byte."""
    from mobilenet_keras.engine.engine import Engine
    from mobilenet_keras.tflite.interpreters import Classifier
    net, classes = own_network(outputs, activation, hidden), list("abc")[:max(2, outputs)]
    net.save(tmp_path / "own.keras")
    photos = own_photos(classes)
    model = q.quantize(tmp_path / "own.keras", photos, **QUICK)
    assert not model.float_ops and "MUL" not in {op.name for op in model.ops} and model.classes == classes
    assert "alphabetical order: a, b" in capsys.readouterr().err
    wanted = np.asarray(net(photos.test.pixels.astype(np.float32), training=False))
    if activation is None:
        wanted = 1 / (1 + np.exp(-wanted)) if outputs == 1 else keras.ops.convert_to_numpy(keras.ops.softmax(wanted))
    wanted = np.concatenate([1 - wanted, wanted], 1) if outputs == 1 else wanted
    said = [Classifier(model).predict(x) for x in photos.test.pixels]
    np.testing.assert_allclose([p.probabilities for p in said], wanted, atol=.03)
    assert [Engine(model).predict(x).scores.tolist() for x in photos.test.pixels[:4]] == [p.scores.tolist() for p in said[:4]]
    for name, scores in (("float", wanted), ("int8", np.array([p.probabilities for p in said]))):
        assert model.comparison[f"{name}_accuracy"] == pytest.approx((scores.argmax(1) == photos.test.labels).mean())
    assert model.provenance == dict(source="own.keras", url="unknown", licence="unknown")


def test_own_network_in_memory_and_gray(tmp_path):
    """Without a file: `.preprocessing` is found by the layers, or named; what says neither is asked."""
    photos = own_photos("ab", channels=1)
    model = q.quantize(own_network(2, "softmax", channels=1), photos, **QUICK)
    assert model.preprocessing.shape == (24, 24, 1) and model.comparison["agreement"] > .8
    plain = own_network(2, "softmax", scaling=False, channels=1)
    with pytest.raises(MobileNetError, match="Say it with --scale"):
        q.quantize(plain, photos, **QUICK)
    named = q.quantize(plain, photos, scale="unit", **QUICK)
    real = np.asarray(plain(photos.test.pixels[:1] / np.float32(255)))
    scores = q._scores(named, photos.test.pixels[:1])[1]
    np.testing.assert_allclose((scores + 128) / 256, real, atol=.02)


def test_class_names_in_the_order_of_the_outputs(capsys):
    """Names that are given, or that the file holds, are its order; the folders' labels follow. Wrong counts and names are errors."""
    net, photos = own_network(3, "softmax"), own_photos("abc")
    straight = q.quantize(net, photos, **QUICK)
    turned = q.quantize(net, photos, classes=["c", "a", "b"], **QUICK)
    assert turned.classes == ["c", "a", "b"]
    # labels 0 1 2 of a b c are outputs 1 2 0: what was right before isn't now, and the other way round
    real = q._float_scores(q.origin_of(net), photos.test.pixels).argmax(1)
    for model, labels in ((straight, photos.test.labels), (turned, np.array([1, 2, 0])[photos.test.labels])):
        assert model.comparison["float_accuracy"] == pytest.approx((real == labels).mean())
    for classes, said in ((["a", "b"], "3 outputs, so 3 classes. Received 2 names"), (["a", "a", "b"], "Received 3 names"),
                          (["a", "b", "d"], "trained for 3 classes: a, b, d. Received photos of 3: a, b, c. Without photos: d")):
        with pytest.raises(MobileNetError, match=said):
            q.quantize(net, photos, classes=classes, **QUICK)
    with pytest.raises(MobileNetError, match="3 outputs, so 3 classes, and these photos are of 2: a, b"):
        q.quantize(net, own_photos("ab"), **QUICK)


def test_a_file_whose_classes_were_never_named(capsys):
    """0 and 1 of a converted file stand for names that nobody gave; its sigmoid is behind a reshape, which the converter swaps."""
    L = keras.layers
    keras.utils.set_random_seed(0)
    photo = keras.Input((24, 24, 3))
    x = L.GlobalAveragePooling2D(keepdims=True)(L.ReLU(6.)(L.Conv2D(4, 3, 2, padding="same")(L.Rescaling(1 / 127.5, -1)(photo))))
    net = keras.Model(photo, L.Activation("sigmoid")(L.Reshape((1,))(L.Conv2D(1, 1)(x))), name="own")
    net.classes, net.preprocessing = ["0", "1"], Preprocessing(24, 24, mean=0, std=1)
    model = q.quantize(net, own_photos(["dark", "light"]), samples=8, calibration="min-max", equalization=False)
    assert model.classes == ["dark", "light"] and "in alphabetical order: dark, light" in capsys.readouterr().err
    assert model.comparison["candidates"][1]["db"] > 20, "biases were corrected"
    net.classes = ["cat", "dog"]
    with pytest.raises(MobileNetError, match="was trained for 2 classes: cat, dog"):
        q.quantize(net, own_photos(["dark", "light"]), **QUICK)
    many = q.Origin("many", net, net.preprocessing, [f"class {i}" for i in range(1001)], False)
    with pytest.raises(MobileNetError, match="class 7 and 993 more") as caught:
        q._in_order(own_photos("ab"), q.replace(many, what=keras.Model(photo, L.Dense(1001)(L.Flatten()(photo)))), None)
    assert len(str(caught.value)) < 600


def test_a_float_file_without_its_network(network, tmp_path):
    """From the float `.tflite` alone: what the network itself gives, op for op, with the names, preprocessing and provenance of the file."""
    net, rule, pixels = network
    labels = np.arange(48) % 4
    photos = Photos.from_arrays((pixels[:32], labels[:32]), (pixels[32:], labels[32:]), net.classes, group=False)
    Model(q.convert(net), "lone").with_metadata(net.classes, rule, provenance=dict(source="here", licence="MIT")).save(tmp_path / "lone.tflite")
    ours, theirs = (q.quantize(source, photos, **QUICK) for source in (tmp_path / "lone.tflite", net))
    assert [(op.name, ours.tensors[op.outputs[0]].shape) for op in ours.ops] == [(op.name, theirs.tensors[op.outputs[0]].shape) for op in theirs.ops]
    np.testing.assert_allclose(*(q._scores(m, photos.test.pixels)[1].astype(int) for m in (ours, theirs)), atol=3)
    assert (ours.classes, ours.provenance["licence"], ours.preprocessing) == (net.classes, "MIT", theirs.preprocessing)
    assert ours.comparison["float_bytes"] == pytest.approx(theirs.comparison["float_bytes"], rel=.1)
    assert ours.comparison["candidates"][0]["candidate"].startswith("the converter's rule")
    bare = Model(q.convert(net), "bare")
    with pytest.raises(MobileNetError, match="Say it with --scale"):
        q.quantize(bare, photos, **QUICK)
    with pytest.raises(MobileNetError, match="int8 already"):
        q.quantize(theirs, photos)


def test_how_photos_are_cut_must_agree(network):
    """What was trained on cropped photos isn't calibrated on stretched ones; a network that doesn't say it takes them as they were read."""
    from dataclasses import replace
    net, rule, pixels = network
    photos = Photos.from_arrays((pixels[:40], np.arange(40) % 4), (pixels[40:], np.arange(8) % 4), net.classes, group=False)
    cropped = replace(photos, preprocessing=replace(photos.preprocessing, resize="crop"))
    assert q._cut_alike(q.origin_of(net), cropped).resize == "crop"
    known = replace(q.origin_of(net), cut=True)
    with pytest.raises(MobileNetError, match="made to fit by stretch, and these were read by crop"):
        q._cut_alike(known, cropped)


@pytest.mark.slow
def test_the_float_file_is_as_good_on_real_photos(tmp_path):
    """A head on frozen ImageNet features, trash6: of 509 test photos int8 from the float file gets as many as int8 from the network."""
    from mobilenet_keras.networks.models import MobileNetV1
    from mobilenet_keras.training.fine_tune import fine_tune
    photos = Photos.from_folder(shared("data/trash6"), 96, augment_scale=1)
    net = MobileNetV1(.25, (96, 96, 3), photos.classes, shared("models/keras/mobilenet_v1_0.25_224.h5"))
    run = fine_tune(net, photos, 0, 20, folder=tmp_path / "run")
    of_net = q.quantize(run, photos, samples=100)
    of_file = q.quantize(Model(q.convert(net), "file").with_metadata(photos.classes, run.preprocessing), photos, samples=100)
    shapes = lambda model: [(op.name, model.tensors[op.outputs[0]].shape) for op in model.ops]  # noqa: E731
    assert shapes(of_net) == shapes(of_file)
    a, b = of_net.comparison, of_file.comparison
    assert abs(a["float_accuracy"] - b["float_accuracy"]) < .003 and abs(a["int8_accuracy"] - b["int8_accuracy"]) < .012
    assert abs(a["agreement"] - b["agreement"]) < .02 and b["agreement"] > .9
