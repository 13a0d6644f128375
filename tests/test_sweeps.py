"""Sweeps: what is tried, who is behind, what a kill leaves, and a cluster that trains the same bits."""
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import at_once, one_line
from PIL import Image
from small_finding import written
from small_training import eagerly, train

from mobilenet_keras import sweeps
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.photos import Photos
from mobilenet_keras.sweeps import Sweep, Trial, _chosen, _stopper, _with_weights, behind, front, grid, seeds_interval, sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of noise, darker and lighter."""
    root, rng = tmp_path_factory.mktemp("sweep") / "noise", np.random.default_rng(0)
    for name, mean in (("dark", 90), ("light", 150)):
        (root / name).mkdir(parents=True)
        for i in range(14):
            Image.fromarray(rng.normal(mean, 50, (32, 32, 3)).clip(0, 255).astype(np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def small(monkeypatch):
    """MobileNets of a few hundred weights, whose widths still differ."""
    import keras

    from mobilenet_keras.networks import models

    def build(alpha, input_shape, classes, weights=None, **_):
        x = inputs = keras.Input(input_shape)
        for layer in (keras.layers.Conv2D(max(1, round(16 * alpha)), 3, 2, use_bias=False), keras.layers.BatchNormalization(momentum=.9),
                      keras.layers.ReLU(6), keras.layers.GlobalAveragePooling2D()):
            x = layer(x)
        n = classes if isinstance(classes, int) else len(classes)
        net = keras.Model(inputs, keras.layers.Dense(n, "softmax")(x), name=f"small_{alpha}_{input_shape[0]}")
        net.pretrained, net.preprocessing, net.classes = False, None, classes
        return net
    monkeypatch.setattr(models, "MobileNetV1", build)
    with eagerly():
        yield


FAST = dict(weights=None, epochs=2, batch_size=32, board=None, augment=False, early_stop=False)


def weights_of(found):
    import keras
    nets = {r["name"]: keras.models.load_model(found.folder / r["name"] / "model.keras", compile=False) for r in found.runs}
    digest = lambda net: hashlib.sha256(b"".join(np.asarray(w).tobytes() for w in net.get_weights())).hexdigest()  # noqa: E731  pytest compares long bytes for hours
    return {name: digest(net) for name, net in nets.items()}


def test_every_combination_once():
    settings = dict(learning_rate=[1e-3, 3e-3], batch_size=16)
    trials = grid(["v1", "v2"], [.25, .5, .5], [128, 96], gray=[False, True], seeds=[3, 5], settings=settings)
    assert len(trials) == len(set(trials)) == len({t.name for t in trials}) == 2 * 2 * 2 * 2 * 2 * 2
    assert [t.size for t in trials] == [96] * 32 + [128] * 32, "photos are read once for a size"
    assert "v2_0.5_128_gray_learning_rate=0.001_batch_size=16-s5" in {t.name for t in trials}
    assert all(Path(t.name).name == t.name for t in trials)


@pytest.mark.parametrize("given, says", [
    (dict(net="v3"), "v1 and v2"), (dict(alpha=0), "width multiplier"), (dict(alpha=[.25, "x"]), "'x'"), (dict(size=4), "side in pixels"),
    (dict(size=[(96, 128)]), "side in pixels"), (dict(seeds=0), "from 1 to 100"), (dict(seeds=True), "from 1 to 100")])
def test_grids_that_can_not_be(given, says):
    with pytest.raises(MobileNetError, match=says):
        grid(**given)


def test_photos_with_boxes_are_not_swept(tmp_path):
    with pytest.raises(MobileNetError, match="A sweep trains classifiers, and these photos have boxes"):
        sweep(Photos.from_annotations(written(tmp_path / "squares", 4), 32, augment_scale=1), folder=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_who_is_behind_is_the_median_rule_of_vizier():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mine, others = rng.random(rng.integers(1, 9)), [list(rng.random(8)) for _ in range(rng.integers(0, 7))]
        wanted = len(others) >= 3 and max(mine) < statistics.median(sum(o[:len(mine)]) / len(mine) for o in others)
        assert behind(list(mine), others) == wanted


def test_intervals_of_students_t():
    stats = pytest.importorskip("scipy.stats")
    for n in (2, 3, 7, 10):
        values = np.random.default_rng(n).random(n)
        low, high = stats.t.interval(.95, n - 1, values.mean(), stats.sem(values))
        mean, half = seeds_interval(list(values))
        assert abs(mean - values.mean()) < 1e-12 and abs(half - (high - low) / 2) < 1e-3


def test_the_front_is_what_nothing_beats():
    rng = np.random.default_rng(1)
    rows = [dict(accuracy=float(a), ms=float(b), ram=float(c)) for a, b, c in rng.integers(0, 6, (60, 3))]
    best = front(rows, ("ms", "ram"))
    for row in rows:
        beaten = any(o["accuracy"] >= row["accuracy"] and o["ms"] <= row["ms"] and o["ram"] <= row["ram"] and o != row for o in rows)
        assert (row in best) != beaten


def test_a_search_finds_what_is_better():
    pytest.importorskip("optuna")
    trials, done = grid(["v1", "v2"], [.25, .35, .5, .75], [96, 128], seeds=2, settings=dict(learning_rate=[1e-3, 3e-3])), {}

    def worth(t):
        return .9 - .1 * (t.net == "v1") - .3 * abs(t.alpha - .5) - .05 * (dict(t.settings)["learning_rate"] == 1e-3)
    for t in _chosen(trials, 24, lambda: done):
        assert t.name not in done
        done[t.name] = worth(t)
    assert len(done) == 24
    assert statistics.fmean(list(done.values())[12:]) > statistics.fmean(map(worth, trials)) + .03
    again = [t.name for t in _chosen(trials, 24, lambda: done)]
    assert again == [t.name for t in trials if t.name in done], "what is finished is not chosen anew"


def test_a_sweep_goes_on_where_it_was_killed(folder, small, tmp_path, monkeypatch):
    from mobilenet_keras.training import fine_tune as module
    choices = dict(FAST, alpha=.25, size=12, seeds=1)
    whole = sweep(folder, folder=tmp_path / "whole", **choices)
    assert [(r["finished"], r["epochs"]) for r in whole.runs] == [(True, 2)]
    ends, end = [], module._Trainer.end_epoch

    def killed(self, row):
        end(self, row)
        ends.append(row)
        if len(ends) == 1:
            raise KeyboardInterrupt
    monkeypatch.setattr(module._Trainer, "end_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep(folder, folder=tmp_path / "cut", **choices)
    left = Sweep.open(tmp_path / "cut")
    assert [(r["finished"], r["epochs"]) for r in left.runs] == [(False, 1)] and left.rows == []
    found = sweep(folder, folder=tmp_path / "cut", **choices)
    assert len(ends) == 1 + 1, "no epoch is trained twice"
    assert weights_of(found) == weights_of(whole)
    assert [r["network"] for r in found.rows] == [r["network"] for r in whole.rows] and found.best_name() in {r["name"] for r in found.runs}
    assert "v1_0.25_12" in found._repr_html_() and "on the front" in str(found) and len(found.plot().axes) == 1


def test_a_sweep_may_grow_but_not_by_other_photos(folder, small, tmp_path, capsys):
    choices = dict(FAST, size=12, folder=tmp_path / "s", epochs=1)
    sweep(folder, alpha=.25, seeds=1, **choices)
    capsys.readouterr()
    assert len(sweep(folder, alpha=[.25, .5], seeds=1, **choices).runs) == 2 and len(Sweep.open(tmp_path / "s").trials) == 2
    said = capsys.readouterr().err
    assert "2 trainings" in said and "1 of them finished before" in said and said.count("epoch 1/1") == 1
    with pytest.raises(MobileNetError, match="epochs=1. Received: epochs=2"):
        sweep(folder, alpha=.25, seeds=1, **dict(choices, epochs=2))
    (tmp_path / "copy").mkdir()
    for name in ("dark", "light"):
        os.symlink(folder / name, tmp_path / "copy" / name)
    with pytest.raises(MobileNetError, match="other photos"):
        sweep(tmp_path / "copy", alpha=.25, seeds=1, **choices)


def test_what_is_behind_is_stopped(tmp_path, capsys):
    """Three finished runs are better than anything can be; a training that is compared with them ends after its first epoch."""
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(dict(finished=True, history=[dict(validation_accuracy=1.5)] * 9)))
    run = train(tmp_path / "mine", epochs=3, frozen_epochs=0, patience=None, callbacks=[_stopper(tmp_path, "mine", ["a", "b", "c"])])
    assert len(run.history) == 1 and "stopped" in capsys.readouterr().err
    run = train(tmp_path / "alone", epochs=2, frozen_epochs=0, patience=None, callbacks=[_stopper(tmp_path, "alone", ["a", "b", "none"])])
    assert len(run.history) == 2, "two are too few to be compared with"


def test_a_network_is_compared_with_those_that_cost_no_more(folder, small, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(sweeps, "train_trial", lambda trial, *job: given.update({trial.name: job[-1]}) or trial.name)
    monkeypatch.setattr(sweeps, "_told", lambda found, names, total: list(names))
    sweep(folder, alpha=[.125, .5, .25], size=12, seeds=2, folder=tmp_path / "s", **dict(FAST, early_stop=True))
    small, middle, large = ([f"v1_{a:g}_12-s{s}" for s in (0, 1)] for a in (.125, .25, .5))
    assert set(given[small[0]]) == {small[1]} and set(given[middle[1]]) == {*small, middle[0]} and set(given[large[0]]) == {*small, *middle, large[1]}


def test_what_has_no_weights_is_left_out_aloud(folder, capsys):
    kept = _with_weights(grid(["v1", "v2"], [.25, .35], seeds=1), "imagenet")
    assert [(t.net, t.alpha) for t in kept] == [("v1", .25), ("v2", .35)]
    assert "v1 0.35" in (said := capsys.readouterr().err) and "v2 0.25" in said
    with pytest.raises(MobileNetError, match="weights none"):
        sweep(folder, alpha=.3, seeds=1)


def test_broken_sweeps_are_told(tmp_path):
    with pytest.raises(MobileNetError, match="no sweep.json"):
        Sweep.open(tmp_path)
    trial = dict(net="v1", alpha=.25, size=96, gray=False, settings=[], seed=0)
    hostile = dict(trial, net="../../etc")
    costs = {"v1_0.25_96": {}, "../../etc_0.25_96": {}}
    claims = [json.dumps(dict(board=None, costs=costs, photos={}, choices={}, trials=[t])) for t in (trial | dict(settings=4), hostile)]
    for text in ("", "[]", "{", json.dumps(dict(board=None, costs={}, photos={}, trials=[trial])), *claims, "\0" * 100):
        (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(MobileNetError, match="is broken"):
            Sweep.open(tmp_path)


def test_the_command_line(folder, small, tmp_path, capsys):
    flags = ["--weights", "none", "--epochs", "1", "--seeds", "1", "--board", "none", "--no-early-stop", "-o", str(tmp_path / "s")]
    code, out, err = at_once(capsys, "sweep", str(folder), "--alpha", "0.25", "0.5", "--size", "12", *flags, "--json")
    facts = json.loads(out)
    assert code == 0 and [r["finished"] for r in facts["runs"]] == [True, True] and "2/2" in err
    code, out, err = at_once(capsys, "sweep", str(tmp_path / "s"))
    assert code == 0 and "v1_0.5_12" in out and "mobilenet quantize" in out and err == "", "the table alone; nothing is trained"
    assert (tmp_path / "s" / "sweep.svg").read_text().startswith("<?xml")
    for wrong, says in [(["nosuch"], "nosuch"), ([folder, "--alpha", "0"], "width multiplier"), ([folder, "--size", "big"], "--size"),
                        ([folder, "--trials", "0"], "at least 1"), ([folder, "--board", "pica"], "pica"),
                        ([folder, "--seeds", "-1"], "from 1 to 100")]:
        code, out, err = at_once(capsys, "sweep", *wrong)
        assert (code, out) == (2, "") and says in one_line(err)


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of this machine that runs a task, or a skip that says why it doesn't."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # else Ray kills workers, again and again, where other tests have filled the memory
    code = "import ray; ray.init(log_to_driver=False, include_dashboard=False); print(ray.get(ray.remote(lambda: 42).remote(), timeout=90))"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150)
    except subprocess.TimeoutExpired:
        pytest.skip("Ray's cluster does not start on this machine within 150 seconds")
    if done.stdout.strip() != "42":
        pytest.skip(f"Ray's cluster does not start on this machine: {done.stderr.strip().splitlines()[-1:]}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_trains_the_same_bits_though_a_worker_is_killed(cluster, folder, tmp_path):
    """One worker is killed after its first epoch; Ray starts the training again, which goes on from its checkpoint."""
    choices = dict(alpha=[.1, .25], size=32, seeds=1, weights=None, epochs=4, board=None, augment=False, early_stop=False)
    here = sweep(folder, folder=tmp_path / "here", **choices)
    killed, over = [], threading.Event()
    code = ("import json, sys; from mobilenet_keras.sweeps import sweep\n"
            "found = sweep(sys.argv[1], folder=sys.argv[2], ray='local', **json.loads(sys.argv[3]))\n"
            "print(json.dumps([dict(finished=r['finished'], epochs=r['epochs']) for r in found.runs]))")

    def kill():
        while not over.is_set():
            for log in (tmp_path / "ray").glob("*/log.csv"):
                if 2 <= len(log.read_text().splitlines()) <= 4 and not killed:
                    for stat in Path("/proc").glob("[0-9]*/fd"):
                        try:
                            if any(os.path.samefile(fd, log.parent) for fd in stat.iterdir()):  # who holds its lock
                                os.kill(int(stat.parent.name), signal.SIGKILL)
                                killed.append(log.parent.name)
                                return
                        except OSError:
                            continue
            time.sleep(.1)
    watcher = threading.Thread(target=kill)
    watcher.start()
    driver = subprocess.Popen([sys.executable, "-c", code, folder, tmp_path / "ray", json.dumps(choices)], text=True, start_new_session=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = driver.communicate(timeout=420)
    except subprocess.TimeoutExpired:
        os.killpg(driver.pid, signal.SIGKILL)  # what Ray started ends with its driver
        pytest.skip(f"Ray's cluster of this machine takes more than 7 minutes for half a minute's work; so far: {driver.communicate()[1][-600:]!r}")
    finally:
        over.set()
        watcher.join()
    assert driver.returncode == 0, err[-2000:]
    runs = json.loads(out.splitlines()[-1])
    assert killed and len(runs) == 2 and all(r == dict(finished=True, epochs=4) for r in runs)
    assert weights_of(Sweep.open(tmp_path / "ray")) == weights_of(here)


def test_names_of_trials_say_what_was_tried():
    assert Trial("v2", .35, 128, True, (("learning_rate", .001),), 2).name == "v2_0.35_128_gray_learning_rate=0.001-s2"
