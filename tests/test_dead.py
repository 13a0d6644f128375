"""Dead channels: what is left out is dead for all inputs, and what is left computes the same bytes, by TensorFlow Lite Micro."""
from dataclasses import replace

import numpy as np
import pytest
from conftest import shared
from engine_models import PERSON, SMALL, VWW, Judge, flat, needs_tflm, network, photos, some_images
from helpers import sample

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine import dead
from mobilenet_keras.engine.costs import instructions
from mobilenet_keras.engine.dead import ANY, alive, bounds, settle
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.layouts import LAYOUTS
from mobilenet_keras.engine.lowering import _REFERENCE, lower, reference
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.engine.planner import plan
from mobilenet_keras.mcu.firmware import build
from mobilenet_keras.mcu.fit import narrower
from mobilenet_keras.tflite.builder import Builder
from mobilenet_keras.tflite.model import Model


def two_convolutions(shape, seed):
    """Of one map, side by side, which an ADD brings together."""
    b = Builder(shape, seed).conv(16, 3, 2)
    start, left = b.mark(), b.conv(12).last
    other = b.back(start).conv(12).last
    return b.op(0, [left, other], b.shape, .05, 5, (11, {})).conv(8).mean().dense(4).model()


NETWORKS = SMALL | {"two convolutions": (two_convolutions, (1, 21, 20, 3))}


def macs(steps):
    return sum(s.macs for s in steps)


def vww():
    return Model.open(shared(f"models/{VWW}.tflite"))


def towards(steps, i, channel, sign):
    """An image that drives a channel of step `i` to an end: the sign of what each value adds to it, were there no clamps."""
    pull = np.zeros(steps[i].out)
    pull[..., channel] = sign
    for s in reversed(steps[:i + 1]):
        (kh, kw), (eh, ew), (h, w, _) = s.kernel, s.extent, s.out
        before = np.zeros((s.shape[0] + 2 * eh, s.shape[1] + 2 * ew, s.shape[2]))
        pull = np.resize(pull, s.out)  # another chain's map has another shape
        if s.weights is None:  # as far as it matters here, a pool stretches a map, and a shortcut's other side is of no account
            pull = np.resize(pull, s.shape)
            continue
        for ky in range(kh):
            for kx in range(kw):
                y, x = ky * s.dilation[0] - s.pad[0] + eh, kx * s.dilation[1] - s.pad[1] + ew
                added = (pull @ s.weights[:, ky, kx].astype(float) if s.op == "conv" else
                         (pull * s.weights[ky, kx]).reshape(h, w, s.shape[2], -1).sum(-1))
                view = before[y:y + (h - 1) * s.stride[0] + 1:s.stride[0], x:x + (w - 1) * s.stride[1] + 1:s.stride[1]]
                view += added
        pull = before[eh:eh + s.shape[0], ew:ew + s.shape[1]]
        pull = pull / max(np.abs(pull).max(), 1e-30)
    return np.where(pull >= 0, 127, -128).astype(np.int8)


def adversarial(steps, n, seed=0):
    """Images at the ends: flat ones, checkerboards of each channel, and such as drive channels of all steps to theirs."""
    rng, (h, w, c) = np.random.default_rng(seed), steps[0].shape
    board = np.indices((h, w, c))
    ends = [np.full((h, w, c), v) for v in (-128, 127)] + [np.where((board[:2].sum(0) + k) % 2, 127, -128) for k in (0, 1)]
    ends += [np.where(board[2] == k, 127, -128) for k in range(c)]
    multiply = [i for i, s in enumerate(steps) if s.weights is not None]
    while len(ends) < n:
        i = multiply[rng.integers(len(multiply))]
        ends.append(towards(steps, i, rng.integers(steps[i].out[2]), rng.choice([-1, 1])))
    return np.stack(ends).astype(np.int8)


