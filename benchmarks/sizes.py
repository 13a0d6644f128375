"""What firmware takes of a board besides the model: writes microcontroller/sizes.json, by which `boards`, `build` and `suggest` judge.

For each board, layout of weights, minor of the format, place of the kernels and number of cores: bytes of flash (code and the constants
of start-up, console and engine) and of RAM (stacks, variables, kernels that run there), of images as `build` links them (ziglang). What
depends on the model is taken off. Linkers align: RAM is that behind an even and an odd number of words, of flash the most is kept.
Under "finds": bytes of flash that the code takes by which a board says where things are, by layout and number of cores; it takes no RAM but stack.

Half an hour: python benchmarks/sizes.py [board ...]
"""
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from mobilenet_keras.core import microcontroller_folder  # noqa: E402
from mobilenet_keras.engine.layouts import layout_for  # noqa: E402
from mobilenet_keras.engine.mbn import MINOR, compile_model  # noqa: E402
from mobilenet_keras.mcu.firmware import Firmware, data_source, expected_output, link  # noqa: E402
from mobilenet_keras.mcu.fit import finds_key, firmware_key, model_bytes  # noqa: E402
from mobilenet_keras.mcu.target import target, targets  # noqa: E402
from mobilenet_keras.tasks.centroids import Centroids  # noqa: E402
from mobilenet_keras.tflite.builder import Builder, example  # noqa: E402

MODELS = [*(Builder((1, 11, w, 1)).conv(4, 3, 2).mean().dense(2).softmax().model("a name") for w in (9, 17)), example((1, 24, 24, 3), 1, 6)]
FINDERS = [Builder((1, h, h, 3)).conv(8, 3, 2).conv(2).logistic().model("a finder").with_metadata(["dot", "ring"], task=Centroids(("dot", "ring")))
           for h in (10, 11)]


def layouts(board):
    return dict.fromkeys(("portable", layout_for(target(board).core).name))


def variants(board):
    """Every `Target`, layout and minor that firmware for a board may have."""
    for hot in ("flash", "ram"):
        for cores in (1, 2) if target(board).second_stack else (1,):
            t = target(board, hot, cores=cores)
            yield from ((t, layout, minor) for layout in layouts(board) for minor in range(MINOR + 1))


def linked(model, t, layout, minor):
    """((the model's RAM, what the image takes besides), flash that it takes besides); its memories are made large enough."""
    t = replace(t, ram=(t.ram[0], 8 << 20), flash=(t.flash[0], 8 << 20))
    compiled = compile_model(model, layout=layout)
    image = compiled.io.input.prepare(None).one
    source = data_source(compiled, t.id, image, expected_output(compiled, image), t.cores)
    firmware = Firmware(compiled.name, t, link(t, source, None, layout, minor), "ziglang")
    ram, flash = model_bytes(compiled, t)
    return (ram, firmware.ram_used - ram), firmware.flash_used - flash


def measured(t, layout, minor):
    """(its key, [RAM, RAM behind a model that takes an odd number of words, flash])."""
    found = [linked(model, t, layout, minor) for model in MODELS]
    own = [{own for (taken, own), _ in found if taken % 8 == odd} for odd in (0, 4)]
    code = [flash for _, flash in found]
    assert [len(n) for n in own] == [1, 1] and max(code) - min(code) <= 32, (t.id, layout, minor, found)
    return firmware_key(t, layout, minor), [*own[0], *own[1], max(code)]


def finding(board):
    """{its key: bytes of flash by which a model that finds things needs more than one that doesn't, besides itself}; 16 for alignment."""
    found = {}
    for cores in (1, 2) if target(board).second_stack else (1,):
        plain = target(board, cores=cores)
        finds = replace(plain, defines=(*plain.defines, "APP_FINDS"))
        for layout in layouts(board):
            more = (linked(m, finds, layout, MINOR)[1] - linked(m, plain, layout, MINOR)[1] for m in FINDERS)
            found[finds_key(plain, layout)] = max(more) + 16
    return found


def main(boards):
    path = microcontroller_folder() / "sizes.json"
    every = json.loads(path.read_text()) if path.exists() else {}
    with ThreadPoolExecutor(2) as pool:
        for board in boards or targets():
            every[board] = dict(pool.map(lambda v: measured(*v), variants(board)))
            every.setdefault("finds", {})[board] = finding(board)
            print(board, every[board], every["finds"][board], flush=True)
            entries = {b: ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(every[b].items())) for b in sorted(every)}
            lines = [f" {json.dumps(b)}: {{\n{text}\n }}" for b, text in entries.items()]
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
