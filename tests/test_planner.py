"""The plan of random MobileNet-like networks, executed in Python in exactly the bytes that it promises, where every byte says whose it is.

This is no copy of `mbn_run.c` but follows what `mbn_format.h` and the plan's notebook say. Each byte of the arena carries a tag beside its value:
which channel of which pixel of which map it holds, or whose sum it is part of. A kernel may only read bytes that still have the tag it
expects, computes with what it read by the NumPy reference, and may write anywhere but into context and states. So if a buffer is too
small or an overlay too close, something live is overwritten, and its reader notices.
"""
import struct
import time
from dataclasses import dataclass, field, replace
from itertools import takewhile

import engine_models
import numpy as np
import pytest
from engine_models import DETECTORS, TARGETS, some_images, ssdlite

from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.layouts import LAYOUTS, layout
from mobilenet_keras.engine.lowering import _REFERENCE, OPS, graph_ends, lower, reference
from mobilenet_keras.engine.mbn import _HEADER, _OUTPUT, _STAGE, _STEP, HELD, Header, compile_model
from mobilenet_keras.engine.planner import _cuts, _stage, plan
from mobilenet_keras.tflite.builder import Builder

CONTEXT, STATE, DIRECT = 48, 12, 0xffffffff  # as mbn_format.h says


class Violation(AssertionError):
    """The plan does not hold."""


def must(condition, what):
    if not condition:
        raise Violation(what)


# ---- the plan, as it stands in the file ----

@dataclass
class PlannedStep:
    """What a file says of a step, beside its arithmetic."""
    step: object
    group: int
    out: int
    buffer: int
    capacity: int
    state: int
    scratch: int  # bytes that its kernel uses meanwhile


@dataclass
class PlannedStage:
    group: int
    states: int
    in_bytes: int
    out: int
    out_bytes: int
    scratch: int
    steps: list = field(default_factory=list)


@dataclass
class File:
    arena: int
    base: int
    held: bool
    outputs: list
    stages: list


def read(compiled):
    """The plan of a compiled model, read from its file."""
    data, h = compiled.data, Header._make(struct.unpack_from(_HEADER, compiled.data))
    at, sizes = struct.calcsize(_HEADER), [struct.calcsize(f) for f in (_OUTPUT, _STAGE, _STEP)]
    outputs = list(struct.iter_unpack(_OUTPUT, data[at:at + h.outputs * sizes[0]]))
    at += h.outputs * sizes[0]
    stages, at = list(struct.iter_unpack(_STAGE, data[at:at + h.stages * sizes[1]])), at + h.stages * sizes[1]
    order = layout(compiled.layout)
    rows = struct.iter_unpack(_STEP, data[at:at + h.steps * sizes[2]])
    packed = [PlannedStep(s, *row[20:25], (order.scratch(s) if row[19] else 0) + s.gathered) for s, row in zip(compiled.steps, rows, strict=True)]
    found = [PlannedStage(*row[2:], packed[row[0]:row[0] + row[1]]) for row in stages]
    return File(h.arena_bytes, CONTEXT + h.kept_bytes, bool(h.flags & HELD), [(o[0], o[1]) for o in outputs], found)


# ---- the arena ----

class Arena:
    """Bytes with tags; 0: nobody's."""

    def __init__(self, size, maps):
        self.value, self.tag, self.maps, self.reserved = np.full(size, -91, np.int8), np.zeros(size, np.int64), maps, CONTEXT
        self.first = np.cumsum([1, *(m.size for m in maps)])  # tag of each map's first byte; those of sums are negative

    def tags(self, m, pixel, n):
        c = self.maps[m].shape[2]
        return self.first[m] + np.arange(pixel * c, (pixel + n) * c)

    def put(self, at, tags, values, reserved=None):
        must(at >= (self.reserved if reserved is None else reserved) and at + len(tags) <= len(self.tag), f"a write of {len(tags)} bytes at {at}")
        self.value[at:at + len(tags)], self.tag[at:at + len(tags)] = values, tags

    def get(self, at, tags):
        must(at >= CONTEXT and at + len(tags) <= len(self.tag), f"a read of {len(tags)} bytes at {at}")
        must((self.tag[at:at + len(tags)] == tags).all(), f"a live byte was overwritten in {at}..{at + len(tags)}")
        return self.value[at:at + len(tags)].copy()

    def pixels(self, at, m, pixel, n):
        """n pixels of map m, in the order of rows, from address `at`: (n, channels), as the reference has them."""
        found, c = self.get(at, self.tags(m, pixel, n)).reshape(n, -1), self.maps[m].shape[2]
        must((found == self.maps[m].reshape(-1, c)[pixel:pixel + n]).all(), "a wrong value")
        return found


