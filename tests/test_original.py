"""The original's own answer, from a process with limits; what isn't run, and why."""

import json
import sys
import time

import numpy as np
import pytest

from mobilenet_keras.networks.original import Comparison, of_today, strange_classes, strange_ops


@pytest.mark.parametrize(
    "config, strange",
    [
        (dict(class_name="Sequential", config=dict(layers=[dict(class_name="Conv2D", config=dict(filters=2), inbound_nodes=[])])), []),
        (dict(class_name="Lambda", config=dict(function=["code"]), inbound_nodes=[]), ["Lambda"]),
        (dict(module="os", class_name="system", config=dict(command="true")), ["os.system"]),
        (dict(module="builtins", class_name="exec", config={}), ["exec"]),
        (dict(module="keras.layers", class_name="TFSMLayer", config=dict(filepath="/"), registered_name=None), ["TFSMLayer"]),
        (dict(module="keras.layers", class_name="Dense", config={}, registered_name="mine>Dense"), ["mine>Dense"]),
        (dict(class_name="TFOpLambda", config=dict(function="io.write_file"), inbound_nodes=[]), ["TFOpLambda"]),
        (dict(module="keras.initializers", class_name="Zeros", config={}), []),
        (dict(class_name="Sequential", config=dict(layers=[]), compile_config=dict(module="keras.optimizers", class_name="Adam")), []),
    ],
)
def test_only_built_in_layers_are_run(config, strange):
    assert strange_classes(config) == strange


def test_an_op_that_writes_files_is_not_run():
    import foreign

    graph = foreign.field(1, foreign.field(1, b"x") + foreign.field(2, b"WriteFile")) + foreign.field(
        1, foreign.field(1, b"y") + foreign.field(2, b"Relu")
    )
    assert strange_ops(graph, False) == ["WriteFile"]


def test_a_configuration_of_keras_2_as_keras_3_reads_it():
    old = dict(
        class_name="Functional",
        config=dict(
            layers=[
                dict(class_name="InputLayer", name="a", config=dict(name="a", ragged=False), inbound_nodes=[]),
                dict(class_name="Sequential", name="s", config=dict(name="s"), inbound_nodes=[[["a", 0, 0, {}]]]),
                dict(
                    class_name="TFOpLambda",
                    name="tf.math.truediv",
                    config=dict(name="tf.math.truediv", function="math.truediv"),
                    inbound_nodes=[["s", 1, 0, dict(y=4.0, name=None)]],
                ),
            ],
            input_layers=[["a", 0, 0]],
            output_layers=[["tf.math.truediv", 0, 0]],
        ),
    )
    new = of_today(old)["config"]
    assert new["layers"][2]["class_name"] == "Rescaling" and new["layers"][2]["config"]["scale"] == 0.25
    assert new["layers"][2]["inbound_nodes"] == [[["s", 0, 0, {}]]] and new["input_layers"] == ["a", 0, 0]
    assert "ragged" not in new["layers"][0]["config"]


def test_a_difference_above_the_tolerance_is_not_ok():
    assert Comparison(True, "Keras", 2e-3, 1e-3).ok is False and "ABOVE" in str(Comparison(True, "Keras", 2e-3, 1e-3))
    assert Comparison(False, "no network").ok and str(Comparison(False, "no network")).startswith("Not compared")
    json.dumps(Comparison(True, "Keras", 1e-6, 1e-3, 1.0).to_dict())


def run(monkeypatch, code, seconds=10, memory=2 << 30):
    from mobilenet_keras.networks import original

    monkeypatch.setitem(original._RUNNERS, "keras", code)
    began = time.time()
    return *original._run("keras", "nowhere", np.zeros((1, 2, 2, 3), "f4"), seconds, memory), time.time() - began


@pytest.mark.skipif(sys.platform == "win32", reason="limits on processes are POSIX's")
def test_memory_time_and_files_are_limited(monkeypatch):
    assert run(monkeypatch, "y = np.ones(3)")[0].tolist() == [1, 1, 1]
    y, why, _ = run(monkeypatch, "y = np.ones(1 << 33)")
    assert y is None and "MemoryError" in why
    y, why, took = run(monkeypatch, "while True: pass", seconds=1)
    assert y is None and took < 20 and ("signal" in why or "no answer" in why)
    y, why, _ = run(monkeypatch, "open(folder + '/large', 'wb').write(bytes(1 << 27)); y = np.ones(1)")
    assert y is None
