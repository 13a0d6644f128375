"""Weight files of every cited system against the program that made them, running the same file."""
import csv
import subprocess
import sys

import foreign
import numpy as np
import pytest
from conftest import shared

keras = pytest.importorskip("keras", reason="needs the extra [train]")

from test_models import randomized, write_keras_2  # noqa: E402

from mobilenet_keras import models, tflite  # noqa: E402
from mobilenet_keras.core import MobileNetError  # noqa: E402
from mobilenet_keras.importers import SYSTEMS, export_keras, export_torch, load, save  # noqa: E402
from mobilenet_keras.models import MobileNetV1, MobileNetV2  # noqa: E402
from mobilenet_keras.readers import read_weights  # noqa: E402


def photos(rule, n):
    """n real photos as a model's input, and the classes that they show."""
    folder = shared("data/imagenet_sample250")
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    rows = rows[::len(rows) // n][:n]
    return rule(np.stack([rule.pixels(folder / r["file"]) for r in rows])), np.array([int(r["index"]) for r in rows])


def noise(size, n=2):
    return np.random.default_rng(5).uniform(-1, 1, (n, size, size, 3)).astype("f")


def logits(path, **options):
    return load(path, classifier_activation=None, **options)


def close(ours, theirs):
    theirs = np.asarray(theirs)
    assert theirs.std() > 1e-2, "the peer's output must depend on something"
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-3 * max(1, np.abs(theirs).max() / 10))


# --- real weights on real photos --------------------------------------------------------------------------------------------

def test_keras_applications_real():
    path = shared("models/keras/mobilenet_v1_0.25_224.h5")
    net = logits(path)
    theirs = keras.applications.MobileNet(alpha=.25, weights=None, classifier_activation=None)
    theirs.load_weights(path)
    x, truth = photos(net.preprocessing, 10)
    a, b = np.asarray(net(x)), np.asarray(theirs(keras.applications.mobilenet.preprocess_input((x + 1) * 127.5)))
    np.testing.assert_allclose(a, b, atol=1e-3)
    assert (a.argmax(1) == b.argmax(1)).all() and (a.argmax(1) == truth).mean() >= .4
    assert net.source["system"] == "keras-v1" and net.source["alpha"] == .25 and net.input_shape == (None, 224, 224, 3)


def test_torchvision_real(tmp_path):
    path = foreign.peer_file("mobilenet_v2-b0353104.pth")
    net = logits(path)
    x, truth = photos(net.preprocessing, 10)
    theirs = foreign.in_peer(f"{foreign.TORCH}\nnet = Net('torchvision', 1.).eval()\n"
                             f"net.load_state_dict(torch.load({str(path)!r}, weights_only=True))\n"
                             "outputs['y'] = logits(net, inputs['x'])", tmp_path, x=x)["y"]
    a = np.asarray(net(x))
    np.testing.assert_allclose(a, theirs, atol=1e-3)
    assert (a.argmax(1) == theirs.argmax(1)).all() and (a.argmax(1) == truth).mean() > .6


def test_slim_frozen_real():
    path = foreign.peer_file("retrained_graph.pb")
    net = logits(path)
    x, truth = photos(net.preprocessing, 10)
    import tensorflow as tf
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            theirs = [session.run("MobilenetV1/Logits/SpatialSqueeze:0", {"input:0": image[None]}).reshape(-1) for image in x]
    a = np.asarray(net(x))
    theirs = np.array(theirs)
    np.testing.assert_allclose(a, theirs, atol=1e-3)
    assert (a.argmax(1) == theirs.argmax(1)).all() and (a.argmax(1) - 1 == truth).mean() > .6
    assert net.classes[0] == "background" and net.classes[1] == "tench"


def interpreted(path, x, real):
    """LiteRT's output for images in the model's own numbers."""
    from ai_edge_litert.interpreter import Interpreter
    model = tflite.Model.open(path)
    interpreter = Interpreter(model_content=model.interpretable)
    interpreter.allocate_tensors()
    i, o = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    t, found = model.inputs[0], []
    for image in x:
        if t.dtype != "float32":
            image = np.clip(np.round(image / t.scale[0]) + t.zero_point[0], np.iinfo(t.dtype).min, np.iinfo(t.dtype).max).astype(t.dtype)
        interpreter.set_tensor(i, image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(o).reshape(-1).copy())
    return np.array(found)


def test_tflite_float_real():
    path = shared("models/mlperf_tiny/vww_96_float.tflite")
    net = load(path)
    x, _ = photos(net.preprocessing, 50)
    np.testing.assert_allclose(np.asarray(net(x)), interpreted(path, x, net), atol=1e-3)
    twin = load(shared("models/mlperf_tiny/vww_96.h5"))  # what it was converted from: with batch normalization, and without names
    np.testing.assert_allclose(np.asarray(twin(x)), np.asarray(net(x)), atol=1e-3)


