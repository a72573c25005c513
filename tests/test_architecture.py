"""ARCHITECTURE.md's rules as tests: who may import whom, how large things get, which words are used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.source

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "entity_sync"
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_ARCHITECTURE_LINES = 150

# Layer → the layers it may import besides itself. A module belongs to the longest name that fits it, so
# `core.canonical` names that one module, and `core` every module of the core (`core.canonical` included).
# A name with `.*` stands for each part by itself: one adapter may not import another.
MAY_IMPORT: dict[str, set[str]] = {
    # the values that everything else speaks of
    "model": set(),
    "errors": set(),
    "settings": {"errors"},
    "clock": set(),
    # the parts
    "core": {"model", "errors"},
    "loading": {"core.canonical", "core.loaded", "core.tags", "model", "errors", "clock"},
    "brokers.base": {"errors"},
    "brokers.exclusive": {"errors"},
    "brokers.address": {"errors"},
    "brokers.inbox": {"brokers.base", "errors"},
    "brokers.*": {"brokers.base", "brokers.exclusive", "brokers.address", "brokers.inbox", "errors"},
    "brokers.registry": {"brokers.base", "errors"},
    "brokers": {"brokers.base", "brokers.registry"},
    "hub": {"loading", "core", "brokers.base", "clock", "settings", "model", "errors"},
    "server": {"hub", "core", "clock", "settings", "model", "errors"},
    # the ways in
    "environment": {"core", "errors"},
    "publisher": {"environment", "brokers.registry", "brokers.base", "loading", "core", "model", "errors"},
    "capture": {"transactions", "core.tags", "model", "errors", "clock"},
    "transactions": set(),
    "client": {"loading.ids", "core", "model", "errors", "clock"},
    "declarations": {"entity", "hub", "loading", "core", "model", "errors"},
    "entity": {"model"},
    "life": {"hub", "brokers.base", "errors"},
    "app": {
        "declarations", "transactions", "environment", "entity", "life", "server", "hub", "loading", "core",
        "brokers.registry", "brokers.base", "publisher", "clock", "settings", "model", "errors",
    },
    "cli": {
        "", "app", "entity", "server", "hub", "loading", "core", "brokers.registry", "brokers.base",
        "publisher", "capture", "client", "clock", "settings", "model", "errors",
    },
    "__main__": {"cli"},
    # the public face re-exports, the testing tools look at everything
    "": {
        "app", "entity", "server", "hub", "loading", "core", "brokers.base", "publisher", "capture", "client",
        "clock", "settings", "model", "errors",
    },
    "testing": {
        "", "app", "entity", "server", "hub", "loading", "core", "brokers", "brokers.*", "brokers.registry",
        "brokers.base", "brokers.exclusive", "brokers.address", "publisher", "capture", "client", "clock",
        "settings", "model", "errors",
    },
}  # fmt: skip

CORE_NEVER_IMPORTS = {
    "asyncio", "concurrent", "contextvars", "logging", "multiprocessing", "os", "random", "secrets", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time",
}  # fmt: skip
CORE_NEVER_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input"}
NOBODY_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}
NOBODY_CALLS = {"eval", "exec", "compile", "__import__"}

# word, in the singular → (the one we use, the layers in which the word is somebody else's and so is right)
AVOID: dict[str, tuple[str, set[str]]] = {
    "broadcast": ("fan_out or deliver", set()),
    "broadcaster": ("fanout", set()),
    "channel": ("topic for the broker, key for an entity", {"brokers.*"}),
    "debounce": ("coalescing", set()),
    "fetcher": ("loader", set()),
    "helper": ("the name of what it does", set()),
    "mailbox": ("outbox", set()),
    "manager": ("the name of what it does", set()),
    "misc": ("the name of what it does", set()),
    "puller": ("loader", set()),
    "resolver": ("loader", set()),
    "room": ("entity key", set()),
    "throttle": ("min_interval, or pacing", set()),
    "util": ("the name of what it does", set()),
}


class Module(NamedTuple):
    """One file of the package."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """What a relative import in it starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def layer(self) -> str:
        """The row of MAY_IMPORT that holds for it."""
        return layer_of(inside(self.name))


