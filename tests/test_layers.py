"""Layers that other programs have to read, on every backend of Keras."""
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from helpers import sample


@pytest.mark.parametrize("make", sample(["MobileNetV1", "MobileNetV2"], kept=[]))
def test_head_exports_without_shape_ops(make, tensorflow):
    """Keras's own V1 leaves SHAPE, STRIDED_SLICE and PACK behind; ours must not, converted in the plainest way."""
    from mobilenet_keras.networks import models
    from mobilenet_keras.tflite.model import Model
    net = getattr(models, make)(.35, (32, 32, 3), classes=4)
    data = tensorflow.lite.TFLiteConverter.from_keras_model(net).convert()
    names = {op.name for op in Model(data).ops}
    assert not names & {"SHAPE", "STRIDED_SLICE", "PACK"}, names


@pytest.mark.slow
def test_jax_backend():
    """The same weights give the same numbers on Keras's JAX backend."""
    pytest.importorskip("jax", reason="needs the extra [dev]")
    code = """
import sys, numpy as np
from mobilenet_keras.networks.layers import keras
from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2
assert keras.backend.backend() == sys.argv[1]
for make in (MobileNetV1, MobileNetV2):
    net, rng = make(.35, (64, 48, 3), classes=7, output_stride=16), np.random.default_rng(0)
    net.set_weights([rng.uniform(.1, .5, w.shape) if w.ndim == 1 else rng.normal(0, .2, w.shape) for w in net.get_weights()])
    print(*np.asarray(net(rng.uniform(-1, 1, (1, 64, 48, 3)).astype("float32"), training=False))[0])
"""
    out = {}
    for backend in ("jax", "tensorflow"):
        import os
        env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run([sys.executable, "-c", code, backend], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        out[backend] = np.array(done.stdout.split(), float)
    assert out["jax"].size == 14
    np.testing.assert_allclose(out["jax"], out["tensorflow"], atol=1e-5)
