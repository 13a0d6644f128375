"""Training that nothing stops for good: SIGKILL at every step, a full disk, a deleted folder, changed photos."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from small_training import CHOICES, eagerly, spots, tiny, train, weights


@pytest.fixture(scope="module", autouse=True)
def eager(tensorflow):
    with eagerly():
        yield


# Where to kill: before or after the n-th time that a file is moved into place, before it reaches the disk, or after so many seconds.
MOMENTS = ["replace 0", "replaced 0", "replaced 2", "fsync 1", "replaced 0", "0.3 s", "replace model.keras", "replace run.json", "replaced run.json"]


def kill_at(moment):
    """Make this process kill itself at `moment`."""
    die, count = (lambda: os.kill(os.getpid(), signal.SIGKILL)), dict(replace=0, fsync=0)
    if moment.endswith(" s"):
        return threading.Timer(float(moment[:-2]), die).start()
    verb, which = moment.split()
    real = dict(replace=os.replace, fsync=os.fsync)

    def watched(name, *args):
        hit = which in (str(count[name]), Path(str(args[-1])).name)
        count[name] += 1
        if hit and verb == name:
            die()
        done = real[name](*args)
        if hit and verb == name + "d":
            die()
        return done
    os.replace, os.fsync = (lambda *a: watched("replace", *a)), (lambda *a: watched("fsync", *a))


def chain(folder, moments):
    """Train in `folder` in a process for each moment, then in one that nothing kills; prints what became of each."""
    import tensorflow as tf  # a forked process has it at once; nothing has run yet, so there are no threads to lose

    import mobilenet_keras.training.fine_tune  # noqa: F401
    ends = []
    for moment in [*moments, None]:
        pid = os.fork()
        if not pid:
            tf.config.run_functions_eagerly(True)
            if moment:
                kill_at(moment)
            train(folder)
            os._exit(0)
        began, state = os.listdir(folder) if os.path.isdir(folder) else [], os.waitpid(pid, 0)[1]
        ends.append(dict(moment=moment, signal=os.WTERMSIG(state), code=os.waitstatus_to_exitcode(state), began=sorted(began)))
    print(json.dumps(ends))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow  # in its place: those of a full disk and of an interruption, in this process
def test_killed_at_any_moment_it_ends_with_the_same_bits(whole, tmp_path):
    from mobilenet_keras.run import Run
    done = subprocess.run([sys.executable, __file__, tmp_path / "run", "killed", *MOMENTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert [e["signal"] for e in ends] == [signal.SIGKILL] * len(MOMENTS) + [0] and ends[-1]["code"] == 0, (ends, done.stderr[-2000:])
    run = Run.open(tmp_path / "run")
    assert weights(run) == weights(whole) and run.history == whole.history and run.chosen == whole.chosen
    assert sorted(os.listdir(tmp_path / "run")) == sorted(os.listdir(whole.folder)) == ["log.csv", "model.keras", "run.json"]
    assert "Going on in" in done.stderr


def cut(folder, monkeypatch, epochs, disaster):
    """Train, and let `disaster` happen in place of saving the epoch after `epochs`."""
    from mobilenet_keras.training.fine_tune import _Trainer
    real = _Trainer.save
    with monkeypatch.context() as patch:
        patch.setattr(_Trainer, "save", lambda self: disaster(lambda: real(self)) if len(self.history) > epochs else real(self))
        train(folder)


def interrupt(save):
    raise KeyboardInterrupt


def on_a_full_disk(save):
    """Files may have 4,000 bytes from now on, as if no more were free."""
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_leaves_the_last_checkpoint(whole, tmp_path, monkeypatch, capsys):
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.run import Run
    from mobilenet_keras.training.fine_tune import resume
    folder = tmp_path / "run"
    with pytest.raises(MobileNetError, match="checkpoint.npz can't be written.*untouched"):
        cut(folder, monkeypatch, 3, on_a_full_disk)
    assert sorted(os.listdir(folder)) == ["checkpoint.npz", "log.csv", "model.keras", "run.json"]
    assert Run.open(folder).history == whole.history[:3]
    assert "stopped after 3 of 6 epochs" in capsys.readouterr().err
    assert weights(resume(folder, spots())) == weights(whole)


def test_a_deleted_folder_is_told_and_not_made_again(tmp_path, monkeypatch):
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.training.fine_tune import _Trainer
    folder, real = tmp_path / "run", _Trainer.end_epoch

    def deleted(self, row):
        if len(self.history) == 1:
            shutil.rmtree(folder)
        real(self, row)
    monkeypatch.setattr(_Trainer, "end_epoch", deleted)
    with pytest.raises(MobileNetError, match="moved or deleted"):
        train(folder)
    assert not folder.exists()


def test_only_the_same_run_goes_on(whole, tmp_path, monkeypatch):
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.training.fine_tune import _locked, fine_tune, resume
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        cut(folder, monkeypatch, 2, interrupt)
    before = (folder / "checkpoint.npz").read_bytes()
    for changes, message in [(dict(epochs=5), "epochs=4 there and 5 here"), (dict(ema_decay=0.), "ema_decay=0.9 there and 0.0 here")]:
        with pytest.raises(MobileNetError, match=message):
            train(folder, **changes)
    with pytest.raises(MobileNetError, match="21 for training and 9 for validation then, 23 and 12 now"):
        fine_tune(tiny(0), spots(35), folder=folder, **CHOICES)
    with pytest.raises(MobileNetError, match="can't go on: it has other photos.*other pixels or labels"):
        resume(folder, spots(seed=1))
    with pytest.raises(MobileNetError, match="does not say where its photos are"):
        resume(folder)
    if sys.platform != "win32":
        with _locked(folder), pytest.raises(MobileNetError, match="Another process"):
            train(folder)
    assert (folder / "checkpoint.npz").read_bytes() == before
    (folder / "checkpoint.npz").write_bytes(before[:3000] + bytes(50) + before[3050:])
    with pytest.raises(MobileNetError, match="is damaged"):
        train(folder)
    (folder / "checkpoint.npz").write_bytes(before)
    assert weights(train(folder)) == weights(whole)   # goes on
    assert weights(train(folder)) == weights(whole)   # is finished
    assert json.loads((folder / "run.json").read_text())["finished"]


WRONG = [dict(epochs=-1), dict(epochs="3"), dict(epochs=True), dict(frozen_epochs=1.), dict(learning_rate=0), dict(learning_rate=float("inf")),
         dict(learning_rate="x"), dict(batch_size=0), dict(batch_size=2.5), dict(weight_decay=-1.), dict(weight_decay=float("nan")),
         dict(label_smoothing=1), dict(ema_decay=None), dict(bn_momentum="x"), dict(patience=0), dict(head_views=2.), dict(seed=-1),
         dict(augment="yes"),
         dict(class_weights={"dark": "x"}), dict(class_weights={"dark": float("nan")}), dict(class_weights=[1, 2])]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_setting_is_told_before_a_folder_is_made(wrong, tmp_path):
    from mobilenet_keras.core import MobileNetError
    (name, value), = wrong.items()
    with pytest.raises(MobileNetError, match=f"{name}.*Received: ") as told:
        train(tmp_path / "run", **wrong)
    assert str(value) in str(told.value) and not (tmp_path / "run").exists()


def test_a_last_step_into_nothing_is_no_success(tmp_path, monkeypatch):
    """The loss of an epoch is that of before its steps; validation knows the last one."""
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.training.fine_tune import _Trainer
    real = _Trainer.end_epoch
    monkeypatch.setattr(_Trainer, "end_epoch", lambda self, row: real(self, row | dict(validation_loss=float("nan"))))
    with pytest.raises(MobileNetError, match="The loss is nan after epoch 1: lower learning_rate. Nothing was learned before it"):
        train(tmp_path / "run")


def test_a_single_step_trains():
    from mobilenet_keras.training.choices import cosine
    assert float(cosine(.1, 1, 9)(0)) == pytest.approx(.1) and float(cosine(.1, 4, 9)(0)) == pytest.approx(.1)
    assert float(cosine(.1, 50, 9)(0)) == 0 and float(cosine(.1, 50, 9)(9)) == pytest.approx(.1)


def test_numpy_numbers_are_numbers(tmp_path):
    run = train(tmp_path / "run", epochs=np.int64(1), learning_rate=np.float32(.01), seed=np.int64(3), class_weights={"dark": np.float32(2)})
    assert run.settings["seed"] == 3 and run.settings["class_weights"] == {"dark": 2}


def test_a_part_is_not_photos():
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.evaluation import evaluate
    from mobilenet_keras.training.fine_tune import find_learning_rate, fine_tune
    from mobilenet_keras.training.quantization import quantize
    for use in (fine_tune, find_learning_rate, quantize):
        with pytest.raises(MobileNetError, match="with their parts. Received: Functional and Part"):
            use(tiny(), spots().train)
    with pytest.raises(MobileNetError, match="such as `photos.test`. Received: Photos"):
        evaluate(tiny(), spots())
    with pytest.raises(MobileNetError, match="Wanted a model: .*Received: NoneType"):
        evaluate(None, spots().test)


def test_early_stopping_takes_the_best_epoch(tmp_path):
    run = train(tmp_path / "run", epochs=8, patience=1, learning_rate=.05, frozen_epochs=0)
    losses = [row["validation_loss"] for row in run.history]
    assert len(run.history) < 8 and run.chosen == int(np.argmin(losses)) == len(losses) - 2
    assert run.evaluate(spots().validation).accuracy == pytest.approx(run.validation_accuracy, abs=1e-6)


def test_the_learning_rate_finder_leaves_the_network_alone():
    from mobilenet_keras.training.fine_tune import find_learning_rate
    net = tiny(0)
    before = [np.array(w) for w in net.weights]
    found = find_learning_rate(net, spots(), 1e-4, 100., 40, 8)
    assert all((a == np.array(b)).all() for a, b in zip(before, net.weights))
    assert 1e-4 < found.suggestion < 1 and (np.diff(found.rates) > 0).all() and len(found.losses) == len(found.rates)


def test_the_head_sees_as_many_views_as_wanted(tmp_path, monkeypatch):
    """Features are computed once a view, not once an epoch, and the views differ."""
    from mobilenet_keras.training.fine_tune import _Trainer
    seen, real = [], _Trainer.features
    monkeypatch.setattr(_Trainer, "features", lambda self, *args: seen.append(real(self, *args)) or seen[-1])
    train(tmp_path / "run", frozen_epochs=5, epochs=0, head_views=3)
    assert [len(f) for f in seen] == [21, 21, 21, 9]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in [(seen[0], seen[1]), (seen[1], seen[2]), (seen[0], seen[2])])


@pytest.mark.slow
def test_mixed_precision_leaves_a_float32_network(tmp_path, monkeypatch):
    """float16 inside, a scaled loss, and nothing of it in what is kept; cut short, it too ends with the same bits."""
    from mobilenet_keras.run import Run
    from mobilenet_keras.training.fine_tune import _Trainer
    seen, real = set(), _Trainer.save
    monkeypatch.setattr(_Trainer, "save", lambda self: seen.add((self.phase, self.body.layers[1].compute_dtype)) or real(self))
    whole = train(tmp_path / "whole", mixed_precision=True)
    assert seen == {(None, "float32"), ("head", "float32"), ("whole", "float16")}
    assert {layer.dtype_policy.name for net in (whole.net, Run.open(tmp_path / "whole").net) for layer in net.layers} == {"float32"}
    assert {w.dtype for w in whole.net.weights} <= {"float32", "uint32"} and weights(whole) != weights(train(tmp_path / "single"))
    with monkeypatch.context() as patch:
        patch.setattr(_Trainer, "save", lambda self: interrupt(0) if len(self.history) == 4 else real(self))
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", mixed_precision=True)
    assert weights(train(tmp_path / "cut", mixed_precision=True)) == weights(whole)


def test_batches_are_equally_large():
    """A last batch of one photo would ruin the statistics of batch normalization."""
    from mobilenet_keras.training.fine_tune import _Batches
    made = _Batches(lambda epoch: lambda at: (at, at), 33, None, 8, 0)
    seen = [made[i][0] for i in range(len(made))]
    assert [len(s) for s in seen] == [7, 7, 7, 6, 6] and sorted(np.concatenate(seen)) == list(range(33))


def test_curves_grow_in_a_notebook(whole, monkeypatch):
    """One picture, replaced at most once a second, and at the end in any case."""
    display = pytest.importorskip("IPython.display")

    from mobilenet_keras.training.fine_tune import _Picture
    shown = []

    class Handle:
        def update(self, picture):
            shown.append(picture.data)
    monkeypatch.setattr(display, "display", lambda picture, display_id: shown.append(picture.data) or Handle())
    picture = _Picture()
    for n in range(1, len(whole.history) + 1):
        picture.show(whole.history[:n], n == len(whole.history))
    assert len(shown) in (2, 3) and shown[0] != shown[-1] and all(p[:4] == b"\x89PNG" for p in shown)


@pytest.mark.slow
def test_resume_from_the_command_line(tmp_path, monkeypatch, capsys):
    """`--out RUN` again and `--resume RUN` both go on; other choices are refused."""
    from PIL import Image

    from mobilenet_keras import cli
    from mobilenet_keras.networks import models
    from mobilenet_keras.run import Run
    from mobilenet_keras.training.fine_tune import _Trainer
    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.normal(90 + 60 * k, 40, (16, 16, 3)).clip(0, 255).astype(np.uint8)).save(tmp_path / f"photos/{name}/{i}.png")
    monkeypatch.setattr(models, "MobileNetV1", lambda *a, **k: tiny())
    monkeypatch.chdir(tmp_path)
    command = ["train", "photos", "--size", "12", "--weights", "none", "--epochs", "3", "--ema-decay", "0.9", "--balanced", "--patience", "9"]
    assert cli.main([*command, "--out", "the whole"]) == 0
    assert "Next: mobilenet quantize 'the whole'" in capsys.readouterr().out
    real = _Trainer.save
    for again in (["--out", "cut"], None, []):
        folder = "runs/tiny-1" if again == [] else "cut"
        with monkeypatch.context() as patch:
            patch.setattr(_Trainer, "save", lambda self: interrupt(0) if len(self.history) == 2 else real(self))
            if not os.path.isdir(folder):
                assert cli.main([*command, *(again or [])]) == 130
        if again == ["--out", "cut"]:
            assert cli.main([*command, "--seed", "1", "--out", "cut"]) == 2
            shutil.copytree("cut", "copy")
        assert cli.main(["train", "--resume", "copy"] if again is None else [*command, *again]) == 0
        assert weights(Run.open("copy" if again is None else folder)) == weights(Run.open("the whole"))
    assert not os.path.exists("runs/tiny-2")
    assert "seed=0 there and 1 here" in capsys.readouterr().err
    assert cli.main(["train"]) == 2 and cli.main(["train", "--resume", "photos"]) == 2
    assert cli.main(["train", "--resume", "the whole"]) == 0 and "Warning" not in capsys.readouterr().err
    next((tmp_path / "photos/dark").iterdir()).unlink()
    assert cli.main(["train", "--resume", "the whole"]) == 0
    assert "the whole was trained on other photos: " in (err := capsys.readouterr().err) and "the accuracy too good" in err


@pytest.mark.slow
def test_int8_is_estimated_early(whole, tmp_path, capsys, monkeypatch):
    """Between the phases, and without a trace in the run."""
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.training import quantization
    run = train(tmp_path / "run", int8_estimate=True, epochs=1)
    assert "After the head's phase, on 9 validation photos: float " in (told := capsys.readouterr().err) and "int8 would be about " in told
    plain = train(tmp_path / "plain", epochs=1)
    assert weights(run) == weights(plain) and run.settings == plain.settings and "int8" not in capsys.readouterr().err

    def fails(*args):
        raise MobileNetError("no such op")
    monkeypatch.setattr(quantization, "convert", fails)
    train(tmp_path / "failed", int8_estimate=True, epochs=0)
    assert "can't be estimated yet: no such op" in capsys.readouterr().err


def test_a_network_for_other_classes_is_refused(tmp_path):
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.networks.heads import classifier_head
    from mobilenet_keras.training.fine_tune import find_learning_rate, fine_tune
    net = tiny(0)
    other = "classes are cat, dog, and the photos' are dark, light. To train it for these"
    for names, why in [(["cat", "dog"], other), (["light", "dark"], "the same in another order")]:
        net.classes = names
        for use in (fine_tune, find_learning_rate):
            with pytest.raises(MobileNetError, match=why):
                use(net, spots())
    for names in (["0", "1"], None, ["dark", "light"]):
        net.classes = names
        fine_tune(net, spots(), folder=tmp_path / str(names), **{**CHOICES, "epochs": 0, "frozen_epochs": 1})
    assert classifier_head(tiny(0), ["cat", "dog"]).classes == ["cat", "dog"]


@pytest.mark.slow
def test_a_network_of_the_global_policy(tmp_path, capsys):
    """Built in float16: it trains with mixed precision, and what is kept and quantized is float32."""
    import keras

    from mobilenet_keras.training.quantization import quantize
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        net = tiny(0)
        assert {layer.dtype_policy.name for layer in net.layers} == {"mixed_float16"}
        model = quantize(net, spots(), scale="signed")
        assert {layer.dtype_policy.name for layer in net.layers} == {"mixed_float16"}, "as it was"
        from mobilenet_keras.training.fine_tune import fine_tune
        run = fine_tune(net, spots(), folder=tmp_path / "run", **CHOICES)
        assert "By Keras's global policy" in capsys.readouterr().err and run.settings["mixed_precision"]
        assert {layer.dtype_policy.name for layer in run.net.layers} == {"float32"}
        assert model.comparison["n"] == quantize(run, spots()).comparison["n"] and np.isfinite(run.history[-1]["loss"])
    finally:
        keras.mixed_precision.set_global_policy("float32")


def other_kernels(folder, command):
    """Train without a disturbance and with one, or go on; prints oneDNN's kernels, then the notes."""
    from mobilenet_keras import cli
    os.chdir(folder)
    if command == "resume":
        code = cli.main(["train", "--resume", "cut"])
    else:
        from mobilenet_keras.networks import models
        from mobilenet_keras.training.fine_tune import _Trainer
        real, models.MobileNetV1 = _Trainer.save, lambda *a, **k: tiny(1)
        for out, most in (("whole", 9), ("cut", 1)):
            _Trainer.save = lambda self, most=most: interrupt(0) if len(self.history) > most else real(self)
            code = cli.main(["train", "photos", "--size", "12", "--weights", "none", "--epochs", "2", "--out", out])
    from mobilenet_keras.training.fine_tune import _onednn
    print(json.dumps([code, _onednn()]))


