"""The structure: arrows point down, the two halves meet only at the waist, and nothing heavy comes unasked."""
import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGE = ROOT / "mobilenet_keras"
MODULES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")
           if path.name not in ("__init__.py", "_modidx.py")}
FLOORS = (  # a module imports from its own line or those below it
    ("cli", "demo", "all", "names"),
    ("sweeps", "suggestions", "report"),
    ("training", "mcu"),
    ("networks",),
    ("evaluation", "task_evaluation"),
    ("engine",),
    ("tflite",),
    ("run", "photos", "examples", "records", "annotations", "annotated", "folders", "duplicates"),
    ("boards", "preprocessing", "provenance"),
    ("tasks",),
    ("core",),
    ("progress",))
APART = [("networks", "mcu"), ("training", "mcu"), ("mcu", "networks"), ("mcu", "training")]


def imported(module):
    """The project's modules that a module's source imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[:-1] if node.level == 1 else module.split(".")[:-node.level] if node.level else []
            base = ".".join(["mobilenet_keras", *above, *filter(None, [node.module])]) if node.level else node.module or ""
            found = [base, *(f"{base}.{a.name}" for a in node.names)]
        else:
            continue
        yield from (name for f in found if (name := f.removeprefix("mobilenet_keras.")) in MODULES and f != name)


ARROWS = {module: set(imported(module)) for module in MODULES}


def room(module):
    return module.split(".")[0]


def test_imports_are_seen():
    assert {"core", "tflite.model", "engine.planner"} <= ARROWS["engine.mbn"] and "mcu.firmware" in ARROWS["cli"]
    assert {room(module) for module in MODULES} == {name for floor in FLOORS for name in floor}


def circle(arrows):
    """A path of modules that ends where it begins, or None."""
    done, path = set(), []

    def walk(module):
        if module in path:
            return path[path.index(module):] + [module]
        if module in done:
            return None
        path.append(module)
        found = next(filter(None, map(walk, sorted(arrows.get(module, ())))), None)
        path.pop()
        done.add(module)
        return found
    return next(filter(None, map(walk, arrows)), None)


def test_no_circle():
    assert circle(ARROWS) is None
    assert circle(ARROWS | {"core": {"mcu.flash"}}), "a circle is found"
    folders = {room(m): {room(t) for t in ARROWS[m] if room(t) != room(m)} for m in ()}
    for module, targets in ARROWS.items():
        folders.setdefault(room(module), set()).update(room(t) for t in targets if room(t) != room(module))
    assert circle(folders) is None, "not between folders, either"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_arrows_point_down(module):
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    up = [t for t in ARROWS[module] if floor[room(t)] < floor[room(module)]]
    assert not up, f"{module} imports {up}, which stands above it"
    met = [t for t in ARROWS[module] if (room(module), room(t)) in APART]
    assert not met, f"{module} imports {met}: the halves meet only at the .tflite file"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_private_names_stay_at_home(module):
    taken = [a.name for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
             and (node.level or (node.module or "").startswith("mobilenet_keras"))
             for a in node.names if a.name.startswith("_") and a.name != "__version__"]
    assert not taken, f"{module} imports {taken}: a name that two modules share is a public one"


def test_a_model_is_light():
    """And what later modules gave it is there."""
    code = ("import sys, mobilenet_keras\nModel = mobilenet_keras.Model\n"
            "assert not {'tensorflow', 'keras', 'matplotlib', 'rich'} & set(sys.modules), sorted(sys.modules)\n"
            "for name in 'profile compile boards build simulate flash'.split(): assert callable(getattr(Model, name)), name\n"
            "assert 'Model' in dir(mobilenet_keras) and 'fine_tune' in dir(mobilenet_keras)\n"
            "try: mobilenet_keras.Modle\nexcept AttributeError as e: print(e)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "module 'mobilenet_keras' has no attribute 'Modle'\n", done.stderr


def test_public_names_resolve(tensorflow):
    from mobilenet_keras import all as star
    from mobilenet_keras import names
    assert set(names.RETURNS) <= set(names.public_names()) and set(names.RETURNS.values()) <= set(names.METHODS)
    assert len(star.__all__) <= 25 and all(hasattr(star, name) for name in star.__all__)
    for name in names.public_names():
        assert names.resolve(name) is not None


def test_methods_are_where_the_table_says():
    """METHODS names every module above a public class that patches it, and no other."""
    from mobilenet_keras import names
    owner = {name: module for module, public in names.PUBLIC.items() for name in public.split()}
    found = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any("patch" in ast.unparse(d) for d in node.decorator_list):
                kind = ast.unparse(node.args.args[0].annotation)
                if kind in owner and owner[kind] != module and not re.search(rf"^class {kind}\b", path.read_text(encoding="utf-8"), re.M):
                    found.setdefault(kind, set()).add(module)
    assert found == {kind: set(modules.split()) for kind, modules in names.METHODS.items()}
