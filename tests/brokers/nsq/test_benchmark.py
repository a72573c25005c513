"""The benchmark of the NSQ clients runs, and checks what arrived."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.needs("nsqd")
def test_benchmark_runs():
    """A small run finds every message, with whichever clients are installed."""
    sizes = ["--rounds", "1", "--single", "50", "--many", "2000", "--paced", "5"]
    command = [sys.executable, "-m", "benchmarks", "nsq", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok: what was consumed is what was published" in done.stdout
