"""The two roundings of TensorFlow Lite's kernels."""
import numpy as np

from mobilenet_keras.tflite.intervals import ROUNDINGS


def test_rounding_against_exact_integers():
    """The same fixed-point definition in Python's own integers."""
    rng = np.random.default_rng(0)
    xs, reals = rng.integers(-2**24, 2**24, 500), rng.uniform(1e-5, .9, 500)
    for x, real in zip(xs.tolist(), reals.tolist()):
        fraction, exponent = np.frexp(real)
        q, shift = int(round(float(fraction) * 2**31)), -int(exponent)
        doubled = x * q + (2**30 if x * q >= 0 else 1 - 2**30)
        high = abs(doubled) // 2**31 * (1 if doubled >= 0 else -1)
        twice = (abs(high) + (1 << shift >> 1)) // (1 << shift) * (1 if high >= 0 else -1)
        once = (x * q + (1 << (30 + shift))) // (1 << (31 + shift))
        assert (int(ROUNDINGS["double"](x, real)), int(ROUNDINGS["single"](x, real))) == (twice, once)
