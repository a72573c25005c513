"""What README and docs show passes a type checker in its strict mode, as their readers run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"(?:<!-- (?:run|file): (\S+) -->\n)?```(python|diff)\n(.*?)```", re.DOTALL)

pytestmark = [pytest.mark.source, pytest.mark.slow]


def modules() -> dict[str, str]:
    """The Python of all documents by module: a block without imports goes on with the one before it."""
    found: dict[str, str] = {}
    for document in DOCUMENTS:
        last = ""
        for number, (name, language, shown) in enumerate(BLOCK.findall(document.read_text())):
            if language == "diff" and not name.endswith(".py"):
                continue
            text = after(shown) if language == "diff" else shown
            if last and not re.search(r"^(?:from|import) ", text, re.MULTILINE):
                found[last] += text
                continue
            last = name.removesuffix(".py") or f"{document.stem}_{number}"
            last = f"{document.stem}_{last}" if last in found else last
            found[last] = text
    return found


def after(diff: str) -> str:
    """What the file of a diff is afterwards."""
    return "".join(f"{line[1:]}\n" for line in diff.splitlines() if not line.startswith("-"))


def test_documents_in_strict_mode(tmp_path: Path):
    """mypy --strict finds nothing, without a comment that tells it to look away."""
    found = modules()
    assert {"main", "shop", "sync_shop", "plain", "lists", "rights", "sqlite_queue", "test_main"} <= set(
        found
    )
    for name, text in found.items():
        assert "type: ignore" not in text
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", *(f"{name}.py" for name in found)]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
