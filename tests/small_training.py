"""A network of a few hundred weights and two classes of noise: a whole training takes a second or two."""
import contextlib

import numpy as np


@contextlib.contextmanager
def eagerly():
    """A few steps aren't worth a compilation."""
    import tensorflow as tf
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def tiny(seed=None):
    """A classifier with everything that has state: batch normalization, dropout, a head behind a pool."""
    import keras
    if seed is not None:
        keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((12, 12, 3))
    for layer in (keras.layers.Conv2D(6, 3, 2, use_bias=False), keras.layers.BatchNormalization(momentum=.9), keras.layers.ReLU(6),
                  keras.layers.DepthwiseConv2D(3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(.3)):
        x = layer(x)
    net = keras.Model(inputs, keras.layers.Dense(2, "softmax")(x), name="tiny")
    net.pretrained, net.preprocessing, net.classes = False, None, ["dark", "light"]
    return net


def spots(n=30, seed=0):
    """Noise, darker and lighter, three dark ones for two light ones."""
    from mobilenet_keras.photos import Photos
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 5 % 2
    pixels = rng.normal(100 + 40 * labels[:, None, None, None], 50, (n, 12, 12, 3)).clip(0, 255).astype(np.uint8)
    return Photos.from_arrays((pixels, labels), classes=["dark", "light"], validation=.3, augment_scale=1.5)


CHOICES = dict(epochs=4, frozen_epochs=2, batch_size=8, int8_estimate=False, class_weights="balanced", ema_decay=.9, patience=3, head_views=2,
               augment=dict(flip="horizontal", shift=.1, rotation=.05, zoom=.15, brightness=.15, contrast=.1, cutout=.3))


def train(folder, **changes):
    from mobilenet_keras.training.fine_tune import fine_tune
    return fine_tune(tiny(0), spots(), folder=folder, **{**CHOICES, **changes})


def weights(run):
    return b"".join(np.asarray(w).tobytes() for w in run.net.weights)
