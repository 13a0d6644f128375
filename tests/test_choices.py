"""Optimizers, schedules, layers that learn and callbacks: as Keras has them, in the record, and the same after an interruption."""
import json

import numpy as np
import pytest
from small_training import eagerly, spots, tiny, train, weights

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.training.choices import OPTIMIZERS, SCHEDULES, check_optimizer, check_schedule, make_optimizer, make_schedule


@pytest.fixture(scope="module", autouse=True)
def eager(tensorflow):
    with eagerly():
        yield


def interrupted(monkeypatch, folder, after, **changes):
    """Train until an interruption in place of saving the epoch after `after`; what it says."""
    from mobilenet_keras.training.fine_tune import _Trainer
    real = _Trainer.save

    def save(self):
        if len(self.history) > after:
            raise KeyboardInterrupt
        real(self)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as told:
        patch.setattr(_Trainer, "save", save)
        train(folder, **changes)
    return str(told.value)


SHORT = dict(epochs=2, frozen_epochs=1, ema_decay=0., patience=None, head_views=1, class_weights=None, batch_size=12, augment=False)


def by_name(name):
    return dict(optimizer=name, schedule=list(SCHEDULES)[list(OPTIMIZERS).index(name) % len(SCHEDULES)])


def objects():
    import keras
    rate = keras.optimizers.schedules.InverseTimeDecay(.01, 5, .5)
    return dict(optimizer=keras.optimizers.Lion(rate, weight_decay=.01))


CASES = [pytest.param(by_name(n), id=n, marks=pytest.mark.slow) for n in OPTIMIZERS] + [pytest.param(None, id="objects", marks=pytest.mark.slow)]


@pytest.mark.parametrize("choice", CASES)
def test_cut_short_it_ends_with_the_same_bits(choice, tmp_path, monkeypatch):
    """By the same call, and from the folder alone, with the optimizer built from its record."""
    from mobilenet_keras.training.fine_tune import resume
    choice = SHORT | (choice or objects())
    whole = train(tmp_path / "whole", **choice)
    said = interrupted(monkeypatch, tmp_path / "cut", 2, **choice)
    assert f"interrupted after 3 of 3 epochs, which are kept in {tmp_path / 'cut'}: give the same command again" in said
    facts = json.loads((tmp_path / "cut/run.json").read_text())["settings"]
    assert facts["optimizer"] == choice["optimizer"] or facts["optimizer"]["keras"] == "Lion"
    resumed = resume(tmp_path / "cut", spots()) if choice["optimizer"] != "adam" else train(tmp_path / "cut", **choice)
    assert weights(resumed) == weights(whole) and resumed.history == whole.history


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_kerass(name):
    """Three steps of one variable with decay and one without, by Keras's own class set up by hand."""
    import keras
    cls, arguments, rate, decay = OPTIMIZERS[name]
    theirs = getattr(keras.optimizers, cls)(rate, **arguments)
    decay = 0.01
    ours, spared = make_optimizer(name, rate, decay), make_optimizer(name, rate, 0.)
    start, grads = np.float32([1, -2]), np.float32([[.5, 1], [-1, .1], [.2, .3]])

    def after(optimizer, names):
        variables = [keras.Variable(start, name=n) for n in names]
        for g in grads:
            optimizer.apply([keras.ops.convert_to_tensor(g)] * len(variables), variables)
        return [np.array(v) for v in variables]
    kernel, gamma = after(ours, ["kernel", "gamma"])
    plain = after(theirs, ["kernel"])[0]
    if name != "adamw":
        np.testing.assert_allclose(after(spared, ["kernel"])[0], plain, rtol=1e-6)
        np.testing.assert_allclose(gamma, plain, rtol=1e-6, err_msg="no decay of normalization")
    assert np.abs(kernel) @ [1, 1] < np.abs(gamma) @ [1, 1], "decay shrinks"


