"""A batch that several devices divide gives what one device gives; here they are virtual CPUs, since no machine of the tests has two GPUs."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import at_once, one_line, photos


def process(what, *arguments, dies=False):
    """(what tests/virtual_devices.py found, what it said) in a process of its own."""
    script = Path(__file__).with_name("virtual_devices.py")
    command, quiet = [sys.executable, script, what, *map(str, arguments)], {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    if dies:
        assert done.returncode == -signal.SIGKILL, done.stderr
        return None, done.stderr
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def found():
    pytest.importorskip("tensorflow")
    return process("quick")


@pytest.mark.parametrize("case", ["gradient", "clipped"])
def test_a_step_is_the_same(case, found):
    """Gradients and batch statistics within 1e-5, with dropout, weights of classes and 21 photos, which two don't divide; so the metrics, too."""
    step = found[0]["steps"][case]
    assert max(step["difference"].values()) < 1e-5, step["difference"]
    assert min(step["size"].values()) > 1e-3, "every array moved by far more"
    one, several = step["logs"]
    assert several == pytest.approx(one, abs=2e-6)


def test_devices_are_no_part_of_a_runs_identity(found):
    for step in found[0]["steps"].values():
        assert step["settings"][0] == step["settings"][1] and step["devices"] == [1, 2]


def test_what_cannot_be_is_told_before_a_folder_is_made(found):
    said, made = found[0]["wrong"]
    form = "devices is None, 'all' (every GPU) or a list of two or more"
    wanted = ["TensorFlow finds no device 'GPU:9'. It finds: CPU:0, CPU:1, CPU:2", form, form, "devices names 'CPU:0' twice", form,
              "devices='all' means every GPU, and TensorFlow finds none", form, "Keras computes with jax here"]
    assert len(said) == len(wanted) and made == []
    for text, part in zip(said, wanted):
        assert text.startswith(part) or part in text, text


def test_idle_gpus_are_told(tensorflow, monkeypatch, capsys):
    from mobilenet_keras.training.devices import check_devices

    class Device:
        def __init__(self, name):
            self.name = name
    monkeypatch.setattr(tensorflow.config, "list_logical_devices", lambda: [Device(f"/device:{name}") for name in ("CPU:0", "GPU:0", "GPU:1")])
    assert check_devices(None) is None and "One of 2 GPUs trains" in capsys.readouterr().err
    assert check_devices("all") == check_devices(["gpu:0", "/physical_device:GPU:1"]) == ["GPU:0", "GPU:1"]
    monkeypatch.setattr(tensorflow.config, "list_logical_devices", lambda: [Device("/device:CPU:0"), Device("/device:GPU:0")])
    assert check_devices("all") is check_devices(None) is None and not capsys.readouterr().err


def test_from_a_shell(tensorflow, tmp_path, monkeypatch, capsys):
    """The flag reaches `fine_tune`, which knows these CPUs, and `resume`; nothing is made."""
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.training import fine_tune
    command = ["train", photos(tmp_path / "fruit"), "--size", "32", "--weights", "none", "--out", tmp_path / "run", "--devices"]
    code, _, err = at_once(capsys, *command, "CPU:0,GPU:7")
    assert code == 2 and one_line(err).startswith("mobilenet: TensorFlow finds no device 'GPU:7'. It finds: CPU:0")
    code, _, err = at_once(capsys, *command, "all")
    assert code == 2 and "every GPU, and TensorFlow finds none" in one_line(err) and not (tmp_path / "run").exists()

    def resumed(folder, photos, devices):
        raise MobileNetError(f"{devices}")
    monkeypatch.setattr(fine_tune, "resume", resumed)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text(json.dumps(dict(photos=dict(folder=str(tmp_path / "fruit"), image_size=32))))
    assert "['GPU:0', 'GPU:1']" in at_once(capsys, "train", "--resume", tmp_path / "run", "--devices", "GPU:0,GPU:1")[2]


def test_an_overflow_on_one_device_is_one_for_all(found):
    """Keras by itself looks at the first device alone."""
    (weight, scale), (after, same) = found[0]["overflow"]
    assert (weight, scale) == ([1., 1.], [2.**14] * 2)
    assert (after, same) == ([0., 0.], [2.**14] * 2)  # 2 x 2**13 / 2**14


@pytest.mark.slow
def test_whole_trainings(tmp_path):
    """As of one device, with augmentation, an average, early stopping and views; and a run goes on with as many devices, or with fewer."""
    pytest.importorskip("tensorflow")
    made, said = process("runs", tmp_path)
    for name in ("two", "three"):
        assert made[name]["far"] < 1e-5, name
        several, one = made[name]["history"]
        for what in ("accuracy", "validation_accuracy"):
            assert [h[what] for h in several] == [h[what] for h in one]
    assert made["cut 1"] is made["cut 4"] is True, "the same bits"
    assert made["fewer"]["far"] < 1e-5 and made["fewer"]["began"] == 2 and "fewer began on 2 devices and goes on with 1" in said
    assert said.count("goes on with") == 1
    one, several = made["few"]["validation"]
    assert made["few"]["far"] < 1e-4 and several == pytest.approx(one, abs=1e-4), "two photos, and a last one, for three devices"
    assert made["half"]["far"] < 1e-3 and made["half"]["dtypes"] == ["float32"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_it_ends_with_the_same_bits(tmp_path):
    pytest.importorskip("tensorflow")
    process("killed", tmp_path / "cut", 3, dies=True)
    again, said = process("killed", tmp_path / "cut", 0)
    assert "Going on in" in said and again == process("killed", tmp_path / "whole", 0)[0]
