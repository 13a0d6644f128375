"""Build the documentation site: `python .ci/docs.py [FOLDER]` writes it to _docs/ or to FOLDER.

Each notebook below nbs/ becomes a page. Exported cells become a signature, a table of parameters, a link to the source
and the source itself, folded. The pages of boards, benchmarks and command line are made from the data itself. Nothing
is executed but the table of boards and the command line's parser; what a page shows is what its notebook holds.
MkDocs Material makes HTML of it, which is then checked: links, anchors, alternative texts, weight, no other host.
"""
import ast
import base64
import csv
import html
import io
import json
import os
import re
import shutil
import sys
import tempfile
import tokenize
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]  # the boards and the verbs of this tree, installed or not
REPOSITORY = "https://github.com/mobilenet-keras/mobilenet-keras"
SITE = "https://mobilenet-keras.github.io/mobilenet-keras/"
SECTIONS = {"tutorials": "Tutorials", "how_to": "How-to", "explain": "Explain", "api": "API"}
FOLDERS = ("api", "tasks", "networks", "training", "tflite", "engine", "mcu")  # of the API, in the order in which data meets them
HEAVIEST = 500_000  # bytes of a page with its pictures; styles and scripts are the theme's, and the same for all pages


def text(lines):
    """The string that a notebook keeps whole or as a list of lines."""
    return lines if isinstance(lines, str) else "".join(lines)