@dataclass
class Group:
    """Pixels on their way: of map m, the `pixel`-th and those behind it, which lie at `at`, or outside the arena (None)."""
    m: int
    pixel: int
    values: np.ndarray
    at: int | None


class Ring:
    """kh - 1 slots of rows, then the window. `where` says where each pixel that is kept lies."""

    def __init__(self, planned, arena, m):
        self.p, self.s, self.arena, self.m, self.where, self.window = planned, planned.step, arena, m, {}, []
        self.y = self.x = self.oy = self.ox = self.most = 0
        self.end = planned.buffer + (self.s.extent[0] - 1) * self.s.shape[1] * self.s.shape[2]  # of the slots

    @property
    def bottom(self): return self.oy * self.s.stride[0] - self.s.pad[0] + self.s.extent[0] - 1

    @property
    def completes(self): return self.y == self.bottom

    def slot(self, x): return self.p.buffer + ((self.y % (self.s.extent[0] - 1)) * self.s.shape[1] + x) * self.s.shape[2]

    def place(self):
        """Where the next pixels go: rows that complete no row of output go to their slot at once."""
        return self.slot(self.x) if self.s.kernel[0] > 1 and not self.completes else self.end + len(self.window) * self.s.shape[2]

    def take(self, n):
        """They are there now."""
        for i, place in enumerate(range(self.place(), self.place() + n * self.s.shape[2], self.s.shape[2])):
            self.where[self.y, self.x + i] = place
        if self.completes:
            self.window += range(self.x, self.x + n)
            self.most = max(self.most, len(self.window))
        self.x += n
        self.tidy()

    def tidy(self):
        """Pixels of the window that were needed for the last time in this row go to the oldest row's slot, the others move down."""
        done = not self.completes
        needed = self.s.shape[1] if done else self.ox * self.s.stride[1] - self.s.pad[1]
        self.move(list(takewhile(lambda x: x < needed, self.window)))
        if self.x == self.s.shape[1] and done:
            self.y, self.x = self.y + 1, 0

    def move(self, old):
        c, w = self.s.shape[2], self.s.shape[1]
        if not old:
            return
        for to, xs in ((self.slot(old[0]) if self.s.kernel[0] > 1 else None, old), (self.end, self.window[len(old):])):
            if to is not None and xs:
                values = self.arena.pixels(self.where[self.y, xs[0]], self.m, self.y * w + xs[0], len(xs))
                self.arena.put(to, self.arena.tags(self.m, self.y * w + xs[0], len(xs)), values.ravel())
                self.where |= {(self.y, x): to + i * c for i, x in enumerate(xs)}
        self.window = self.window[len(old):]

    def ready(self):
        s, left = self.s, self.s.out[1] - self.ox
        if self.oy == s.out[0] or self.y < s.shape[0] and not self.completes:
            return 0
        if self.y == s.shape[0] or self.x == s.shape[1]:
            return min(left, self.p.group)
        return max(0, min(left, (self.x + s.pad[1] - s.extent[1]) // s.stride[1] + 1 - self.ox, self.p.group))

    def make(self, n):
        """(values, spans of addresses read) of the next n pixels of output, from k rows, each contiguous."""
        s, (h, w, c) = self.s, self.s.shape
        top, left = self.oy * s.stride[0] - s.pad[0], self.ox * s.stride[1] - s.pad[1]
        rows, spans = [], []
        x0, x1 = max(left, 0), min(left + (n - 1) * s.stride[1] + s.extent[1], w)
        for y in range(max(top, 0), min(top + s.extent[0], h)):
            places = [self.where[y, x] for x in range(x0, x1)]
            must(places == list(range(places[0], places[0] + len(places) * c, c)), "a kernel's row is not contiguous")
            rows.append(self.arena.pixels(places[0], self.m, y * w + x0, x1 - x0))
            spans.append((places[0], places[0] + len(places) * c))
        patch = np.stack(rows)
        seen = replace(s, shape=patch.shape, out=(1, n, s.out[2]), pad=(max(-top, 0), max(-left, 0)))
        return _REFERENCE[s.op](seen, patch, None)[0], spans

    def made(self, n):
        self.ox += n
        if self.ox == self.s.out[1]:
            self.oy, self.ox = self.oy + 1, 0
        if self.y < self.s.shape[0]:
            self.tidy()


class Execution:
    """One inference. `slack`: by how much each buffer was larger than needed: {(stage, step, what): bytes or pixels}."""

    def __init__(self, file, steps, image, outputs=()):
        self.outputs = outputs
        self.file, self.steps, self.image, self.slack = file, steps, image, {}
        made = reference(steps, image)
        self.maps = [image, *made]
        sources, kept = [0], {}  # which map each step reads: a tee or keep makes none
        for i, s in enumerate(steps):
            if s.op == "keep":
                kept[s.kept] = sources[-1]
            sources.append(kept[s.kept] if s.op == "again" else sources[-1] if s.passes else i + 1)
        self.kept_maps = kept
        self.sources, self.arena = sources, Arena(file.arena, self.maps)

    def run(self):
        first = 0
        if self.file.held:
            self.arena.put(self.file.arena - self.image.size, self.arena.tags(0, 0, self.image.shape[0] * self.image.shape[1]), self.image.ravel())
        for number, stage in enumerate(self.file.stages):
            self.number, self.stage, self.start = number, stage, first
            self.run_stage()
            first += len(stage.steps)
        for at, n in self.file.outputs:
            steps = [p for st in self.file.stages for p in st.steps]
            keeps = {p.buffer: i for i, p in enumerate(steps) if p.step.op == "keep" and p.step.kept in self.outputs}
            i = keeps.get(at)
            while True:  # one map, or parts one behind the other
                m = self.sources[-1] if i is None else self.sources[i]
                must(n >= self.maps[m].size, "an output's size")
                self.arena.pixels(at, m, 0, self.maps[m].size // self.maps[m].shape[2])
                at, n = at + self.maps[m].size, n - self.maps[m].size
                if not n:
                    break
                i = keeps[at]
        return self

    def run_stage(self):
        st, arena = self.stage, self.arena
        arena.reserved = self.file.base + STATE * st.states
        must(st.states == sum(p.step.stateful for p in st.steps), "states")
        arena.tag[self.file.base:arena.reserved] = 0  # states are written where they lie
        self.written = 0
        self.rings, self.asides, self.sums, self.resizes = {}, {}, {}, {}
        for i, p in enumerate(st.steps):
            if p.step.op == "resize":
                self.resizes[i] = [0, 0, 0]  # rows that are there; the next pixel to make
            if p.step.ring:
                self.rings[i] = Ring(p, arena, self.sources[self.start + i])
            if p.step.op == "tee":
                self.asides[p.step.aside] = [p, self.sources[self.start + i], 0, 0, 0]  # whose, map, put, taken, most
            if p.step.sums:
                must(p.buffer % 4 == 0, "sums are not aligned")
                self.sums[i] = 0
                arena.put(p.buffer, self.sum_tags(i), np.zeros(4 * p.step.shape[2], np.int8))
        again = st.steps[0].step.op == "again"
        m, (h, w, c) = self.sources[self.start + again], st.steps[0].step.shape
        for y in range(h):
            for x in range(0, w, st.group):
                pixel, n = y * w + x, min(st.group, w - x)
                at = self.file.arena - st.in_bytes + pixel * c if st.in_bytes else st.steps[0].buffer + pixel * c if again else None
                values = self.maps[m].reshape(-1, c)[pixel:pixel + n] if at is None else arena.pixels(at, m, pixel, n)
                alone = len(st.steps) == 1 and not st.steps[0].step.head  # it writes straight from what it reads
                self.read = self.file.arena if at is None or again else at + (0 if alone else n * c)
                self.carry(0, Group(m, pixel, values, at))
        self.leave()

    def leave(self):
        """The output moves to the end of the arena, where the next stage reads it."""
        st, m = self.stage, self.sources[self.start + len(self.stage.steps)]
        must(self.written == st.out_bytes == self.maps[m].size, "the stage's output is not complete")
        n = self.maps[m].size // self.maps[m].shape[2]
        values = self.arena.pixels(st.out, m, 0, n)
        self.arena.put(self.file.arena - st.out_bytes, self.arena.tags(m, 0, n), values.ravel())
        for i, ring in self.rings.items():
            s = ring.s
            self.slack[self.number, i, "ring"] = min(s.shape[1], self.fed(i) + s.extent[1] - 1) - ring.most
        if (self.number, 0, "distance") in self.slack:  # of what was promised: a stage that writes when all is read may be anywhere behind
            begins = self.file.arena - st.in_bytes - st.out
            self.slack[self.number, 0, "distance"] = min(begins, self.slack[self.number, 0, "distance"])
        for p, _, _, _, most in self.asides.values():
            self.slack[self.number, st.steps.index(p), "aside"] = p.capacity - most

    def fed(self, i):
        """Pixels that come to step i at once."""
        return next((p.group for p in reversed(self.stage.steps[:i]) if p.step.head), self.stage.group)

    def sum_tags(self, i): return -(self.start + i + 1) * 100_000 - np.arange(4 * self.stage.steps[i].step.shape[2])

    def place(self, i):
        """Where step i's output goes."""
        p, after = self.stage.steps[i], self.rings.get(i + 1)
        if p.out != DIRECT:
            return p.out
        must(i + 1 == len(self.stage.steps) or after, "nobody takes what goes on directly")
        return self.stage.out + self.written if i + 1 == len(self.stage.steps) else after.place()

    def scribble(self, p):
        """What a kernel writes into its scratch before it reads its input."""
        must(not p.scratch or self.stage.scratch % 4 == 0, "scratch is not aligned")
        self.arena.put(self.stage.scratch if p.scratch else self.arena.reserved, np.zeros(p.scratch, np.int64), np.full(p.scratch, 85, np.int8))

    def make(self, i, m, pixel, values, spans):
        """Step i's output, which must equal the reference's, is written where it belongs, and nowhere near what it was made from."""
        at, c = self.place(i), self.maps[m].shape[2]
        must(np.array_equal(values, self.maps[m].reshape(-1, c)[pixel:pixel + len(values)]), f"{self.stage.steps[i].step.op} made something else")
        for a, b in spans:
            must(b <= at or at + values.size <= a, "a kernel's output lies over its input")
        self.arena.put(at, self.arena.tags(m, pixel, len(values)), values.ravel())
        return Group(m, pixel, values, at)

    def carry(self, i, g):
        """Give a group to step i; all that can be made of it is made before this returns, the deepest first."""
        if i == len(self.stage.steps):
            return self.store(g)
        p, out = self.stage.steps[i], self.sources[self.start + i + 1]
        s, n = p.step, len(g.values)
        if not s.head:
            self.scribble(p)
        if g.at is not None and s.op != "recall":
            self.arena.pixels(g.at, g.m, g.pixel, n)
        if s.ring:
            return self.through_ring(i, g)
        if s.sums:
            return self.through_sums(i, g)
        if s.op == "resize":
            return self.through_resize(i, g)
        if s.op == "keep":
            before = p.buffer + self.maps[g.m].size <= self.file.base
            self.arena.put(p.buffer + g.pixel * s.shape[2], self.arena.tags(g.m, g.pixel, n), g.values.ravel(), CONTEXT if before else None)
            return self.carry(i + 1, g)
        if s.op == "again":
            return self.carry(i + 1, g)
        if s.op == "tee":
            self.put_aside(p, g)
            return self.carry(i + 1, g)
        other, spans = self.take_aside(s, g.pixel, n) if s.aside is not None else self.take_kept(p, g.pixel, n) if s.takes else (None, [])
        if g.at is not None:
            spans = [*spans, (g.at, g.at + g.values.size)]
        seen = replace(s, shape=(1, n, s.shape[2]), out=(1, n, s.out[2]))
        made = _REFERENCE[s.op](seen, g.values[None], None if other is None else other[None])[0]
        self.carry(i + 1, self.make(i, out, g.pixel, made, spans))

    def store(self, g):
        at = self.stage.out + self.written
        if g.at != at:
            self.arena.put(at, self.arena.tags(g.m, g.pixel, len(g.values)), g.values.ravel())
        self.written += g.values.size
        if self.stage.in_bytes:
            key = self.number, 0, "distance"
            self.slack[key] = min(self.slack.get(key, 1 << 30), self.read - at - g.values.size)

    def through_ring(self, i, g):
        ring, w = self.rings[i], self.stage.steps[i].step.shape[1]
        must(g.pixel == ring.y * w + ring.x, "pixels come in order")
        if g.at != ring.place():
            self.arena.put(ring.place(), self.arena.tags(g.m, g.pixel, len(g.values)), g.values.ravel())
        ring.take(len(g.values))
        while n := ring.ready():
            pixel = ring.oy * ring.s.out[1] + ring.ox
            self.scribble(self.stage.steps[i])
            made = self.make(i, self.sources[self.start + i + 1], pixel, *ring.make(n))
            ring.made(n)
            self.carry(i + 1, made)

    def through_resize(self, i, g):
        """Two rows, each where its number says; a row of output when the rows that it lies between are there."""
        p, out = self.stage.steps[i], self.sources[self.start + i + 1]
        s, (h, w, c), state = p.step, p.step.shape, self.resizes[i]
        at = lambda y: p.buffer + y % 2 * w * c  # noqa: E731
        y, x = divmod(g.pixel, w)
        self.arena.put(at(y) + x * c, self.arena.tags(g.m, g.pixel, len(g.values)), g.values.ravel())
        state[0] = y + (x + len(g.values) == w)
        while state[1] < s.out[0] and state[0] > (last := int(s.table[state[1], 0] + (s.table[state[1], 1] > 0))):
            rows = {row: self.arena.pixels(at(row), g.m, row * w, w) for row in {int(s.table[state[1], 0]), last}}
            n, whole = min(p.group, s.out[1] - state[2]), np.zeros((h, w, c), np.int8)
            for row, values in rows.items():
                whole[row] = values
            made = _REFERENCE["resize"](s, whole, None)[state[1], state[2]:state[2] + n]
            pixel = state[1] * s.out[1] + state[2]
            state[1:] = [state[1] + 1, 0] if state[2] + n == s.out[1] else [state[1], state[2] + n]
            self.carry(i + 1, self.make(i, out, pixel, made, [(at(row), at(row) + w * c) for row in rows]))

    def through_sums(self, i, g):
        p, tags = self.stage.steps[i], self.sum_tags(i)
        s = p.step
        sums = self.arena.get(p.buffer, tags).view(np.int32) + g.values.astype(np.int32).sum(0, dtype=np.int32)
        self.arena.put(p.buffer, tags, sums.view(np.int8))
        self.sums[i] += len(g.values)
        if self.sums[i] == s.shape[0] * s.shape[1]:
            whole = self.maps[g.m]
            must((self.arena.get(p.buffer, tags).view(np.int32) == whole.astype(np.int32).sum((0, 1))).all(), "a wrong sum")
            made = _REFERENCE[s.op](s, whole, None)[0]
            self.carry(i + 1, self.make(i, self.sources[self.start + i + 1], 0, made, [(p.buffer, p.buffer + len(tags))]))

    def put_aside(self, p, g):
        aside = self.asides[p.step.aside]
        aside[2] += len(g.values)
        aside[4] = max(aside[4], aside[2] - aside[3])
        must(aside[2] - aside[3] <= p.capacity, "more pixels are put aside than there is room for")
        for k, value in enumerate(g.values, g.pixel):
            self.arena.put(p.buffer + k % p.capacity * len(value), self.arena.tags(g.m, k, 1), value)

    def take_aside(self, s, pixel, n):
        aside = self.asides[s.aside]
        p, m = aside[:2]
        must(aside[3] == pixel and pixel + n <= aside[2], "pixels are taken back that were not put aside")
        aside[3] += n
        places = [p.buffer + k % p.capacity * self.maps[m].shape[2] for k in range(pixel, pixel + n)]
        c = self.maps[m].shape[2]
        return np.concatenate([self.arena.pixels(at, m, pixel + k, 1) for k, at in enumerate(places)]), [(at, at + c) for at in places]


    def take_kept(self, p, pixel, n):
        m = self.kept_maps[p.step.kept]
        c, one = self.maps[m].shape[2], p.capacity == 1
        at = p.buffer + pixel * c * (not one)
        return np.concatenate([self.arena.pixels(at, m, 0, 1)] * n) if one else self.arena.pixels(at, m, pixel, n), [(at, at + (1 if one else n) * c)]


# ---- random networks ----

def network(seed):
    """Inverted residuals, kernels of 1 to 5, VALID and SAME, multipliers, pools, branches, several outputs; on odd maps."""
    rng = np.random.default_rng(seed)
    some = lambda *values: values[rng.integers(len(values))]  # noqa: E731
    b = Builder((1, *map(int, rng.integers(7, 14, 2)), int(rng.integers(1, 5))), seed)
    if rng.random() < .8:
        b.conv(int(rng.integers(2, 7)), some(1, 3, 3, 5), some(1, 2))
    outputs = []
    for _ in range(rng.integers(1, 4)):
        large = min(b.shape[1:3]) > 5
        kind = some("residual", "residual", "separable", "pool", "branches", "kept", "chain", "joined", "dilated", "resized", "gated")
        if kind == "residual":
            b.inverted_residual(some(b.shape[3], b.shape[3], 5), some(1, 1, 2), some(1, 2, 3), some(3, 3, 5))
        elif kind == "separable":
            b.depthwise(some(1, 2, 3, 5) if large else 3, some(1, 2), not large or rng.random() < .5, some(1, 2, 2)).conv(int(rng.integers(2, 8)))
        elif kind == "pool":
            b.pool(some(1, 17), some(2, 3), some(1, 2), not large or rng.random() < .5)
        elif kind == "branches":
            mark = b.mark()
            outputs.append(b.depthwise(some(3, 5)).conv(3, relu6=False).last)
            b.back(mark).conv(4)
        elif kind == "chain":  # that goes on elsewhere, at another size
            mark = b.mark()
            outputs.append(b.depthwise(3, 2).conv(3, relu6=False).last)
            b.back(mark).conv(4)
        elif kind == "dilated" and large:
            b.depthwise(3, some(1, 2), rng.random() < .7, dilation=2).conv(4, some(1, 2), dilation=3)
        elif kind == "resized":
            rule = some({}, dict(align_corners=True), dict(half_pixel_centers=True))
            b.resize(int(rng.integers(4, 14)), int(rng.integers(4, 14)), rng.random() < .7, **rule)
        elif kind == "gated":
            mark = b.conv(5).mark()
            b.mean().op(22, [b.last], (1, 1, 1, 5), b.scale, b.zero, (17, {0: [np.int32(n) for n in (1, 1, 1, 5)]})).conv(5, relu6=False).logistic()
            b.op(18, [mark[0], b.last], mark[1], .02, -100, (21, {}))
        elif kind == "joined":
            b.conv(4)
            mark, narrow = b.mark(), b.depthwise(some(1, 3)).last
            b.concat(some([narrow, mark[0]], [mark[0], narrow, mark[0]]))
        else:
            outputs.append(b.last)
            b.conv(5)
    end = some("mean", "average", "map", "two heads", "wide", "boxes", "segments")
    if end in ("mean", "average"):
        (b.mean() if end == "mean" else b.average_pool()).dense(3).softmax()
    elif end == "two heads":
        pooled = b.mean().mark()
        outputs.append(b.dense(2).last)
        b.back(pooled).dense(3)
    elif end == "map":
        b.conv(4, relu6=False).logistic()
    elif end == "segments":
        axis = b.conv(3, relu6=False).tensor((1,), None, 0, np.array([3], np.int32))
        b.op(56, [b.last, axis], b.shape[:3], None, 0, (40, {0: np.int8(2)})).tensors[-1][1] = np.int8(2)
    elif end == "boxes":
        parts = []
        for _ in range(2):
            mark = b.mark()
            parts.append(b.depthwise().conv(6, relu6=False).reshape(b.shape[1] * b.shape[2] * 3, 2).last)
            b.back(mark).depthwise(3, 2).conv(5)
        outputs.append(b.last)
        b.concat(parts, 1)
    else:
        b.conv(2 * b.shape[3])
    return b.model("random", [*dict.fromkeys(o for o in outputs if o), b.last])


KINDS = ("streamed", "held")
PLANS = [dict(slack=0), {}, dict(slack=10), *(dict(group=n) for n in (1, 2, 4, 8, 1 << 16))]
SEEDS = range(20)
TIGHT = (3, 7, 8, 9, 12, 14)


def executed(model, kind, how, seed=0, sabotage=None):
    compiled = compile_model(model, kind, **how)
    file = read(compiled)
    if sabotage:
        sabotage(file)
    shape = compiled.steps[0].shape
    return Execution(file, compiled.steps, np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8), graph_ends(model).roots).run()


def test_the_networks_are_of_all_kinds():
    steps = [s for seed in SEEDS for s in lower(network(seed))]
    assert {s.op for s in steps} == set(OPS), "every op"
    assert {s.kernel for s in steps if s.ring} >= {(1, 1), (2, 2), (3, 3), (5, 5)} and {s.stride for s in steps} == {(1, 1), (2, 2)}
    assert {s.shape[0] % 2 for s in steps if s.ring} == {s.pad[0] for s in steps if s.ring and s.kernel[0] == 3 and s.stride[0] == 2} == {0, 1}
    assert any(s.op == "depthwise" and s.out[2] > s.shape[2] for s in steps), "a depth multiplier"
    assert {network(seed).inputs[0].shape[3] for seed in SEEDS} == {1, 2, 3, 4} and max(len(network(seed).outputs) for seed in SEEDS) > 2


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_run_in_exactly_the_promised_bytes(seed):
    """Held and streamed in the least memory; then some of the other plans in turn, and those of packed weights."""
    model = network(seed)
    ways = [(kind, how) for kind in KINDS for how in PLANS]
    for kind, how in [("streamed", PLANS[0]), ("held", PLANS[0]), *(ways[(seed * 3 + i) % len(ways)] for i in range(3))]:
        executed(model, kind, how, seed)
    for i, name in enumerate(LAYOUTS):
        executed(model, KINDS[(seed + i) % 2], PLANS[(seed + i) % 3] | dict(layout=name), seed)


# ---- the test can fail: plans with one pixel or byte less ----

def one_pixel_less_of_ring(number, i):
    """Whatever lies behind the ring begins a pixel earlier."""
    def sabotage(file):
        steps, (*_, c) = file.stages[number].steps, file.stages[number].steps[i].step.shape
        ring = steps[i].buffer
        for p in steps:
            p.buffer -= c * (p.buffer > ring)
            p.out -= c * (ring < p.out < DIRECT)
    return sabotage


def one_byte_closer(number, i):
    def sabotage(file):
        file.stages[number].out += 1
    return sabotage


def one_pixel_less_aside(number, i):
    def sabotage(file):
        steps = file.stages[number].steps
        for p in steps:
            if p.step.aside == steps[i].step.aside:
                p.capacity -= 1
    return sabotage


SABOTAGE = {"ring": one_pixel_less_of_ring, "distance": one_byte_closer, "aside": one_pixel_less_aside}


def tight(file, number, i, what):
    """Whether one less must do harm. A stage may write right over what it reads, and what lies behind a ring may be idle while the
    ring is full: scratch, or what is put aside much later."""
    steps, st = file.stages[number].steps, file.stages[number]
    if what == "distance":
        return file.arena - st.in_bytes > st.out
    places = [place for p in steps for place in ((p.buffer, p.step.ring), (p.out, False))]
    behind = [(at, is_ring) for at, is_ring in places if steps[i].buffer < at < DIRECT]
    return what == "aside" or bool(behind) and min(behind)[1]


@pytest.mark.parametrize("seed", TIGHT)
def test_one_pixel_or_byte_less_is_noticed(seed):
    """Of each ring, each shortcut and each distance between the maps, with groups of one pixel: all are as small as they can be."""
    model, how, tried = network(seed), dict(group=1), 0
    for kind in KINDS:
        sound, file = executed(model, kind, how).slack, read(compile_model(model, kind, **how))
        assert not any(sound.values()), "nothing is larger than needed"
        for place, what in ((key[:2], key[2]) for key in sound if tight(file, *key)):
            with pytest.raises(Violation):
                executed(model, kind, how, sabotage=SABOTAGE[what](*place))
            tried += 1
    assert tried


def test_every_buffer_was_made_smaller_somewhere():
    """The networks above have rings, shortcuts and overlaid maps."""
    seen = set()
    for seed in TIGHT:
        for kind in KINDS:
            compiled = compile_model(network(seed), kind, group=1)
            file = read(compiled)
            keys = [(n, i, what) for n, st in enumerate(file.stages) for i, p in enumerate(st.steps)
                    for what, there in (("ring", p.step.ring), ("aside", p.step.op == "tee"), ("distance", i == 0 and st.in_bytes)) if there]
            seen |= {key[2] for key in keys if tight(file, *key)}
    assert seen == set(SABOTAGE)


@pytest.mark.parametrize("break_it", [lambda f: setattr(f.stages[0].steps[0], "buffer", CONTEXT), lambda f: setattr(f, "arena", f.arena - 1)])
def test_an_arena_one_byte_smaller_and_a_ring_over_states_are_noticed(break_it):
    model = Builder((1, 9, 9, 2)).conv(3, 3).depthwise().mean().dense(2).model()
    executed(model, "streamed", {})
    with pytest.raises(Violation):
        executed(model, "streamed", {}, sabotage=break_it)


@pytest.mark.parametrize("alpha, size, classes, extra, boxes, most", DETECTORS)
def test_arena_of_detectors(alpha, size, classes, extra, boxes, most):
    """Eight and twelve outputs; ST's SSDLite V2 1.0 of 300 pixels takes 4,484 KB."""
    model = ssdlite(alpha, size, classes, 6, extra)
    assert sum(o.shape[1] * o.shape[2] * 6 for o in model.outputs[::2]) == boxes
    compiled = compile_model(model)
    assert compiled.arena <= most and len(compiled.output_steps) == len(model.outputs)
    if size < 100:
        engine, judge = Engine(compiled), engine_models.Judge(model)
        for image in some_images((size, size, 3), 4):
            assert (engine_models.flat(engine.run(image)) == judge(image)).all() and engine.canaries_intact


def test_a_chain_that_can_not_be_cut_has_room_for_its_states():
    """Thirty heads inside one shortcut, while a map that was kept for a later chain lives: more states than a plan usually leaves room for."""
    b = Builder((1, 20, 18, 3)).conv(4, 3, 2)
    start, first = b.mark(), b.mean().dense(3).last
    shortcut = b.back(start).depthwise(3, 2).mark()
    for _ in range(30):
        b.depthwise()
    total = b.op(0, [shortcut[0], b.last], b.shape, b.scale, b.zero, (11, {})).last
    model = b.back(start).conv(3, 5, 3).model("long", [first, total, b.last])
    for kind in KINDS:
        executed(model, kind, {})
    image = some_images((20, 18, 3), 2)[0]
    assert (engine_models.flat(Engine(compile_model(model)).run(image)) == engine_models.Judge(model)(image)).all()


def test_a_kept_map_that_something_overwrites_is_noticed():
    """Each map that a later chain reads, moved onto an output that was written before it is read again."""
    make, shape = engine_models.SMALL["second chain"]
    model = make((1, 15, 13, 3), 0)
    compiled = compile_model(model)
    kept = {s.kept for s in compiled.steps if s.op == "again"}
    assert len(kept) == 2
    for t in kept:
        def moved(file, t=t):
            for p in (p for stage in file.stages for p in stage.steps if p.step.kept == t):
                p.buffer = file.outputs[0][0]
        with pytest.raises(Violation):
            executed(model, "streamed", {}, sabotage=moved)


@pytest.mark.parametrize("version, alpha, size", TARGETS)
def test_arena_of_the_published_networks(version, alpha, size):
    model = engine_models.network(version, alpha, size)
    streamed, held, tflm = TARGETS[version, alpha, size]
    started = time.process_time()
    found = {kind: compile_model(model, kind) for kind in ("streamed", "held")}
    assert time.process_time() - started < 4, "under 2 s each"
    assert found["streamed"].arena <= streamed and found["held"].arena <= held
    assert tflm is None or found["streamed"].arena * 6 < tflm
    shape = (size, size, 3)
    for compiled in found.values():  # not only promised: it runs in it
        engine = Engine(compiled)
        image = some_images(shape, 2)[0]
        assert (engine.run(image) == engine.run(image)).all() and engine.canaries_intact


@pytest.mark.parametrize("seed", range(12))
def test_plan_of_random_networks(seed):
    """The plan is the best of all ways to cut, and the C, whose sanitized twin is below, stays inside it."""
    import itertools

    rng = np.random.default_rng(seed)
    b = Builder((1, *map(int, rng.integers(9, 40, 2)), int(rng.integers(1, 5))), seed).conv(int(rng.integers(2, 9)), 3, int(rng.integers(1, 3)))
    for _ in range(rng.integers(1, 4)):
        if rng.random() < .6:
            channels = b.shape[3] if rng.random() < .6 else int(rng.integers(2, 12))
            b.inverted_residual(channels, int(rng.integers(1, 3)), int(rng.integers(1, 5)), int(rng.choice([3, 5])))
        else:
            k, s, same = int(rng.integers(1, 6)), int(rng.integers(1, 3)), bool(rng.random() < .5 or min(b.shape[1:3]) < 6)
            b.depthwise(k, s, same).conv(int(rng.integers(2, 12)))
    model = b.mean().dense(3).model()
    steps = lower(model)
    for kind in ("streamed", "held"):
        cuts = _cuts(steps)
        inner = itertools.chain.from_iterable(itertools.combinations(cuts[1:-1], n) for n in range(len(cuts) - 1))
        ends = {(a, z): _stage(steps, a, z, 1, kind == "held" or a > 0).end for a in cuts for z in cuts if a < z}
        assert plan(steps, kind).least == min(max(ends[e] for e in zip((0, *c), (*c, len(steps)), strict=True)) for c in inner)
        image = some_images(steps[0].shape, 2)[0]
        for slack in (0, .1, 10):
            engine = Engine(compile_model(model, kind, slack))
            assert (engine.run(image) == reference(steps, image)[-1].ravel()).all() and engine.canaries_intact