@pytest.mark.parametrize("path", ["coral/mobilenet_v1_0.25_128_quant", "mlperf_tiny/vww_96_int8", "tflite_micro/person_detect"])
def test_tflite_quantized_real(path):
    path = shared(f"models/{path}.tflite")
    net = load(path)
    x, truth = photos(net.preprocessing, 250)
    a, b = np.asarray(net(x)).argmax(1), interpreted(path, x, net).argmax(1)
    assert (a == b).mean() >= .93
    if len(net.classes) == 1001:
        assert (a - 1 == truth).mean() > .3


def test_a_photo_gets_a_name():
    """Labels of an independent list: Coral's."""
    labels = shared("models/coral/imagenet_labels.txt").read_text().splitlines()
    from mobilenet_keras.imagenet import imagenet_classes
    for ours, theirs in zip(imagenet_classes(1001), labels, strict=True):
        assert ours.split()[0].lower() in theirs.lower()
    net = load(shared("models/coral/mobilenet_v1_0.25_128_quant.tflite"))
    (name, p), *_ = net.predict_photo(shared("models/coral/cat.bmp"))
    assert name in ("Egyptian cat", "tabby", "tiger cat") and 0 < p < 1


# --- written as the systems write them ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,make,options", [
    ("slim-v1", foreign.slim_v1, dict(alpha=.1, ema=True)), ("slim-v2", foreign.slim_v2, dict(ema=True, classes=1000)),
    ("zehaos", foreign.zehaos, {}), ("neuleaf", foreign.neuleaf, dict(bias=None)), ("neuleaf-2018", foreign.neuleaf, dict(first=True))])
def test_tensorflow_1(tmp_path, name, make, options):
    theirs, _ = make(tmp_path / "model.ckpt-100", **options)
    net, x = logits(tmp_path / "model.ckpt-100.index", input_shape=(64, 64, 3)), noise(64)
    assert net.source["system"] == name
    assert net.source["alpha"] == options.get("alpha", dict(zehaos=.35, neuleaf=1).get(make.__name__, .25 if make is foreign.slim_v1 else .35))
    close(net(x), theirs(x))


def test_saved_model_and_frozen_graph(tmp_path):
    theirs, t = foreign.slim_v2(tmp_path / "checkpoint/model")
    t.frozen(tmp_path / "frozen.pb")
    with t.graph.as_default():
        t.v1.saved_model.simple_save(t.session, str(tmp_path / "saved"), {"x": t.x}, {"y": t.logits})
    x = noise(64)
    for path in (tmp_path / "frozen.pb", tmp_path / "saved", tmp_path / "checkpoint", tmp_path / "checkpoint/model"):
        close(logits(path, input_shape=(64, 64, 3))(x), theirs(x))
    assert load(tmp_path / "frozen.pb").input_shape == (None, 64, 64, 3)  # the file says it


CAFFE = [("shicai-v1", lambda alpha: foreign.shicai_v1(alpha)), ("shicai-v2", lambda alpha: foreign.caffe_v2("shicai", alpha)),
         ("suzhenghang", lambda alpha: foreign.caffe_v2("suzhenghang", alpha)), ("austingg", lambda alpha: foreign.caffe_v2("austingg", alpha))]


@pytest.mark.parametrize("name,make", CAFFE)
@pytest.mark.parametrize("alpha,legacy", [(.35, False), (.35, True)])
def test_caffe(tmp_path, name, make, alpha, legacy):
    if legacy and name != "shicai-v1":
        pytest.skip("one file with layers of 2014 is enough")
    theirs = make(alpha)
    theirs.save(tmp_path / "net.caffemodel", legacy)
    net, x = logits(tmp_path / "net.caffemodel"), noise(64)
    assert (net.source["system"], net.source["alpha"], net.input_shape) == (name, alpha, (None, 64, 64, 3))
    assert net.preprocessing.order == "bgr" and net.preprocessing.std[0] == pytest.approx(1 / .017)
    close(net(x), theirs(x))


@pytest.mark.parametrize("name,make", CAFFE)
@pytest.mark.parametrize("alpha", [.35, 1.])
def test_caffe_as_opencv_runs_it(tmp_path, name, make, alpha):
    foreign.peers()
    theirs = make(alpha)
    theirs.save(tmp_path / "net.caffemodel")
    (tmp_path / "net.prototxt").write_text(theirs.prototxt(64))
    x = noise(64)
    y = foreign.in_peer("import cv2\nnet = cv2.dnn.readNetFromCaffe('net.prototxt', 'net.caffemodel')\nrows = []\n"
                        "for image in inputs['x']: net.setInput(image.transpose(2, 0, 1)[None]); rows.append(net.forward().reshape(-1))\n"
                        "outputs['y'] = np.array(rows)", tmp_path, x=x)["y"]
    close(logits(tmp_path / "net.caffemodel")(x), y)