def fence(language, body):
    """`body` in a fence that is longer than any run of backticks inside it."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", body)), default=0))
    return f"{ticks}{language}\n{body}\n{ticks}"


def table(head, rows):
    """A Markdown table, without the columns that are empty; numbers line up."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    rule = ["---:" if all(re.fullmatch(r"-?[\d.,]*", row[i]) for row in rows) else "---" for i in range(len(head))]
    lines = [[plain(row[i]) for i in kept] for row in [head, rule, *rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(cell):
    """A cell's text without what ends a cell, or outside of backticks would be read as attributes."""
    return "".join(p if i % 2 else p.replace("{", "&#123;") for i, p in enumerate(re.split("(`[^`]*`)", cell.replace("|", "&#124;"))))


def code(source):
    """Python in a cell of a table; one bare name in backticks, so that it may become a link."""
    return f"`{source}`" if source.isidentifier() else f"<code>{html.escape(source)}</code>" if source else ""


# ---- The API, read from the exported modules without importing them


class Module:
    """The definitions of one exported module: {qualified name: syntax node}, where `@patch` and methods count as Class.method."""
    def __init__(self, path):
        self.path, self.source = path, path.read_text(encoding="utf-8")
        self.name = ".".join(path.relative_to(ROOT / "mobilenet_keras").with_suffix("").parts)
        tokens = tokenize.generate_tokens(io.StringIO(self.source).readline)
        self.comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
        tree = ast.parse(self.source)
        self.nodes, self.public = dict(definitions(tree)), set()
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                self.public |= {e.value for e in getattr(node.value, "elts", ()) if isinstance(e, ast.Constant)}

    def documents(self, name):
        """Whether a defined name is public here: in __all__, a method of such a class, or one given to a class of another module."""
        owner, _, method = name.partition(".")
        return name in self.nodes and (owner in self.public or bool(method) and owner[0].isupper())

    def names(self, source):
        """Public names that a cell's source defines, in order."""
        return list(filter(self.documents, dict.fromkeys(name for name, _ in definitions(ast.parse(source)))))

    def comment(self, node):
        return self.comments.get(node.end_lineno, "")


def definitions(tree):
    """(qualified name, node) of everything public that a tree defines."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            marks = {ast.unparse(getattr(d, "func", d)) for d in node.decorator_list}
            for owner in owners(node) if marks & {"patch", "patch_to"} else [""]:
                if not node.name.startswith("_"):
                    yield f"{owner}.{node.name}".lstrip("."), node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner
        elif isinstance(node, ast.Assign):
            targets = [t for target in node.targets for t in getattr(target, "elts", [target]) if isinstance(t, ast.Name)]
            yield from ((t.id, node) for t in targets if not t.id.startswith("_"))


def owners(node):
    """Names of the classes that `@patch` reads from the annotation of the first argument."""
    first = node.args.args[0].annotation
    return [n.id for n in ast.walk(first) if isinstance(n, ast.Name)] if first else []


def parameters(module, node):
    """(name, type, default, comment) of a function's arguments or a dataclass's fields, and of what it returns.

    As with fastcore's docments, a comment belongs to what ends last on its line.
    """
    if isinstance(node, ast.ClassDef):
        fields = [(n.target.id, n.annotation, n.value, n) for n in node.body if isinstance(n, ast.AnnAssign)]
        init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if init:
            return parameters(module, init)[:-1] + [("returns", "", "", "")]
        return [(n, source(t), source(d), module.comment(at)) for n, t, d, at in fields] + [("returns", "", "", "")]
    a = node.args
    positional = [*a.posonlyargs, *a.args]
    every = [(p.arg, p, d) for p, d in zip(positional, [None] * (len(positional) - len(a.defaults)) + a.defaults)]
    every += [(f"*{a.vararg.arg}", a.vararg, None)] if a.vararg else [("*", None, None)] if a.kwonlyargs else []
    every += [(p.arg, p, d) for p, d in zip(a.kwonlyargs, a.kw_defaults)] + [(f"**{p.arg}", p, None) for p in [a.kwarg] if p]
    every = every[bool(positional and positional[0].arg in ("self", "cls")):]
    owner = {(d or p).end_lineno: name for name, p, d in every if p}
    closing = node.returns.end_lineno if node.returns else node.body[0].lineno - 1
    if node.returns or closing not in owner and closing >= node.lineno:
        owner[closing] = "returns"
    comment = {name: module.comments.get(line, "") for line, name in owner.items()}
    return [(name, source(p and p.annotation), source(d), comment.get(name, "")) for name, p, d in every] + \
        [("returns", source(node.returns), "", comment.get("returns", ""))]


def source(node):
    return ast.unparse(node) if node else ""


def signature(name, module, node):
    """`name(...)` as Python would show it, an argument per line where it is long."""
    *rows, (_, returned, _, _) = parameters(module, node)
    arguments = [n + f": {t}" * bool(t) + (f" = {d}" if t else f"={d}") * bool(d) for n, t, d, _ in rows]
    if any("prop" in source(d) for d in getattr(node, "decorator_list", [])):
        return name + f": {returned}" * bool(returned)
    returned = f" -> {returned}" * bool(returned)
    line = f"{name}({', '.join(arguments)}){returned}"
    return line if len(line) <= 80 else f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){returned}"


def documentation(name, module):
    """Heading with its anchor, signature, docstring, table of parameters and link to the source, as Markdown."""
    node = module.nodes[name]
    line = f"{REPOSITORY}/blob/main/{module.path.relative_to(ROOT).as_posix()}#L{node.lineno}"
    head = f'### `{name}` {{ #{name} .api }}\n\n[source]({line}){{ .source aria-label="source of {name}" }}'
    if isinstance(node, ast.Assign):
        value = ast.unparse(node)
        value = value if len(value) <= 300 else f"{ast.unparse(node.targets[0])} = ..."
        return "\n\n".join(filter(None, [head, fence("python", value), module.comment(node)]))
    *rows, (_, returned, _, comment) = parameters(module, node)
    rows = [(f"<code>{n}</code>", code(t), code(d), c) for n, t, d, c in rows if n != "*"]
    rows += [("returns", code(returned), "", comment)] if comment else []
    return "\n\n".join(filter(None, [head, fence("python", signature(name, module, node)), ast.get_docstring(node) or "",
                                     rows and f'<div class="parameters" markdown>\n\n{table(["", "type", "default", ""], rows)}\n\n</div>']))


# ---- Notebooks


def page_of(notebook):
    """The Markdown file, below the site's root, of a notebook: nbs/api/mcu/04_elf.ipynb -> api/mcu/elf.md."""
    path = Path(notebook).resolve().relative_to(ROOT / "nbs")
    return path.with_name(re.sub(r"^\d+[a-z]*_", "", path.stem) + ".md")


def section_of(notebook):
    """The folder of nbs/ that a notebook is in, or below."""
    return Path(notebook).resolve().relative_to(ROOT / "nbs").parts[0]


def folder_of(navigation, name):
    """The list of pages called `name` in a navigation."""
    found = next((entry[name] for entry in navigation if isinstance(entry, dict) and name in entry), None)
    if found is None:
        found = []
        navigation.append({name: found})
    return found


def notebooks():
    """All that are pages, in order."""
    def place(path):
        folder = path.parent.name
        return section_of(path), FOLDERS.index(folder) if folder in FOLDERS else -1, path
    found = sorted((ROOT / "nbs").rglob("*.ipynb"), key=place)
    return [n for n in found if not any(p.startswith((".", "_")) for p in n.relative_to(ROOT).parts)]


def outside_code(change, markdown):
    """Apply `change` to Markdown outside fences."""
    parts = re.split(r"(^ *(`{3,})[^\n]*\n.*?^ *\2 *$)", markdown, flags=re.M | re.S)
    return "".join(change(p) if i % 3 == 0 else p if i % 3 == 1 else "" for i, p in enumerate(parts))


def math(prose):
    """$inline$ and $$display$$ as MathML, which needs no script; code is left alone."""
    from latex2mathml.converter import convert
    parts = re.split(r"(`+[^`]*`+)", prose)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"\$\$(.+?)\$\$", lambda m: convert(m[1], display="block"), parts[i], flags=re.S)
        parts[i] = re.sub(r"(?<![\\$\w])\$([^$\n]+?)\$(?!\w)", lambda m: f"<span>{convert(m[1])}</span>", parts[i])
    return "".join(parts)


class Page:
    """One page being written: its Markdown, and the pictures beside it."""
    def __init__(self, source, target, folder, names):
        self.source, self.target, self.folder, self.names = Path(source), Path(target), folder, names
        self.blocks, self.heading, self.said, self.pictures = [], "", "", 0
        self.first = set()  # names that stand at the top of a module's page

    def relink(self, match):
        """A link to a file, written from where the source stands, as a link to its page or to the repository."""
        file, _, anchor = match[1].partition("#")
        path = (self.source.parent / unquote(file)).resolve()
        if not path.exists() or not path.is_relative_to(ROOT):
            raise SystemExit(f"{self.source.relative_to(ROOT)} links to {match[1]}, which does not exist.")
        anchor = f"#{anchor}" if anchor else ""
        if path.suffix == ".ipynb":
            return f"]({Path(os.path.relpath(page_of(path), self.target.parent)).as_posix()}{anchor})"
        if path.suffix in (".png", ".svg") and path.is_relative_to(ROOT / "nbs"):  # a picture that the text shows
            shown = self.folder / path.relative_to(ROOT / "nbs")
            shown.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, shown)
            return f"]({Path(os.path.relpath(shown, (self.folder / self.target).parent)).as_posix()})"
        if (name := path.relative_to(ROOT).as_posix()) == "CHANGELOG.md":
            return f"]({Path(os.path.relpath('changelog.md', self.target.parent)).as_posix()}{anchor})"
        return f"]({REPOSITORY}/{'tree' if path.is_dir() else 'blob'}/main/{name}{anchor})"

    def link(self, match):
        """A public name in backticks, linked to where it is documented."""
        if not (place := self.names.get(match[1].removesuffix("()"))):
            return match[0]
        return f"[`{match[1]}`]({Path(os.path.relpath(place[0], self.target.parent)).as_posix()}#{place[1]})"

    def prose(self, markdown):
        """A Markdown cell."""
        def change(part):
            part = re.sub(r"\]\(((?!\w+:|#)[^)\s]+)\)", self.relink, part)
            part = re.sub(r"^(?!#)(.*)$", lambda m: re.sub(r"(?<![\[`])`([A-Za-z_][\w.]*(?:\(\))?)`(?![\]`])", self.link, m[1]), part,
                          flags=re.M)
            part = re.sub(r"^((?![ \t]*([-*+]|\d+\.) )[^\n|#>]*\S[^\n]*)\n(?=([-*+]|\d+\.) )", r"\1\n\n", part, flags=re.M)
            return math(part)
        self.blocks.append(outside_code(change, markdown.strip()))
        outside_code(self.listen, markdown)

    def listen(self, prose):
        """Remember the last heading and the last sentence: they say what the next picture shows."""
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*>]", r"\1", re.sub(r"\$([^$]+)\$", r"\1", prose))
        for line in filter(None, map(str.strip, plain.splitlines())):
            if line.startswith("#"):
                self.heading = re.sub(r" \{[^}]*\}$", "", line.lstrip("# "))
                self.said = ""
            elif not line.startswith(("|", "<")):
                self.said = line
        return prose

    def picture(self, data, alt):
        """A PNG of a notebook as a small WebP file beside the page, and the Markdown that shows it."""
        from PIL import Image
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        width, height = image.size
        image.thumbnail((1400, 1400), Image.LANCZOS)
        image = image.convert("RGB")
        tries = []  # few colours suit charts, the other photos
        for few, options in ((image.quantize(128, dither=0).convert("RGB"), {"lossless": True}), (image, {"quality": 82})):
            few.save(to := io.BytesIO(), "webp", method=4, **options)
            tries.append(to.getvalue())
        self.pictures += 1
        path = self.folder / self.target.with_name(f"{self.target.stem}_{self.pictures}.webp")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(min(tries, key=len))
        lazy = " loading=lazy" if self.pictures > 1 else ""
        return f"![{alt}]({path.name}){{ width={width} height={height}{lazy} }}"

    def output(self, out, alt):
        """One output of a cell; `alt` is the text for whom can't see it, else what the thing says of itself, else the sentence before it."""
        said = text(out.get("data", {}).get("text/plain", "")).split("\n")[0]
        alt = re.sub(r"[\"\[\]<>]", "", alt or (said if len(said) > 20 and not said.startswith("<") else f"{self.heading}: {self.said}"))
        alt = alt if len(alt) < 400 else alt[:396].rsplit(" ", 1)[0] + " ..."
        if out["output_type"] == "error":
            raise SystemExit(f"{self.source} holds an error: {out['ename']}: {out['evalue']}. Run it again.")
        data = {kind: text(v) for kind, v in out.get("data", {}).items() if kind != "application/json"}
        if "text/html" in data:
            shown = re.sub(r"<style scoped>.*?</style>", "", data["text/html"], flags=re.S)
            shown = re.sub(r"<svg (?![^>]*aria-label)(?=[^>]*role=.img)", f'<svg aria-label="{alt}" ', shown)
            return '<div class="output" markdown="0">\n' + re.sub(r"\n\s*\n", "\n", shown.strip()) + "\n</div>"
        if "text/markdown" in data:
            self.prose(data["text/markdown"])
            return ""
        for kind in ("image/png", "image/jpeg"):
            if kind in data:
                return self.picture(data[kind], alt)
        body = re.sub(r"\x1b\[[0-9;]*m", "", text(out.get("text", data.get("text/plain", "")))).rstrip()
        kind = "output" if re.search(r"\S {2,}\S", body) else "output prose"  # columns must not wrap
        return f'<div class="{kind}" markdown>\n\n{fence("text", body)}\n\n</div>' if body else ""

    def interface(self, module):
        """What a module gives to `mobilenet_keras`, before how it works; the one that is called like the module comes first."""
        from mobilenet_keras.names import PUBLIC
        first = [name for name in PUBLIC.get(module.name, "").split() if module.documents(name)]
        for name in sorted(first, key=lambda n: (n != module.name.split(".")[-1], list(module.nodes).index(n))):
            self.prose(documentation(name, module))
        self.first = set(first)
        if first:
            self.blocks.append("## How it works")

    def code(self, cell, module):
        """A code cell and its outputs; nbdev's and Quarto's `#|` lines decide what shows."""
        lines = text(cell["source"]).split("\n")
        options = {k.strip(): v.strip() for k, _, v in (re.sub(r"^#\| *", "", li).partition(":") for li in lines if li.startswith("#|"))}
        body = "\n".join(li for li in lines if not li.startswith("#|")).strip("\n")
        if "hide" in options or options.get("include") == "false" or any(o.startswith("default_exp") for o in options):
            return
        exported = bool({"export", "exporti"} & set(options))
        if exported and module:
            tree = ast.parse(body)
            if all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in tree.body):
                return
            for name in module.names(body):
                self.prose(f"The source of `{name}`:" if name in self.first else documentation(name, module))
        if body and options.get("echo") != "false":
            shown = fence("python", body)
            fold = "Source" if exported else "Code" if options.get("code-fold") == "true" else ""
            self.blocks.append(f"<details class=code markdown data-search-exclude><summary>{fold}</summary>\n\n{shown}\n\n</details>" if fold
                               else shown)
        for out in merged(cell.get("outputs", [])) if options.get("output") != "false" else []:
            self.blocks.append(self.output(out, options.get("fig-alt", "").strip("\"'")))

    def notebook(self, module):
        for i, cell in enumerate(json.loads(self.source.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] == "markdown":
                self.prose(text(cell["source"]))
                if i == 0 and module:
                    self.interface(module)
            elif cell["cell_type"] == "code":
                self.code(cell, module)
        return self

    def write(self):
        path = self.folder / self.target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(filter(None, self.blocks)) + "\n", encoding="utf-8")
        first = next((m[1] for m in (re.match(r"# (.+)", b) for b in self.blocks) if m), None)
        if not first:
            raise SystemExit(f"{self.source.relative_to(ROOT)} must begin with its title, as '# Title'.")
        return {first.replace("`", ""): self.target.as_posix()}


