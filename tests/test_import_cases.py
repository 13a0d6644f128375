"""Classifiers that people brought (../shared/cases), and neighbours of theirs from a builder: each with Keras's own answers as the right ones."""

import numpy as np
import pytest
from conftest import shared
from import_cases import FACTORS, SIZE, build, inputs_of, pairwise, write, write_tfjs

FILES = "cases/files"


@pytest.fixture(scope="module", autouse=True)
def keras_side():
    global keras, load, MobileNetError, read_weights
    keras = pytest.importorskip("keras", reason="needs the extra train")
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.networks.importers import load
    from mobilenet_keras.networks.weight_files import read_weights


RIGHT = {  # file: (input size, outputs, its inputs and answers)
    "k3_flat.keras": ((96, 96, 3), 4, "k3_flat"),
    "k3_flat2dense.keras": ((96, 96, 3), 4, "k3_flat2dense"),
    "k3_resc255_sigmoid.keras": ((96, 96, 3), 1, "k3_resc255_sigmoid"),
    "k3_nested.keras": ((96, 96, 3), 3, "k3_nested"),
    "tutorial_k2.h5": ((160, 160, 3), 1, "tutorial_k2"),
    "tutorial_k2_sm": ((160, 160, 3), 1, "tutorial_k2"),
    "ei_0.1_1.h5": ((96, 96, 1), 3, "ei_0.1_1"),
    "fomo.h5": ((96, 96, 3), 3, "fomo"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_strangers_classifier_keeps_its_head_its_scaling_and_its_size(name):
    shape, outputs, answers = RIGHT[name]
    net, right = load(shared(f"{FILES}/{name}")), np.load(shared(f"{FILES}/{answers}.npz"))
    assert net.input_shape[1:] == shape and net.output_shape[-1] == outputs
    assert net.imported["used"] == net.imported["arrays"] and not net.imported["left_out"]
    assert np.abs(np.asarray(net(right["x"], training=False)) - right["y"]).max() < 1e-6


def test_bare_weights_of_a_nested_model_and_what_they_do_not_say(capsys):
    net, right = load(shared(f"{FILES}/k3_nested.weights.h5"), input_shape=(96, 96, 3)), np.load(shared(f"{FILES}/k3_nested.npz"))
    assert np.abs(np.asarray(net(right["x"] / 127.5 - 1, training=False)) - right["y"]).max() < 1e-6
    assert "doesn't say how its classifier ends: softmax is assumed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, tolerance",
    [
        ("f16.tflite", 1e-5),
        ("dynrange.tflite", 1e-3),
        ("sigmoid_int8.tflite", 0.01),
        ("int16x8.tflite", 1e-3),
        ("fomo_int8.tflite", 0.02),
        ("ei_0.1_1_int8.tflite", 0.05),
    ],
)
def test_a_tflite_of_any_number_type_gives_its_real_weights(name, tolerance):
    from mobilenet_keras.networks.original import compare_with_original

    file = read_weights(shared(f"{FILES}/{name}"))
    found = compare_with_original(load(file), file)
    assert found.compared and found.largest < tolerance, found


def test_simulated_quantization_leaves_float_weights_and_says_what_it_leaves_out():
    net = load(shared(f"{FILES}/qat.h5"))
    assert net.output_shape == (None, 3) and net.imported["used"] == 137
    assert {why for _, why in net.imported["left_out"]} == {"the range of simulated quantization"}


@pytest.mark.parametrize(
    "name, said",
    [
        ("twoheads.tflite", "2 outputs; a classifier has one"),
        ("v3ish.tflite", "seems to be a MobileNetV3"),
        ("twosig.tflite", "no depthwise convolution"),
        ("dm2.tflite", "where its first blocks were wanted"),
    ],
)
def test_what_is_none_of_ours_is_told_in_a_sentence(name, said):
    with pytest.raises(MobileNetError, match=said):
        load(shared(f"{FILES}/{name}"))


CASES = [c for c in pairwise(FACTORS, seed=3) if c["keras"] == "3" and c["container"] in ("keras", "h5", "tfjs")][:8]
LIMITS = dict(int8=0.15, dynamic=0.05, float16=0.01)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(c.values()).replace(" ", "_"))
def test_neighbours_of_these_cases(case, tmp_path):
    model, x = build(keras, case), inputs_of(case)
    net = load(write(keras, model, case, tmp_path, x))
    y = np.asarray(model(x, training=False))
    assert np.abs(np.asarray(net(x, training=False)).reshape(y.shape) - y).max() <= LIMITS.get(case["container"], 1e-4)