def dying(name, seed, monkeypatch, share=.6):
    """A model of which a share of the channels were pushed far below or above anything."""
    rng, whole = np.random.default_rng(seed), Builder.model

    def model(self, *args):
        for code, inputs, *_ in self.ops:
            if code in (3, 4) and len(inputs) > 2 and inputs[2] >= 0:
                buffer = self.buffers[int(self.tensors[inputs[2]][2])]
                bias = np.frombuffer(buffer[0], np.int32).copy()
                hit = rng.random(len(bias)) < share
                bias[hit] = rng.choice([-1, -1, -1, 1], hit.sum()) * rng.integers(1 << 19, 1 << 22, hit.sum())
                buffer[0] = bias.tobytes()
        return whole(self, *args)
    with monkeypatch.context() as patched:
        patched.setattr(Builder, "model", model)
        make, shape = NETWORKS[name]
        return make(shape, seed)


def test_half_of_a_real_network_is_dead():
    steps = lower(vww())
    left = alive(steps)
    assert macs(steps) == 7_489_664 and macs(left) == 3_766_476 and [s.op for s in left] == [s.op for s in steps]
    assert all(c % 4 == 0 for s in left[:-2] for c in s.out[2:]), "no kernel gets a four that isn't full"
    late = slice(16, 30)  # steps most of whose channels are dead: half their memory, half their instructions, at least
    least = [plan(s[late], "held", 0).arena for s in (steps, left)]
    assert least[1] < least[0] / 2
    for name, layout in LAYOUTS.items():
        for core in layout.cores or ("cortex_m0plus", "cortex_m4"):
            packed = [[layout.pack(s) is not None for s in some[late]] for some in (steps, left)]
            before, after = (instructions(plan(s[late], "held").stages, p, name, core) for s, p in zip((steps, left), packed))
            assert packed[0] == packed[1] and after < before / (2 if name == "mve" else 3), (name, core)


@pytest.mark.parametrize("kind", sample(["streamed", "held"], kept=["streamed"]))
@pytest.mark.parametrize("name", sample(list(LAYOUTS), kept=["portable", "dsp"]))
def test_the_whole_takes_less(name, kind):
    before, after = compile_model(vww(), kind, layout=name, keep_dead=True), compile_model(vww(), kind, layout=name)
    assert (before.macs, before.dead, before.steps) == (7_489_664, 0, before.whole)
    assert (after.macs, after.whole_macs, after.dead) == (3_766_476, 7_489_664, 1928)
    assert after.arena <= before.arena and after.packed == before.packed and len(after.data) < len(before.data) / 4.5
    core = next(iter(LAYOUTS[name].cores), "cortex_m4")
    assert after.instructions(core) < .8 * before.instructions(core)


def test_what_is_kept_is_the_file_of_before():
    model = vww()
    assert compile_model(model, keep_dead=True).macs == 7_489_664 and len(model.compile(keep_dead=True).data) > 208_112
    assert narrower(compile_model(model).whole) == narrower(lower(model)) != narrower(compile_model(model).steps), "a relative has no dead channels"
    with pytest.raises(MobileNetError, match="is compiled without its 1,928 dead channels. Compile it with keep_dead=True"):
        build(compile_model(model), "pico", keep_dead=True)


@pytest.mark.parametrize("name", [name for name in (*SMALL, PERSON) if name != "gated"])  # in which a ReLU kills channels
def test_without_dead_channels_nothing_changes(name):
    steps = lower(shared(f"models/{name}.tflite") if name == PERSON else SMALL[name][0](SMALL[name][1], 0))
    assert alive(steps) is steps, "a dead one in four is kept as a filler"


@pytest.mark.parametrize("name", [*SMALL, VWW])
def test_bounds_hold_and_are_met(name):
    """Each step on maps whose every value is at an end: no output is outside, and a convolution that sees no padding meets each end."""
    steps = lower(shared(f"models/{name}.tflite") if name == VWW else SMALL[name][0](SMALL[name][1], 0))
    rng = np.random.default_rng(1)
    for s in [s for s in steps if not s.passes and s.op != "recall"]:
        reach, other = (np.sort(rng.integers(-128, 128, (2, s.shape[2])), 0) for _ in range(2))
        reach[:, rng.random(s.shape[2]) < .3] = reach[0, rng.random(s.shape[2]).argmin()]  # some are constant
        low, high = bounds(s, reach, other)
        at = lambda ends, side: np.where(side, ends[1], ends[0]).astype(np.int8)  # noqa: E731
        for side in [np.zeros(s.shape, bool), np.ones(s.shape, bool), *(rng.random((3, *s.shape)) < .5)]:
            found = _REFERENCE[s.op](s, at(reach, side), at(other, rng.random(s.shape) < .5))
            assert (found >= low).all() and (found <= high).all(), s.op
        if s.op == "conv" and s.kernel == (1, 1):
            for row in range(0, s.out[2], 5):
                up = np.broadcast_to(s.weights[row, 0, 0] > 0, s.shape)
                ends = [_REFERENCE["conv"](s, at(reach, side), None)[0, 0, row] for side in (~up, up)]
                assert ends == [low[row], high[row]]


