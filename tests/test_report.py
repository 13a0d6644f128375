"""The page on a model: its figures against others' counts, what strangers wrote in it, and how a browser sees it."""
import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, shared
from helpers import CLASSES, at_once, mobilenet, network, one_line, photos
from PIL import Image
from small_finding import NAMES, finder, squares, written

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.evaluation import Evaluation, evaluate
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.report import covered, curves, heat, likely, make_report, plain, train_command
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tflite.builder import Builder
from mobilenet_keras.tflite.model import Model
from mobilenet_keras.training.choices import SCHEDULES

EVIL = ["<script>document.title='owned'</script>",
        "\"><img src=http://evil.test/x onerror=alert(1)>", "\u202eאבג' onmouseover='alert(1)\u0007\x1b[31m"]


class Parsed(HTMLParser):
    """Tags with the names of their attributes, addresses, and all text."""
    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, *sorted(name for name, _ in attrs)))
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset", "poster")]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def harmless(page):
    """The parsed page, which runs nothing and asks nobody."""
    found = Parsed(page)
    assert not {tag for tag, *_ in found.tags} & {"script", "iframe", "object", "embed", "base", "form", "audio", "video"}
    assert not [t for t in found.tags if any(name.startswith("on") for name in t[1:])]
    assert all(a.startswith(("data:", "#")) for a in found.addresses), [a for a in found.addresses if not a.startswith(("data:", "#"))]
    assert "url(" not in page and "@import" not in page and "default-src 'none'" in page
    return found


@pytest.fixture
def fruit(tmp_path):
    return photos(tmp_path / "fruit", CLASSES)


def named(names, **more):
    return network().with_metadata(names, Preprocessing(24, 28), **more)


def figure(text, what):
    return re.search(rf"([\d.,]+)( %| KB| bytes| ms)? {what}", text)[1]


def test_a_lone_file(tmp_path, capsys):
    path = network().save(tmp_path / "fruit.tflite")
    code, out, err = at_once(capsys, "report", path, "-o", tmp_path / "page.html", "--board", "pico2", "--json")
    facts, page = json.loads(out), (tmp_path / "page.html").read_text(encoding="utf-8")
    text = harmless(page).text
    assert code == 0 and facts["bytes"] == len(page.encode()) < 200_000 and "Traceback" not in err
    assert "No photo was classified for this page" in text and "How often it is right" not in text
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text and "of unknown origin and licence" in text
    compiled = next(b for b in facts["boards"] if b["board"] == "pico2")
    assert compiled["runtime"] == "engine" and compiled["ok"] and facts["arena_bytes"] < compiled["ram"]
    assert "on Raspberry Pi Pico 2" in text and all(name in text for name in CLASSES)
    assert str(tmp_path) not in page and not [p for p in tmp_path.iterdir() if p.name.startswith(".page")]


def test_photos_judge_a_file(tmp_path, fruit):
    """The figures are those of `evaluate`, of the engine itself; the folder's place is nobody's business."""
    model = network()
    page = make_report(model, photos=fruit)
    found = evaluate(compile_model(model), fruit)
    text = harmless(page.html).text
    assert page.facts["evaluations"]["int8"] == dict(accuracy=found.accuracy, interval=[round(v, 4) for v in found.interval], n=36)
    assert f"{100 * found.accuracy:.1f} % of 36 photos of fruit by the int8 network, on the engine, byte for byte as on a board" in text
    for i, row in enumerate(found.confusion):
        cells = [f'title="{CLASSES[i]} called {CLASSES[j]}: {n}"' for j, n in enumerate(row)]
        assert all(cell in page.html for cell in cells)
    assert "lime0.jpg" in text or "banana0.jpg" in text or "plum" in text
    assert str(tmp_path) not in page.html and str(Path.home()) + "/" not in page.html
    assert {"photos", "results", "examples", "looks", "memory", "boards"} <= {id for id, *_ in page.sections}
    assert page.html.count("data:image/jpeg") >= 3 * 6 + 6 and len(page.html) < 1_000_000


def test_a_compiled_file_says_the_same(tmp_path, fruit):
    model = network()
    path = compile_model(model).save(tmp_path / "fruit.mbn")
    a, b = make_report(path, photos=fruit), make_report(model, photos=fruit)
    harmless(a.html)
    assert a.facts["evaluations"] == b.facts["evaluations"] and a.facts["per_class"] == b.facts["per_class"]
    assert a.facts["arena_bytes"] == Engine(path).arena_bytes and "its arena takes" in a.html


