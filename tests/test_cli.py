"""The command line as people and scripts meet it: exit codes, one-line errors, JSON, nothing half-written."""
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import shared
from helpers import at_once, mobilenet, one_line, photos
from small_finding import finder, written

from mobilenet_keras import cli
from mobilenet_keras.cli import VERB_GROUPS, VERBS
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import example
from mobilenet_keras.tflite.model import Model, one_op_model


def test_help_of_every_verb_has_an_example(capsys):
    code, out, _ = mobilenet("--help")
    at = [out.index(f"\n{group}: ") for group in VERB_GROUPS]
    assert code == 0 and at == sorted(at) and len(at) == 5
    for group, start, end in zip(VERB_GROUPS, at, [*at[1:], None], strict=True):
        listed = re.findall(r"^  ([a-z]+) ", out[start:end].partition("\noptions:")[0], re.M)
        assert sorted(listed) == sorted({verb.split()[0] for verb in VERBS if VERBS[verb].group == group})
    assert "classify" not in out, "an alias is understood, not shown"
    for verb in VERBS:
        with pytest.raises(SystemExit, match="^0$"):
            cli.main([*verb.split(), "--help"])
        assert f"example: mobilenet {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("args", [[], ["device"], ["micropython"], ["classify"], ["train", "x", "--alpha", "wide"],
                                  ["export", "m.tflite", "--to", "avr"]])
def test_bad_usage(args):
    code, out, err = mobilenet(*args)
    assert (code, out) == (2, "") and "usage:" in err and "Traceback" not in err
    assert not args[1:] or len(err.splitlines()) == 1, "what can't be read is answered by a line"


def test_no_verb_is_answered_by_all_of_them():
    assert mobilenet()[2] == mobilenet("--help")[1]


def flags_of(verb):
    """{flag: (metavar and help, as one string)} of a verb, but for --help."""
    actions = [a for a in cli.parsers()[verb]._actions if a.option_strings and a.dest != "help"]
    return {flag: f"{a.metavar or ''} {a.help}".strip() for a in actions for flag in a.option_strings}


def unlike(words):
    """What a hasty hand makes of a word: a letter too few, two of them exchanged."""
    return words[:2] + words[3:], words[:2] + words[3:4] + words[2:3] + words[4:]


@pytest.mark.parametrize("verb", VERBS)
def test_no_abbreviation_is_taken_and_a_typo_is_answered(verb, capsys):
    words = verb.split()
    for wrong in {w for w in unlike(words[-1]) if len(w) > 2} - {name.split()[-1] for name in VERBS}:
        assert cli.main([*words[:-1], wrong]) == 2
        assert "Did you mean " in one_line(capsys.readouterr().err)
    flags = [flag for flag in flags_of(verb) if flag.startswith("--")]
    for flag in flags:
        for short in {flag[:n] for n in range(4, len(flag))} - set(flags):
            assert cli.main([*words, "x", short, "1"]) == 2, short
            assert f"mobilenet {verb} has no flag {short}" in one_line(capsys.readouterr().err)
            with pytest.raises(MobileNetError):  # argparse itself takes none either
                cli.parser().parse_args([*words, "x", short, "1"])
            capsys.readouterr()
    for flag in flags:
        for wrong in {f"--{w}" for w in unlike(flag[2:])} - set(flags) - {"--"}:
            assert cli.main([*words, f"{wrong}=1"]) == 2
            assert f"mobilenet {verb} has no flag {wrong}. " in one_line(capsys.readouterr().err)
    longest = max(flags, key=len)
    assert cli.main([*words, longest[:-1]]) == 2 and f"Did you mean {longest}?" in capsys.readouterr().err


@pytest.mark.parametrize("args, said", [
    (["quantise", "run"], "There is no verb quantise. Did you mean quantize?"),
    (["fly"], "There is no verb fly. The verbs: "),
    (["micropython", "flahs"], "There is no verb micropython flahs. Did you mean flash?"),
    (["train", "x", "--alhpa", ".5"], "mobilenet train has no flag --alhpa. Did you mean --alpha?"),
    (["build", "m.tflite", "--xyzzy"], "mobilenet build has no flag --xyzzy. Its flags: mobilenet build --help"),
    (["profile", "m.tflite"], "There is no verb profile."),
    (["strip", "m.tflite"], "There is no verb strip."), (["--verison"], "Did you mean --version?")])
def test_what_does_not_exist_is_told_in_one_line(args, said):
    code, out, err = mobilenet(*args)
    assert (code, out) == (2, "") and said in one_line(err) and len(err.splitlines()) == 1


