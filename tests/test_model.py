"""`Model` against the interpreters' own readers on real files, against broken files, and its metadata."""
import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import shared
from helpers import sample

from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.inputs import noise_photos
from mobilenet_keras.tflite.interpreters import installed_runtimes, load
from mobilenet_keras.tflite.model import Model
from mobilenet_keras.tflite.profile import profile

SMALL = ["mlperf_tiny/vww_96_int8", "tflite_micro/person_detect"]
QUANTIZED = SMALL + ["coral/mobilenet_v1_0.25_128_quant", "coral/mobilenet_v1_0.5_160_quant",
                     "coral/mobilenet_v2_1.0_224_quant", "coral/deeplabv3_mnv2_dm05_pascal_quant"]


def real(name):
    return Model.open(shared(f"models/{name}.tflite"))


def lite(data):
    """A LiteRT interpreter without delegates, whose tensors are those of the file."""
    module = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
    plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # BUILTIN_REF aborts on some untrained models
    interpreter = module.Interpreter(model_content=data, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    return interpreter


def assert_reads_as_litert(model):
    """Every tensor, constant and op of `model` is what LiteRT's interpreter reports."""
    interpreter = lite(model.interpretable)
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    for t in model.tensors:
        theirs = details[t.index]
        assert (t.name, t.shape, t.dtype) == (theirs["name"], tuple(theirs["shape"]), np.dtype(theirs["dtype"]).name)
        q = theirs["quantization_parameters"]
        np.testing.assert_array_equal([] if t.scale is None else t.scale, q["scales"])
        np.testing.assert_array_equal([] if t.zero_point is None else t.zero_point, q["zero_points"])
        if t.scale is not None and len(t.scale) > 1:
            assert t.axis == q["quantized_dimension"]
        if t.data is not None:
            np.testing.assert_array_equal(t.data, interpreter.get_tensor(t.index))
    assert [t.index for t in model.inputs] == [d["index"] for d in interpreter.get_input_details()]
    assert [t.index for t in model.outputs] == [d["index"] for d in interpreter.get_output_details()]
    assert [(op.name, op.inputs, op.outputs) for op in model.ops] == [
        (d["op_name"], tuple(d["inputs"]), tuple(d["outputs"])) for d in interpreter._get_ops_details()]


def assert_options_as_litert(model):
    """Every option is what LiteRT's own reader of the schema, another generator's work, finds."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs ai-edge-litert")
    enums = {"padding": schema.Padding, "fused_activation_function": schema.ActivationFunctionType}
    operators = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model.data, 0)).subgraphs[0].operators
    assert len(operators) == len(model.ops)
    for op, theirs in zip(model.ops, operators):
        for name, value in op.options.items():
            head, *rest = name.split("_")
            wanted = getattr(theirs.builtinOptions, head + "".join(word.capitalize() for word in rest))
            if name in enums:
                value = getattr(enums[name], value)
            assert np.array_equal(value, wanted), (op, name, wanted)
        assert op.options or theirs.builtinOptions is None or not vars(theirs.builtinOptions) \
            or set(vars(theirs.builtinOptions).values()) == {None}


@pytest.mark.parametrize("name", [*QUANTIZED, "mlperf_tiny/vww_96_float"])
def test_real_files_are_read_as_litert_reads_them(name):
    model = real(name)
    assert_reads_as_litert(model)
    assert_options_as_litert(model)
    assert bool(model.float_ops) == ("float" in name)


PEERS_MINIMUM = {("int8", .25, 96): 55_296, ("int8", .35, 96): 138_240}  # bytes, as others count V1 and V2 layer by layer


EXPORTED = [("int8", 1, .25, (96, 96, 3)), ("int8", 1, .1, (33, 57, 1)), ("float", 1, 1, (64, 64, 3)),
            ("int8", 2, .35, (96, 96, 3)), ("float", 2, .1, (49, 32, 1)), ("int8", 2, 1.4, (64, 64, 3))]


@pytest.mark.parametrize("kind,version,alpha,shape", sample(EXPORTED, kept=[EXPORTED[1]]))
def test_exported_files_are_read_as_litert_reads_them(tensorflow, kind, version, alpha, shape):
    from mobilenet_keras.networks import models
    from mobilenet_keras.training.quantization import convert
    net = (models.MobileNetV1 if version == 1 else models.MobileNetV2)(alpha, shape, classes=3)
    images = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)
    model = Model(convert(net, images if kind == "int8" else None))
    assert_reads_as_litert(model)
    assert_options_as_litert(model)
    assert_options_as_litert(model.strip())
    costs = profile(model)
    assert costs.macs == models.count_macs(net)  # test_models.py holds that against the papers' tables
    if (kind, alpha, shape[0]) in PEERS_MINIMUM:
        assert costs.ram_minimum == PEERS_MINIMUM[kind, alpha, shape[0]]
    strides = [op.options["stride_h"] for op in model.ops if op.name.endswith("CONV_2D")]
    assert strides.count(2) == 5 and not strides[0] == 1


def forward(name, data, images):
    """Output bytes of `images` on an interpreter of this process."""
    return [out.tobytes() for out in load(Model(data), name).run(images)]


@pytest.mark.parametrize("name", sample(QUANTIZED, kept=QUANTIZED[:3]))
def test_strip_keeps_every_byte_of_the_output(name):
    model = real(name)
    small = model.strip()
    t = model.inputs[0]
    pixels = noise_photos(2, *t.shape[1:])
    images = pixels if t.dtype == "uint8" else (pixels.astype(np.int16) - 128).astype(np.int8)
    exact = ["litert-reference"] + ["tflm"] * (t.dtype == "int8")
    here = [n for n in exact if installed_runtimes()[n] is True]
    if not here:
        pytest.skip("needs ai-edge-litert or tflite-micro")
    for judge in here:
        assert forward(judge, small.data, images) == forward(judge, model.data, images)
    constants = sum(t.nbytes for t in model.tensors if t.constant)
    assert len(small.data) < min(1.11 * constants, len(model.data))
    assert small.metadata == {} and small.classes is None and small.strip().data == small.data
    assert [(t.shape, t.dtype) for t in small.tensors] == [(t.shape, t.dtype) for t in model.tensors]


def test_float_and_compiled_models_are_described():
    model = real("mlperf_tiny/vww_96_float")
    assert len(model.float_ops) == len(model.ops) == 31
    assert [op.name for op in real("coral/mobilenet_v1_0.25_128_quant_edgetpu").ops] == ["edgetpu-custom-op"]


def described(model):
    shape = model.inputs[0].shape
    names = ["no person 🚶", 'a "person"\nof two lines'] if model.outputs[0].shape == (1, 2) else None
    return model.with_metadata(names, Preprocessing.preset("torch" if shape[3] == 3 else "keras", shape[1:3], shape[3]),
                               description="Seen?", author="me", license="Apache-2.0", version="2")


@pytest.mark.parametrize("name", SMALL)
def test_metadata_round_trip(name, tmp_path):
    model = real(name)
    told = described(model)
    again = Model.open(told.save(tmp_path / "told.tflite"))
    assert again.classes == ["no person 🚶", 'a "person" of two lines']
    assert again.preprocessing == told.preprocessing and again.preprocessing.channels == model.inputs[0].shape[3]
    assert again.metadata["license"] == "Apache-2.0" and again.metadata["description"] == "Seen?"
    with zipfile.ZipFile(tmp_path / "told.tflite") as z:
        assert z.testzip() is None and z.namelist() == ["labels.txt"]
    assert described(told).data == told.data, "metadata written twice must not change a byte"
    assert told.without_metadata().data == model.data
    assert model.with_metadata(author="you").with_metadata(["a", "b"]).metadata["author"] == "you"


READER = """
import json, sys
from tflite_support import metadata
shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
print(json.dumps([json.loads(shown.get_metadata_json()), shown.get_packed_associated_file_list(),
                  shown.get_associated_file_buffer("labels.txt").decode()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12) or sys.platform != "linux", reason="tflite-support has no wheel for this Python")
def test_metadata_is_read_by_tflite_support(index, tmp_path):
    """Google's own reader, alone in an environment: it conflicts with today's TensorFlow."""
    described(real("tflite_micro/person_detect")).save(tmp_path / "told.tflite")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "tflite-support==0.4.4"], check=True, capture_output=True)
    done = subprocess.run([python, "-c", READER, tmp_path / "told.tflite"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, files, labels = json.loads(done.stdout)
    graph = told["subgraph_metadata"][0]
    assert {k: told[k] for k in ("name", "description", "version", "author", "license")} == {
        "name": "person_detect", "description": "Seen?", "version": "2", "author": "me", "license": "Apache-2.0"}
    photo, scores = graph["input_tensor_metadata"][0], graph["output_tensor_metadata"][0]
    assert photo["content"]["content_properties"] == {"color_space": "GRAYSCALE"}
    assert photo["process_units"][0]["options"] == {"mean": [127.5], "std": [127.5]}
    assert scores["associated_files"][0]["type"] == "TENSOR_AXIS_LABELS"
    assert files == ["labels.txt"] and labels == "no person 🚶\na \"person\" of two lines\n"


def test_other_tools_metadata_is_read_and_replaced():
    model = real("coral/mobilenet_v1_0.25_128_quant")
    labels = shared("models/coral/imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    assert len(model.classes) == 1001 and model.classes[:2] == ["background", "tench, Tinca tinca"]
    assert len(labels) == 1001
    assert model.preprocessing == Preprocessing(128, 128, crop=.875)  # mean and deviation are the file's, the cut is the published one
    mine = model.with_metadata([f"class {i}" for i in range(1001)])
    assert mine.classes[1000] == "class 1000" and mine.metadata["name"] == "ImageClassifier"
    assert zipfile.ZipFile(io.BytesIO(mine.data)).namelist() == ["labels.txt"]


@pytest.mark.parametrize("name", SMALL)
def test_metadata_does_not_change_outputs(name):
    model = real(name)
    told = described(model)
    image = np.random.default_rng(1).integers(-128, 128, model.inputs[0].shape, np.int8)
    here = [n for n in ("tflite-runtime", "litert-reference", "tflm") if installed_runtimes()[n] is True]
    if not here:
        pytest.skip("needs tflite-runtime, ai-edge-litert or tflite-micro")
    for interpreter in here:
        assert forward(interpreter, told.data, image) == forward(interpreter, model.data, image)


def test_importing_is_fast():
    heavy = {"tensorflow", "keras", "tflite", "ai_edge_litert", "tflite_runtime", "matplotlib"}
    code = f"import sys, mobilenet_keras.tflite.interpreters; print({heavy}.intersection(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()", "importing runtime must not import these"