def test_strangers_words_change_no_tag(tmp_path):
    """Class names, file names, metadata and provenance of markup, megabytes and turned letters give the tags that plain ones give."""
    pages = []
    for names, file, words in ((["aaa", "bbb", "ccc"], "x{}.png", "plain"),
                               (EVIL, "<img src=x onerror=alert(1)>\u202e'\"{}.png", EVIL[1] + "long" * 250_000)):
        folder = tmp_path / str(len(pages))
        folder.mkdir()
        listed = [(folder / file.format(k), k % 3) for k in range(6)]
        for path, label in listed:
            Image.new("RGB", (28, 24), [(9, 80, 90), (200, 30, 40), (120, 200, 20)][label]).save(path)
        model = named(names, description=words, author=words, license=words,
                      provenance=dict(source=words, licence=words, url=words, trained_on=[dict(folder=words, photos=1, classes=2)]))
        pages.append(make_report(model, photos=part_of(model, listed)))
    calm, wild = (harmless(page.html) for page in pages)
    assert calm.tags == wild.tags
    assert "document.title='owned'" in wild.text and "onerror=alert(1)" in wild.text, "what is said is shown"
    assert "\u202e" not in pages[1].html and "\x1b" not in pages[1].html and len(pages[1].html) < 400_000
    json.dumps(pages[1].to_dict())


def part_of(model, listed):
    from mobilenet_keras.photos import Part
    pixels = np.stack([model.preprocessing.pixels(p) for p, _ in listed])
    return Part(pixels, np.array([c for _, c in listed]), tuple(p for p, _ in listed), tuple(model.classes))


def test_plain_words():
    assert plain("a\nb\u2028c\x00d") == "a b c d" and plain("\ud800x") == "x" and plain("é" * 200, 10) == "é" * 9 + "…"
    assert plain("می‌خواهم") == "می‌خواهم", "Persian needs its joiner"


def test_many_classes_stay_a_page(tmp_path):
    names = [f"class {i} " + "long" * 200 for i in range(400)]
    model = Builder((1, 24, 28, 3), 1).conv(8, 3, 2).mean().dense(400).softmax().model("many").with_metadata(names, Preprocessing(24, 28))
    from mobilenet_keras.photos import Part
    rng = np.random.default_rng(0)
    part = Part(rng.integers(0, 256, (800, 24, 28, 3), np.uint8), np.arange(800) % 400, tuple(f"{i}.jpg" for i in range(800)), tuple(names))
    page = make_report(model, photos=part)
    harmless(page.html)
    assert len(page.html) < 1_500_000 and "400 classes are too many for a matrix" in page.html


def test_curves_mark_the_epoch_whose_weights_are_kept():
    rows = [dict(phase="head" if i < 2 else "whole", loss=1 / (i + 1), accuracy=i / 6, validation_loss=loss, validation_accuracy=i / 7)
            for i, loss in enumerate([.9, .5, .2, .4, .6, .7])]
    svg = curves(rows, "loss", 2)
    big = re.findall(r"<circle class=v cx=([\d.]+) cy=([\d.]+) r=5><title>validation, epoch 3: 0.2<", svg)
    assert len(big) == 1 and svg.count("r=5") == 2 and svg.count("class=cut") == 1
    heights = [float(y) for y in re.findall(r"<circle class=v cx=[\d.]+ cy=([\d.]+)", svg)]
    assert np.argmax(heights) == 2, "the least loss is the lowest point of the picture"
    assert curves([dict(rows[0], loss=float("nan"), validation_loss=float("inf"))], "loss")


def test_where_it_looks_is_what_another_interpreter_computes(fruit):
    """The fall of a score, patch by patch, is that of one inference after another."""
    model, pixels = network(), np.random.default_rng(0).integers(0, 256, (24, 28, 3), np.uint8)
    patches = covered(pixels, 4)
    assert (patches[0] != pixels).any(2).sum() <= 9 * 11 and ((patches != pixels).any(3).sum(0) > 0).mean() > .98
    whole = model.predict(pixels).probabilities
    falls = np.array([whole[whole.argmax()] - model.predict(p).probabilities[whole.argmax()] for p in patches]).reshape(4, 4)
    shown = heat(pixels, falls)
    at = np.unravel_index(falls.argmax(), (4, 4))
    redness = (shown[..., 0].astype(int) - shown[..., 2]).reshape(4, 6, 4, 7).mean((1, 3))
    assert falls.max() < .02 or np.unravel_index(redness.argmax(), (4, 4)) == at