def test_teachable_machine_as_tensorflow_js(tmp_path):
    L = keras.layers
    body = keras.applications.MobileNetV2(alpha=0.35, input_shape=(SIZE, SIZE, 3), include_top=False, weights=None)
    features = keras.Sequential([keras.Model(body.input, body.output), L.GlobalAveragePooling2D()])
    head = keras.Sequential([L.Dense(100, activation="relu"), L.Dense(3, activation="softmax", use_bias=False)])
    model = keras.Sequential([features, head])
    x = inputs_of(dict(scaling="none"))
    y = np.asarray(model(x))
    net = load(write_tfjs(keras, model, tmp_path))
    assert np.abs(np.asarray(net(x)) - y).max() < 1e-5


def test_a_head_of_two_layers_in_a_state_dict_is_refused_by_name(tmp_path):
    from mobilenet_keras.networks.importers import export_torch
    from mobilenet_keras.networks.models import MobileNetV2
    from mobilenet_keras.networks.weight_files import read_weights, write_safetensors

    export_torch(MobileNetV2(0.35, (32, 32, 3), 8), tmp_path / "a.safetensors")
    arrays = dict(read_weights(tmp_path / "a.safetensors").arrays) | {
        "classifier.4.weight": np.zeros((3, 8), "f4"),
        "classifier.4.bias": np.zeros(3, "f4"),
    }
    write_safetensors(tmp_path / "b.safetensors", arrays, {})
    with pytest.raises(MobileNetError, match="classifier.4.bias, classifier.4.weight. They belong to layers"):
        load(tmp_path / "b.safetensors")


def test_a_converter_of_pytorch_puts_channels_first(capsys):
    """A TRANSPOSE at the input is taken out; the network that is built takes channels last, and gives what the file's interpreter gives."""
    from mobilenet_keras.networks.graph import tflite_graph
    from mobilenet_keras.networks.original import compare_with_original
    from mobilenet_keras.networks.weight_files import WeightFile
    from mobilenet_keras.tflite.builder import Builder

    b = Builder((1, 3, 32, 32), 4)
    order = b.tensor((4,), None, 0, np.array([0, 2, 3, 1], np.int32))
    b.op(39, [b.last, order], (1, 32, 32, 3), b.scale, b.zero, (26, {})).conv(8, 3, 2).depthwise().conv(16).depthwise(3, 2).conv(32).mean()
    model = b.dense(3).softmax().model("planes")
    file = WeightFile("planes.tflite", "tflite", {}, dict(model=model), lambda: tflite_graph(model))
    net = load(file)
    assert net.input_shape == (None, 32, 32, 3) and "has channels first; the network that is built takes them last" in capsys.readouterr().err
    found = compare_with_original(net, file)
    assert found.compared and found.ok, found


@pytest.mark.slow
def test_keras_2_writes_what_is_read_here(tmp_path):
    """Four cases of Keras 2, each built, saved and answered by tf_keras in a process of its own."""
    import subprocess
    import sys

    code = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
try: import tf_keras as K
except ImportError: sys.exit(77)
from import_cases import FACTORS, build, inputs_of, pairwise, write
from pathlib import Path
whole = ("keras", "h5", "saved_model", "tfjs")
for i, case in enumerate([c for c in pairwise(FACTORS, seed=5) if c["keras"] == "2" and c["container"] in whole][:4]):
    folder = Path(sys.argv[2]) / str(i)
    folder.mkdir()
    model, x = build(K, case), inputs_of(case)
    path = write(K, model, case, folder, x)
    np.savez(folder / "right.npz", x=x, y=model(x, training=False))
    (folder / "case.json").write_text(json.dumps([case, str(path)]))
"""
    from pathlib import Path

    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("needs Keras 2: pip install --no-deps tf-keras")
    assert done.returncode == 0, done.stderr[-2000:]
    import json

    for folder in sorted(tmp_path.iterdir()):
        (case, path), right = json.loads((folder / "case.json").read_text()), np.load(folder / "right.npz")
        assert np.abs(np.asarray(load(path)(right["x"], training=False)).reshape(right["y"].shape) - right["y"]).max() < 1e-4, case


def test_a_layer_used_twice_is_no_mobilenets(tmp_path):
    L = keras.layers
    conv = L.Conv2D(3, 3, padding="same", activation="relu", name="again")
    photo = keras.Input((32, 32, 3))
    keras.Model(photo, L.Dense(2)(L.GlobalAveragePooling2D()(conv(conv(photo))))).save(tmp_path / "twice.keras")
    with pytest.raises(MobileNetError, match="Layer 'again' is used twice"):
        load(tmp_path / "twice.keras")