def merged(outputs):
    """Neighbouring pieces of one stream belong together; standard error is progress, and left out."""
    together = []
    for out in outputs:
        if out.get("name") == "stderr":
            continue
        if together and out["output_type"] == together[-1]["output_type"] == "stream":
            together[-1]["text"] += text(out["text"])
        else:
            together.append({**out, "text": text(out["text"])} if "text" in out else out)
    return together


# ---- Pages made from data


KINDS = {"microcontroller": "Real boards", "emulated": "Emulated boards", "linux": "Linux computers", "accelerator": "Accelerators"}


def boards_page():
    from mobilenet_keras.boards import BOARDS
    yield ("# Boards\n\n> What each board has, and what of it a model may take, with the source of every figure. "
           "Made from the table in `mobilenet_keras.boards`.\n\nIn a notebook: `BOARDS`, `board(\"pico\")`.")
    for kind, title in KINDS.items():
        group = [b for b in BOARDS.values() if b.kind == kind]
        (_, _, _, *head), found = type(BOARDS)({b.id: b for b in group})._table()
        yield f"## {title}\n\n" + table(["board", *head], [[f"[{name}](#{id})", *map(str, rest)] for id, name, _, *rest in found])
        for b in group:
            facts = re.sub(r"^<p>.*?</p>", "", b._repr_html_())  # its name is the heading
            yield f'### {b.name} {{ #{b.id} }}\n\n<div class="output" markdown="0">{facts}</div>'