def test_scores_become_probabilities():
    assert likely(Evaluation("", ["a", "b"], np.array([0]), np.array([[2., 0.]]), [""])) == pytest.approx(np.array([[.8808, .1192]]), abs=1e-4)
    io = compile_model(network("keras", "logistic")).io
    seen = likely(Evaluation("", ["a", "b"], np.array([0]), np.array([[-64, 64]]), [""]), io)
    assert seen.sum() == 1 and seen[0, 1] == (64 + 128) / 256


SETTINGS = dict(epochs=12, frozen_epochs=3, learning_rate=3e-3, batch_size=32, weight_decay=5e-2, label_smoothing=.1, seed=0, pretrained=True,
                augment=dict(flip="horizontal", shift=.1, rotation=.05, zoom=.15, brightness=.15), class_weights=None, ema_decay=0., patience=None,
                head_views=1, bn_momentum=.9, mixed_precision=False)
SOURCE = dict(image_size=[96, 96], resize="stretch", channels=3, validation=.15, test=.15, seed=0, augment_scale=1.5, folder="/somewhere/photos")


@pytest.mark.parametrize("settings, source, facts, words, more", [
    ({}, {}, {}, "", []),
    (dict(augment={}, class_weights="balanced", patience=4, ema_decay=.99, label_smoothing=0., learning_rate=1e-3, seed=7),
     dict(seed=7, channels=1, refit=True, group=False, labels_in_names=True), dict(network="mobilenetv2_0.35_96"),
     "--net v2 --no-augment --balanced --patience 4 --ema-decay 0.99 --label-smoothing 0.0 --learning-rate 0.001 --seed 7 --gray --refit "
     "--group none --labels-in-names", []),
    (dict(optimizer="adamw", schedule=dict(name="cosine", warmup=1), trainable=None), {}, {}, "", []),
    (dict(optimizer="sgd", schedule=dict(name="constant", **SCHEDULES["constant"]), trainable=["conv1"]), {}, {},
     "--optimizer sgd --schedule constant", ["trainable = ['conv1']"]),
    (dict(pretrained=False), dict(group=r"(person\d+)", resize="crop", validation=.2, augment_scale=2),
     dict(preprocessing=dict(height=96, width=128)),
     r"--weights none --group '(person\d+)' --resize crop --validation 0.2 --augment-scale 2 --size 96x128", []),
    (dict(augment=dict(flip="both"), head_views=3, class_weights=dict(a=2.), new="x"), dict(test=.3), {}, "",
     ["augment = {'flip': 'both'}", "class_weights = {'a': 2.0}", "head_views = 3", "new = x", "test = 0.3"])])
def test_the_command_says_what_the_run_says(settings, source, facts, words, more):
    """Read by the command line's own parser, it gives the choices that were recorded."""
    import shlex

    from mobilenet_keras import cli
    run = dict(network="mobilenet_0.25_96", settings=SETTINGS | settings, photos=SOURCE | source, preprocessing=dict(height=96, width=96),
               provenance=dict(source="Keras Applications, mobilenet_2_5_96_tf.h5, trained on ImageNet")) | facts
    command, besides = train_command(run)
    other = f"mobilenet train photos --alpha {run['network'].split('_')[1]} --size 96 --epochs 12 --frozen-epochs 3 {words} --out RUN"
    got, wanted = (vars(cli.parser().parse_args(shlex.split(c)[1:])) for c in (command, other))
    assert got == wanted and sorted(besides) == more and "/somewhere" not in command