ONE_MEANING = {  # flag: what its metavar and the begin of its help say on every verb that has it
    "--board": "BOARD board's id", "--runtime": "(RUNTIME )?what executes the model", "--to": "which files to write",
    "--model": "MODEL .tflite file", "--net": "network: MobileNetV1 or V2", "--out": "(FILE file|DIR folder) to write",
    "-o": "(FILE file|DIR folder) to write", "--json": "print the facts as JSON", "--photo": "PHOTO one photo: ",
    "--photos": "DIR folder of photos: ", "--part": "part of the folder", "--input": "NPY instead of a photo: int8 array",
    "--size": "input size in pixels", "--epochs": "N passes over the photos", "--frozen-epochs": "N passes of the head",
    "--seed": "N of the random draw", "--layers": "a table, layer by layer", "--health": "a table on the quantization",
    "--cc": "COMPILER C compiler", "--hot": ".*where the kernels run", "--port": "PORT serial port of the board",
    "--dry-run": "check everything, write nothing", "--wait": "S seconds", "--seconds": "S stop a board",
    "--prototxt": "FILE text of a .caffemodel", "--strip": "tflm: leave out", "--margin": "BYTES tflm: on top", "--arena": "BYTES tflm: of arena",
    "--resume": "RUN go on", "--alpha": "width multiplier", "--weights": "imagenet, none, or", "--batch-size": "N photos per step",
    "--learning-rate": "peak", "--weight-decay": "of all but", "--output-stride": "N stop halving", "--resize": "(RULE )?how a photo",
    "--gray": "grayscale", "--no-augment": "show photos", "--augment-scale": "so many times larger", "--label-smoothing": "share",
    "--balanced": "every class", "--ema-decay": "momentum", "--patience": "N stop after", "--validation": "fraction",
    "--refit": "train on the validation", "--group": "REGEX what stays", "--labels-in-names": "cat.0.jpg is a cat",
    "--no-compare": "don't ask the original", "--cores": "that make an inference",
    "--samples": "photos for calibration", "--calibration": "rule for ranges",
    "--equalize": "equalize channels", "--no-bias-correction": "keep in the biases", "--io-dtype": "type of input and output",
    "--int8": "write a uint8 .tflite", "--int4": "write an int8 .tflite with weights of 4 bits",
    "-n": "N at most so many photos", "--top": "N classes to name", "--as": "SYSTEM whose file", "--mistakes": "PNG write a picture",
    "--picture": "SVG write a picture", "--held": "the whole image lies in RAM", "--map": "list every buffer", "--emulator": "rp2040js is for",
    "--volume": "DIR where the board's disk", "--place": "where the model goes", "--force": "replace a main.py",
    "--weights-uf2": "UF2 write the model", "--firmware": "UF2 the .uf2", "--at": "ADDRESS where in flash", "--module": "MPY another mobilenet.mpy",
    "--source": "DIR an unpacked MicroPython", "--max-mmacs": "N without --board: only networks", "--ram": "BYTES the arena may take",
    "--keep-dead": "compute channels, too", "--ms": "N at most so many milliseconds", "--classes": "N how many",
    "--seeds": "N trainings of each network", "--trials": "N train so many",
    "--example": "example photos", "--optimizer": "what takes the steps", "--schedule": "course of the", "--trainable": "N only the last",
    "--devices": "NAMES divide each batch",
    "--no-early-stop": "train to the end", "--ray": "ADDRESS train on a Ray cluster", "--cpus": "N of a Ray worker", "--gpus": "N of a Ray worker",
    "--head": "what it answers", "--stride": "N with --head centroid",
    "--smallest": "take the smallest arena", "--fastest": "take the fewest instructions", "--scale": "how a file that doesn't say it",
    "--labels": "FILE the classes' names in the model's order", "--alphabetical": "of a model that names no classes"}


def test_every_flag_has_one_meaning():
    seen = set()
    for verb in VERBS:
        for flag, says in flags_of(verb).items():
            assert re.match(ONE_MEANING[flag], says), (verb, flag, says)
            seen.add(flag)
    assert seen == set(ONE_MEANING), "the table lists no flag that is gone"


def test_no_flag_is_required_and_what_writes_has_out():
    for verb, p in cli.parsers().items():
        assert not any(a.required for a in p._actions if a.option_strings), verb
    assert {verb for verb in VERBS if "--out" in flags_of(verb)} == {
        "demo", "suggest", "train", "sweep", "report", "convert", "quantize", "compile", "export", "build", "micropython export",
        "micropython module"}
    assert all("-o" in flags_of(verb) for verb in VERBS if "--out" in flags_of(verb))


