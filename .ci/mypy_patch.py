"""A plugin that tells mypy of fastcore's @patch: methods that stand outside of their class, in later cells and modules.

Each is there, under its name and with any type; a class with class methods among them may be called, since their `cls` is annotated as fastcore
wants it, with the class and not with `type[...]`.
"""
import ast
import functools
from pathlib import Path

from mypy.nodes import MDEF, SymbolTableNode, Var
from mypy.plugin import Plugin
from mypy.types import AnyType, TypeOfAny

PACKAGE = Path(__file__).resolve().parent.parent / "mobilenet_keras"


def origins(tree, module):
    """{name: full name} of what a module defines or imports from this package."""
    names = {node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level):
        source = ".".join([*module.split(".")[:-node.level], *filter(None, [node.module])])
        names |= {alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def patched():
    """{full name of a class: names of its methods that are patched in, and `__call__` where a class method is}."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        tree, module = ast.parse(path.read_text(encoding="utf-8")), ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        names = origins(tree, module)
        for f in (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.args.args):
            if any(ast.unparse(decorator).startswith("patch") for decorator in f.decorator_list):
                first = f.args.args[0]
                methods = {f.name, "__call__"} if first.arg == "cls" else {f.name}
                for name in (n.id for n in ast.walk(first.annotation) if isinstance(n, ast.Name) and n.id in names):
                    found.setdefault(names[name], set()).update(methods)
    return {name: sorted(methods) for name, methods in found.items()}


class Patched(Plugin):
    """Adds what is patched in to each class as its bases become known."""
    def get_customize_class_mro_hook(self, fullname):
        def add(context):
            info = context.cls.info
            for name in patched()[fullname]:
                if name not in info.names:
                    method = Var(name, AnyType(TypeOfAny.explicit))
                    method.info, method._fullname = info, f"{fullname}.{name}"
                    info.names[name] = SymbolTableNode(MDEF, method, plugin_generated=True)
        return add if fullname in patched() else None

    def report_config_data(self, context):
        """What a kept result depends on."""
        return patched()


def plugin(version):
    """What mypy asks for."""
    return Patched
