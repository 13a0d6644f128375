"""SavedModels and frozen graphs as data: functions written out, variables found by what restores them, hostile files refused."""

import numpy as np
import pytest
from import_mutations import mutations

from mobilenet_keras.core import MobileNetError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A SavedModel of a small network whose function calls a function; (folder, its answers, inputs)."""
    tf = pytest.importorskip("tensorflow", reason="needs the extra train")
    folder = tmp_path_factory.mktemp("saved") / "sm"
    rng = np.random.default_rng(0)

    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.Variable(rng.normal(size=(3, 3, 3, 4)).astype("f4"), name="stem/kernel")
            self.deep = tf.Variable(rng.normal(size=(3, 3, 4, 1)).astype("f4"), name="dw/depthwise_kernel")
            self.gamma, self.beta, self.mean, self.variance = (
                tf.Variable(np.abs(rng.normal(size=4)).astype("f4") + 0.5, name=f"bn/{n}")
                for n in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            self.dense = tf.Variable(rng.normal(size=(4, 2)).astype("f4"), name="head/kernel")

        @tf.function
        def body(self, x):
            x = tf.nn.conv2d(x, self.kernel, 2, "SAME")
            x = tf.nn.relu6(tf.compat.v1.nn.fused_batch_norm(x, self.gamma, self.beta, self.mean, self.variance, epsilon=1e-3, is_training=False)[0])
            return tf.nn.relu6(tf.nn.depthwise_conv2d(x, self.deep, [1, 1, 1, 1], "SAME"))

        @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3), name="photo")])
        def serve(self, x):
            return dict(scores=tf.nn.softmax(tf.linalg.matmul(tf.reduce_mean(self.body(x / 127.5 - 1), [1, 2]), self.dense)))

    net = Net()
    tf.saved_model.save(net, str(folder), signatures=net.serve)
    x = rng.uniform(0, 255, (2, 16, 16, 3)).astype("f4")
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(x))["scores"]
    return folder, answer.numpy(), x


def graph_of(folder):
    from mobilenet_keras.networks.weight_files import read_weights

    return read_weights(folder).graph()


def test_a_function_that_calls_a_function_is_one_chain(saved):
    graph = graph_of(saved[0])
    assert [n.kind for n in graph.nodes] == [
        "input",
        "affine",
        "affine",
        "conv",
        "norm",
        "activation",
        "depthwise",
        "activation",
        "pool",
        "dense",
        "activation",
    ]
    assert graph.nodes[0].facts["shape"] == (16, 16, 3) and len(graph.used) == 7


def test_its_answer_is_that_of_tensorflow(saved):
    """The nodes, computed in NumPy's own way, give what TensorFlow gave."""
    graph, (_, y, x) = graph_of(saved[0]), saved
    a = {n.kind: n for n in graph.nodes}
    x = x / 127.5 - 1

    def conv(x, kernel, stride):
        x = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)) if stride == 2 else ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows = range(0, x.shape[1] - 2, stride)
        windows = np.stack([[x[:, i : i + 3, j : j + 3] for j in rows] for i in rows])
        return np.einsum("ijnhwc,hwco->nijo" if kernel.shape[3] > 1 else "ijnhwc,hwco->nijc", windows, kernel)

    norm = a["norm"].arrays
    x = conv(x, a["conv"].arrays["kernel"], 2)
    x = np.clip((x - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + a["norm"].facts["epsilon"]) * norm["gamma"] + norm["beta"], 0, 6)
    x = np.clip(conv(x, a["depthwise"].arrays["kernel"], 1), 0, 6).mean((1, 2)) @ a["dense"].arrays["kernel"]
    e = np.exp(x - x.max(1, keepdims=True))
    assert np.abs(e / e.sum(1, keepdims=True) - y).max() < 1e-5