ROWS = 100  # of a table on the page; a file may have more


def benchmarks_page():
    from plots import PLOTS
    yield ("# Benchmarks\n\n> What the scripts in `benchmarks/` measured, first as five pictures, then row by row. No board was at hand: "
           "instructions and memory are those of linked programs on emulated ones.")
    for plot in PLOTS:
        title, said, name, picture = plot()
        yield f"## {title}\n\n{said} [The rows](#{name})"
        yield f'<div class="plot" markdown="0">{picture}</div>'
    yield ("## Row by row\n\nTimes are of the machine that ran a script: compare the rows of a table with each other, or run the script on "
           "yours. The bytes are compared with TensorFlow Lite Micro's in [conformance](#conformance), op by op, and in [boards](#boards), "
           "network by network.")
    for file in sorted((ROOT / "benchmarks").glob("*.csv")):
        yield from benchmark(file)


def benchmark(file):
    """Heading, what was measured, and the rows of a CSV, folded; those of boards by what the board is."""
    script = next((p for p in (file.with_suffix(".py"), file.with_name(f"{file.stem.rpartition('_')[0]}.py")) if p.exists()), file)
    doc = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) if script != file else ""
    with file.open(newline="", encoding="utf-8") as lines:
        head, *rows = csv.reader(lines)
    links = ", ".join(f"[{p.name}]({REPOSITORY}/blob/main/benchmarks/{p.name})" for p in dict.fromkeys((script, file)))
    yield f"### {file.stem.replace('_', ' ').capitalize()} {{ #{file.stem} }}\n\n{doc.split(chr(10) * 2)[0]}\n\n{links}"
    for title, some in grouped(head, rows[:ROWS]).items():
        some = [[f"{int(v):,}" if re.fullmatch(r"\d{4,}", v) else v for v in row] for row in some]
        more = f"\n\n{len(rows) - ROWS:,} more rows in {file.name}" if len(rows) > ROWS else ""
        yield (f"<details class=rows markdown data-search-exclude><summary>{title}{len(some):,} rows</summary>\n\n"
               f"{table([h.replace('_', ' ') for h in head], some)}{more}\n\n</details>")
    if (plot := file.with_suffix(".svg")).exists():
        yield f'<div class="output" markdown="0">{plot.read_text(encoding="utf-8").strip()}</div>'


