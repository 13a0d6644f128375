"""Evaluation of folders of photos: the engine against interpreters, the statistics, the command line."""
import json
import os
import time

import numpy as np
import pytest
from helpers import CLASSES, mobilenet, network, one_line, photos
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.evaluation import Evaluation, evaluate, wilson_interval
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import Builder
from mobilenet_keras.tflite.interpreters import installed_runtimes


@pytest.fixture
def folder(tmp_path):
    return photos(tmp_path / "fruit", ("banana", "lime", "plum"))


@pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
@pytest.mark.parametrize("head", ["softmax", "logistic"])
@pytest.mark.parametrize("preset", ["keras", "torch", "caffe"])
def test_a_compiled_model_scores_as_tflm(tmp_path, folder, preset, head):
    """Preprocessing from the file's own table, in threads, on photos that are read from disk: the same bytes."""
    model = network(preset, head)
    if head == "logistic":
        for path in sorted((folder / "plum").iterdir()):
            path.unlink()
        (folder / "plum").rmdir()
    path, judge = compile_model(model).save(tmp_path / "m.mbn"), evaluate(model, folder, runtime="tflm")
    found = evaluate(path, folder, workers=3)
    assert (found.scores == judge.scores).all() and (found.labels == judge.labels).all() and found.paths == judge.paths
    assert len(np.unique(found.scores, axis=0)) > (6 if head == "softmax" else 2) and (found.labels == 0).sum() == 12
    assert found.classes == model.classes and [p.parent.name for p in found.paths] == [found.classes[i] for i in found.labels]


def test_the_file_prepares_photos_as_python_does(tmp_path):
    for preset in ("keras", "torch", "caffe"):
        model, pixels = network(preset), np.random.default_rng(0).integers(0, 256, (24, 28, 3), np.uint8)
        engine = Engine(model)
        assert engine.labels == CLASSES and Preprocessing.from_dict(engine.metadata["preprocessing"]) == model.preprocessing
        assert (engine.prepare(pixels) == model.preprocessing.quantize(pixels, engine.scale, engine.zero)).all()
    with pytest.raises(MobileNetError, match="takes photos of uint8"):
        engine.prepare(pixels.astype(np.int8))
    with pytest.raises(MobileNetError, match="does not say how photos become its input"):
        Engine(Builder((1, 24, 28, 3)).conv(4, 3, 2).model()).prepare(pixels)


@pytest.mark.parametrize("right, n, low, high", [(81, 263, .2553, .3662), (15, 148, .0624, .1605), (0, 20, 0, .1611), (1, 29, .0061, .1718)])
def test_wilson_is_newcombe_1998_table_1(right, n, low, high):
    assert [round(v, 4) for v in wilson_interval(right, n)] == [low, high]


def test_figures_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 5, 300), rng.integers(-128, 128, (300, 5)).astype(np.int8)
    found = Evaluation("random", list("abcde"), labels, scores, [""] * 300)
    precision, recall, _, counts = metrics.precision_recall_fscore_support(labels, found.predicted)
    assert (found.confusion == metrics.confusion_matrix(labels, found.predicted)).all()
    assert found.accuracy == metrics.accuracy_score(labels, found.predicted)
    for row, *wanted in zip(found.per_class(), precision, recall, counts, strict=True):
        assert np.allclose([row["precision"], row["recall"], row["photos"]], wanted, atol=1e-4)
    real = scores + rng.random((300, 5)) / 2  # no ties, about which scikit-learn thinks otherwise
    assert Evaluation("", list("abcde"), labels, real, []).top(2) == pytest.approx(metrics.top_k_accuracy_score(labels, real, k=2))


def test_the_command(tmp_path, folder):
    path = compile_model(network()).save(tmp_path / "m.mbn")
    worst = tmp_path / "worst.png"
    code, out, err = mobilenet("evaluate", path, folder, "--json", "--mistakes", worst)
    facts = json.loads(out)
    assert (code, err, facts["n"]) == (0, "", 36) and sum(map(sum, facts["confusion"])) == 36
    assert facts["interval"][0] < facts["accuracy"] < facts["interval"][1] and Image.open(worst).size[0] == 624
    (folder / "lime" / "broken.jpg").write_bytes(b"\xff\xd8 no")
    (folder / "plum" / "empty.png").touch()
    code, out, _ = mobilenet("evaluate", path, folder)
    assert code == 1 and "of 36 photos right (95 % confidence" in out and "2 files could not be read" in out


@pytest.mark.parametrize("args, message", [
    (["m.mbn", "nowhere"], "No such folder of photos: nowhere"), (["gone.mbn", "fruit"], "No such model: gone.mbn"),
    (["m.mbn", "fruit", "--part", "test"], "has no test folder"), (["m.mbn", "empty"], "Wanted class folders with photos"),
    (["m.mbn", "strangers"], "has no class 'pear'. It has: lime, banana, plum"), (["junk.mbn", "fruit"], "does not begin with MBN1"),
    (["cut.mbn", "fruit"], "shorter than it says"),
    (["empty.mbn", "fruit"], "has 0 bytes"), (["m.mbn", "unreadable"], "No photo in unreadable could be read")])
