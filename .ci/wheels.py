"""Wheels that hold the engine, compiled: `python .ci/wheels.py FOLDER`, with the pure wheel of `python -m build` in FOLDER.

zig compiles the C that the pure wheel holds, by that wheel's own code and flags, for each system in TARGETS; a copy of the
wheel takes the library. Where none of them fits, pip takes the pure one, which compiles the engine when it is first used.
Needs ziglang and wheel. The first time zig takes a minute or two for Windows, whose C runtime it compiles too.
"""
import contextlib
import importlib
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

TARGETS = {  # platform tag -> what zig calls its machines
    "manylinux2014_x86_64": ["x86_64-linux-gnu.2.17"],
    "manylinux2014_aarch64": ["aarch64-linux-gnu.2.17"],
    "macosx_11_0_universal2": ["x86_64-macos.11.0", "aarch64-macos.11.0"],
    "win_amd64": ["x86_64-windows-gnu"],
}
PAGE = 14  # of arm64: each machine's part of a universal file begins at a multiple of 2**14 bytes


def universal(parts):
    """One Mach-O file of several, each for another machine: mach-o/fat.h."""
    head, body, at = struct.pack(">2I", 0xCAFEBABE, len(parts)), b"", 1 << PAGE
    for part in parts:
        head += struct.pack(">5I", *struct.unpack_from("<2I", part, 4), at + len(body), len(part), PAGE)
        body += part + bytes(-len(part) % (1 << PAGE))
    return head.ljust(at, b"\0") + body


def library(engine, machines, name):
    """The shared library for these machines. It is made in a folder of its own, since a path would be written into it, and files beside it."""
    parts = []
    for machine in machines:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            done = engine._compile([sys.executable, "-P", "-m", "ziglang", "cc", "-target", machine, "-s"], name)
            if done.returncode:
                raise SystemExit(f"zig can't compile the engine for {machine}:\n{done.stderr}")
            parts.append(Path(name).read_bytes())
    return universal(parts) if len(parts) > 1 else parts[0]


def wheel(*arguments):
    """Run a command of the package wheel, which keeps RECORD true."""
    done = subprocess.run([sys.executable, "-P", "-m", "wheel", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"wheel {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def write_wheels(pure, folder):
    """Write a wheel for each of TARGETS beside the pure one."""
    wheel("unpack", pure, "--dest", folder)
    tree, = Path(folder).iterdir()
    facts, = tree.glob("*.dist-info/WHEEL")
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True  # or it would be in the wheels
    engine = importlib.import_module("mobilenet_keras.engine.engine")
    if not Path(engine.__file__).is_relative_to(tree):
        raise SystemExit(f"Wanted the engine of {pure}. Imported: {engine.__file__}")
    text, lib = facts.read_text(encoding="utf-8"), tree / "mobilenet_keras/engine/lib"
    if "Root-Is-Purelib: true" not in text or "Tag: py3-none-any" not in text:
        raise SystemExit(f"Wanted a pure wheel. {pure} says of itself:\n{text}")
    lib.mkdir()
    for tag, machines in TARGETS.items():
        made = lib / f"engine-{engine.engine_stamp()}{'.dll' if tag.startswith('win') else '.so'}"
        made.write_bytes(library(engine, machines, made.name))
        facts.write_text(text.replace("Root-Is-Purelib: true", "Root-Is-Purelib: false").replace("py3-none-any", f"py3-none-{tag}"), encoding="utf-8")
        wheel("pack", tree, "--dest-dir", pure.parent)
        made.unlink()
        written = pure.with_name(pure.name.replace("-any.whl", f"-{tag}.whl"))
        print(f"{written.name}  {written.stat().st_size:,} bytes")


if __name__ == "__main__":
    found = list(Path(sys.argv[1]).resolve().glob("*-py3-none-any.whl")) if len(sys.argv) == 2 else []
    if len(found) != 1:
        raise SystemExit("usage: python .ci/wheels.py FOLDER, which holds one pure wheel. Make it with: python -m build --outdir FOLDER")
    with tempfile.TemporaryDirectory() as scratch:
        write_wheels(found[0], Path(scratch).resolve())