def grouped(head, rows):
    """{title: rows}: one group, or where there is a column of boards, that of real ones and that of emulations."""
    from mobilenet_keras.boards import BOARDS
    at = head.index("board") if "board" in head else None
    if at is None or not rows or not all(row[at] in BOARDS for row in rows):
        return {"": rows}
    found = {"Real boards, emulated here: ": [r for r in rows if BOARDS[r[at]].kind != "emulated"],
             "Boards that exist as an emulation only: ": [r for r in rows if BOARDS[r[at]].kind == "emulated"]}
    return {title: some for title, some in found.items() if some}


def command_line_page():
    from mobilenet_keras.cli import EXIT_CODES, VERBS, parsers
    os.environ["COLUMNS"] = "88"
    yield (f"# Command line\n\n> Every verb of `mobilenet` and its `--help`, made by the program itself.\n\n"
           f"{EXIT_CODES[0].upper()}{EXIT_CODES[1:]}.")
    every = parsers()
    yield fence("text", every[""].format_help().strip())
    for name in VERBS:
        yield f"## mobilenet {name}\n\n{fence('text', every[name].format_help().strip())}"


def api_index(modules):
    yield "# API\n\n> Every public name, module by module, in the order in which data meets them."
    for notebook, module in modules:
        here = [(n, node) for n, node in module.nodes.items() if module.documents(n)]
        link, name = notebook.relative_to(ROOT / "nbs/api").as_posix(), module.name
        rows = [(f"[`{n}`]({link}#{n})",
                 "" if isinstance(node, ast.Assign) else (ast.get_docstring(node) or "").split("\n")[0]) for n, node in here]
        lead = ast.get_docstring(ast.parse(module.source)) or ""
        yield f"## [{name}]({link}) {{ #{name} }}\n\n{lead}\n\n" + (table(["name", ""], rows) if rows else "")