@pytest.mark.slow
def test_a_run_goes_on_with_the_kernels_that_it_began_with(tmp_path, capsys):
    """oneDNN's have other bits; a new run has them, one that began without them goes on without them, or says so."""
    from PIL import Image

    from mobilenet_keras.run import Run
    from mobilenet_keras.training.fine_tune import _onednn, resume
    if not _onednn():
        pytest.skip("this process has no oneDNN: TensorFlow was built without it, or TF_ENABLE_ONEDNN_OPTS=0")
    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.normal(90 + 60 * k, 40, (16, 16, 3)).clip(0, 255).astype(np.uint8)).save(tmp_path / f"photos/{name}/{i}.png")

    def process(command, **env):
        free = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
        done = subprocess.run([sys.executable, __file__, tmp_path, command], capture_output=True, text=True, env=free | env)
        return json.loads(done.stdout.splitlines()[-1]), done.stderr
    assert process("begin", TF_ENABLE_ONEDNN_OPTS="0")[0] == [130, False]
    shutil.copytree(tmp_path / "cut", tmp_path / "copy")
    (code, onednn), said = process("resume")
    assert (code, onednn) == (0, False) and "Going on in cut" in said and "oneDNN" not in said
    whole = Run.open(tmp_path / "whole")
    assert weights(Run.open(tmp_path / "cut")) == weights(whole)
    assert json.loads((tmp_path / "cut/run.json").read_text())["versions"]["onednn"] is False
    assert resume(tmp_path / "copy").history[:1] == whole.history[:1]
    assert "copy began without TensorFlow's oneDNN kernels and goes on with them" in capsys.readouterr().err, "this process has the others"


if __name__ == "__main__":
    chain(sys.argv[1], sys.argv[3:]) if sys.argv[2] == "killed" else other_kernels(*sys.argv[1:])
