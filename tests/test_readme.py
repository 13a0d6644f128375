"""README: short, its figures those of the benchmarks, its pictures there and in step with their data."""
import csv
import re

import pytest
from conftest import ROOT
from helpers import script

README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows(name):
    with open(ROOT / f"benchmarks/{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_is_short():
    assert len(README.splitlines()) <= 120
    title = next(line for line in README.splitlines() if line.startswith("> "))
    assert len(title.removeprefix("> ").split()) <= 10


def test_its_three_numbers_are_measured():
    ram = next(r for r in rows("ram") if r["model"] == "V2 0.35 96x96x3")
    assert f"**{int(ram['streamed']) / 1000:.1f} KB of RAM**" in README
    assert f"arena takes {int(ram['tflm_arena_64_bit']) / 1000:.0f} " in README
    ours = next(r for r in rows("tflm_real") if (r["core"], r["kernels"], r["model"]) == ("cortex-m4", "cmsis_nn", "V2 0.35 96x96x3"))
    assert f"**{int(ours['engine_instructions']) / 1e6:.1f} million instructions**" in README
    assert f"CMSIS-NN takes {int(ours['instructions']) / 1e6:.1f} " in README
    judged = rows("conformance")
    assert f"in {sum(int(r['models']) for r in judged):,} one-op networks" in README and not any(int(r["differences"]) for r in judged)


def test_pictures_are_there_and_described():
    shown = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README)
    assert len(shown) == 2
    for alt, path in shown:
        assert len(alt) > 80 and 1000 < (ROOT / path).stat().st_size < 300_000


@pytest.mark.parametrize("name", ["ram.svg"])
def test_what_is_drawn_from_a_table_is_in_step_with_it(name):
    pictures = script(ROOT / "benchmarks/pictures.py")
    assert (ROOT / "nbs/pictures" / name).read_text(encoding="utf-8") == pictures.ram(), "python benchmarks/pictures.py ram"