# ---- The whole


def write_pages(folder):
    """All Markdown and pictures below `folder`; returns the navigation."""
    modules = [(n, Module(path)) for n in notebooks() if section_of(n) == "api"
               and (path := (ROOT / "mobilenet_keras" / page_of(n).relative_to("api")).with_suffix(".py")).exists()]
    names = {}
    for notebook, module in modules:
        if module.path.stem != "cli":  # its verbs are called like the functions that they call
            for name in filter(module.documents, module.nodes):
                names.setdefault(name, (page_of(notebook), name))
    modules_of, sections = dict(modules), {title: [] for title in SECTIONS.values()}

    def made(source, target, blocks):
        page = Page(ROOT / source, target, folder, names)
        for block in blocks:
            page.blocks.append(block) if block.startswith("<") else page.prose(block)
        return page.write()

    home = Page(ROOT / "nbs/index.ipynb", "index.md", folder, names).notebook(None)
    home.blocks.insert(0, "---\nhide: [navigation]\n---")
    home.write()
    made("nbs/api/index.ipynb", "api/index.md", api_index(modules))
    sections["API"].append("api/index.md")
    for notebook in notebooks():
        if (section := SECTIONS.get(section_of(notebook))) is not None:
            page = Page(notebook, page_of(notebook), folder, names).notebook(modules_of.get(notebook)).write()
            place = sections[section]
            for below in page_of(notebook).parts[1:-1]:  # the folders of the API
                place = folder_of(place, below)
            place.append(page)
    reference = [made(".ci/docs.py", f"reference/{name}.md", blocks()) for name, blocks in
                 (("command_line", command_line_page), ("boards", boards_page), ("benchmarks", benchmarks_page))]
    changelog = made("CHANGELOG.md", "changelog.md", [(ROOT / "CHANGELOG.md").read_text(encoding="utf-8")])
    shutil.copy2(ROOT / ".ci/docs.css", folder)
    return [{"Home": "index.md"}, *({t: pages} for t, pages in sections.items() if pages), {"Reference": reference}, changelog]