@pytest.mark.parametrize("name,build,write", [
    ("torchvision", "Net('torchvision', .35)", "torch.save(net.state_dict(), 'w')"),
    ("tonylins", "Net('tonylins', .5)", "torch.save(net.state_dict(), 'w', _use_new_zipfile_serialization=False)"),
    ("d-li14", "Net('d-li14', .35)", "torch.save({'state_dict': nn.DataParallel(net).state_dict()}, 'w', _use_new_zipfile_serialization=False)"),
    ("randl", "Randl(.35)", "torch.save(dict(epoch=3, arch='mobilenetv2', state_dict=nn.DataParallel(net).state_dict(), best_prec1=.7, "
                            "optimizer=torch.optim.SGD(net.parameters(), .1, .9).state_dict()), 'w')"),
    ("timm-v1", "Timm(1, .5)", "import safetensors.torch; safetensors.torch.save_file(net.state_dict(), 'w')"),
    ("timm-v2", "Timm(2, .35)", "import safetensors.torch; safetensors.torch.save_file(net.state_dict(), 'w')")])
def test_pytorch(tmp_path, name, build, write):
    foreign.peers()
    x = noise(64)
    y = foreign.in_peer(f"{foreign.TORCH}\nnet = shaken({build})\n{write}\noutputs['y'] = logits(net, inputs['x'])", tmp_path, x=x)["y"]
    net = load(tmp_path / "w", input_shape=(64, 64, 3), classifier_activation="log_softmax" if name == "randl" else None)
    assert net.source["system"] == name
    assert net.preprocessing.mean == (123.675, 116.28, 103.53)
    close(net(x), y)


@pytest.mark.parametrize("version,alpha", [(1, .25), (2, .35)])
def test_our_state_dict_runs_in_pytorch(tmp_path, version, alpha):
    foreign.peers()
    make = MobileNetV1 if version == 1 else MobileNetV2
    net = randomized(make(alpha, (64, 64, 3), padding="symmetric", bn_epsilon=1e-5, classifier_activation=None))
    export_torch(net, tmp_path / "w.safetensors")
    x, build = noise(64), "Timm(1, .25)" if version == 1 else "Net('torchvision', .35)"
    y = foreign.in_peer(f"{foreign.TORCH}\nimport safetensors.torch\nnet = {build}.eval()\nstate = safetensors.torch.load_file('w.safetensors')\n"
                        "found = net.load_state_dict(state, strict=False)\n"
                        "assert not found.unexpected_keys and all('num_batches' in k for k in found.missing_keys), found\n"
                        "outputs['y'] = logits(net, inputs['x'])", tmp_path, x=x)["y"]
    close(net(x), y)


@pytest.mark.parametrize("version,alpha,top", [(1, .25, False), (2, .35, True)])
def test_keras_in_all_its_layouts(tmp_path, version, alpha, top):
    theirs = (keras.applications.MobileNet if version == 1 else keras.applications.MobileNetV2)
    options = dict(classifier_activation=None) if top else {}
    theirs = randomized(theirs(input_shape=(96, 96, 3), alpha=alpha, weights=None, include_top=top, **options))
    write_keras_2(theirs, tmp_path / "a_96.h5")
    theirs.save_weights(tmp_path / "b_96.weights.h5")
    theirs.save(tmp_path / "c.keras")
    paths = [tmp_path / "a_96.h5", tmp_path / "b_96.weights.h5", tmp_path / "c.keras", foreign.tfjs(theirs, tmp_path / "js")]
    x = noise(96)
    y = np.asarray(theirs(x))
    for path in paths:
        net = logits(path)
        assert net.input_shape == (None, 96, 96, 3) and net.source["alpha"] == alpha
        np.testing.assert_array_equal(np.asarray(net(x)), y)
    if version == 1:  # quantized to 8 bits: within half a step of every number
        back = logits(foreign.tfjs(theirs, tmp_path / "js8", True))
        for layer in theirs.layers:
            for a, b in zip(layer.get_weights(), back.get_layer(layer.name).get_weights() if layer.weights else [], strict=True):
                assert np.abs(a - b).max() <= np.ptp(a) / 255 * .51 + 1e-7