def test_published_networks_as_json_and_text():
    code, out, _ = mobilenet("suggest", "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) == 38
    assert {"name": "mobilenet_v1_0.25_224", "top1": 49.8, "mmacs": 41}.items() <= next(r for r in rows if r["name"].endswith("v1_0.25_224")).items()
    assert "mobilenet_v2_1.4_224" in mobilenet("suggest")[1]
    code, _, err = mobilenet("models")
    assert code == 2 and "no verb models any more: the published networks are listed by `mobilenet suggest`" in err


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(f"{sys.executable} -m mobilenet_keras.cli boards --json | head -1; exit ${{PIPESTATUS[0]}}", shell=True,
                          executable="/bin/bash", capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.fixture
def bad(tmp_path):
    """Folders and files that no one can train on."""
    (tmp_path / "empty").mkdir()
    photos(tmp_path / "single", ("only",))
    photos(tmp_path / "cases", ("Cat", "cat") if os.path.normcase("A") == "A" else ("cat", "dog"))
    photos(tmp_path / "hollow")
    (tmp_path / "hollow" / "nothing").mkdir()
    for name in ("a", "b"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "1.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (tmp_path / "file").write_text("hello")
    (tmp_path / "zero.tflite").write_bytes(b"")
    (tmp_path / "text.tflite").write_text("not a model" * 100)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("keep me")
    photos(tmp_path / "good")
    for part in ("backup/train", "backup/old", "twice/train", "twice/val", "twice/valid"):
        photos(tmp_path / part)
    (tmp_path / "tiny.tflite").write_bytes(one_op_model())
    return tmp_path


@pytest.mark.parametrize("args,message", [
    (["train", "nowhere"], "No such folder"), (["train", "file"], "file is a file. Wanted"), (["train", "empty"], "at least two class folders"),
    (["train", "single"], "at least two class folders"), (["train", "cases"], "only in case"), (["train", "hollow"], "'nothing'"),
    (["train", "broken"], "'a'"), (["train", "good", "--size", "huge"], "--size"), (["train", "good", "--size", "0"], "--size"),
    (["train", "good", "--alpha", "0.3"], "alpha=0.3"), (["train", "good", "--alpha", "-1", "--weights", "none"], "above 0"),
    (["train", "good", "--weights", "nowhere.h5"], "No such weight file"), (["train", "good", "--weights", "file"], "not a readable"),
    (["train", "good", "--weights", "none", "--out", "full"], "full"), (["train", "good", "--validation", "2"], "validation"),
    (["quantize", "nowhere"], "not a finished run"), (["quantize", "full"], "not a finished run"),
    (["verify", "nowhere.tflite"], "nowhere.tflite"), (["verify", "zero.tflite"], "zero.tflite"), (["verify", "text.tflite"], "text.tflite"),
    (["verify", "full"], "full"), (["predict", "x.jpg", "--model", "zero.tflite"], "zero.tflite"),
    (["export", "text.tflite"], "text.tflite"), (["export", "text.tflite", "--board", "picco"], "Did you mean pico"),
    (["export", "tiny.tflite", "--runtime", "engine"], "for one board"),
    (["export", "tiny.tflite", "--runtime", "engine", "--to", "pico-sdk"], "For engine there is --to cmake, arduino, esp-idf, platformio"),
    (["export", "tiny.tflite", "--runtime", "engine", "--to", "cmake", "--hot", "ram"], "--hot is of a board's firmware"),
    (["export", "tiny.tflite", "--runtime", "engine", "--to", "esp-idf", "--board", "pico"], "ESP-IDF is not for Raspberry Pi Pico"),
    (["export", "tiny.tflite", "--runtime", "engine", "--to", "arduino", "--board", "pi4"], "is no microcontroller"),
    (["export", "tiny.tflite", "--runtime", "engine", "--to", "arduino", "--out", "full"], "full is not an empty folder"),
    (["export", "text.tflite", "--to", "platformio"], "text.tflite"),
    (["export", "tiny.tflite", "--board", "pico", "--to", "arduino"], "no board of arduino: its files are those for pico-sdk or cmake"),
    (["export", "tiny.tflite", "--board", "esp32-s3", "--hot", "ram"], "--hot is nothing that --runtime tflm --to esp-idf takes"),
    (["demo", "--out", "full"], "full"),
    (["inspect", "text.tflite"], "text.tflite"), (["inspect", "full"], "full"), (["inspect", "zero.tflite"], "zero.tflite"),
    (["inspect", "file"], "no weight file"),
    (["inspect", "good/lime/lime0.jpg"], "a picture; mobilenet inspect takes .tflite and weight files. Say what is on it with: mobilenet "),
    (["inspect", "file", "--layers"], "are for .tflite files"), (["inspect", "tiny.tflite", "--prototxt", "x"], "belongs to a .caffemodel"),
    (["boards", "nowhere.tflite"], "nowhere.tflite"), (["boards", "--board", "picco"], "Did you mean pico"),
    (["convert", "text.tflite", "-o", "small.tflite"], "text.tflite"), (["convert", "tiny.tflite"], "Give a file to write"),
    (["convert", "tiny.tflite", "-o", "tiny.tflite"], "the file itself"),
    (["convert", "tiny.tflite", "-o", "s.tflite", "--size", "96"], "--size belongs to weight files"),
    (["convert", "file", "-o", "x.tflite"], "by training"), (["device", "ask", "nowhere.jpg"], "No such photo"),
    (["compile", "text.tflite", "-o", "m.mbn"], "text.tflite"),
    (["train", "good", "--seed", "-1"], "seed"), (["train", "good", "--weights", "none", "--size", "9999999"], "GB"),
    (["train", "backup"], "and old/"), (["train", "twice"], "valid"), (["suggest", "--max-mmacs", "0"], "11"),
    (["verify", "tiny.tflite", "good", "-n", "0"], "-n is"), (["predict", "x.jpg", "--model", "tiny.tflite", "--top", "0"], "--top"),
], ids=lambda v: "-".join(v) if isinstance(v, list) else None)
def test_bad_input_is_one_line_and_exit_2(tensorflow, bad, args, message, monkeypatch, capsys):
    if args[:2] == ["train", "cases"] and len(list((bad / "cases").iterdir())) < 2:
        pytest.skip("this file system does not tell Cat from cat")
    before = sorted(bad.rglob("*"))
    monkeypatch.chdir(bad)
    code = cli.main(args)  # in this process: importing TensorFlow takes others eight seconds each
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and message in one_line(err), err
    assert sorted(bad.rglob("*")) == before, "nothing may be written on bad input"


STEPS = ["compile", "build --board pico", "flash --board pico", "quantize", "verify", "export --runtime tflm"]
FILES = ["coral/mobilenet_v1_0.25_128_quant.tflite", "mlperf_tiny/vww_96_float.tflite", "own.keras"]
FINE = [("flash --board pico", FILES[2]), *((verb, FILES[0]) for verb in ("verify", "compile", "build --board pico", "flash --board pico"))]
# uint8 can be verified, and the engine runs it; flash says of a .keras that it is no image, and to build one


@pytest.mark.parametrize("verb, name", [step for step in itertools.product(STEPS, FILES) if step not in FINE])
def test_every_step_says_how_a_file_becomes_int8(tmp_path, monkeypatch, capsys, verb, name):
    """A published uint8 or float file, a Keras model of one's own: `tests/test_importers.py` goes the ways that are named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.keras").write_bytes(b"PK\3\4" + bytes(100))
    before = sorted(tmp_path.iterdir())
    verb, *rest = verb.split()
    code = cli.main([verb, str("own.keras" if name == "own.keras" else shared(f"models/{name}")), *rest])
    out, err = capsys.readouterr()
    assert code == 2 and not out
    if verb == "quantize" and name != FILES[0]:  # which is one of the ways: it says what is missing
        broken = "own.keras is a zip archive, as .keras and PyTorch files are, but it is cut short or broken"
        assert ("--photos DIR" if name == FILES[1] else broken) in one_line(err)
        assert sorted(tmp_path.iterdir()) == before
        return
    ways = ("To int8: a whole Keras model or a float .tflite by mobilenet quantize FILE --photos DIR; "
            "a MobileNet on photos of your own by mobilenet convert FILE -o weights.h5, mobilenet train PHOTOS --weights weights.h5 ")
    if name == FILES[0]:
        assert "To int8, a MobileNet's numbers go back to float, and are quantized anew: mobilenet convert" in one_line(err)
        assert sorted(tmp_path.iterdir()) == before
        return
    assert ways in one_line(err)
    loader = "keras.models.load_model(FILE)" if name == "own.keras" else "load(FILE)"
    assert f'Model(convert({loader}, inputs)).save("model.tflite")' in err and sorted(tmp_path.iterdir()) == before


def test_a_file_of_a_run_names_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my run").mkdir()
    for name in ("run.json", "model.keras"):
        (tmp_path / "my run" / name).touch()
    (tmp_path / "cut.tflite").write_bytes(one_op_model()[:90])
    for path, said in (("my run/model.keras", "Give that: mobilenet quantize 'my run'"), ("cut.tflite", "cut short")):
        assert cli.main(["quantize", path]) == 2 and said in one_line(capsys.readouterr().err)


def test_what_is_int8_already_needs_no_quantizing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(shared("models/tflite_micro/person_detect.tflite"), "my model.tflite")
    assert cli.main(["quantize", "my model.tflite"]) == 2
    said = one_line(capsys.readouterr().err)
    assert "my model.tflite is int8 already, so nothing is left to quantize. Next: mobilenet verify 'my model.tflite'" in said


def test_quantize_says_what_a_file_lacks(tmp_path, monkeypatch, capsys):
    """Photos, their scaling, as many folders as outputs, built-in layers: each in one line, before TensorFlow is imported."""
    from helpers import DENSE, archive, describe, photos
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "good")
    archive("own.keras", describe(("Flatten", {}), DENSE))
    archive("three.keras", describe(("Rescaling", dict(scale=1.)), ("Flatten", {}), ("Dense", dict(units=3))))
    archive("lambda.keras", describe(("Lambda", {}), DENSE))
    (tmp_path / "weights.pt").write_bytes(b"PK")
    before = sorted(tmp_path.rglob("*"))
    for args, said in [(["own.keras"], "calibrated and judged on photos"),
                       (["own.keras", "--photos", "good"], "Say it with --scale signed, unit, imagenet, raw"),
                       (["three.keras", "--photos", "good"], "3 outputs, so 3 classes, and good has 2: banana, lime"),
                       (["lambda.keras", "--photos", "good"], "(Lambda) is none of"),
                       (["own.keras", "--photos", "nowhere", "--scale", "unit"], "nowhere"), (["nowhere.keras", "--photos", "good"], "No such model"),
                       (["weights.pt"], "a whole Keras model (.keras, .h5) or a float .tflite"), (["good"], "not a finished run")]:
        assert cli.main(["quantize", *args]) == 2
        out, err = capsys.readouterr()
        assert said in one_line(err) and not out, err
    assert sorted(tmp_path.rglob("*")) == before, "nothing may be written on bad input"


def test_quantize_a_keras_file_and_run_it_on_a_board(tensorflow, tmp_path, monkeypatch, capsys):
    """A network of one's own, a folder of photos, names in the order of its outputs: an int8 file that compiles and is built for a board."""
    import keras
    from helpers import photos
    L = keras.layers
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "good")
    (tmp_path / "labels.txt").write_text("0 lime\n1 banana\n")  # as Teachable Machine writes them
    net = keras.Sequential([keras.Input((24, 24, 3)), L.Conv2D(4, 3, 2, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(2, "softmax")])
    net.layers[-1].set_weights([np.ones((4, 2)) * [1, -1] * [[1]], np.zeros(2)])
    net.save("own.keras")
    flags = ["--photos", "good", "--samples", "8", "--calibration", "min-max", "--equalize", "no", "--json"]
    assert cli.main(["quantize", "own.keras", "--scale", "unit", "--labels", "labels.txt", *flags]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == "own-int8.tflite" and facts["provenance"] == dict(source="own.keras", url="unknown", licence="unknown")
    model = Model.open("own-int8.tflite")
    assert (model.classes, model.preprocessing) == (["lime", "banana"], Preprocessing(24, 24, mean=0, std=255)) and not model.float_ops
    assert cli.main(["boards", "own-int8.tflite", "--board", "pico"]) == 0 and cli.main(["compile", "own-int8.tflite"]) == 0
    assert cli.main(["inspect", "own-int8.tflite"]) == 0 and "weights  own.keras\nlicence  unknown" in capsys.readouterr().out
    for wrong, said in ((["--labels", "labels.txt", "--scale", "half"], "invalid choice"), (["--labels", "nowhere", "--scale", "unit"], "nowhere")):
        assert cli.main(["quantize", "own.keras", *wrong, *flags]) == 2 and said in one_line(capsys.readouterr().err)


def test_predict_with_real_model(tmp_path, capsys):
    model = shared("models/tflite_micro/person_detect.tflite")
    folder = shared("models/tflite_micro")
    code, out, _ = mobilenet("predict", folder / "person.bmp", folder / "no_person.bmp", "--model", model, "--json")
    assert code == 0
    assert at_once(capsys, "classify", folder / "person.bmp", folder / "no_person.bmp", "--model", model, "--json")[1] == out, "its old name"
    person, nobody = ({c["name"]: c["probability"] for c in row["classes"]}["1"] for row in json.loads(out))  # class 1 is a person
    assert person > nobody + .2
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    code, out, err = at_once(capsys, "predict", folder / "person.bmp", tmp_path / "broken.jpg", "--model", model)
    assert code == 1 and "person.bmp" in out and "broken.jpg" in err and "Traceback" not in err


def test_verify_says_pass_for_a_real_model():
    code, out, err = mobilenet("verify", shared("models/mlperf_tiny/vww_96_int8.tflite"), "-n", "2", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["ok"], err
    assert {r["runtime"]: r["differing"] for r in facts["rows"] if r["runtime"] in ("tflm", "litert-reference")}.get("tflm", 0) == 0


def test_inspect(capsys):
    """A process for each verb; the others in this one."""
    model, here = shared("models/tflite_micro/person_detect.tflite"), functools.partial(at_once, capsys)
    facts = json.loads(mobilenet("inspect", model, "--json")[1])
    assert len(facts["ops"]) == 31 and facts["ops"][0]["options"]["depth_multiplier"] == 8
    assert facts["ops"][0]["macs"] == 165_888 and facts["ops"][0]["name"] == "DEPTHWISE_CONV_2D"
    assert facts["macs"] == 7_157_888 and facts["ram_minimum"] == 55_296 and len(facts["health"]) == 28
    assert (facts["arena"]["total"] is None) == bool(facts["arena"]["reason"])
    text = here("inspect", model)[1]
    assert "input    input: int8 (1, 96, 96, 1)" in text and "7,157,888 MACs" in text
    assert "TFLM's arena" in text and "28 ops with 8-bit weights" in text
    more = here("inspect", model, "--layers", "--health")[1]
    assert "DEPTHWISE_CONV_2D" not in text and "DEPTHWISE_CONV_2D" in more and "levels" not in text and "levels" in more


def test_boards_and_a_smaller_file(tmp_path, capsys):
    model, here = shared("models/tflite_micro/person_detect.tflite"), functools.partial(at_once, capsys)
    facts = json.loads(mobilenet("boards", model, "--json")[1])
    fits = {(b["board"], b["runtime"]): b["ok"] for b in facts["boards"]}
    assert fits["pico", "engine"] and fits["pico", "tflm"] and fits["microbit", "engine"] and not fits["microbit", "tflm"]
    assert here("boards", model, "--board", "pico")[0] == 0
    code, out, err = here("boards", shared("models/mlperf_tiny/vww_96_float.tflite"), "--board", "microbit")
    assert code == 1 and "does not fit microbit with engine: " in out and "bytes of RAM too many" in out and not err
    assert json.loads(here("boards", "--json")[1])[0]["id"] == "pico"
    assert json.loads(here("boards", "--board", "pico", "--json")[1])["ram"] == 264 * 1024
    small = tmp_path / "small.tflite"
    facts = json.loads(mobilenet("convert", model, "-o", small, "--json")[1])
    assert facts["bytes"] == small.stat().st_size < facts["bytes_before"] == model.stat().st_size


def test_inspect_lists_the_arrays_of_weights_and_knows_other_files(tmp_path, monkeypatch, capsys):
    from mobilenet_keras.networks.weight_files import write_safetensors
    monkeypatch.chdir(tmp_path)
    here = functools.partial(at_once, capsys)
    write_safetensors(tmp_path / "w.safetensors", {"features.0.weight": np.zeros((8, 3, 3, 3), np.float32)}, {})
    facts = json.loads(mobilenet("inspect", "w.safetensors", "--json", cwd=tmp_path)[1])
    assert facts["format"] == "torch" and facts["arrays"] == [dict(name="features.0.weight", shape=[8, 3, 3, 3], dtype="float32")]
    assert "features.0.weight" in here("inspect", "w.safetensors")[1]
    (tmp_path / "noname").write_bytes(one_op_model())
    assert "SOFTMAX" in here("inspect", "noname", "--layers")[1], "a .tflite by what is in it"
    for name, said in (("m.mbn", "mobilenet evaluate m.mbn PHOTOS"), ("f.uf2", "mobilenet flash f.uf2"),
                       ("f.elf", "mobilenet simulate f.elf"), ("a.npz", "NumPy arrays"),
                       ("a.npy", "--input a.npy"), ("p.jpg", "mobilenet predict p.jpg"), ("m.mpy", "--module m.mpy")):
        (tmp_path / name).write_bytes(b"anything")
        code, out, err = here("inspect", name)
        assert code == 2 and said in one_line(err) and not out
        for command in re.findall(r"mobilenet (?!inspect)([^:]*)$", one_line(err)):
            cli._verb_of(command.split())
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").touch()
    assert "mobilenet quantize run" in one_line(here("inspect", "run")[2])


def test_a_model_that_cannot_be_counted_is_inspected_all_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "m.tflite").write_bytes(one_op_model())
    monkeypatch.setattr("mobilenet_keras.tflite.profile.MAX_OPS", 0)
    assert cli.main(["inspect", str(tmp_path / "m.tflite"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ops"][0]["name"] == "SOFTMAX" and "wanted at most 0" in facts["uncounted"]
    assert cli.main(["inspect", str(tmp_path / "m.tflite"), "--layers"]) == 2


PROJECTS = [  # arguments: runtime and files that they choose
    ("", "tflm cmake"), ("--board pico", "engine cmake"), ("--board pico --runtime tflm", "tflm pico-sdk"),
    ("--board esp32-s3", "tflm esp-idf"),
    ("--board coral-micro", "engine cmake"), ("--board nano33ble --to arduino", "tflm arduino"), ("--to openmv", "tflm openmv"),
    ("--to cmake", "tflm cmake"), ("--to platformio", "engine platformio"), ("--to platformio --board esp32-s3", "engine platformio"),
    ("--runtime engine --to cmake", "engine cmake"), ("--runtime engine --to arduino --board nano33ble", "engine arduino"),
    ("--board pico --to cmake", "engine cmake"), ("--board microbit --runtime tflm", "tflm cmake"), ("--to esp-idf", "tflm esp-idf")]


@pytest.mark.parametrize("args, chosen", PROJECTS)
def test_runtime_and_files_follow_from_the_board_or_from_each_other(args, chosen):
    a = cli.parser().parse_args(["export", "m.tflite", *args.split()])
    assert cli._project(a.runtime, a.to, a.board) == tuple(chosen.split())


WINDOWS = """
import json, sys
sys.modules["fcntl"] = sys.modules["termios"] = None  # as on Windows
from mobilenet_keras.cli import main
for args in json.loads(sys.argv[1]):
    try: code = main(args)
    except SystemExit as e: code = e.code
    for stream in (sys.stdout, sys.stderr): print(f"[exit code {code}]", file=stream, flush=True)
"""


def on_windows(folder, *lines):
    """[(exit code, stdout, stderr)] of command lines in one process on a console of code page 1252, without fcntl and termios."""
    done = subprocess.run([sys.executable, "-c", WINDOWS, json.dumps(lines)], capture_output=True, cwd=folder, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    out, err = (re.split(r"\[exit code (\d+)\]\r?\n", stream.decode("cp1252")) for stream in (done.stdout, done.stderr))
    assert done.returncode == 0 and "Traceback" not in done.stderr.decode("cp1252"), done.stderr
    return list(zip(map(int, out[1::2]), out[::2], err[::2], strict=False))


def test_a_console_of_windows(tmp_path):
    """Code page 1252 lacks a cat's letter; Python has neither fcntl nor termios there: no traceback, the right exit code."""
    model = example((1, 32, 32, 3), classes=2).with_metadata(["\u732b", "\u0142ososie"], Preprocessing(32, 32))
    model.save(tmp_path / "m.tflite")
    photos(tmp_path / "photos", ("\u732b", "\u0142ososie"), 2)
    cases = [
        ("--help", 0, "choose: what there is"), ("train --help", 0, "example: mobilenet train"), ("", 2, ""), ("boards", 0, "pico"),
        ("boards m.tflite --board pico", 0, "fits pico"), ("inspect m.tflite", 0, "classes  2: \\u732b, \\u0142ososie"),
        ("inspect m.tflite --json", 0, '"\\u732b"'), ("compile m.tflite", 0, "m.mbn: "), ("convert m.tflite -o s.tflite", 0, "s.tflite: "),
        ("lint m.tflite", 0, "TensorFlow Lite Micro"), ("evaluate m.tflite photos", 0, "of 4 photos right"), ("evaluate m.mbn photos", 0, "\\u732b"),
        ("predict photos --model m.tflite", 0, "\\u732b"), ("predict no\u732b.jpg", 2, ""), ("flash f.uf2 --dry-run", 2, ""),
        ("device ask nowhere.jpg", 2, ""), ("device selfcheck --wait nan", 2, ""),
        ("train nowhere", 2, ""), ("suggest", 0, "mobilenet_v1_0.25_224"), ("trian photos", 2, "")]
    found = on_windows(tmp_path, *(line.split() for line, _, _ in cases))
    assert len(found) == len(cases)
    for (line, code, says), (ended, out, err) in zip(cases, found, strict=True):
        assert ended == code and says in out, (line, out, err)
        assert code == 0 or not line or one_line(err)


@pytest.mark.slow
def test_training_without_fcntl(tmp_path, monkeypatch, capsys):
    """Windows has no flock: a run is trained all the same. In this process, as TensorFlow takes long to start."""
    import tensorflow as tf
    photos(tmp_path / "photos", ("\u732b", "\u0142ososie"), 6)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    tf.config.run_functions_eagerly(True)  # one step is not worth a compilation
    try:
        args = "--weights none --size 32 --epochs 1 --frozen-epochs 0 --batch-size 8 --output-stride 8 --out run"
        assert cli.main(["train", "photos", *args.split()]) == 0
    finally:
        tf.config.run_functions_eagerly(False)
    assert "Next: mobilenet quantize run" in capsys.readouterr().out


def test_compile_says_what_memory_it_takes(tmp_path, monkeypatch, capsys):
    model, out = shared("models/mlperf_tiny/vww_96_int8.tflite"), tmp_path / "vww.mbn"
    monkeypatch.chdir(tmp_path)
    here = functools.partial(at_once, capsys)
    facts = json.loads(mobilenet("compile", model, "-o", out, "--json")[1])
    assert facts["mbn_bytes"] == out.stat().st_size
    assert facts["arena_streamed"] < 16_700 and facts["arena_held"] < 36_000 and (facts["tflm_arena"] or 100_000) > 80_000
    assert 0 < facts["row_macs"] < facts["finish_macs"] < facts["macs"]
    code, out, _ = here("compile", model, "-o", tmp_path / "m.mbn", "--map", "--picture", tmp_path / "m.svg", "--json")
    assert {b["buffer"] for b in json.loads(out)["buffers"]} == {"context", "states", "ring", "scratch", "sums", "read", "written"}
    assert all(b["at"] + b["bytes"] <= facts["arena_streamed"] for b in json.loads(out)["buffers"]) and "<svg" in (tmp_path / "m.svg").read_text()
    assert (facts["macs"], facts["whole_macs"], facts["dead_channels"]) == (3_766_476, 7_489_664, 1928)
    text = here("compile", model, "--held", "--keep-dead")[1]
    assert "held" in text and "Removed" not in text and (tmp_path / "vww_96_int8.mbn").stat().st_size > 208_112
    text = here("compile", model)[1]
    assert "Removed 1,928 channels" in text and ": 3.77 of 7.49 million multiply-adds remain" in text
    assert (tmp_path / "vww_96_int8.mbn").stat().st_size < 44_000
    code, said, err = here("compile", shared("models/mlperf_tiny/vww_96_float.tflite"))
    assert code == 2 and said == "" and "float32" in one_line(err)


def test_uint8_files_are_compiled_as_they_are_and_converted_where_they_can_be(tmp_path):
    coral, out = shared("models/coral/mobilenet_v1_0.25_128_quant.tflite"), tmp_path / "signed.tflite"
    facts = json.loads(mobilenet("compile", coral, "-o", tmp_path / "v1.mbn", "--board", "pico", "--json")[1])
    assert facts["arena_streamed"] < 20_000 and facts["layout"] == "v6m" and facts["whole_macs"] == 13_570_304
    code, said, err = mobilenet("convert", coral, "--int8", "-o", out)
    said += err
    assert code == 1 and not out.exists() and "29 of its 31 ops" in said and "go from -156 to 98" in said and "mobilenet build" in said
    code, said, err = mobilenet("convert", shared("models/mlperf_tiny/vww_96_int8.tflite"), "--int8", "-o", out)
    assert code == 2 and "no uint8 weights" in one_line(err) and not out.exists()
    code, said, err = mobilenet("convert", tmp_path / "v1.mbn", "--int8", "-o", out)
    assert code == 2 and "uint8 .tflite" in one_line(err)


def test_an_int8_file_in_4_bits(tmp_path, capsys):
    model, out = shared("models/mlperf_tiny/vww_96_int8.tflite"), tmp_path / "four.tflite"
    code, said, err = at_once(capsys, "convert", model, "--int4", "-o", out)
    assert code == 0 and "14 of 28 layers" in said and "Its answers are others" in said and out.stat().st_size < 150_000
    facts = json.loads(at_once(capsys, "convert", model, "--int4", "-o", out, "--json")[1])
    assert facts["bytes"] == out.stat().st_size and sum(op["int4"] for op in facts["ops"]) == 14
    before = out.read_bytes()
    for file, flags, why in ((out, ["-o", out], "the file itself"), (out, ["-o", tmp_path / "x.tflite"], "but int4"),
                             (model, ["-o", tmp_path / "x.keras"], "int8 .tflite"),
                             (model, ["--int8", "-o", tmp_path / "x.tflite"], "two conversions"),
                             (tmp_path / "none.tflite", ["-o", tmp_path / "x.tflite"], "No such model")):
        code, said, err = at_once(capsys, "convert", file, "--int4", *flags)
        assert code == 2 and why in one_line(err) and not list(tmp_path.glob("x.*"))
    assert out.read_bytes() == before


def test_compile_for_a_board_and_its_ram(tmp_path, capsys):
    model = tmp_path / "m.tflite"
    example().save(model)
    run = lambda *flags: json.loads(at_once(capsys, "compile", model, "-o", tmp_path / "m.mbn", "--json", *flags)[1])  # noqa: E731
    assert run()["layout"] == "portable"
    assert [run("--board", board)["layout"] for board in ("pico", "pico2", "mps3-an547")] == ["v6m", "dsp", "mve"]
    sizes = [run("--board", "pico2", *flags)["arena_streamed"] for flags in (["--smallest"], [], ["--fastest"])]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2]
    assert sizes[0] <= run("--board", "pico2", "--ram", sizes[0] + 200)["arena_streamed"] <= sizes[0] + 200
    for flags, says in ((["--ram", "100"], "smallest arena of this network"), (["--smallest", "--fastest"], "Give one of --ram, --smallest and")):
        code, said, err = at_once(capsys, "compile", model, "--board", "pico2", *flags)
        assert code == 2 and said == "" and says in one_line(err)


def test_json_is_ascii_and_has_no_nan(tmp_path):
    """Whatever the console's encoding: a photo's name may hold any letter, a model's option any float."""
    model = Model(one_op_model(), "nan")
    at = model.data.index(np.float32(1).tobytes())  # SOFTMAX's beta
    (tmp_path / "nan.tflite").write_bytes(model.data[:at] + np.float32("nan").tobytes() + model.data[at + 4:])
    code, out, _ = mobilenet("inspect", tmp_path / "nan.tflite", "--json", PYTHONIOENCODING="ascii")
    facts = json.loads(out, parse_constant=pytest.fail)
    assert code == 0 and facts["ops"][0]["options"]["beta"] is None
    person = shared("models/tflite_micro/person.bmp")
    (tmp_path / "ünï 猫.bmp").write_bytes(person.read_bytes())
    code, out, err = mobilenet("predict", tmp_path / "ünï 猫.bmp", "--model", shared("models/tflite_micro/person_detect.tflite"), "--json",
                               PYTHONIOENCODING="ascii")
    assert code == 0 and json.loads(out)[0]["photo"].endswith("ünï 猫.bmp"), err


def test_missing_extra_names_the_pip_command(tmp_path):
    """With TensorFlow hidden, training says what to install and exits with 3."""
    for name in ("keras", "tensorflow"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')")
    code, out, err = mobilenet("train", photos(tmp_path / "p"), PYTHONPATH=str(tmp_path))
    assert code == 3 and 'pip install "mobilenet-keras[train]"' in one_line(err), err


def test_the_end_of_the_path(trained, tmp_path, monkeypatch, capsys):
    """What was trained and quantized is verified, predicts, and is exported; `test_whole_path` types all of it."""
    monkeypatch.chdir(trained)
    app = tmp_path / "app"
    for line, said in (("verify run/model.tflite fruit/banana -n 4", "PASS"),
                       ("predict fruit/banana/banana0.jpg --model run/model.tflite", "banana"),
                       (f"export run/model.tflite --runtime tflm -o {app} --photo fruit/lime/lime1.jpg", str(app))):
        code = cli.main(line.split())
        out, err = capsys.readouterr()
        assert code == 0 and said in out, err
    assert (app / "main.cc").exists()


@pytest.mark.slow
def test_whole_path(tmp_path):
    """train, quantize, verify, predict and export on a tiny folder, as a new user types them."""
    folder = photos(tmp_path / "fruit", n=16)
    (folder / "lime" / "notes.txt").write_text("bought on Tuesday")
    code, out, err = mobilenet("train", folder, "--weights", "none", "--size", "32", "--epochs", "40", "--batch-size", "8", "--output-stride", "8",
                               "--learning-rate", "0.003", "--out", "run", "--json", cwd=tmp_path)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["run"] == "run" and facts["classes"] == ["banana", "lime"] and "notes.txt" in err
    code, out, err = mobilenet("quantize", "run", "--json", cwd=tmp_path)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["int8_accuracy"] >= .75 and facts["agreement"] >= .75
    code, out, err = mobilenet("verify", "run/model.tflite", "fruit/banana", "-n", "4", cwd=tmp_path)
    assert code == 0 and out.startswith("PASS"), out + err
    code, out, err = mobilenet("verify", "run/model.tflite", "fruit/lime", "-n", "99", cwd=tmp_path)
    assert code == 1 and out.startswith("PASS") and "notes.txt" in err, "a file that is no photo is told, and the rest verified"
    code, out, err = mobilenet("predict", "fruit/banana/banana0.jpg", "--model", "run/model.tflite", "--top", "1", cwd=tmp_path)
    assert code == 0 and "banana" in out and "TensorSpec" not in err
    code, out, err = mobilenet("export", "run/model.tflite", "--runtime", "tflm", "-o", "app", "--photo", "fruit/lime/lime1.jpg", cwd=tmp_path)
    assert code == 0 and (tmp_path / "app" / "main.cc").exists(), err


def test_verbs_know_what_finds_things(tmp_path, capsys):
    """Each works, or says in a sentence what to do; and nothing is taken for a class of the whole photo."""
    folder, model = written(tmp_path / "squares", 3), finder(threshold=.3)
    path, photo, compiled = model.save(tmp_path / "finder.tflite"), tmp_path / "squares/test/images/0.png", tmp_path / "finder.mbn"
    code, out, _ = at_once(capsys, "inspect", path)
    assert code == 0 and "finds    bright, dark, by a centroid head, from a score of 30% on" in out
    code, out, _ = at_once(capsys, "compile", path, "-o", compiled)
    assert code == 0
    found = [json.loads(at_once(capsys, *line, "--json")[1]) for line in (("evaluate", path, folder), ("evaluate", compiled, folder))]
    assert found[0]["metric"] == found[1]["metric"] == "f1" and found[0]["n"] == found[1]["n"] == 3
    code, out, _ = at_once(capsys, "predict", photo, "--model", path, "--json")
    assert code == 0 and json.loads(out)[0]["found"] == model.task.listed(model.predict(photo).found)
    code, out, err = at_once(capsys, "micropython", "export", path, "-o", tmp_path / "disk")
    assert code == 0 and not err and "def peaks" in (tmp_path / "disk/main.py").read_text()
    code, out, _ = at_once(capsys, "convert", path, "-o", tmp_path / "small.tflite")
    assert code == 0 and "With it goes that it finds bright, dark" in out
    at_once(capsys, "compile", tmp_path / "small.tflite", "-o", tmp_path / "small.mbn")
    for line, said in ((("predict", photo, "--model", path, "--top", "2"), "finder finds things: it names all that it finds"),
                       (("evaluate", path, folder, "--alphabetical"), "alphabetical is for photos in classes"),
                       (("evaluate", path, folder, "--labels-in-names"), "labels_in_names is for photos in classes"),
                       (("evaluate", path, folder, "--part", "validation"), "has no validation photos"),
                       (("evaluate", compiled, folder, "--runtime", "tflm"), "--runtime is an interpreter of a .tflite"),
                       (("evaluate", tmp_path / "small.tflite", folder), "gives a map"),
                       (("evaluate", tmp_path / "small.mbn", folder), "gives a map"),
                       *(((*line.split(), folder), f"has photos with boxes, and mobilenet {verb} wants a folder of photos for each class")
                         for line, verb in (("train", "train without --head"), ("sweep", "sweep"), ("suggest --board pico --photos", "suggest")))):
        code, _, err = at_once(capsys, *line)
        assert code == 2 and said in one_line(err), (line, err)


def test_masks_are_no_class(capsys):
    code, _, err = at_once(capsys, "train", shared("data/nuclei"))
    assert code == 2 and re.search(r"has photos with (masks|boxes), and mobilenet train without --head wants", one_line(err))