def test_bad_input_is_a_line_and_writes_nothing(tmp_path, capsys, fruit):
    model, before = network().save(tmp_path / "m.tflite"), None
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mbn").write_bytes(b"MBN1" + bytes(200))
    (tmp_path / "broken.tflite").write_bytes(model.read_bytes()[:900])
    before = sorted(tmp_path.rglob("*"))
    for args, says in [(["none.tflite"], "No such"), (["empty"], "run"), (["broken.mbn"], ""), (["broken.tflite"], ""),
                       (["m.tflite", "-o", "x.pdf"], "ends in .html"), (["m.tflite", "--photos", "nowhere"], "No such folder"),
                       (["m.tflite", "--board", "pic0"], "no board"), (["m.tflite", "--part", "test"], "Give photos, too"),
                       (["m.tflite", "--photos", "fruit", "--part", "test"], "has no test folder"), (["m.tflite", "-o", "empty"], ".html")]:
        args = [str(tmp_path / a) if (tmp_path / a).exists() or a in ("none.tflite", "nowhere", "x.pdf") else a for a in args]
        code, _, err = at_once(capsys, "report", *args, *([] if "-o" in args else ["-o", tmp_path / "page.html"]))
        assert code == 2 and says in one_line(err), (args, err)
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(MobileNetError, match="Received: int"):
        make_report(3)


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    page, path = make_report(named(list("abc"))), tmp_path / "page.html"
    path.write_text("before")

    def stopped(self, text, **how):
        self.write_bytes(text.encode()[:100])
        raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", stopped)
        page.save(path)
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["page.html"]
    page.save(path)
    assert path.read_text(encoding="utf-8") == page.html and "<iframe sandbox " in page._repr_html_() and "Report on " in repr(page)


def test_of_a_run(trained):
    """`train` wrote a page, `quantize` another; the latter has all parts, and figures that were counted here."""
    from mobilenet_keras.photos import Photos
    from mobilenet_keras.run import Run
    page = (trained / "run/report.html").read_text(encoding="utf-8")
    found = harmless(page)
    headings = ("What it is|Photos|Training|How often it is right|Float and int8|Best and worst photos|Where it looks|On a board, layer by layer|"
                "Boards|Where it comes from|What was not tested|How to make it again")
    assert re.findall(r"<h2>(.*?)</h2>", page) == headings.split("|")
    facts = json.loads((trained / "run/quantization.json").read_text(encoding="utf-8"))
    assert facts["sha256"] == hashlib.sha256((trained / "run/model.tflite").read_bytes()).hexdigest() and facts["flags"] == []
    run, model = Run.open(trained / "run"), Model.open(trained / "run/model.tflite")
    part = Photos.read(**run.photos).test
    real, eight = evaluate(run, part), evaluate(compile_model(model), part)
    assert f"Both say the same of {100 * (real.predicted == eight.predicted).mean():.1f} % of {len(part)} test photos." in found.text
    assert f"{min(r['db'] for r in facts['layers']):.1f} dB" in found.text and facts["chosen"] in found.text
    assert "mobilenet train fruit --alpha 0.25 --size 32 --weights none --epochs 3 --frozen-epochs 0 --batch-size 8 --out RUN" in found.text
    assert str(trained) not in page and "random weights, trained from the start" in found.text


@pytest.mark.slow
def test_of_a_run_whose_photos_are_elsewhere(trained):
    from mobilenet_keras.run import Run
    run, before = Run.open(trained / "run"), make_report(trained / "run").facts["evaluations"]
    moved = run.report(photos=trained / "fruit", board="pico2")
    assert moved.facts["evaluations"] == before and before["int8"]["n"] == before["float"]["n"] == 4
    with pytest.raises(MobileNetError, match="part: a run says that itself. Leave it out"):
        make_report(run, photos=trained / "fruit", part="test")


