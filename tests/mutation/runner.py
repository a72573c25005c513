"""Tests mutants, each in a fork of a process that has imported and collected everything.

What a function does is changed by giving it another code object, so nothing has to be imported again.
What runs at import is changed while it is imported, in a fork of a process that has not imported it yet.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Literal

import coverage
import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.mutants import Mutant

__all__ = ["Told", "Verdict", "run_all"]

Verdict = Literal["killed", "timeout", "survived", "uncovered"]
Told = Callable[[Mutant, Verdict], None]

_ARGUMENTS = [
    "-o", "addopts=", "--import-mode=importlib", "-p", "no:terminal", "-p", "no:cacheprovider",
    "-m", "not slow and not needs and not source",
    "--assert=plain",
]  # fmt: skip
_TESTS = ["tests/core", "tests/hub", "tests/v2", "tests/classic", "tests/loading", "tests/mutation/worlds.py"]
_TOO_LONG = [  # seconds each; worlds.py runs a slice of the first
    "tests/hub/test_interleavings.py::test_ten_thousand_interleavings",
    "tests/hub/test_interleavings.py::test_wrong_variant_is_caught",
    "tests/hub/test_principals.py::test_no_interleaving_leaks",
    "tests/core/test_canonical.py::test_independent_of_the_hash_seed",
    "tests/loading/test_values.py::test_independent_of_the_hash_seed",
    "tests/loading/test_shape.py::test_the_hash_seed_changes_nothing",
]
_LONG = 0.3  # seconds; tests that take longer are not asked about what runs at import
_KILLED, _BROKEN = 1, 70
_PATIENCE = 6.0  # seconds for one test, and for one that took longer before, twenty times that
_COLLECTION = 60.0  # seconds for importing and collecting


def run_all(mutants: Sequence[Mutant], sources: Path, jobs: int, told: Told) -> None:
    """Test these mutants; each verdict is told as it is known."""
    reach = _learned(sources)
    forks = _Forks(jobs, told)
    in_functions = [mutant for mutant in mutants if mutant.owner]
    for mutant in mutants:
        if not mutant.owner:
            forks.start(mutant, partial(_import_changed, mutant, sources, reach))
    forks.finish()
    if in_functions:
        _pytest(_TESTS, _Functions(in_functions, sources, reach, forks))


class _Forks:
    """Children, so many at once, and what their ends mean."""

    def __init__(self, jobs: int, told: Told) -> None:
        self.told = told
        self._jobs = jobs
        self._running: dict[int, Mutant] = {}

    def start(self, mutant: Mutant, child: Callable[[], int]) -> None:
        """Have a child test a mutant, as soon as there is room."""
        while len(self._running) >= self._jobs:
            self._reap()
        self._running[_fork(child)] = mutant

    def finish(self) -> None:
        """Wait for all."""
        while self._running:
            self._reap()

    def _reap(self) -> None:
        pid, status = os.wait()
        mutant = self._running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == _BROKEN:
            raise RuntimeError(f"the runner failed for {mutant.name}")
        if code == -signal.SIGALRM:
            self.told(mutant, "timeout")
        else:
            self.told(mutant, "killed" if code else "survived")


def _fork(child: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        code = _BROKEN
        errors = os.dup(2)
        try:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            code = child()
        except BaseException:  # noqa: BLE001 - no exception may leave the child
            os.write(errors, traceback.format_exc().encode())
        finally:
            os._exit(code)
    return pid


def _ended(pid: int) -> int:
    """The exit code of a child, which ends this process too if it was ended by its alarm."""
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGALRM:
        os.kill(os.getpid(), signal.SIGALRM)
    return code


def _pytest(tests: Sequence[str], plugin: object) -> int:
    deselected = [argument for test in _TOO_LONG for argument in ("--deselect", test)]
    return int(pytest.main([*_ARGUMENTS, *deselected, *tests], [_Profile(), plugin]))


class _Profile:
    """Examples of hypothesis that are the same every time, and not shrunk: a kill is a kill."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self) -> None:
        hypothesis.settings.register_profile(
            "mutation",
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutation")


def _path(sources: Path, module: str) -> Path:
    return sources / (module.replace(".", "/") + ".py")


# Which tests matter


@dataclass(frozen=True, slots=True)
class _Reach:
    """What the tests do without any mutant.

    Attributes:
        seconds: how long each takes.
        lines: file → line → the tests that run it.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, list[str]]]

    def patience(self, test: str) -> float:
        """The seconds after which a test is taken for one that does not end."""
        return max(_PATIENCE, 20 * self.seconds.get(test, 0.0))

    def of(self, path: Path, lines: range | None = None) -> list[str]:
        """The tests that run any of these lines (None: of the file), the module's own and the quick first."""
        reached = self.lines.get(str(path), {})
        names = {name for line in reached if lines is None or line in lines for name in reached[line]}
        own = f"test_{path.stem}.py::"
        return sorted(names, key=lambda name: (own not in name, self.seconds[name], name))

    def at_import(self, path: Path) -> list[str]:
        """The quick tests of its package, those that run anything of the file first."""
        places = ("tests/core/", "tests/v2/") if path.parent.name == "core" else "tests/hub/"
        quick = {n for n, seconds in self.seconds.items() if seconds <= _LONG and n.startswith(places)}
        reached = [name for name in self.of(path) if name in quick]
        return [*reached, *sorted(quick.difference(reached))]


def _learned(sources: Path) -> _Reach:
    with tempfile.NamedTemporaryFile() as file:
        child = _fork(lambda: _pytest(_TESTS, _Learn(sources, Path(file.name))))
        if _ended(child):
            raise RuntimeError("the tests do not pass as they are")
        found: _Reach = pickle.loads(Path(file.name).read_bytes())
    return found


class _Learn:
    """Runs every test once, and watches."""

    def __init__(self, sources: Path, file: Path) -> None:
        self._package = sources / "entity_sync"
        self._file = file

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of pytest's own loop."""
        measured = coverage.Coverage(
            data_file=None, source=[str(self._package / name) for name in ("core", "hub")]
        )
        seconds: dict[str, float] = {}
        measured.start()
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            measured.switch_context(item.nodeid)
            began = time.monotonic()
            reports = runtestprotocol(item, log=False, nextitem=following)
            seconds[item.nodeid] = time.monotonic() - began
            if failed := [report for report in reports if report.failed]:
                raise RuntimeError(f"{item.nodeid} fails without any mutant: {failed[0].longreprtext}")
        measured.stop()
        data = measured.get_data()
        lines = {
            path: {
                line: [name for name in names if name in seconds]
                for line, names in data.contexts_by_lineno(path).items()
            }
            for path in data.measured_files()
        }
        self._file.write_bytes(pickle.dumps(_Reach(seconds, lines)))
        return True


# What runs at import


class _Changed(SourceFileLoader):
    """Loads a module from another text."""

    def __init__(self, mutant: Mutant, path: Path) -> None:
        super().__init__(mutant.module, str(path))
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.unit, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Finds one module with that loader."""

    def __init__(self, loader: _Changed) -> None:
        self._loader = loader

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self._loader.name:
            return None
        return importlib.util.spec_from_file_location(name, self._loader.path, loader=self._loader)


class _Alarm:
    """Runs chosen tests (None: all) until one fails, and ends a child that does not end."""

    def __init__(self, reach: _Reach, chosen: Sequence[str] | None = None) -> None:
        self._reach = reach
        self._chosen = chosen
        signal.setitimer(signal.ITIMER_REAL, _COLLECTION)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._chosen is not None:
            by_name = {item.nodeid: item for item in items}
            items[:] = [by_name[name] for name in self._chosen if name in by_name]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._reach.patience(item.nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os._exit(_KILLED)


def _import_changed(mutant: Mutant, sources: Path, reach: _Reach) -> int:
    """Run the module's own tests, and if they notice nothing, in another process, all that matter."""
    path = _path(sources, mutant.module)
    signal.setitimer(signal.ITIMER_REAL, _COLLECTION)
    sys.meta_path.insert(0, _Finder(_Changed(mutant, path)))
    try:
        importlib.import_module(mutant.module)  # before pytest, whose own finder would come first
    except Exception:  # noqa: BLE001 - a mutant may raise anything
        return _KILLED
    signal.setitimer(signal.ITIMER_REAL, 0)
    own = f"tests/{path.parent.name}/test_{path.stem}.py"
    if Path(own).exists() and (code := _ended(_fork(lambda: _pytest([own], _Alarm(reach))))):
        return code
    chosen = reach.at_import(path)
    return _pytest(sorted({name.partition("::")[0] for name in chosen}), _Alarm(reach, chosen))


# What functions do


class _Functions:
    """Tests mutants of functions with the tests that pytest collected."""

    def __init__(self, mutants: Sequence[Mutant], sources: Path, reach: _Reach, forks: _Forks) -> None:
        self._mutants = mutants
        self._sources = sources
        self._reach = reach
        self._forks = forks

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running the tests once."""
        items = {item.nodeid: item for item in session.items}
        for mutant in self._mutants:
            names = self._reach.of(_path(self._sources, mutant.module), range(mutant.first, mutant.last + 1))
            if names:
                self._forks.start(mutant, partial(self._test, mutant, [items[name] for name in names]))
            else:
                self._forks.told(mutant, "uncovered")
        self._forks.finish()
        return True

    def _test(self, mutant: Mutant, tests: Sequence[pytest.Item]) -> int:
        function = _function(sys.modules[mutant.module], mutant.owner)
        function.__code__ = mutant.code(_path(self._sources, mutant.module))
        for item, following in zip(tests, [*tests[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_REAL, self._reach.patience(item.nodeid))
            try:
                reports = runtestprotocol(item, log=False, nextitem=following)
            except BaseException:  # noqa: BLE001 - a mutant may raise where pytest expects nothing
                return _KILLED
            if any(report.failed for report in reports):
                return _KILLED
        return 0


def _function(module: ModuleType, owner: str) -> FunctionType:
    """The function of that name, under whatever wraps it."""
    found: Any = module
    for part in owner.split("."):
        found = vars(found)[part]
    match found:
        case property():
            found = found.fget
        case cached_property():
            found = found.func
        case staticmethod() | classmethod():
            found = found.__func__
    found = inspect.unwrap(found)
    assert isinstance(found, FunctionType)
    return found