@needs_tflm
@pytest.mark.parametrize("name", sample(list(NETWORKS), kept=["v1 odd", "v2 odd", "strange", "pools", "branches", "two convolutions",
                                                              "boxes", "second chain", "joined channels"]))
@pytest.mark.parametrize("seed", sample([0, 1, 2], kept=[0]))
def test_dying_networks_are_tflm_byte_for_byte(name, seed, monkeypatch):
    """Shortcuts, branches, several outputs, pools, depth multipliers and padding of every kind."""
    model = dying(name, seed, monkeypatch)
    judge, steps, compiled = Judge(model), lower(model), [compile_model(model, layout=layout) for layout in LAYOUTS]
    assert macs(alive(steps, multiple=1)) <= macs(steps) and compiled[0].macs == macs(compiled[0].steps)
    engines = [Engine(c) for c in compiled]
    for image in np.concatenate([some_images(steps[0].shape, 4), adversarial(steps, 12, seed)]):
        wanted = judge(image)
        for engine in engines:
            assert (flat(engine.run(image)) == wanted).all() and engine.canaries_intact
        fewest = reference(alive(steps, multiple=1), image)  # not rounded to fours
        for i, s in enumerate(steps):
            if s.op == "keep" or i == len(steps) - 1:
                assert (fewest[i] == reference(steps[:i + 1], image)[i]).all()


def test_most_of_the_dying_networks_lose_channels(monkeypatch):
    found = [lower(dying(name, 0, monkeypatch)) for name in NETWORKS]
    assert sum(macs(alive(steps)) < .8 * macs(steps) for steps in found) > len(found) / 2
    assert {"add", "max_pool", "mean", "global_average", "recall", "tee", "keep", "again", "concat"} <= {
        s.op for steps in found for s, left in zip(steps, alive(steps, ()), strict=True) if s.out != left.out}


def same_as_tflm(name, seen, ends, layouts=tuple(LAYOUTS)):
    model = Model.open(shared(f"models/{name}.tflite"))
    judge, steps, engines = Judge(model), lower(model), [Engine(compile_model(model, layout=layout)) for layout in layouts]
    outputs = set()
    for image in np.concatenate([photos(steps[0].shape, seen), adversarial(steps, ends)]):
        wanted = judge(image)
        outputs.add(wanted.tobytes())
        assert all((flat(engine.run(image)) == wanted).all() for engine in engines)
    return outputs


@needs_tflm
def test_a_real_network_is_tflm_byte_for_byte():
    assert len(same_as_tflm(VWW, 3, 12, ("portable", "dsp"))) > 4


@needs_tflm
@pytest.mark.slow
@pytest.mark.parametrize("name", [VWW, PERSON])
def test_real_networks_are_tflm_on_200_photos_and_at_the_ends(name):
    assert len(same_as_tflm(name, 200, 400)) > 40


def padded(dead_value=9):
    """A 3x3 convolution behind a map of which a channel is constant, and not its zero point."""
    b = Builder((1, 10, 10, 3), 4).conv(8).conv(8, 3).mean().dense(4).model()
    first, *rest = lower(b)
    bias = first.bias.copy()
    bias[[1, 2, 4, 5, 6]] = -(1 << 20)
    scales = np.broadcast_to(first.scales[0], first.scales.shape).copy()
    weights = first.weights.copy()
    weights[3], bias[3], scales[3] = 0, 4 * dead_value, (1 << 30, -1)
    return [replace(first, weights=weights, bias=bias, scales=scales), *rest]


