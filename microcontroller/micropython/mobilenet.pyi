"""The `mobilenet` module of MicroPython, for editors: put this file where yours looks for stubs."""
from array import array
from collections.abc import Callable
from typing import Any

GRAY: int  # h*w bytes
RGB565: int  # 2*h*w bytes, little-endian, as framebuf has them
RGB565_BE: int  # the same, big-endian, as many cameras send them
RGB888: int  # 3*h*w bytes, red first
INT8: int  # the model's own input: h*w*c int8 values


class Model:
    """A compiled model (.mbn) that runs in place: its weights are never copied."""

    def __init__(self, model: Any, arena: Any = None, verify: bool = True) -> None:
        """`model`: a path, a file opened with "rb", or a buffer whose start is a multiple of 4; on ROMFS and in buffers it
        stays where it is, other files are read into the heap, once. `arena`: a buffer of `arena_bytes` of yours.
        `verify`: check the CRC of the whole file."""

    input_shape: tuple[int, int, int]  # height, width, channels
    output_shape: tuple[int, int, int]  # of output 0
    labels: tuple[str, ...]  # empty, if the model does not name its classes
    scores: array[int]  # int8, one for each class: the last result; always the same object
    arena_bytes: int  # working memory
    model_bytes: int  # of the file
    heap_bytes: int  # what the file itself took of the heap: 0, if it runs in place
    metadata: str  # JSON with name and preprocessing

    def predict(self, image: Any, format: int = 0) -> array[int]:
        """Run a whole image; 0 takes the format from the buffer's size. Allocates nothing."""

    def begin(self) -> None:
        """Start an inference whose rows will be pushed."""

    def push_row(self, row: Any, format: int = 0) -> None:
        """Push the next row, from the top."""

    def finish(self) -> array[int]:
        """The scores, after the last row."""

    def top(self, k: int = 5) -> list[tuple[str | int, float]]:
        """The k best classes with their scores, best first; numbers where the model has no names."""

    def output(self, k: int) -> bytes:
        """Output k, as int8."""

    def info(self) -> dict[str, Any]:
        """All that is known about the model."""

    def on_yield(self, f: Callable[[], Any] | None) -> None:
        """Call f now and then during a run; what it raises ends the run. None: no more."""
