"""Protocol buffers as plain fields: lengths are checked, and nothing recurses."""

import numpy as np
import pytest
from import_mutations import const, mutations

from mobilenet_keras.networks.protobuf import checked_array, float_field, int_field, int_fields, message, packed_field, str_field, tensor_proto


def test_the_examples_of_the_specification():
    """protobuf.dev, "Encoding"."""
    assert message(memoryview(bytes.fromhex("089601"))) == {1: [150]}
    assert str_field(message(memoryview(bytes.fromhex("120774657374696e67"))), 2) == "testing"
    assert int_fields(message(memoryview(bytes.fromhex("3206038e029ea705"))), 6) == [3, 270, 86942]


def test_fixed_fields_packed_or_not():
    one = np.float32(1.5).tobytes()
    assert float_field(message(memoryview(b"\x0d" + one)), 1, 0) == 1.5
    assert np.frombuffer(packed_field(message(memoryview(b"\x0a\x08" + one + one)), 1), "<f4").tolist() == [1.5, 1.5]
    assert int_field({1: [b"x"]}, 1, 7) == 7


@pytest.mark.parametrize(
    "data, said",
    [
        (b"\x0a\x7f", "a field of 127 bytes where 0 are left"),
        (b"\xff" * 11, "more than ten bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x08\x01" * 200_001, "more than 200,000 fields"),
    ],
)
def test_broken_messages_are_value_errors(data, said):
    with pytest.raises(ValueError, match=said):
        message(memoryview(data))


def test_an_array_has_as_many_bytes_as_its_shape_says():
    assert checked_array(bytes(24), "<f4", (2, 3), "a").shape == (2, 3)
    with pytest.raises(ValueError, match="declares the shape"):
        checked_array(bytes(24), "<f4", (1 << 40, 3), "a")


def test_tensors_in_any_state():
    a = np.arange(12, dtype="f4").reshape(3, 4)
    node = const("a", a)
    attribute = message(message(memoryview(node))[5][0])
    raw = message(attribute[2][0])[8][0]
    assert np.array_equal(tensor_proto(raw, "a"), a)
    for broken in mutations(bytes(raw), 3000):
        try:
            found = tensor_proto(memoryview(broken), "a")
            assert found is None or found.nbytes <= len(broken)
        except (ValueError, IndexError, TypeError, UnicodeError, OverflowError, MemoryError):
            pass