def test_bad_input_is_one_line(tmp_path, folder, args, message):
    data = compile_model(network()).data
    (tmp_path / "m.mbn").write_bytes(data), (tmp_path / "cut.mbn").write_bytes(data[:-9]), (tmp_path / "empty.mbn").touch()
    (tmp_path / "junk.mbn").write_bytes(os.urandom(500)), (tmp_path / "empty").mkdir()
    photos(tmp_path / "strangers", ("lime", "pear"), 1)
    (tmp_path / "unreadable/lime").mkdir(parents=True), (tmp_path / "unreadable/lime/a.png").write_bytes(b"?")
    code, out, err = mobilenet("evaluate", *args, cwd=tmp_path)
    assert code == 2 and out == "" and message in one_line(err)


def test_parts_and_folders_of_some_classes(tmp_path):
    photos(tmp_path / "set/train", ("lime", "banana"), 3), photos(tmp_path / "set/test", ("banana",), 2)
    model = network()
    assert [len(evaluate(model, tmp_path / "set", part)) for part in (None, "test", "train")] == [2, 2, 6]
    found = evaluate(model, tmp_path / "set")
    lime = found.per_class()[0]
    assert set(found.labels) == {1} and (lime["name"], lime["photos"], lime["recall"]) == ("lime", 0, None)
    assert "banana" in str(found) and "<table>" in found._repr_html_()


def test_interrupted_at_once(tmp_path, folder):
    """Ctrl-C in the middle of a thousand photos ends it, exit code 130."""
    import signal
    import subprocess
    import sys
    path = compile_model(network()).save(tmp_path / "m.mbn")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)).save(folder / "lime/large.jpg")  # 50 ms to read
    for i in range(1500):
        (folder / "lime" / f"{i}.jpg").symlink_to(folder / "lime/large.jpg")
    heard = dict(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a shell lets what it starts with & ignore Ctrl-C
    running = subprocess.Popen([sys.executable, "-m", "mobilenet_keras.cli", "evaluate", path, folder], stderr=subprocess.PIPE, text=True, **heard)
    time.sleep(1.2)
    running.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = running.communicate(timeout=60)
    assert running.returncode in (130, -signal.SIGINT) and time.monotonic() - started < 30
    assert "Traceback" not in err or running.returncode == -signal.SIGINT  # before main() began


def test_photos_in_memory_are_judged_as_their_folder(tensorflow, tmp_path, folder):
    """A Part, its folder, the .tflite, the .mbn and Keras: one function, one kind of answer."""
    from mobilenet_keras.networks.models import MobileNetV1
    from mobilenet_keras.photos import Part, Photos
    found = Photos.from_folder(folder, (24, 28), validation=.3, test=.3, group=False)
    model = Builder((1, 24, 28, 3), 6).conv(8, 3, 2).depthwise().conv(16, 1, 2).mean().dense(3).softmax().model("fruit")
    model = model.with_metadata(found.classes, Preprocessing(24, 28))
    pixels, labels = (np.concatenate([getattr(p, k) for p in (found.train, found.test)]) for k in ("pixels", "labels"))
    everything = Part(pixels, labels, found.train.paths + found.test.paths, tuple(found.classes))
    by_path = {str(p): s for e in [evaluate(model, folder)] for p, s in zip(e.paths, e.scores, strict=True)}
    for judged in (evaluate(model, everything), evaluate(compile_model(model), everything, workers=1)):
        assert len(judged) == len(everything) and all((by_path[str(p)] == s).all() for p, s in zip(judged.paths, judged.scores, strict=True))
    net = MobileNetV1(.25, (24, 28, 3), found.classes)
    real = evaluate(net, everything)
    wanted = np.asarray(net(net.preprocessing(everything.pixels), training=False))
    assert np.allclose(real.scores, wanted, atol=1e-5) and (real.labels == everything.labels).all()
    assert real.mistakes_sheet().size[0] > 96 and "base64" in real._repr_html_()
    assert [t.get_text() for t in real.plot().axes[0].get_xticklabels()] == found.classes
    for wrong, message in ((Part(pixels[:0], labels[:0], (), ("a",)), "no photos to evaluate"),
                           (Part(pixels[:, :9], labels, everything.paths, everything.classes), r"takes photos of \(24, 28, 3\)"),
                           (Part(pixels, labels, everything.paths, ("x", "y", "z")), r"the photos 3 \(x, y, z\)")):
        with pytest.raises(MobileNetError, match=message):
            evaluate(net, wrong)


def test_a_class_may_be_called_test(tmp_path):
    """A folder is that of a part where it holds class folders itself."""
    folder = photos(tmp_path / "words", ("banana", "lime", "test"))
    model = network().with_metadata(["banana", "lime", "test"], Preprocessing.preset("torch", (24, 28)))
    assert len(evaluate(compile_model(model), folder)) == sum(1 for _ in folder.rglob("*.jpg")) == 36
