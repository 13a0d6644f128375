"""A network as a graph: Keras's configurations of both kinds and `.tflite` files, read as data."""

import json

import numpy as np
import pytest
from import_mutations import json_mutations

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.graph import affine_of, keras_graph, tflite_graph
from mobilenet_keras.tflite.builder import Builder


def layer(kind, name, before=None, call=0, extra=None, **config):
    """A layer as Keras 2 writes it."""
    nodes = [[[b, call, 0, extra or {}] for b in ([before] if isinstance(before, str) else before)]] if before else []
    return dict(class_name=kind, name=name, config=dict(name=name, **config), inbound_nodes=nodes)


def model(layers, start, end, name="model"):
    return dict(class_name="Functional", name=name, config=dict(name=name, layers=layers, input_layers=[[start, 0, 0]], output_layers=[[end, 0, 0]]))


INPUT = layer("InputLayer", "photo", batch_input_shape=[None, 8, 8, 3])
ARRAYS = {"kernel": np.ones((3, 3, 3, 4), "f4"), "bias": np.zeros(4, "f4")}


def place(node, weights):
    return {w: (f"{node.name}/{w}", ARRAYS[w]) for w in weights if w in ARRAYS}


CONV = dict(filters=4, kernel_size=[3, 3], strides=[2, 2], padding="same", activation="relu", use_bias=True)


def test_operators_with_numbers_are_part_of_the_network():
    config = model(
        [
            INPUT,
            layer("TFOpLambda", "tf.math.truediv", "photo", extra=dict(y=127.5), function="math.truediv"),
            layer("TFOpLambda", "tf.math.subtract", "tf.math.truediv", extra=dict(y=1.0), function="math.subtract"),
            layer("Conv2D", "conv", "tf.math.subtract", **CONV),
        ],
        "photo",
        "conv",
    )
    graph = keras_graph(config, place)
    assert [n.kind for n in graph.nodes] == ["input", "affine", "affine", "conv"]
    assert graph.nodes[1].facts["scale"][0] == pytest.approx(1 / 127.5) and graph.nodes[2].facts["offset"][0] == -1
    assert graph.used == {"conv/kernel", "conv/bias"}


def test_a_model_inside_of_a_model_is_written_out_and_keeps_its_path():
    inner = model([layer("InputLayer", "in", batch_input_shape=[None, 8, 8, 3]), layer("Conv2D", "conv", "in", **CONV)], "in", "conv", "base")
    graph = keras_graph(
        model([INPUT, inner | dict(inbound_nodes=[[["photo", 0, 0, {}]]]), layer("Flatten", "flat", "base", 1)], "photo", "flat"), place
    )
    assert [n.path for n in graph.nodes] == [("photo",), ("base", "conv"), ("flat",)] and graph.outputs == [graph.nodes[2]]


def test_what_acts_in_training_only_is_left_out_and_told():
    graph = keras_graph(model([INPUT, layer("RandomFlip", "flip", "photo"), layer("Conv2D", "conv", "flip", **CONV)], "photo", "conv"), place)
    assert graph.notes == ["flip: left out, since it acts in training only"] and graph.nodes[1].kind == "same"


@pytest.mark.parametrize(
    "layers, said",
    [
        (
            [layer("Conv2D", "conv", "photo", **CONV | dict(use_bias=True)), layer("Conv2D", "conv2", "conv", **CONV | dict(strides=[0, 1]))],
            "no size of a kernel or a stride",
        ),
        ([layer("Lambda", "evil", "photo")], None),
    ],
)
def test_strange_layers(layers, said):
    config = model([INPUT, *layers], "photo", layers[-1]["name"])
    if said:
        with pytest.raises(MobileNetError, match=said):
            keras_graph(config, place)
    else:
        assert keras_graph(config, place).nodes[1].facts["what"] == "Lambda"


def test_weights_that_the_configuration_names_must_be_there():
    with pytest.raises(MobileNetError, match="no kernel and bias for layer 'conv'"):
        keras_graph(model([INPUT, layer("Conv2D", "conv", "photo", **CONV)], "photo", "conv"), lambda node, weights: {})


def test_a_division_by_zero_is_no_scaling():
    assert affine_of("/", np.zeros(1)) is None
    assert affine_of("/", np.array([4.0]))["scale"][0] == 0.25


def test_a_tflite_gives_real_weights_and_biases_in_the_kernels_steps():
    quantized = Builder((1, 8, 8, 3), 6).conv(4, 3, 2).depthwise().conv(8, 1).mean().dense(3).softmax().model()
    graph = tflite_graph(quantized)
    assert [n.kind for n in graph.nodes] == ["input", "conv", "depthwise", "conv", "pool", "dense", "activation"]
    op = quantized.ops[0]
    x, kernel, bias = (quantized.tensors[t] for t in op.inputs)
    assert np.allclose(graph.nodes[1].arrays["bias"], bias.data * (x.scale[0] * kernel.scale), rtol=1e-6)


def test_broken_configurations_are_refused_or_read_and_nothing_else():
    """Every error of a configuration is one that `read_weights` turns into a sentence."""
    inner = model([layer("InputLayer", "in", batch_input_shape=[None, 8, 8, 3]), layer("Conv2D", "conv", "in", **CONV)], "in", "conv", "base")
    config = model(
        [
            INPUT,
            layer("Rescaling", "scale", "photo", scale=0.1, offset=[0, 1, 2]),
            inner | dict(inbound_nodes=[[["scale", 0, 0, {}]]]),
            layer("GlobalAveragePooling2D", "pool", "base", 1),
            layer("Reshape", "shape", "pool", target_shape=[4]),
        ],
        "photo",
        "shape",
    )
    from mobilenet_keras.networks.weight_files import BROKEN

    read = 0
    for broken in json_mutations(config, 2000):
        try:
            keras_graph(broken, place)
            read += 1
        except (MobileNetError, *BROKEN):
            pass
    assert 20 < read < 1900
    json.dumps(config)