class Facts(HTMLParser):
    """What a page links to, loads and offers as anchors."""
    def __init__(self, page):
        super().__init__()
        self.links, self.loads, self.ids, self.without_alt = [], [], set(), []
        self.feed(page)

    def handle_starttag(self, tag, pairs):
        a = dict(pairs)
        self.ids |= {a[k] for k in ("id", "name") if a.get(k) and (k == "id" or tag == "a")}
        if tag == "a" and a.get("href"):
            self.links.append(a["href"])
        elif tag == "link" and a.get("rel") not in ("canonical", "next", "prev", "alternate") and a.get("href"):
            self.loads.append(a["href"])
        if a.get("src"):
            self.loads.append(a["src"])
        if tag == "img" and not (a.get("alt") or "").strip() or tag == "svg" and a.get("role") == "img" and not a.get("aria-label"):
            self.without_alt.append(a.get("src", "an svg"))


def faults(site):
    """One line for each broken link or anchor, picture without a text, thing from another host, or page that is too heavy."""
    site, base = Path(site), urlsplit(SITE).path
    pages = {p: Facts(p.read_text(encoding="utf-8")) for p in sorted(site.rglob("*.html"))}

    def file_of(page, url):
        path = unquote(urlsplit(url).path)
        target = site / path.removeprefix(base) if path.startswith("/") else page.parent / path if path else page
        target = Path(os.path.normpath(target))
        return target / "index.html" if target.is_dir() else target

    for page, facts in pages.items():
        name, weight = page.relative_to(site), page.stat().st_size
        for url in facts.links:
            if url.startswith(("http:", "https:", "mailto:", "javascript:")) and not url.startswith(SITE):
                continue
            target, anchor = file_of(page, url), unquote(urlsplit(url).fragment)
            if not target.is_file():
                yield f"{name}: links to {url}, which does not exist"
            elif anchor and target in pages and anchor not in pages[target].ids and anchor != "__skip":
                yield f"{name}: links to {url}, but there is no such anchor"
        for url in dict.fromkeys(facts.loads):
            if re.match(r"(https?:)?//", url):
                yield f"{name}: loads {url} from another host"
            elif not url.startswith("data:"):
                target = file_of(page, url)
                weight += target.stat().st_size if target.suffix not in (".css", ".js") and target.is_file() else 0
                if not target.is_file():
                    yield f"{name}: loads {url}, which does not exist"
        for what in facts.without_alt:
            yield f"{name}: {what} has no alternative text"
        if weight > HEAVIEST:
            yield f"{name}: weighs {weight:,} bytes with its pictures; {HEAVIEST:,} is the limit"
    for style in site.rglob("*.css"):
        for url in re.findall(r"url\(['\"]?(https?:[^)]*)\)|@import[^;]*https?:[^;]*", style.read_text(encoding="utf-8")):
            yield f"{style.relative_to(site)}: loads {url} from another host"


def lighten(site):
    """Without maps of scripts, and without the marks that no style colours, which are half of a highlighted line."""
    for waste in site.rglob("*.map"):
        waste.unlink()
    for page in site.rglob("*.html"):
        lighter = re.sub(r'<span class="(?:n|o|p|w|nn|nb)">([^<]*)</span>', r"\1", page.read_text(encoding="utf-8"))
        page.write_text(lighter, encoding="utf-8")


def build(target):
    """The site in `target`, which is replaced only by one without faults."""
    os.environ["NO_MKDOCS_2_WARNING"] = "1"
    from mkdocs.commands.build import build as mkdocs_build
    from mkdocs.config import load_config
    target = Path(target).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        pages, site = Path(scratch) / "pages", Path(scratch) / "site"
        pages.mkdir()
        nav = write_pages(pages)
        config = load_config(str(ROOT / ".ci/docs.yml"), docs_dir=str(pages), site_dir=str(site), site_url=SITE, nav=nav, strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        mkdocs_build(config)
        lighten(site)
        if found := list(faults(site)):
            raise SystemExit("\n".join(found))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(site, target)
    return target


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        raise SystemExit(__doc__.split("\n\n")[0])
    made = build(sys.argv[1] if len(sys.argv) > 1 else ROOT / "_docs")
    print(f"The site is in {made}. To see it: python -m http.server --directory {made}")
