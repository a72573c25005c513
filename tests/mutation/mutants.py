"""The mutants of a module: mutmut's operators at every place that decides what the program does.

mutmut's own runner leaves alone what runs while a module is imported (tables, constants, the fields of
messages) and every decorated function (properties). Here its operators reach those places too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

__all__ = ["Mutant", "Source"]

_TEXT = re.compile(r"[a-z,:] [a-z{(%±]", re.IGNORECASE)
_LISTS = {"__all__", "__slots__"}
_TYPES = {"TypeAlias", "TypeVar", "ParamSpec", "Annotated", "cast"}
_EXCEPTION = re.compile(r"(Error|Failed|Denied|Unavailable|BadId|Entity)$")
_MACHINE = re.compile(r"(State|Event|Action)$")
_CAMEL = re.compile(r"_?[A-Z][a-z]")
_FUTURE = annotations.compiler_flag


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk stands.

    Attributes:
        names: of the classes and functions around it.
        function: the outermost function around it, None for what runs at import.
        owner: that function's name with its class.
        first, last: the lines of the statement around it.
        is_text: it is a part of a text for people.
    """

    top: int
    names: tuple[str, ...] = ()
    function: cst.FunctionDef | None = None
    owner: str = ""
    first: int = 1
    last: int = 1
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small change of a module.

    Attributes:
        name: what documents and reasons call it: it stays when lines move.
        module, owner: where it is; no owner for what runs at import.
        first, last: the lines without whose execution it makes no difference.
        unit: the text of the changed function, in its class if it has one, or of the whole module.
    """

    name: str
    module: str
    owner: str
    first: int
    last: int
    unit: str

    def code(self, path: Path) -> CodeType:
        """The changed function, compiled."""
        code: CodeType = compile(self.unit, str(path), "exec", _FUTURE, dont_inherit=True)
        for part in self.owner.split("."):
            code = next(one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == part)
        return code


class Source:
    """A module as it stands.

    Attributes:
        short: its name inside the package.
        excluded: mutants of texts for people, which are not tested.
    """

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path
        self.module = ".".join(path.relative_to(root).with_suffix("").parts)
        self.short = self.module.split(".", 1)[1]
        self.excluded = 0
        self._wrapper = MetadataWrapper(cst.parse_module(path.read_text(encoding="utf-8")))
        self._positions = self._wrapper.resolve(PositionProvider)
        self._tree = self._wrapper.module

    def mutants(self) -> list[Mutant]:
        """All mutants, in the order of the file; those that come out equal are one."""
        found: list[Mutant] = []
        seen: set[str] = set()
        names: Counter[str] = Counter()
        self.excluded = 0
        for top, statement in enumerate(self._tree.body):
            for place, old, new in self._walk(statement, _Place(top)):
                text = self._unit(place, old, new)
                if text in seen:
                    continue
                seen.add(text)
                if place.is_text or _loses_a_text(old, new):
                    self.excluded += 1
                    continue
                change = _difference(self._unit(place), text)
                name = f"{self.short}:{place.owner or '.'.join(place.names) or 'import'}: {change}"
                names[name] += 1
                if names[name] > 1:
                    name += f" ({names[name]})"
                found.append(Mutant(name, self.module, place.owner, place.first, place.last, text))
        return found

    def _walk(self, node: cst.CSTNode, place: _Place) -> Iterator[tuple[_Place, cst.CSTNode, cst.CSTNode]]:
        if _is_skipped(node):
            return
        place = self._at(node, place)
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for new in operator(node):
                    yield place, node, new
        for child in node.children:
            inner = place
            if isinstance(node, cst.FunctionDef) and child is node.body and place.function is None:
                inner = replace(place, function=node, owner=".".join(place.names))
            yield from self._walk(child, inner)

    def _at(self, node: cst.CSTNode, place: _Place) -> _Place:
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            place = replace(place, names=(*place.names, node.name.value))
        position = self._positions.get(node)
        if isinstance(node, cst.BaseStatement | cst.BaseSmallStatement) and position is not None:
            place = replace(place, first=position.start.line, last=position.start.line)
        if isinstance(node, cst.BaseExpression | cst.BaseSmallStatement) and position is not None:
            place = replace(place, last=max(place.last, position.end.line))
        return replace(place, is_text=True) if _is_text(node) else place

    def _unit(self, place: _Place, old: cst.CSTNode | None = None, new: cst.CSTNode | None = None) -> str:
        """What is compiled anew: a function alone, or where the change is not in one, the module."""
        unit: cst.CSTNode = place.function or self._tree
        if old is not None and new is not None:
            changed = unit.deep_replace(old, new)
            assert isinstance(changed, cst.CSTNode)
            unit = changed
        if isinstance(unit, cst.Module):
            return str(unit.code)
        assert isinstance(unit, cst.FunctionDef)
        unit = unit.with_changes(decorators=[])
        around, _, _ = place.owner.rpartition(".")
        if around:
            unit = cst.ClassDef(name=cst.Name(around), body=cst.IndentedBlock([unit]))
        return str(self._tree.code_for_node(unit))


def _difference(before: str, after: str) -> str:
    """The lines that differ, as `before → after`."""
    old, new = before.splitlines(), after.splitlines()
    shorter = min(len(old), len(new))
    start = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    end = 0
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    sides = (old[start : len(old) - end], new[start : len(new) - end])
    return " → ".join(" ".join(line.partition("  # ")[0].strip() for line in side) for side in sides)


def _is_skipped(node: cst.CSTNode) -> bool:
    """Types, imports, decorators, `frozen`, lists of names, how the states and events of a machine are called
    (its table is another matter), and what is written to the log."""
    match node:
        case cst.ClassDef(name=cst.Name(value=name), bases=[cst.Arg(value=cst.Name(value="Enum"))]):
            return _MACHINE.search(name) is not None
        case cst.Annotation() | cst.Decorator() | cst.Import() | cst.ImportFrom():
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=value):
            return name in _LISTS or (_CAMEL.match(name) is not None and _is_type(value))
        case cst.AnnAssign(annotation=annotation):
            return not _TYPES.isdisjoint(_names(annotation))
        case cst.Call(func=cst.Name(value=name)):
            return name in _TYPES
        case cst.Call(func=cst.Attribute(value=cst.Name(value="_log"))):
            return True
        case cst.Arg(keyword=cst.Name(value="frozen")):
            return True
    return False


def _is_type(value: cst.CSTNode) -> bool:
    """Whether a name stands for a type: `list[str]`, `First | Second`, or a variable of them."""
    match value:
        case cst.Call(func=cst.Name(value=name)):
            return name in _TYPES
        case cst.Subscript(value=cst.Name()):
            return True
        case cst.BinaryOperation(left=left, operator=cst.BitOr(), right=right):
            return all(isinstance(side, cst.Name) and side.value[0].isupper() for side in (left, right))
    return False


def _names(node: cst.CSTNode) -> Iterator[str]:
    if isinstance(node, cst.Name):
        yield node.value
    for child in node.children:
        yield from _names(child)


def _is_text(node: cst.CSTNode) -> bool:
    """Whether it is a text for people: words with a space between them."""
    match node:
        case cst.SimpleString(value=value):
            return _TEXT.search(value) is not None
        case cst.FormattedString(parts=parts):
            texts = (part.value if isinstance(part, cst.FormattedStringText) else "x" for part in parts)
            return _TEXT.search("".join(texts)) is not None
        case cst.ConcatenatedString(left=left, right=right):
            return _is_text(left) or _is_text(right)
    return False


def _loses_a_text(old: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Whether an exception only loses what it says."""
    match old, new:
        case cst.Call(func=cst.Name(value=name)), cst.Call() if _EXCEPTION.search(name):
            kept = {id(argument) for argument in new.args}
            lost = [argument for argument in old.args if id(argument) not in kept]
            return len(lost) == 1 and lost[0].keyword is None
    return False