def inside(name: str) -> str:
    """Return a module's name within the package; the package's own `__init__.py` is ''."""
    return name.removeprefix(PACKAGE).lstrip(".")


def layer_of(inner: str) -> str:
    """Return the longest row of MAY_IMPORT that is `inner` or a package around it."""
    if not inner:
        return ""
    rows = [row for row in MAY_IMPORT if row and (inner == row or inner.startswith(f"{row}."))]
    longest = max(rows, key=len, default=inner)
    return "brokers.*" if longest == "brokers" and inner != "brokers" else longest


def allowed(source: Module, target: str) -> bool:
    """Tell whether the table lets a module import `target`, a name inside the package."""
    if source.layer == "brokers.*" and layer_of(target) == "brokers.*":
        return inside(source.name).split(".")[1] == target.split(".")[1]
    row = MAY_IMPORT.get(source.layer, set())
    if layer_of(target) in {source.layer, *row}:
        return True
    return any("." in name and (target == name or target.startswith(f"{name}.")) for name in row)


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by its full name."""
    found = {}
    for path in sorted((ROOT / "src" / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, path, text, ast.parse(text, str(path)))
    return found


def imports(module: Module) -> Iterator[tuple[str, int]]:
    """Every imported module, wherever the import stands: in a function, under TYPE_CHECKING, anywhere."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                around = module.package.split(".")
                base = ".".join([*around[: len(around) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in modules() else base), node.lineno


def own_imports(module: Module) -> Iterator[tuple[str, int]]:
    """The imports of our own modules."""
    return ((name, line) for name, line in imports(module) if name.partition(".")[0] == PACKAGE)


def place(module: Module, line: int = 1) -> str:
    return f"{module.path.relative_to(ROOT)}:{line}"


def report(problems: list[str], rule: str) -> None:
    """Fail with the rule and every place that breaks it."""
    if problems:
        pytest.fail("\n".join([rule, *(f"  {problem}" for problem in problems)]), pytrace=False)


def calls(tree: ast.AST) -> Iterator[tuple[str, bool, int]]:
    """Every call: the last part of the called name, whether it stands alone, and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id, True, node.lineno
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr, False, node.lineno


def test_every_module_has_a_layer() -> None:
    """A new package enters the table before it enters the code."""
    problems = [place(module) for module in modules().values() if module.layer not in MAY_IMPORT]
    report(problems, "not in MAY_IMPORT of tests/test_architecture.py:")


def test_imports_follow_the_layers() -> None:
    """No module imports against the direction of the table, not even for its types."""
    problems = [
        f"{place(module, line)} imports {name} (layer {module.layer or PACKAGE!r} may not)"
        for module in modules().values()
        for name, line in own_imports(module)
        if not allowed(module, inside(name))
    ]
    report(problems, "against the direction of imports, see MAY_IMPORT in tests/test_architecture.py:")


def test_no_import_cycles() -> None:
    """Every module can be understood after those it imports; imports for types only count too."""
    graph = {
        module.name: {name for name, _ in own_imports(module) if name != module.name}
        for module in modules().values()
    }
    circle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = [" → ".join(reversed(error.args[1]))]
    report(circle, "modules import each other in a circle:")


def test_core_is_pure() -> None:
    """The core is handed time, randomness and bytes; it asks for none of them."""
    core = [module for module in modules().values() if module.layer == "core"]
    problems = [
        f"{place(module, line)} imports {name}"
        for module in core
        for name, line in imports(module)
        if name.partition(".")[0] in CORE_NEVER_IMPORTS
    ]
    problems += [
        f"{place(module, line)} calls {name}"
        for module in core
        for name, _, line in calls(module.tree)
        if name in CORE_NEVER_CALLS
    ]
    report(problems, "the core does no input or output and asks nobody for the time:")


def test_nothing_executes_data() -> None:
    """No bytes from outside can become code: no unpickling, no eval."""
    problems = [
        f"{place(module, line)} imports {name}"
        for module in modules().values()
        for name, line in imports(module)
        if name.partition(".")[0] in NOBODY_IMPORTS
    ]
    problems += [
        f"{place(module, line)} calls {name}"
        for module in modules().values()
        for name, alone, line in calls(module.tree)
        if alone and name in NOBODY_CALLS
    ]
    report(problems, "data must never be executed:")


def is_reexport(node: ast.stmt) -> bool:
    """Tell whether a statement may stand in an `__init__.py`."""
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets] == ["__all__"]
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or isinstance(node, ast.Import | ast.ImportFrom)


def test_init_files_only_reexport() -> None:
    """What a package offers is listed in its `__init__.py`, and made elsewhere."""
    problems = [
        f"{place(module, node.lineno)} holds {type(node).__name__}"
        for module in modules().values()
        if module.path.name == "__init__.py"
        for node in module.tree.body
        if not is_reexport(node)
    ]
    report(problems, "an __init__.py holds its docstring, imports and __all__, nothing else:")


def test_modules_stay_small() -> None:
    """A module that outgrows the limit does two things."""
    problems = [
        f"{place(module)} has {len(module.text.splitlines())} lines"
        for module in modules().values()
        if len(module.text.splitlines()) > MAX_MODULE_LINES
    ]
    report(problems, f"a module has at most {MAX_MODULE_LINES} lines; split it by what it does:")


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines from its `def`, without its docstring."""
    first = function.body[0]
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if ast.get_docstring(function) else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


def test_functions_stay_small() -> None:
    """A function fits on a screen."""
    problems = [
        f"{place(module, node.lineno)} {node.name} has {length(node)} lines"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > MAX_FUNCTION_LINES
    ]
    report(problems, f"a function has at most {MAX_FUNCTION_LINES} lines besides its docstring:")


def test_every_module_has_a_docstring() -> None:
    """The first line of a file says what the file is for."""
    problems = [place(module) for module in modules().values() if not ast.get_docstring(module.tree)]
    report(problems, "a module starts with a docstring:")


def defined_names(module: Module) -> Iterator[tuple[str, int]]:
    """Every name that the module itself chooses: names it only uses are somebody else's choice."""
    yield module.name.rpartition(".")[2], 1
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


def words(identifier: str) -> list[str]:
    """Split snake_case and CamelCase into lower-case words, without the s of a plural."""
    return [
        word.lower().removesuffix("s") for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", identifier)
    ]


def test_one_word_per_idea() -> None:
    """Each idea has one name; the table says which word to take instead of a second one."""
    problems = [
        f"{place(module, line)} {name}: not {word!r} but {AVOID[word][0]}"
        for module in modules().values()
        for name, line in dict.fromkeys(defined_names(module))
        for word in words(name)
        if word in AVOID and module.layer not in AVOID[word][1]
    ]
    report(problems, "one word per idea, see AVOID in tests/test_architecture.py:")


def test_architecture_document_is_short_and_true() -> None:
    """ARCHITECTURE.md can be read in one sitting, and every file that it names exists."""
    document = ROOT / "ARCHITECTURE.md"
    assert document.is_file(), "ARCHITECTURE.md is missing"
    text = document.read_text(encoding="utf-8")
    count = len(text.splitlines())
    assert count <= MAX_ARCHITECTURE_LINES, (
        f"ARCHITECTURE.md has {count} lines, at most {MAX_ARCHITECTURE_LINES}"
    )
    named = sorted(set(re.findall(r"`(\w[\w/]*/\w+\.py)`", text)))
    places = (ROOT, ROOT / "src" / PACKAGE)
    report(
        [name for name in named if not any((place / name).is_file() for place in places)],
        "ARCHITECTURE.md names files that do not exist:",
    )