def test_a_record_builds_no_stranger():
    """What a run.json names is looked up among Keras's own, and nowhere else."""
    good = check_optimizer(**{"optimizer": objects()["optimizer"]})
    assert make_optimizer(good, None, 0).get_config()["learning_rate"]["config"]["initial_learning_rate"] == .01
    hidden = dict(good["config"], learning_rate=dict(class_name="system", module="os", config={}))
    for bad in (dict(good, keras="Optimizer2"), dict(good, keras="os"), dict(good, keras=["SGD"]), dict(good, keras="schedules"), {},
                dict(good, module="evil"), dict(good, config=None), dict(good, config={"x": 1}), dict(good, config=hidden)):
        with pytest.raises(MobileNetError, match="none of Keras's|can't be used"):
            make_optimizer(bad, None, 0)
    with pytest.raises(MobileNetError, match="none of Keras's schedules"):
        make_schedule(dict(keras="SGD", module="keras.optimizers", config={}), 1, 1, 1)


def test_wrong_choices_are_told_first(tmp_path):
    """Before anything else is looked at, the network and the photos included."""
    import keras

    from mobilenet_keras.training.fine_tune import find_learning_rate, fine_tune
    for wrong, why in [(dict(optimizer="yellowfin"), "one of adamw, adam, nadam, sgd, momentum, nesterov, rmsprop, adagrad, adadelta, ftrl"),
                       (dict(schedule="linear"), "one of cosine, constant, step, exponential, polynomial, cyclic"),
                       (dict(schedule=dict(name="step", gamma=1)), "options at, factor. Received: gamma"),
                       (dict(optimizer=keras.optimizers.SGD(.1), learning_rate=.1), "brings its own learning_rate"),
                       (dict(optimizer=keras.optimizers.SGD(.1), schedule="constant"), "brings its own schedule"),
                       (dict(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(.1))), "mixed_precision=True"),
                       (dict(schedule=keras.optimizers.schedules.CosineDecay(.1, 9), learning_rate=.1), "brings its own learning_rate"),
                       (dict(callbacks=[keras.callbacks.EarlyStopping]), "list of keras.callbacks.Callback objects"),
                       (dict(callbacks=keras.callbacks.EarlyStopping()), "list of keras.callbacks.Callback objects")]:
        with pytest.raises(MobileNetError, match=why):
            fine_tune(None, None, **wrong)
    for wrong, why in [("conv9", "matches no layer of tiny. Its layers with weights: conv2d"), (1, "none that are named"), (1., "Received: 1.0")]:
        with pytest.raises(MobileNetError, match=why):
            train(tmp_path / "run", trainable=wrong)
    with pytest.raises(MobileNetError, match="takes the optimizer's name"):
        find_learning_rate(None, None, optimizer=keras.optimizers.SGD(.1))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_of_before_goes_on(tmp_path, monkeypatch):
    """One whose record says nothing of optimizer, schedule and layers."""
    from mobilenet_keras.training.fine_tune import resume
    whole = train(tmp_path / "whole", **SHORT)
    interrupted(monkeypatch, tmp_path / "cut", 1, **SHORT)
    facts = json.loads((tmp_path / "cut/run.json").read_text())
    for name in ("optimizer", "schedule", "trainable"):
        del facts["settings"][name]
    del facts["callbacks"]
    (tmp_path / "cut/run.json").write_text(json.dumps(facts))
    with pytest.raises(MobileNetError, match="optimizer='adamw' there and 'sgd' here"):
        train(tmp_path / "cut", **SHORT, optimizer="sgd", learning_rate=3e-3, weight_decay=5e-2)
    assert weights(resume(tmp_path / "cut", spots())) == weights(whole)


def test_only_some_layers_learn(tmp_path):
    from mobilenet_keras.training.fine_tune import fine_tune
    net = tiny(0)
    before = [np.array(w) for w in net.weights]
    run = fine_tune(net, spots(), folder=tmp_path / "run", **SHORT | dict(frozen_epochs=0), trainable="depthwise")
    moved = [not np.array_equal(a, np.array(b)) for a, b in zip(before, run.net.weights)]
    learned = {w.path.split("/")[-2] for w, m in zip(run.net.weights, moved) if m}
    assert {name.rstrip("_0123456789") for name in learned} == {"depthwise_conv2d", "dense"}, "and no running statistics of normalization"
    assert all(layer.trainable for layer in net.layers), "as it was"
    assert run.settings["trainable"] == [layer.name for layer in net.layers if "depthwise" in layer.name]


