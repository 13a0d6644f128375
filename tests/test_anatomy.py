"""Which MobileNet a graph is: its body proved step by step, its head and its scaling found, what is another network told."""

import json

import numpy as np
import pytest

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.graph import keras_graph


@pytest.fixture(scope="module", autouse=True)
def keras_side():
    global keras, anatomy, body_flags, differences, usual_head, MobileNetV1, MobileNetV2
    keras = pytest.importorskip("keras", reason="needs the extra train")
    from mobilenet_keras.networks.anatomy import anatomy, body_flags, differences, usual_head
    from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2


def graph_of(net):
    return keras_graph(
        json.loads(net.to_json()), lambda node, weights: {w.path.split("/")[-1]: (w.path, np.asarray(w)) for w in net.get_layer(node.name).weights}
    )


@pytest.mark.parametrize(
    "version, options",
    [
        (1, {}),
        (1, dict(padding="symmetric", bn_epsilon=1e-5, activation="relu")),
        (1, dict(output_stride=16)),
        (1, dict(depth_multiplier=2)),
        (1, dict(keras_compat=False)),
        (2, {}),
        (2, dict(output_stride=8)),
        (2, dict(expansion=3)),
        (2, dict(first_expansion=6)),
        (2, dict(stage_strides=(1, 2, 2, 1, 2, 2, 1))),
        (2, dict(projected=(10,))),
        (2, dict(expansion=1)),
    ],
    ids=lambda v: str(v),
)
def test_every_variant_that_is_built_here_is_recognised_with_its_flags(version, options):
    net = (MobileNetV1 if version == 1 else MobileNetV2)(0.25 if version == 1 else 0.35, (48, 48, 3), 7, **options)
    a = anatomy(graph_of(net))
    assert a.version == version and a.complete and usual_head(a)["classes"] == 7
    flags = body_flags(a)
    for k in ("padding", "bn_epsilon", "activation", "depth_multiplier", "expansion", "first_expansion", "projected"):
        if k in options:
            assert flags[k] == options[k]
    assert differences(a, anatomy(graph_of(net)), (48, 48)) == []


def test_the_odd_size_at_which_paddings_differ_is_seen():
    a, b = (anatomy(graph_of(keras_net(**k))) for k in (dict(padding="tf"), dict(padding="symmetric")))
    assert any("padding" in sentence for sentence in differences(a, b, (47, 47)))


def keras_net(**options):
    return MobileNetV1(0.25, (48, 48, 3), 3, **options)


@pytest.mark.parametrize("layer, block", [("conv_dw_3_relu", "conv_dw_3_relu"), ("conv_pw_5_relu", "conv_pw_5_relu")])
def test_a_body_may_end_early(layer, block):
    net = keras_net()
    out = keras.layers.Dense(2, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(net.get_layer(layer).output))
    a = anatomy(graph_of(keras.Model(net.input, out)))
    assert a.last == block and not a.complete and [s.kind for s in a.head] == ["pool", "dense"]


def test_a_cut_inside_of_a_block_of_v2_is_told_from_a_head_of_1x1():
    net = MobileNetV2(0.35, (48, 48, 3), 3)
    at = net.get_layer("block_6_expand_relu").output
    narrow = keras.layers.Conv2D(32, 1, activation="relu")(at)
    a = anatomy(graph_of(keras.Model(net.input, keras.layers.Conv2D(2, 1)(narrow))))
    assert a.last == "block_6_expand_relu" and len(a.head) == 2


def changed(what):
    """A MobileNet with one thing in it that no MobileNet has."""
    L = keras.layers
    x = inputs = keras.Input((32, 32, 3))
    act = L.Activation("hard_swish" if what == "v3" else "relu")
    x = act(L.Conv2D(8, 5 if what == "kernel" else 3, 2, padding="same")(x))
    if what == "two users":
        return keras.Model(inputs, L.Concatenate()([x, L.Conv2D(8, 1)(x)]))
    for i in range(3):
        x = L.ReLU()(L.DepthwiseConv2D(3, padding="same")(x))
        if what == "v3":
            x = L.Multiply()([x, L.Conv2D(8, 1, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))])
        x = L.ReLU(6.0 if what == "activations" and i == 1 else None)(L.Conv2D(8, 1)(x))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(x)))


@pytest.mark.parametrize(
    "what, said",
    [
        ("kernel", "instead of a 3x3 convolution"),
        ("v3", "seems to be a MobileNetV3"),
        ("two users", "no depthwise convolution"),
        ("activations", "several activations"),
    ],
)
def test_another_network_is_told(what, said):
    with pytest.raises(MobileNetError, match=said):
        body_flags(anatomy(graph_of(changed(what))))


def test_two_outputs_and_two_inputs_are_refused():
    net, second = keras_net(), keras.Input((48, 48, 3))
    with pytest.raises(MobileNetError, match="2 outputs; a classifier has one"):
        anatomy(graph_of(keras.Model(net.input, [net.output, net.get_layer("conv_pw_5_relu").output])))
    with pytest.raises(MobileNetError, match="2 inputs; a MobileNet takes one photo"):
        anatomy(graph_of(keras.Model([net.input, second], [net.output])))
