"""What tests/test_devices.py runs in processes of their own: CPUs can be divided only before TensorFlow starts. Prints JSON in the last line."""
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from small_training import eagerly, spots, tiny, train, weights

CPUS = ["CPU:0", "CPU:1", "CPU:2"]


def divided(n=3):
    """TensorFlow with `n` virtual CPUs."""
    import tensorflow as tf
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * n)
    return tf


def arrays(net):
    return {f"{i} {w.name}": np.array(w) for i, w in enumerate(net.weights) if w.dtype == "float32"}


def one_step(devices, optimizer, photos):
    """What a step of the trainer adds to each weight, batch statistics included, and what it logs; SGD with a rate of 1 adds gradients."""
    from mobilenet_keras.training.fine_tune import fine_tune
    net = tiny(0)
    before = arrays(net)
    with tempfile.TemporaryDirectory() as folder:
        run = fine_tune(net, photos, 1, 0, batch_size=64, folder=Path(folder) / "run", optimizer=optimizer, bn_momentum=.5, class_weights="balanced",
                        devices=devices)
        facts = json.loads((Path(folder) / "run/run.json").read_text())
    return {k: v - before[k] for k, v in arrays(run.net).items()}, run.history, facts


def steps():
    """Steps of 21 photos on one device and on two, which get 10 and 11."""
    import keras
    made = dict(gradient=lambda: keras.optimizers.SGD(1., name="sgd"), clipped=lambda: keras.optimizers.SGD(1., clipnorm=.01, name="sgd"))
    found = {}
    for name, optimizer in made.items():
        one, history, facts = one_step(None, optimizer(), spots())
        several, same, said = one_step(CPUS[:2], optimizer(), spots())
        found[name] = dict(difference={k: float(np.abs(one[k] - several[k]).max()) for k in one},
                           size={k: float(np.abs(v).max()) for k, v in one.items()},
                           logs=[[h[k] for k in ("loss", "accuracy", "validation_loss", "validation_accuracy")] for h in history + same],
                           settings=[f["settings"] for f in (facts, said)],
                           devices=[f["versions"]["devices"] for f in (facts, said)])
    return found


def overflow():
    """A gradient that is infinite on one device alone: [weight before, after, loss scale before, after] of each device."""
    import keras
    import tensorflow as tf

    from mobilenet_keras.training.devices import sum_first
    strategy = tf.distribute.MirroredStrategy(CPUS[:2], tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        w = keras.Variable(np.ones(1, np.float32))
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.))
        optimizer.build([w])
        sum_first(optimizer)

    @tf.function
    def step(bad):
        def each():
            i = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
            optimizer.apply([tf.fill([1], tf.where(tf.logical_and(bad, i == 1), np.inf, 2.**13))], [w])
        strategy.run(each)
    found = []
    for bad in (True, False):
        step(bad)
        found.append([[float(np.ravel(v)[0]) for v in strategy.experimental_local_results(x.value)] for x in (w, optimizer.dynamic_scale)])
    return found


def wrong():
    """What is said of devices that can't be, and whether a folder was made."""
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.training.devices import keras
    from mobilenet_keras.training.fine_tune import fine_tune
    said = []
    with tempfile.TemporaryDirectory() as d:
        def attempt(devices):
            try:
                fine_tune(tiny(0), spots(), 1, 0, folder=Path(d) / "run", devices=devices)
            except MobileNetError as e:
                said.append(str(e))
        for devices in (["CPU:0", "GPU:9"], ["CPU:0"], "CPU:0", ["CPU:0", "cpu:0"], [0, 1], "all", 2):
            attempt(devices)
        keras.backend.backend = lambda: "jax"
        attempt(CPUS)
        return said, os.listdir(d)


def quick():
    graph = overflow()
    with eagerly():
        return dict(steps=steps(), overflow=graph, wrong=wrong())


def cut_at(folder, epochs, **changes):
    """Train, and be interrupted instead of saving the epoch after `epochs`."""
    from mobilenet_keras.training.fine_tune import _Trainer
    real = _Trainer.save

    def save(self):
        if len(self.history) > epochs:
            raise KeyboardInterrupt
        real(self)
    _Trainer.save = save
    try:
        with contextlib.suppress(KeyboardInterrupt):
            train(folder, **changes)
    finally:
        _Trainer.save = real


def runs(folder):
    """Whole trainings: of one device and of several, of float16, cut short and gone on with."""
    from mobilenet_keras.run import Run
    from mobilenet_keras.training.fine_tune import fine_tune, resume
    folder, two, three = Path(folder), dict(devices=CPUS[:2]), dict(devices=CPUS)
    one = train(folder / "one")
    found, vector = {}, lambda run: np.concatenate([np.ravel(a) for a in arrays(run.net).values()])
    for name, changes in dict(two=two, three=three).items():
        run = train(folder / name, **changes)
        found[name] = dict(far=float(np.abs(vector(run) - vector(one)).max()), history=[run.history, one.history])
    whole = weights(Run.open(folder / "two"))
    for epochs in (1, 4):
        cut_at(folder / f"cut {epochs}", epochs, **two)
        found[f"cut {epochs}"] = weights(resume(folder / f"cut {epochs}", spots(), **two)) == whole
    cut_at(folder / "fewer", 3, **two)
    run = resume(folder / "fewer", spots())
    began = json.loads((folder / "fewer/run.json").read_text())["versions"]["devices"]
    found["fewer"] = dict(far=float(np.abs(vector(run) - vector(one)).max()), began=began)
    few = [fine_tune(tiny(0), spots(110), 1, 0, batch_size=2, folder=folder / f"few {len(names or '')}", devices=names) for names in (None, CPUS)]
    found["few"] = dict(far=float(np.abs(vector(few[0]) - vector(few[1])).max()), validation=[run.history[0]["validation_loss"] for run in few])
    half, halves = (train(folder / name, mixed_precision=True, **changes) for name, changes in (("half", {}), ("halves", two)))
    dtypes = sorted({layer.dtype_policy.name for layer in halves.net.layers})
    found["half"] = dict(far=float(np.abs(vector(half) - vector(halves)).max()), dtypes=dtypes)
    return found


def killed(folder, epochs):
    """Train on two devices, and die by SIGKILL instead of saving the epoch after `epochs`, if any."""
    import signal

    from mobilenet_keras.training.fine_tune import _Trainer
    real = _Trainer.save
    _Trainer.save = lambda self: os.kill(os.getpid(), signal.SIGKILL) if 0 < int(epochs) < len(self.history) else real(self)
    return weights(train(folder, devices=CPUS[:2])).hex()


if __name__ == "__main__":
    divided()
    what, *rest = sys.argv[1:]
    print(json.dumps(dict(quick=quick, runs=runs, killed=killed)[what](*rest)))