class Diary:
    """A callback that writes down what it is told."""
    def __new__(cls, stop=None, log=None):
        import keras

        class Writes(keras.callbacks.Callback):
            seen = []

            def on_train_begin(self, logs=None):
                self.seen.append(("begin", self.model.count_params(), self.params["epochs"]))

            def on_epoch_end(self, epoch, logs=None):
                self.seen.append((epoch, sorted(logs)))
                self.model.stop_training = epoch == stop

            def on_train_end(self, logs=None):
                self.seen.append("end")
        return Writes()


LOGS = ["accuracy", "loss", "val_accuracy", "val_loss"]


def test_callbacks_are_called_as_keras_calls_them(tmp_path, monkeypatch, capsys):
    diary, plain = Diary(), train(tmp_path / "plain", **SHORT)
    said = interrupted(monkeypatch, tmp_path / "run", 2, **SHORT, callbacks=[diary])
    assert str(tmp_path / "run") in said
    again = Diary()
    run = train(tmp_path / "run", **SHORT, callbacks=[again])
    whole, head = run.net.count_params(), run.net.layers[-1].count_params()
    assert diary.seen == [("begin", head, 1), (0, LOGS), "end", ("begin", whole, 3), (1, LOGS), (2, LOGS)]
    assert again.seen == [("begin", whole, 3), (2, LOGS), "end"]
    assert weights(run) == weights(plain), "who watches changes nothing"
    told = capsys.readouterr().err
    assert "those of the beginning (Writes) begin anew, without what they counted" in told
    assert json.loads((tmp_path / "run/run.json").read_text())["callbacks"] == ["Writes"]


def test_a_callback_stops_each_phase(tmp_path, capsys):
    class Stops(type(Diary())):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch in (0, 2)
    run = train(tmp_path / "run", **SHORT | dict(epochs=5, frozen_epochs=3), callbacks=[Stops()])
    assert [(row["phase"], row["epoch"]) for row in run.history] == [("head", 1), ("whole", 1), ("whole", 2)]
    told = capsys.readouterr().err
    assert "A callback (Stops) stopped the training of the head after epoch 1 of 3" in told and "whole network after epoch 2 of 5" in told
    assert json.loads((tmp_path / "run/run.json").read_text())["finished"]


@pytest.mark.slow
def test_kerass_own_callbacks(tmp_path):
    """Curves of TensorBoard in one numbering; a rate that falls on a plateau; each model as a file."""
    import keras
    import tensorflow as tf
    pytest.importorskip("tensorboard")
    rate = keras.callbacks.ReduceLROnPlateau("loss", factor=.5, patience=1, min_delta=100, verbose=0)
    wanted = [keras.callbacks.TensorBoard(tmp_path / "logs", write_graph=False), rate,
              keras.callbacks.ModelCheckpoint(tmp_path / "best-{epoch}.keras"), keras.callbacks.CSVLogger(tmp_path / "log.csv", append=True)]
    run = train(tmp_path / "run", **SHORT | dict(epochs=3), schedule="constant", optimizer="momentum", callbacks=wanted)
    steps = {}
    for path in (tmp_path / "logs/train").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag == "epoch_loss":
                    steps[event.step] = float(tf.make_ndarray(value.tensor))
    assert sorted(steps) == [0, 1, 2, 3]
    assert [round(v, 4) for _, v in sorted(steps.items())] == [round(row["loss"], 4) for row in run.history]
    assert float(rate.model.optimizer.learning_rate) < .03
    assert sorted(p.name for p in tmp_path.glob("best-*")) == [f"best-{i}.keras" for i in (1, 2, 3, 4)]
    net = keras.models.load_model(tmp_path / "best-4.keras", compile=False)
    assert net.output_shape == (None, 2)


def test_schedules_say_what_they_do():
    import keras
    assert check_schedule(dict(name="step", at=(np.float64(.25), .5), factor=np.float32(.5))) == dict(name="step", at=[.25, .5], factor=.5)
    made = check_schedule(keras.optimizers.schedules.CosineDecay(.1, 9))
    assert made["keras"] == "CosineDecay" and float(make_schedule(made, None, 1, 1)(0)) == pytest.approx(.1)
    for name in SCHEDULES:  # a single step, and a phase shorter than a warm-up
        for steps in (1, 3):
            rate = make_schedule(check_schedule(name), .1, steps, 10)
            assert 0 < float(rate(np.int64(0)) if callable(rate) else rate) <= .1 + 1e-7 or name == "cosine"
