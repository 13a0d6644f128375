"""The documentation site: built once, looked at in a browser, and compared with what it documents."""
import ast
import csv
import functools
import html
import http.server
import importlib
import json
import os
import re
import subprocess
import sys
import threading

import pytest
from conftest import ROOT
from fastcore.docments import docments
from helpers import sample, script

from mobilenet_keras._modidx import d as INDEX
from mobilenet_keras.boards import BOARDS

LIGHT = ["core", "preprocessing", "tflite.model", "tflite.interpreters", "boards",
         "tflite.profile", "mcu.fit", "mcu.tflm", "mcu.console", "mcu.flash"]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder, before = tmp_path_factory.mktemp("docs") / "site", os.times()
    done = subprocess.run([sys.executable, ROOT / ".ci/docs.py", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.times().children_user - before.children_user < 60, "seconds of one core, however busy the machine"
    return folder


@pytest.fixture(scope="session")
def builder():
    """.ci/docs.py as a module."""
    return script(ROOT / ".ci/docs.py")


def page(site, name):
    return (site / name / "index.html").read_text(encoding="utf-8")


def words(source):
    """The text of HTML, its white space as single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", source)).split())


def entries(site, module):
    """{anchor: HTML up to the next entry} of a module's page."""
    parts = re.split(r'<h3 class="api" id="([^"]+)"', page(site, f"api/{module.replace('.', '/')}"))
    return dict(zip(parts[1::2], parts[2::2]))


@pytest.mark.parametrize("module", sorted(name.partition(".")[2] for name in INDEX["syms"]))
def test_every_public_name_is_documented(site, module):
    """nbdev's own index of symbols says what there is; the linked line is where it is defined."""
    every = [n.removeprefix(f"mobilenet_keras.{module}.") for n in INDEX["syms"][f"mobilenet_keras.{module}"]]
    public = [n for n in every if not any(part.startswith("_") for part in n.split("."))]
    found = entries(site, module) if public else {}
    assert set(public) <= set(found), set(public) - set(found)
    path = f"{module.replace('.', '/')}.py"
    source = (ROOT / "mobilenet_keras" / path).read_text(encoding="utf-8").splitlines()
    for name in public:
        line = re.search(rf"/blob/main/mobilenet_keras/{re.escape(path)}#L(\d+)", found[name])
        assert re.search(rf"(def|class) {name.split('.')[-1]}\b", " ".join(source[int(line[1]) - 1:int(line[1]) + 3])), name
        assert name in words(found[name])


@pytest.mark.parametrize("module", LIGHT)
def test_parameters_are_described_as_fastcore_reads_them(site, module):
    """fastcore's docments, from the living function, against the table, which is made from the source alone."""
    found, imported, seen = entries(site, module), importlib.import_module(f"mobilenet_keras.{module}"), 0
    for name, entry in found.items():
        thing = functools.reduce(lambda o, n: getattr(o, n, None), name.split("."), imported)
        if not callable(thing) or getattr(thing, "__module__", "") != imported.__name__:
            continue
        for parameter, comment in docments(thing, args_kwargs=True).items():
            if comment:
                plain = re.sub(r"[`\s]", "", comment)
                assert plain in re.sub(r"\s", "", words(entry)), f"{name}, {parameter}: {comment}"
                seen += 1
    assert seen > 3, "next to nothing was compared"


def test_every_notebook_is_a_page(site):
    for path in (ROOT / "nbs").rglob("*.ipynb"):
        if not any(part.startswith((".", "_")) for part in path.relative_to(ROOT).parts):
            title = re.search(r"^# (.+)", "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]), re.M)[1]
            name = "" if path.stem == "index" else (path.parent.relative_to(ROOT / "nbs") / re.sub("^[0-9]+[a-z]?_", "", path.stem)).as_posix()
            assert title.replace("`", "") in words(page(site, name))


def test_boards_and_benchmarks_show_the_data(site):
    shown = page(site, "reference/boards")
    for board in BOARDS.values():
        assert f'id="{board.id}"' in shown and board.name in words(shown)
        assert all(" ".join(what.split()) in words(shown) for what, _ in board.sources)
    shown = words(page(site, "reference/benchmarks")).replace(",", "")
    for file in (ROOT / "benchmarks").glob("*.csv"):
        with file.open(newline="", encoding="utf-8") as lines:
            _, *rows = csv.reader(lines)
        for row in rows[:100]:
            assert " ".join(" ".join(row).replace(",", "").split()) in shown, row
        assert len(rows) <= 100 or f"{len(rows) - 100} more rows in" in shown, file


def test_boards_are_grouped(site):
    """Real ones and emulations apart, on both pages."""
    shown = page(site, "reference/boards")
    titles = ["real-boards", "emulated-boards", "linux-computers", "accelerators"]
    at = [shown.index(f'<h2 id="{t}"') for t in titles]
    assert at == sorted(at)
    for board in BOARDS.values():
        kind = titles[["microcontroller", "emulated", "linux", "accelerator"].index(board.kind)]
        assert f'<h2 id="{kind}"' == re.findall(r'<h2 id="[^"]+"', shown[:shown.index(f'id="{board.id}"')])[-1]
    shown = page(site, "reference/benchmarks")
    part = shown[shown.index('<h3 id="boards"'):shown.index('<h3 id="conformance"')]
    real, emulated = re.split("<summary>Boards that exist as an emulation only", part)
    assert "<td>pico</td>" in real and "mps2" not in real and "mps2" in emulated and "<td>pico</td>" not in emulated


def test_benchmarks_lead_with_five_plots(site):
    """Each with a sentence before it and its values in words; every table behind them is folded."""
    lead, tables = page(site, "reference/benchmarks").split('<h2 id="row-by-row"')
    parts = re.findall(r'<h2 id="[^"]+">.*?</h2>\s*<p>(.*?)</p>\s*<div class="plot"[^>]*>\s*<svg [^>]*aria-label="([^"]+)"', lead, re.S)
    assert len(parts) == 5 and "<table" not in lead
    assert all(len(words(sentence)) > 60 and len(alt) > 120 and re.search(r"\d", alt) for sentence, alt in parts)
    with (ROOT / "benchmarks/ram.csv").open(newline="") as file:
        row = next(r for r in csv.DictReader(file) if r["model"] == "V2 0.35 96x96x3")
    assert f"TFLM {int(row['tflm_arena_64_bit']) / 1000:.0f} KB" in parts[0][1] and f"engine {int(row['streamed']) / 1000:.0f} KB" in parts[0][1]
    assert tables.count("<table>") == len(re.findall(r'<details class="rows">', tables)) >= 40
    assert re.sub(r"<details.*?</details>", "", tables, flags=re.S).count("<table>") == 0


def test_bars_are_as_long_as_their_values():
    plots = script(ROOT / ".ci/plots.py")
    svg = plots.bars([("A", [("one", 10, "red"), ("two", 40, "blue")]), ("B", [("none", 0, "red")])], "{:.0f} g".format, 'less < "more"')
    assert [float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', svg)] == [50, 200, 1]
    assert "10 g" in svg and 'aria-label="less &lt; &quot;more&quot;"' in svg
    svg = plots.lines([("c", "red", [(1, 10), (2, 100), (3, 1000)])], (10, 1000), str, "x")
    (points,) = re.findall(r'points="([^"]+)"', svg)
    (_, top), (_, middle), (_, bottom) = sorted(tuple(map(float, p.split(","))) for p in points.split())[::-1]
    assert middle == pytest.approx((top + bottom) / 2), "the scale is logarithmic"


def test_the_public_function_comes_first(site):
    """Of a module's page: what `mobilenet_keras` gives, the one that is called like the module at the top, each once."""
    from mobilenet_keras.names import PUBLIC
    for module, names in PUBLIC.items():
        shown = page(site, f"api/{module.replace('.', '/')}")
        order = re.findall(r'<h3 class="api" id="([^"]+)"', shown)
        assert set(order[:len(names.split())]) == set(names.split()), module
        assert len(order) == len(set(order)), module
        assert module.split(".")[-1] not in names.split() or order[0] == module.split(".")[-1]


def test_pictures_describe_what_they_show(site):
    """No text of a picture is a heading's markup, a file name or a word or two; those of notebooks are their cells' own."""
    for path in sorted(site.rglob("*.html")):
        for alt in re.findall(r'<img [^>]*?alt="([^"]*)"|<svg [^>]*?aria-label="([^"]*)"', path.read_text(encoding="utf-8")):
            said = html.unescape("".join(alt))
            assert len(said) > 20 or said.startswith(("What the model", "The worst")), (path, said)
            assert "{ #" not in said and "<Figure" not in said and "Axes" not in said, (path, said)


def test_the_chinese_page_has_the_same_code():
    """Cell by cell, but for the words of tables and the texts of pictures; and as many cells of prose, in Chinese, in the same places."""
    both = []
    for name in ("mobilenet", "mobilenet_zh"):
        cells = json.loads((ROOT / f"nbs/explain/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        both.append([(c["cell_type"], re.sub(r"(?m)^#\| fig-alt:.*$", "#| fig-alt", "".join(c["source"]))) for c in cells])
    for (kind, one), (other, two) in zip(*both, strict=True):
        assert kind == other
        if kind == "code":
            assert one == two or "WORDS = {" in one and "WORDS = {" in two
        else:
            assert re.search("[\u4e00-\u9fff]", two) and set(re.findall(r"\d+\.\d+", one)) == set(re.findall(r"\d+\.\d+", two)), two


def test_troubleshooting_shows_the_messages_themselves(site):
    shown = words(page(site, "how_to/troubleshooting"))
    for message in ("No such folder of photos: nowhere", "MissingExtra: This needs keras", "Did you mean pico or pico2?"):
        assert message in shown


@pytest.mark.parametrize("fault,source", [
    ("there is no such anchor", '<a href="#nowhere">x</a>'), ("does not exist", '<a href="gone/">x</a>'),
    ("does not exist", '<img alt="x" src="gone.png">'), ("no alternative text", '<img alt="" src="index.html">'),
    ("another host", '<script src="https://example.org/x.js"></script>'), ("another host", '<link rel="stylesheet" href="//example.org/x.css">'),
    ("another host", '<img alt="x" src="https://example.org/x.png">'), ("weighs", "x" * 500_001),
])
def test_a_fault_fails_the_build(builder, tmp_path, fault, source):
    (tmp_path / "index.html").write_text(f'<p id="here"><a href="#here">sound</a>{source}</p>')
    assert [f for f in builder.faults(tmp_path) if fault in f]
    (tmp_path / "index.html").write_text('<p id="here"><a href="#here">sound</a></p>')
    assert not list(builder.faults(tmp_path))


def test_a_link_to_no_file_fails_the_build(builder, tmp_path):
    one = builder.Page(ROOT / "nbs/how_to/x.ipynb", "how_to/x.md", tmp_path, {})
    with pytest.raises(SystemExit, match="gone.ipynb, which does not exist"):
        one.prose("See [this](gone.ipynb).")
    one.prose("See [this](../api/00_core.ipynb#need) and [that](../../settings.ini).")
    assert "(../api/core.md#need)" in one.blocks[0] and "/blob/main/settings.ini)" in one.blocks[0]


def test_notebooks_can_be_read_by_nbdev_docs():
    """nbdev_docs executes each cell of nbs/api/ that imports: other code in it would miss what the cells before it define."""
    assert "website" in (ROOT / "nbs/_quarto.yml").read_text(encoding="utf-8")
    for path in sorted((ROOT / "nbs/api").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and "#| export" not in source:
                kinds = {isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(source).body}
                assert len(kinds) < 2, f"{path.name}: move the imports of this cell to one of their own:\n{source}"


# ---- In a browser


@pytest.fixture(scope="session")
def server(site):
    """(address of the site served statically, list of paths that were asked for and are missing)."""
    missing = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form, *args):
            pass

        def send_error(self, code, *rest):
            missing.append(self.path)
            super().send_error(code, *rest)

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}/", missing
    web.shutdown()


@pytest.fixture
def opened(chromium, server, request):
    """open(width, height, scheme) -> a page on which every request to another host and every error is a failure."""
    base, missing = server
    foreign, errors, contexts = [], [], []

    def new(width=1280, height=900, scheme="light"):
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, base_url=base))
        tab = contexts[-1].new_page()
        tab.on("request", lambda r: foreign.append(r.url) if not r.url.startswith((base, "data:", "blob:")) else None)
        tab.on("pageerror", lambda e: errors.append(str(e)))
        return tab
    yield new
    for context in contexts:
        context.close()
    assert not foreign, f"asked another host: {foreign}"
    assert not errors and not missing, (errors, missing)


def test_search_a_tutorial_and_the_api(opened):
    tab = opened()
    tab.goto("")
    tab.get_by_placeholder("Search").click()
    tab.get_by_placeholder("Search").press_sequentially("cut short or broken")
    result = tab.locator(".md-search-result__link", has_text="is cut short or broken").first
    result.wait_for(timeout=20_000)
    result.click()
    tab.wait_for_url("**/how_to/troubleshooting/**")
    tab.locator(".md-tabs__link", has_text="Tutorials").click()
    tab.wait_for_url("**/tutorials/**")
    assert "Pico" in tab.locator("h1").inner_text()
    tab.locator(".md-tabs__link", has_text="API").click()
    tab.wait_for_url("**/api/")
    tab.locator("article a", has_text=re.compile("^fine_tune$")).first.click()
    tab.wait_for_url("**/api/training/fine_tune/#fine_tune")
    assert tab.locator("#fine_tune").is_visible()
    assert "Photos per step" in tab.locator("article").inner_text()
    fold = tab.locator("details.code").first
    fold.locator("summary").click()
    assert fold.locator("pre").is_visible()


PAGES = ["", "tutorials/photos_to_pico/", "tutorials/your_own_photos/", "tutorials/keras_model_to_board/",
         "tutorials/smaller_and_better/", "tutorials/in_your_firmware/", "tutorials/micropython_and_openmv/", "tutorials/lesson/",
         "how_to/troubleshooting/", "how_to/which_boards/",
         "explain/mobilenet/", "explain/mobilenet_zh/", "explain/mbn_format/",
         "explain/streaming/", "explain/where_instructions_go/", "api/", "api/tflite/model/",
         "api/tflite/profile/", "reference/boards/", "reference/benchmarks/", "reference/command_line/", "changelog/"]


SCREENS = [(390, 844, "light"), (1280, 900, "dark")]  # a phone and a desktop: what fits has no color, and contrast no width


@pytest.mark.parametrize("width,height,scheme", sample(SCREENS, kept=[]))
def test_pages_fit_the_screen(opened, tmp_path, width, height, scheme):
    """No page scrolls sideways, all pictures load, text contrasts with the ground; DOCS_SCREENSHOTS=folder keeps the pictures."""
    tab, keep = opened(width, height, scheme), os.environ.get("DOCS_SCREENSHOTS")
    for name in PAGES:
        tab.goto(name)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than {width} pixels"
        tab.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        tab.wait_for_function("[...document.images].every(i => i.complete)")
        assert tab.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)") == []
        ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 3 * 128) == (scheme == "light"), ground
        if keep:
            path = f"{keep}/{name.strip('/').replace('/', '_') or 'home'}_{width}_{scheme}.png"
            tab.screenshot(path=path, full_page=True)