def test_a_constant_next_to_padding_stays(monkeypatch):
    steps, image = padded(), some_images((10, 10, 3), 2)[0]
    low, high = bounds(steps[0])
    assert low[3] == high[3] == steps[1].zero_in + 9 and (low == high).sum() == 6
    left = alive(steps, multiple=1)
    assert left[0].out[2] == 3, "five are the zero point, one is not"
    assert (reference(left, image)[-1] == reference(steps, image)[-1]).all()
    monkeypatch.setattr(dead, "_hangs", lambda s: False)  # who forgets the edges is found out
    wrong = alive(steps, multiple=1)
    assert wrong[0].out[2] == 2 and (reference(wrong, image)[1] != reference(steps, image)[1]).any()


def test_a_constant_goes_into_biases_that_wrap_around():
    steps = lower(Builder((1, 6, 6, 3), 4).conv(8).conv(8).mean().dense(4).model())
    first, second, *rest = steps
    bias = first.bias.copy()
    bias[[0, 2, 3, 5]] = 1 << 22  # constant at the top of the clamp
    heavy = np.where(np.arange(8) % 2, (1 << 31) - 1, -(1 << 31))
    steps = [replace(first, bias=bias), replace(second, bias=heavy), *rest]
    left = alive(steps)
    assert left[1].shape[2] == 4 and np.abs(left[1].bias).max() <= 1 << 31 and (np.sign(left[1].bias) != np.sign(heavy)).any()
    for image in adversarial(steps, 20):
        for a, b in zip(reference(steps, image)[1:], reference(left, image)[1:], strict=True):
            assert (a == b).all()


def test_what_only_the_dead_read_goes_too():
    """A channel that changes, but only meets weights of zero; and none of a map that is dead as a whole but a four."""
    steps = lower(Builder((1, 8, 8, 3), 4).conv(8).depthwise().conv(8).mean().dense(4).model())
    weights = steps[2].weights.copy()
    weights[..., [1, 3, 6, 7]] = 0
    left = alive([*steps[:2], replace(steps[2], weights=weights), *steps[3:]])
    assert [s.out[2] for s in left[:3]] == [4, 4, 8]
    nothing = alive([*steps[:2], replace(steps[2], weights=0 * weights), *steps[3:]], multiple=1)
    assert [s.out[2] for s in nothing] == [1, 1, 1, 1, 4]
    image = some_images((8, 8, 3), 2)[0]
    assert (reference(nothing, image)[-1] == reference([*steps[:2], replace(steps[2], weights=0 * weights), *steps[3:]], image)[-1]).all()


def test_settled_within_narrower_bounds():
    step = lower(Builder((1, 8, 8, 3), 4).conv(8).conv(8).model())[1]
    assert settle(step) is step and settle(step, ANY) is step
    fixed = settle(step, np.full((2, 8), 5))
    assert not fixed.weights.any() and (_REFERENCE["conv"](fixed, some_images((8, 8, 8), 2)[0], None) ==
                                        _REFERENCE["conv"](step, np.full((8, 8, 8), 5, np.int8), None)).all()


def test_the_arena_never_grows(monkeypatch):
    """Of dying networks, with any plan; and what a budget of RAM allows without the dead channels alone, is taken."""
    for name in ("v1", "pools", "two heads"):
        model = dying(name, 1, monkeypatch)
        for how in (dict(), dict(slack=0), dict(slack=10), dict(group=1), dict(group=1 << 16), dict(layout="dsp"), dict(input="held")):
            before, after = compile_model(model, **how, keep_dead=True), compile_model(model, **how)
            assert after.arena <= before.arena and after.plan.least <= before.plan.least, how
    least = compile_model(model, slack=0).arena
    assert compile_model(model, ram=least).arena == least < compile_model(model, slack=0, keep_dead=True).arena


def test_a_network_without_dead_channels_is_compiled_as_ever():
    model = network("V1", .25, 32, 4)
    for layout in ("portable", "dsp"):
        assert compile_model(model, layout=layout).data == compile_model(model, layout=layout, keep_dead=True).data
