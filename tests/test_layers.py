"""Layers that other programs have to read, on every backend of Keras."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from helpers import sample


@pytest.mark.parametrize("make", sample(["MobileNetV1", "MobileNetV2"], kept=[]))
def test_head_exports_without_shape_ops(make, tensorflow):
    """Keras's own V1 leaves SHAPE, STRIDED_SLICE and PACK behind; ours must not, though the number of photos is left open."""
    from mobilenet_keras.networks import models
    from mobilenet_keras.tflite.model import Model

    def ops(net):
        values = [[v.numpy() for v in some] for some in (net.trainable_variables, net.non_trainable_variables)]
        serve = tensorflow.function(lambda x: net.stateless_call(*values, x, training=False)[0])
        called = serve.get_concrete_function(tensorflow.TensorSpec((None, 32, 32, 3)))
        return {op.name for op in Model(tensorflow.lite.TFLiteConverter.from_concrete_functions([called], tensorflow.Module()).convert()).ops}
    shapes = {"SHAPE", "STRIDED_SLICE", "PACK"}
    assert not shapes & (found := ops(getattr(models, make)(.35, (32, 32, 3), classes=4))), found
    if make == "MobileNetV1":
        assert shapes < ops(models.keras.applications.MobileNet((32, 32, 3), .5, weights=None, classes=4)), "this way they are seen"


def scores():
    """(Keras's backend, what both networks say of an image of noise)."""
    from mobilenet_keras.networks.layers import keras
    from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2
    found = []
    for make in (MobileNetV1, MobileNetV2):
        net, rng = make(.35, (64, 48, 3), classes=7, output_stride=16), np.random.default_rng(0)
        net.set_weights([rng.uniform(.1, .5, w.shape) if w.ndim == 1 else rng.normal(0, .2, w.shape) for w in net.get_weights()])
        image = rng.uniform(-1, 1, (1, 64, 48, 3)).astype("float32")
        found.append(net.predict(image, verbose=0)[0].tolist())  # one compilation, where a call compiles each op
    return keras.backend.backend(), found


@pytest.mark.slow
def test_jax_backend(tensorflow):
    """The same weights give the same numbers on Keras's JAX backend: in a process of its own, and here on TensorFlow's."""
    pytest.importorskip("jax", reason="needs the extra [dev]")
    done = subprocess.run([sys.executable, __file__], cwd=ROOT, env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (ours, here), (theirs, there) = scores(), json.loads(done.stdout.splitlines()[-1])
    assert (ours, theirs) == ("tensorflow", "jax") and np.shape(there) == (2, 7)
    np.testing.assert_allclose(there, here, atol=1e-5)


if __name__ == "__main__":
    print(json.dumps(scores()))
