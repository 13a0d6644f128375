"""Write README.md from nbs/index.ipynb, without Quarto. `--check` writes nothing and fails when README.md is stale."""
import json
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Generated from nbs/index.ipynb by .ci/readme.py: change the notebook. -->"


def text(lines):
    """The string that a notebook keeps whole or as a list of lines."""
    return lines if isinstance(lines, str) else "".join(lines)


def fence(language, body):
    """`body` in a fence that is longer than any run of backticks inside it."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", body)), default=0))
    return f"{ticks}{language}\n{body}\n{ticks}"


def plain(body):
    """Terminal output as it looks at the end: no colours, and only what the last carriage return left of a line."""
    body = re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])", "", body).replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").split("\r")[-1].rstrip() for line in body.split("\n")).strip("\n")


def output(out):
    """One output of a cell as Markdown, or "" for images and standard error."""
    if out["output_type"] == "error":
        raise SystemExit(f"nbs/index.ipynb holds an error ({out['ename']}: {out['evalue']}). Run it again, then this.")
    data = out.get("data", {})
    if out.get("name") == "stderr" or any(kind.startswith("image/") for kind in data):
        return ""
    if "text/markdown" in data:
        return text(data["text/markdown"]).strip()
    body = plain(text(out.get("text", data.get("text/plain", ""))))
    return fence("text", body) if body else ""


def code(cell):
    """A code cell and its outputs as Markdown; nbdev's and Quarto's `#|` lines decide what shows."""
    lines = text(cell["source"]).split("\n")
    flags = {re.sub(r"\s*:\s*", ":", line[2:].strip()) for line in lines if line.startswith("#|")}
    if flags & {"hide", "include:false"} or any(flag.startswith("default_exp") for flag in flags):
        return []
    body = "\n".join(line for line in lines if not line.startswith("#|")).strip("\n")
    language = "sh" if body.startswith(("!", "%%bash", "%%sh")) else "python"
    if language == "sh":
        body = re.sub(r"^(%%(bash|sh).*\n?|! ?)", "", body, flags=re.M)
    shown = [fence(language, body)] if body and "echo:false" not in flags else []
    streams = []  # neighbouring pieces of one stream belong together
    for out in cell.get("outputs", []) if "output:false" not in flags else []:
        if streams and out["output_type"] == "stream" and out["name"] == streams[-1].get("name"):
            streams[-1]["text"] += text(out["text"])
        else:
            streams.append({**out, "text": text(out["text"])} if "text" in out else out)
    return [*shown, *filter(None, map(output, streams))]


def relink(markdown):
    """Links to files, written from nbs/, as seen from the repository's root."""
    def seen(match):
        target = os.path.relpath(ROOT / "nbs" / match[1], ROOT)
        return f"]({Path(target).as_posix()}" if (ROOT / target).exists() else match[0]
    return re.sub(r"\]\(((?!https?:|/|#)[^)#\s]+)", seen, markdown)


def readme(notebook):
    """The whole README as one string."""
    blocks = []
    for cell in json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]:
        blocks += code(cell) if cell["cell_type"] == "code" else \
            [relink(text(cell["source"]).strip())] if cell["cell_type"] == "markdown" else []
    blocks = [block for block in blocks if block]
    if not blocks or not blocks[0].startswith("# "):
        raise SystemExit(f"{notebook} must begin with its title, '# mobilenet-keras'.")
    return "\n\n".join([NOTE, *blocks]) + "\n"


def main(check=False, notebook=ROOT / "nbs" / "index.ipynb", target=ROOT / "README.md"):
    """Exit 1 if `check` finds `target` stale; else write it, whole or not at all."""
    if not notebook.exists():
        raise SystemExit(f"{notebook.relative_to(ROOT)} is missing, so there is nothing to make README.md from.")
    wanted = readme(notebook)
    if target.exists() and target.read_text(encoding="utf-8") == wanted:
        return
    if check:
        raise SystemExit("README.md does not follow nbs/index.ipynb. Mend it with: python .ci/export.py")
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", dir=target.parent, delete=False) as part:
        part.write(wanted)
    os.chmod(part.name, 0o644)
    os.replace(part.name, target)


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        raise SystemExit("usage: python .ci/readme.py [--check]")
    main(check="--check" in sys.argv)