def test_of_a_run_without_photos(trained, tmp_path, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")
    facts = json.loads((tmp_path / "run/run.json").read_text())
    facts["photos"]["folder"] = str(tmp_path / "gone")
    (tmp_path / "run/run.json").write_text(json.dumps(facts))
    (tmp_path / "run/model.tflite").unlink()
    code, out, err = at_once(capsys, "report", tmp_path / "run")
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    text = harmless(page).text
    assert code == 0 and "Its photos, gone, are no longer where they were" in out and "--photos FOLDER" in err
    assert "There is no int8 file yet" in text and "<h2>Training" in page and "<h2>How often" not in page and str(tmp_path) not in page


def test_of_a_run_without_keras(tmp_path, fruit, monkeypatch):
    """Its file, its photos and its history are told all the same; a run.json of nonsense is no crash, and no trap for a shell."""
    monkeypatch.setitem(sys.modules, "keras", None)
    folder, names = tmp_path / "run", sorted(CLASSES)
    named(names).save(folder / "model.tflite")
    rule = Preprocessing(24, 28).to_dict()
    row = dict(phase="whole", epoch=1, loss=1., accuracy=.5, validation_loss=1.1, validation_accuracy=.4)
    facts = dict(network="mobilenet_0.25_24", classes=names, preprocessing=rule, history=[row, row], chosen=-1, settings=SETTINGS,
                 photos=SOURCE | dict(folder=str(fruit), image_size=[24, 28], augment_scale=1.))
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    page = make_report(folder)
    text = harmless(page.html).text
    assert page.facts["evaluations"]["int8"]["n"] > 3 and "Keras is not installed where this page was made" in text and "2 epochs" in text
    assert "mobilenet train fruit --alpha 0.25 --size 24x28" in text and str(tmp_path) not in page.html
    trap = "96; touch /tmp/owned; \"$(id)\""
    odd = dict(facts, network=trap, history="x", chosen="x", settings=SETTINGS | dict(epochs=trap, optimizer=trap),
               preprocessing=dict(height=trap, width=trap), provenance=[trap], versions=dict(mobilenet_keras=trap), classes=[trap] * 3, data=3)
    (folder / "run.json").write_text(json.dumps(odd), encoding="utf-8")
    (folder / "quantization.json").write_text('{"n": "x", "layers": [{"db": NaN}, 3]}')
    text = harmless(make_report(folder).html).text
    assert "could not be judged on its photos" in text and "[train]==0" in text
    assert "--epochs '96; touch /tmp/owned; \"$(id)\"'" in text and "--size '96; touch" in text
    for task in ([trap], dict(kind=trap), dict(kind="centroid", threshold=trap), dict(kind="centroid", more=trap)):
        (folder / "run.json").write_text(json.dumps(odd | dict(task=task, network="mobilenet_0.25_96_centroid" + "9" * 5000)), encoding="utf-8")
        text = harmless(make_report(folder).html).text
        assert "This file" in text or "A threshold is" in text
    (folder / "run.json").write_text(json.dumps(facts | dict(task=dict(kind="centroid", threshold=.5))), encoding="utf-8")
    assert "finds things in photos, and these are photos in classes" in harmless(make_report(folder).html).text


@pytest.mark.slow
def test_the_command_makes_the_same_run_again(trained, tmp_path):
    import shlex
    page = (trained / "run/report.html").read_text(encoding="utf-8")
    command = next(line for line in Parsed(page).words if "mobilenet train" in line).split("\n")[1]
    args = [str(trained / "fruit") if w == "fruit" else str(tmp_path / "again") if w == "RUN" else w for w in shlex.split(command)[1:]]
    assert mobilenet(*args)[0] == 0
    assert len((tmp_path / "again/log.csv").read_text().splitlines()) == len((trained / "run/log.csv").read_text().splitlines())


def seen(browser, path, width, scheme="light"):
    """(overflow in pixels, what went wrong, title) of a page in a window."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab, wrong = context.new_page(), []
    tab.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("data:", path.as_uri())) else None)
    tab.on("console", lambda m: wrong.append(m.text))
    tab.on("pageerror", lambda e: wrong.append(str(e)))
    tab.on("dialog", lambda d: (wrong.append(d.message), d.dismiss()))
    tab.goto(path.as_uri())
    over = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    title = tab.title()
    context.close()
    return over, wrong, title


def test_in_a_browser(chromium, tmp_path, fruit):
    """No request, no word on the console, nothing wider than a phone: of a calm page and of one that strangers wrote."""
    model = named(EVIL, provenance=dict(source=EVIL[1] * 50, licence="W" * 300))
    wild = dict(zip(sorted(CLASSES), EVIL, strict=True))
    listed = [(p, EVIL.index(wild[p.parent.name])) for p in sorted(fruit.rglob("*.jpg"))]
    pages = [make_report(network(), photos=fruit).save(tmp_path / "calm.html"),
             make_report(model, photos=part_of(model, listed)).save(tmp_path / "wild.html")]
    for path in pages:
        for width, scheme in ((390, "light"), (1280, "dark")):
            assert seen(chromium, path, width, scheme) == (0, [], "fruit: model report"), (path, width)
    broken = tmp_path / "broken.html"  # the policy holds even where escaping didn't
    broken.write_text(pages[0].read_text(encoding="utf-8").replace("<main>", "<main>" + "".join(EVIL[:2])), encoding="utf-8")
    _, wrong, title = seen(chromium, broken, 390)
    assert title == "fruit: model report" and "1" not in wrong and sum("Content Security Policy" in w for w in wrong) >= 2, wrong


@pytest.mark.parametrize("name, says", [("mlperf_tiny/vww_96_float.tflite", "The engine can't run it"),
                                        *(pytest.param(*case, marks=pytest.mark.slow) for case in [
                                            ("mlperf_tiny/vww_96_int8.tflite", "assumed"), ("tflite_micro/person_detect.tflite", "as predicted"),
                                            ("coral/mobilenet_v1_0.25_128_quant_edgetpu.tflite", "compiled for an Edge TPU"),
                                            ("coral/deeplabv3_mnv2_dm05_pascal_quant.tflite", "a map: the number of a class in each")])])
def test_real_files_of_others(name, says):
    """What anyone's files give: a float one, one that says nothing of photos, one for an Edge TPU, a segmentation."""
    page = make_report(shared(f"models/{name}"))
    assert says in harmless(page.html).text
    assert str(ROOT.parent) not in page.html and "shared" not in page.html


def test_of_what_finds_things(tmp_path):
    """The figures are those of `evaluate` on the engine; a .mbn says the same; and no word is a classifier's."""
    model, part = finder(), squares(16, 2)
    page, found = make_report(model, photos=part), evaluate(compile_model(model), part)
    text = harmless(page.html).text
    assert page.facts["evaluations"]["int8"] == dict(metric="f1", value=round(found.value, 4), interval=[round(v, 4) for v in found.interval], n=16)
    assert page.facts["task"] == dict(kind="centroid", threshold=.5) and 0 < found.value < 1
    assert [r["objects"] for r in page.facts["per_class"]] == [sum((t.labels == i).sum() for t in part.truth) for i in (0, 1)]
    assert "that finds 2 classes of things on colour photos of 32 x 32 pixels, in a map of 8 x 8 cells" in text
    assert f"F1 is {100 * found.value:.1f} % on 16 photos by the int8 network, on the engine, byte for byte as on a board" in text
    assert f"{sum(map(len, part.truth))} things in 16 photos" in text and "a score of 50 % on, as the file says" in text
    assert [id for id, *_ in page.sections] == "what photos results int8 examples memory boards card limits again".split()
    assert "accuracy" not in text and "whole photo" not in re.sub("with the whole photo held", "", text) and "names one of its" not in text
    right = (found.score.errors == 0).sum()
    assert page.html.count("data:image/jpeg") == 10 + 2 * min(9, 16 - right) + 2 * min(6, right)
    assert make_report(compile_model(model), photos=part).facts["evaluations"] == page.facts["evaluations"]
    with pytest.raises(MobileNetError, match="alphabetical is for photos in classes"):
        make_report(model, photos=written(tmp_path / "squares", 3), alphabetical=True)
    assert "No photo was searched for this page" in harmless(make_report(model).html).text


def test_strangers_words_change_no_tag_where_things_are_found(tmp_path):
    pages = []
    for names, file in ((("aaa", "bbb"), "x"), (tuple(EVIL[:2]), EVIL[1])):
        part = squares(6, 2, names)
        pages.append(make_report(finder(names), photos=replace(part, paths=tuple(f"{file}{i}" for i in range(6)))))
    calm, wild = (harmless(page.html) for page in pages)
    assert calm.tags == wild.tags and "document.title='owned'" in wild.text
    json.dumps(pages[1].to_dict())


def test_photos_without_things_and_a_network_that_finds_nothing():
    part = squares(4, 2)
    empty = replace(part, truth=tuple(Boxes(np.zeros((0, 4)), []) for _ in part.truth))
    text = harmless(make_report(finder(threshold=.99), photos=empty).html).text
    assert "0 things in 4 photos. 4 photos show none." in text and "It made no mistake." in text
    text = harmless(make_report(finder(threshold=.99), photos=part).html).text
    assert "F1 is 0.0 %" in text and "precision -" in text and "4 of 4 photos have a mistake" in text


def test_curves_of_a_figure_that_only_validation_has():
    rows = [dict(phase="whole", loss=1 / (i + 1), validation_loss=.5, validation_f1=i / 4) for i in range(4)]
    svg = curves(rows, "f1", 2)
    assert svg.count("<polyline") == 1 and "F1 by epoch: validation ends at 75 %; epoch 3 is the one" in svg and "class=t" not in svg


@pytest.mark.parametrize("network, settings, source, words, more", [
    ("mobilenet_0.25_160_centroid16", {}, {}, "--size 160 --stride 16", []),
    ("mobilenetv2_0.35_96_centroid8", dict(ema_decay=.99), dict(only=["ace"], refit=True),
     "--net v2 --size 96 --stride 8 --ema-decay 0.99 --refit", ["only = ['ace']"]),
    ("mobilenet_0.25_160_centroid16", dict(label_smoothing=.1), {}, "--size 160 --stride 16 --label-smoothing 0.1", [])])
def test_the_command_of_what_finds_things(network, settings, source, words, more):
    import shlex

    from mobilenet_keras import cli
    side = int(network.split("_")[2])
    run = dict(network=network, task=dict(kind="centroid", threshold=.3), settings=SETTINGS | dict(frozen_epochs=0, label_smoothing=0.) | settings,
               photos=SOURCE | dict(annotations=True) | source, preprocessing=dict(height=side, width=side),
               provenance=dict(source="Keras Applications, mobilenet_2_5_96_tf.h5, trained on ImageNet"))
    command, besides = train_command(run)
    other = f"mobilenet train photos --head centroid --alpha {network.split('_')[1]} --epochs 12 {words} --out RUN"
    got, wanted = (vars(cli.parser().parse_args(shlex.split(c)[1:])) for c in (command, other))
    assert got == wanted and besides == more
    named = train_command(run | dict(network="mobilenet_0.25_160"))
    assert "--head" not in named[0] and named[1][0] == "the network mobilenet_0.25_160, which is not built by the command line"


@pytest.fixture(scope="module")
def found(tensorflow, tmp_path_factory):
    """A folder with photos, `squares`, and a `run` that the command line trained to find them and quantized."""
    from small_training import eagerly

    from mobilenet_keras import cli
    home = tmp_path_factory.mktemp("found")
    written(home / "squares")
    with eagerly(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for line in ("train squares --head centroid --stride 4 --weights none --size 32 --epochs 2 --batch-size 8 --no-augment --out run",
                     "quantize run --samples 12 --calibration min-max"):
            assert cli.main(line.split()) == 0
    return home


def test_of_a_run_that_finds_things(found, capsys):
    """All parts, the same figures as `evaluate`, the command that made it, and a page for photos that moved."""
    from mobilenet_keras.photos import Photos
    from mobilenet_keras.run import Run
    page = (found / "run/report.html").read_text(encoding="utf-8")
    text = harmless(page).text
    headings = ("What it is|Photos|Training|How much it finds|Float and int8|Best and worst photos|On a board, layer by layer|"
                "Boards|Where it comes from|What was not tested|How to make it again")
    assert re.findall(r"<h2>(.*?)</h2>", page) == headings.split("|")
    run, model = Run.open(found / "run"), Model.open(found / "run/model.tflite")
    part = Photos.read(**run.photos).test
    real, eight = evaluate(run, part), evaluate(compile_model(model), part)
    assert all(f"{100 * f.value:.1f} %" in text for f in (real, eight)) and "F1 by epoch: validation ends at" in page
    assert f"F1 of int8 is {100 * run.task.score(eight.found, real.found).value:.1f} %: so much do both find the same in 24 test photos" in text
    made = "mobilenet train squares --alpha 0.25 --size 32 --weights none --head centroid --stride 4 --epochs 2 --batch-size 8 --no-augment --out RUN"
    assert made in text
    assert "MobileNetV1 of width 0.25 that finds 2 classes of things" in text and "validation photos." in text and str(found) not in page
    code, out, _ = at_once(capsys, "report", found / "run", "--photos", found / "squares", "-o", found / "again.html", "--json")
    assert code == 0 and json.loads(out)["evaluations"]["float"]["value"] == round(real.value, 4)


def test_pages_of_what_finds_things_in_a_browser(chromium, tmp_path):
    pages = [make_report(finder(names), photos=squares(8, 2, names)).save(tmp_path / f"{i}.html") for i, names in enumerate((NAMES, tuple(EVIL[:2])))]
    for path in pages:
        for width, scheme in ((390, "dark"), (1280, "light")):
            assert seen(chromium, path, width, scheme) == (0, [], "finder: model report"), (path, width)