def test_broken_saved_models_are_refused_or_read_and_nothing_else(saved):
    from mobilenet_keras.networks.tf_graph import saved_model_graph
    from mobilenet_keras.networks.weight_files import BROKEN, _read_checkpoint

    data, (_, arrays, names) = (saved[0] / "saved_model.pb").read_bytes(), _read_checkpoint(saved[0] / "variables/variables")
    assert len(saved_model_graph(data, arrays, names).used) == 7
    read = 0
    for broken in mutations(data, 400):
        try:
            saved_model_graph(broken, arrays, names)
            read += 1
        except (MobileNetError, *BROKEN):
            pass
    assert 20 < read < 390


def test_the_normalization_layer_of_keras_2_is_a_scaling():
    """(x - mean) / maximum(sqrt(variance), 1e-7), as its `call` has it."""
    tf = pytest.importorskip("tensorflow", reason="needs the extra train")
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from mobilenet_keras.networks.tf_graph import frozen_graph

    mean, variance = tf.Variable([[[[120.0, 110, 100]]]]), tf.Variable([[[[3000.0, 3500, 0]]]])

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3))])
    def f(x):
        return tf.nn.relu((x - mean) / tf.maximum(tf.sqrt(variance), 1e-7))

    graph = frozen_graph(convert_variables_to_constants_v2(f.get_concrete_function()).graph.as_graph_def().SerializeToString())
    assert [n.kind for n in graph.nodes] == ["input", "affine", "affine", "activation"]
    assert np.allclose(graph.nodes[1].facts["offset"], [-120, -110, -100])
    assert np.allclose(graph.nodes[2].facts["scale"], [3000**-0.5, 3500**-0.5, 1e7])


def test_a_small_file_does_not_ask_for_gigabytes_of_constants():
    """Filled constants take no memory; what is computed of them is counted before it is."""
    import tracemalloc

    import foreign

    from mobilenet_keras.networks.tf_graph import frozen_graph

    def node(name, op, *inputs, attributes=()):
        fields = [(1, name.encode()), (2, op.encode()), *((3, i.encode()) for i in inputs), *((5, a) for a in attributes)]
        return foreign.field(1, b"".join(foreign.field(*f) for f in fields))

    def filled(name, *shape):
        dims = b"".join(foreign.field(2, foreign.field(1, n)) for n in shape)
        value = foreign.field(1, 1) + foreign.field(2, dims) + foreign.field(5, np.float32(2).tobytes())
        return node(name, "Const", attributes=[foreign.field(1, b"value") + foreign.field(2, foreign.field(8, value))])

    wide = filled("row", 1, 1 << 17) + filled("column", 1 << 17, 1) + node("all", "Mul", "row", "column")
    many = filled("c0", 1 << 20) + b"".join(node(f"c{i + 1}", "Add", f"c{i}", f"c{i}") for i in range(200)) + node("all", "Neg", "c200")
    for graph in (wide, many):
        tracemalloc.start()
        with pytest.raises(ValueError, match="more than 33 million numbers"):
            frozen_graph(graph + node("x", "Placeholder") + node("end", "Mul", "x", "all"))
        assert tracemalloc.get_traced_memory()[1] < 300e6
        tracemalloc.stop()


def test_a_graph_that_goes_in_circles_ends():
    import foreign

    from mobilenet_keras.networks.tf_graph import frozen_graph

    def node(name, op, *inputs):
        return foreign.field(
            1, foreign.field(1, name.encode()) + foreign.field(2, op.encode()) + b"".join(foreign.field(3, i.encode()) for i in inputs)
        )

    with pytest.raises(ValueError, match="goes in circles"):
        frozen_graph(node("a", "Relu", "b") + node("b", "Relu", "a") + node("end", "Relu", "a"))
    with pytest.raises(ValueError, match="not there"):
        frozen_graph(node("end", "Relu", "nothing"))
    with pytest.raises(MobileNetError, match="2 answers"):
        frozen_graph(node("x", "Placeholder") + node("a", "Relu", "x") + node("b", "Relu", "x"))
