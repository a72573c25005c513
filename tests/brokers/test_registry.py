"""Broker URLs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from entity_sync import ConfigurationError, EntitySync
from entity_sync.brokers.memory import MemoryBroker
from entity_sync.brokers.registry import broker_from
from entity_sync.errors import UnknownBroker


def test_memory():
    """memory:// is the memory broker, by name or without."""
    assert isinstance(broker_from("memory://name"), MemoryBroker)


@pytest.mark.parametrize("url", ["carrier-pigeon://loft", "nonsense", ""])
def test_unknown_scheme(url: str):
    """An unknown scheme is a configuration error that names the known ones, when it is configured."""
    with pytest.raises(UnknownBroker, match="memory") as error:
        EntitySync(url)
    assert isinstance(error.value, ConfigurationError)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "127.0.0.1:4150",
            "'127.0.0.1:4150' has no scheme: did you mean nsq://127.0.0.1:4150 ? (known: memory, ",
        ),
        ("localhost:6379/0", "'localhost:6379/0' has no scheme: did you mean redis://localhost:6379/0 ?"),
        ("shop:hunter2@db:5432/shop", "did you mean postgresql://…@db:5432/shop ?"),
        ("shop:hunter2@db", "'…@db' has no scheme, as nsq://127.0.0.1:4150 has one (known: memory, "),
        (
            "localhost:6379/0?password=hunter2",
            "'localhost:6379/0' has no scheme: did you mean redis://localhost:6379/0 ?",
        ),
        ("memory", "'memory' is no URL: did you mean memory:// ? (known: memory, "),
        ("nats", "'nats' is no URL: did you mean nats://host ? (known: memory, "),
    ],
)
def test_no_scheme(url: str, said: str):
    """An address without a scheme is told with the one that its port suggests, without its password."""
    with pytest.raises(UnknownBroker) as error:
        broker_from(url)
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)


def test_default_is_the_environment(monkeypatch: pytest.MonkeyPatch):
    """Without an argument ENTITY_SYNC_BROKER is used."""
    monkeypatch.setenv("ENTITY_SYNC_BROKER", "carrier-pigeon://loft")
    with pytest.raises(UnknownBroker, match="carrier-pigeon"):
        EntitySync()


def test_entry_point_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A broker of an installed package is found by its entry point and given the URL."""
    (tmp_path / "pigeons.py").write_text(
        "class Pigeons:\n    def __init__(self, url):\n        self.url = url\n"
    )
    info = tmp_path / "pigeons-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[entity_sync.brokers]\npigeons = pigeons:Pigeons\n")
    monkeypatch.syspath_prepend(tmp_path)
    broker = broker_from("pigeons://loft")
    assert broker.url == "pigeons://loft"  # type: ignore[attr-defined]
    sys.modules.pop("pigeons")