@pytest.mark.parametrize("version,alpha", [(1, .25), (2, .35)])
def test_round_trip_through_keras_is_bit_identical(tmp_path, version, alpha):
    make, theirs = ((MobileNetV1, keras.applications.MobileNet), (MobileNetV2, keras.applications.MobileNetV2))[version - 1]
    net = randomized(make(alpha, (64, 64, 3), classifier_activation=None))
    x = noise(64)
    export_keras(net, tmp_path / "w.h5")
    peer = theirs(input_shape=(64, 64, 3), alpha=alpha, weights=None, classifier_activation=None)
    peer.load_weights(tmp_path / "w.h5")
    for back in (peer, logits(save(net, tmp_path / "w.keras")), logits(tmp_path / "w.h5", input_shape=(64, 64, 3)),
                 logits(export_torch(net, tmp_path / "w.safetensors"), input_shape=(64, 64, 3))):
        np.testing.assert_array_equal(np.asarray(back(x)), np.asarray(net(x)))
        for a, b in zip(sorted(net.weights, key=lambda w: w.path), sorted(back.weights, key=lambda w: w.path), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_every_system_has_a_test():
    source = open(__file__).read() + open(foreign.__file__).read()
    tested = {"keras-v1", "keras-v2", "keras-unnamed-v1", "keras-unnamed-v2", "tflite-v1", "tflite-v2"}
    assert not [name for name in SYSTEMS if name not in tested and f'"{name}"' not in source and name != "tonylins-2018"]


# --- fine-tuning, size, time ------------------------------------------------------------------------------------------------

def test_a_fine_tune_starts_from_a_converted_file(tmp_path):
    import tensorflow as tf
    from PIL import Image

    from mobilenet_keras.data import Photos
    from mobilenet_keras.training import fine_tune
    rng = np.random.default_rng(0)
    for name, colour in (("day", 200), ("night", 40)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(np.clip(rng.normal(colour, 30, (32, 32, 3)), 0, 255).astype("u1")).save(tmp_path / "photos" / name / f"{i}.png")
    foreign.shicai_v1(.25).save(tmp_path / "net.caffemodel")
    found = Photos.from_folder(tmp_path / "photos", 64)
    net = load(tmp_path / "net.caffemodel", classes=found.classes)
    before = np.asarray(net.get_layer("conv1").kernel)
    tf.config.run_functions_eagerly(True)  # a few steps are not worth a compilation
    try:
        run = fine_tune(net, found, 1, 1, folder=tmp_path / "run")
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(run.history) == 2 and run.classes == ["day", "night"]
    np.testing.assert_array_equal(before, np.asarray(load(tmp_path / "net.caffemodel").get_layer("conv1").kernel))


def test_converting_14_mb_is_quick_and_small(tmp_path):
    net = randomized(MobileNetV2(1.0, (224, 224, 3)))
    path = export_torch(net, tmp_path / "w.safetensors")
    code = ("import resource, sys, time\nfrom mobilenet_keras.importers import load\n"
            "from mobilenet_keras.models import MobileNetV2\nMobileNetV2(.35, (32, 32, 3))\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "before, start = peak(), time.process_time()\nload(sys.argv[1])\n"
            "print(time.process_time() - start, (peak() - before)*1024)")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    seconds, grown = map(float, done.stdout.split()[-2:])
    assert path.stat().st_size > 13e6 and seconds < 5 and grown < 4 * path.stat().st_size


# --- overrides and mistakes -------------------------------------------------------------------------------------------------

def test_the_guess_can_be_overridden_and_a_wrong_file_is_explained(tmp_path):
    net = randomized(MobileNetV2(.35, (64, 64, 3), classes=10))
    path = export_torch(net, tmp_path / "w.safetensors")
    assert load(path, system="torchvision", input_shape=(96, 96, 3)).input_shape == (None, 96, 96, 3)
    with pytest.raises(MobileNetError, match="Missing: MobilenetV1/Conv2d_0/weights"):
        load(path, system="slim-v1")
    with pytest.raises(MobileNetError, match="Systems are"):
        models.load(path, system="nobody")
    write_keras_2(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="x")]), tmp_path / "other.h5")
    with pytest.raises(MobileNetError, match="Found instead: x/kernel 4x3"):
        load(tmp_path / "other.h5")
    shuffled = dict(read_weights(path).arrays)
    a = shuffled["features.5.conv.2.weight"]
    shuffled["features.5.conv.2.weight"] = a[:5]
    from mobilenet_keras.readers import write_safetensors
    write_safetensors(tmp_path / "cut.safetensors", shuffled, {})
    with pytest.raises(MobileNetError, match="features.5.conv.2 has 5, wanted 16"):
        load(tmp_path / "cut.safetensors")
