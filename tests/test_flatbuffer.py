"""Broken, endless and foreign FlatBuffers end in a sentence."""
import time

import numpy as np
import pytest
from conftest import shared
from engine_models import PERSON, VWW
from helpers import mutations, sample

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tflite.flatbuffer import flatbuffer_bytes
from mobilenet_keras.tflite.model import Model, one_op_model


@pytest.mark.parametrize("count", sample([60, 240], kept=[60]))
@pytest.mark.parametrize("source", ["tiny", PERSON, VWW])
def test_broken_files_end_in_a_sentence(source, count):
    data = Model(one_op_model()).with_metadata(map(str, range(10))).data if source == "tiny" else shared(f"models/{source}.tflite").read_bytes()
    outcomes = []
    for broken in mutations(data, count):
        started = time.perf_counter()
        try:
            model = Model(broken)
            outcomes.append("model")
            try:
                model.metadata, model.classes, model.preprocessing, repr(model), model._repr_html_(), model.float_ops
                model.with_metadata(description="still here").strip()
            except MobileNetError:
                pass
        except MobileNetError:
            outcomes.append("error")
        assert time.perf_counter() - started < 5
    assert outcomes.count("error") >= count // 3


def test_a_file_that_is_cut_short_is_told_in_words():
    """Not in those of `struct` or of NumPy."""
    data = Model(one_op_model()).with_metadata(map(str, range(10))).data
    said = set()
    for n in range(8, len(data) - 1, 7):
        try:
            repr(Model(data[:n]).metadata)
        except MobileNetError as e:
            said.add(str(e))
            assert not any(word in str(e) for word in ("unpack", "buffer of", "error", "Error", "index out")), str(e)
    assert any("it refers to bytes that it doesn't have" in text for text in said)


def test_a_small_file_can_not_take_long():
    """A vector of a million tensors that are all the same table is refused before it is read."""
    data = bytearray(one_op_model())
    model = Model(data)
    at = model._root.Subgraphs(0)._tab
    start = at.Vector(at.Offset(4)) - 4
    data[start:start + 4] = (1_000_000).to_bytes(4, "little")
    started = time.perf_counter()
    with pytest.raises(MobileNetError, match="larger than the file"):
        Model(data)
    assert time.perf_counter() - started < 1


def test_a_signature_longer_than_its_shape_is_refused():
    """LiteRT trusts its length and dies of it."""
    graph = {0: [{0: [np.int32(1)], 1: np.int8(9), 3: "x", 7: [np.int32(-1)] * 9}], 1: [np.int32(0)], 2: [np.int32(0)], 3: []}
    with pytest.raises(MobileNetError, match="signature of 9"):
        Model(flatbuffer_bytes(lambda _: {0: np.uint32(3), 2: [graph], 4: [{}]}, b"TFL3"))


def test_weights_outside_the_flatbuffer_are_refused():
    graph = {0: [{0: [np.int32(1)], 1: np.int8(9), 3: "x"}], 1: [np.int32(0)], 2: [np.int32(0)], 3: []}
    data = flatbuffer_bytes(lambda _: {0: np.uint32(3), 2: [graph], 4: [{1: np.uint64(4096), 2: np.uint64(64)}]}, b"TFL3")
    with pytest.raises(MobileNetError, match="outside its flatbuffer"):
        Model(data)
