"""compose.yaml without a container engine: that it says what it should, and refers to what exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from entity_sync.brokers.registry import broker_from
from entity_sync.cli import main

pytestmark = pytest.mark.source

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ("nsq", "nats", "redis", "postgresql")
NODES = 3
# What of the Compose specification the file uses; anything else is a typing error or wants to be added here.
KEYS = {
    "build", "command", "depends_on", "environment", "healthcheck", "image", "init", "ports", "profiles",
    "pull_policy", "restart", "volumes",
}  # fmt: skip
HEALTHCHECK = {"test", "interval", "timeout", "retries", "start_period"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    import yaml

    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def nodes(services: dict[str, Any], profile: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, service in services.items():
        if service["profiles"] == [profile] and "-node-" in name:
            yield name, service


def test_top_level(compose: dict[str, Any]):
    """The file has a name, services, volumes and fragments, and no obsolete version."""
    assert {key for key in compose if not key.startswith("x-")} == {"name", "services", "volumes"}


def test_services_are_well_formed(compose: dict[str, Any], services: dict[str, Any]):
    """Every service has known keys, a pinned image, one profile, a health check, declared volumes."""
    for name, service in services.items():
        assert set(service) <= KEYS, name
        assert service["profiles"] in [[profile] for profile in PROFILES], name
        assert service["restart"] in {"no", "always", "on-failure", "unless-stopped"}, name
        assert isinstance(service.get("command", []), list), name
        assert all(isinstance(word, str) for word in service.get("command", ())), name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert set(service["healthcheck"]) <= HEALTHCHECK, name
        for duration in service["healthcheck"].keys() & {"interval", "timeout", "start_period"}:
            assert re.fullmatch(r"\d+s", service["healthcheck"][duration]), name
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in compose["volumes"], name
        if "-node-" not in name:
            assert re.fullmatch(r"[\w/]+:v?\d+(\.\d+)*(-alpine)?", service["image"]), f"{name} is not pinned"


@pytest.mark.parametrize("profile", PROFILES)
def test_profile(services: dict[str, Any], profile: str):
    """A profile has a broker without published ports and three nodes on three ports of this machine alone."""
    members = {name: service for name, service in services.items() if service["profiles"] == [profile]}
    found = dict(nodes(services, profile))
    [broker] = members.keys() - found.keys()
    assert "ports" not in members[broker]
    assert len(found) == NODES
    published = [service["ports"] for service in found.values()]
    assert published == [[f"127.0.0.1:{8081 + number}:8080"] for number in range(NODES)]
    for service in found.values():
        assert service["depends_on"] == {broker: {"condition": "service_healthy"}}
        assert service["volumes"] == ["bakery:/data"]


@pytest.mark.parametrize("profile", PROFILES)
def test_nodes_run_a_command_that_exists(services: dict[str, Any], profile: str):
    """The command's options exist; its broker's scheme is the profile's, its host the broker's service."""
    for name, service in nodes(services, profile):
        command, *arguments = service["command"]
        context = main.commands[command].make_context(command, list(arguments))
        url = urlsplit(context.params["broker"])
        assert url.scheme == profile
        assert [url.hostname] == list(service["depends_on"]), name
        broker_from(context.params["broker"])
        assert (context.params["host"], context.params["port"]) == ("0.0.0.0", 8080)
        assert context.params["database"].is_relative_to("/data")


@pytest.mark.parametrize("profile", PROFILES)
def test_image_is_built_once(services: dict[str, Any], profile: str):
    """Of the nodes of a profile the first builds the image that the others take."""
    built = [service.get("build") for _, service in nodes(services, profile)]
    assert built == [".", None, None]
    assert len({service["image"] for _, service in nodes(services, profile)}) == 1
    policies = [service["pull_policy"] for _, service in nodes(services, profile)]
    assert policies == ["build", "never", "never"]


def test_dockerfile():
    """What is copied exists, its base is pinned, it runs as nobody special, and the command is ours."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    steps = [(line.split()[0], line.split()[1:]) for line in lines if re.match(r"[A-Z]+ ", line)]
    [base] = [words[0] for step, words in steps if step == "FROM"]
    assert re.fullmatch(r"python:3\.\d+-slim", base)
    copied = [word for step, words in steps if step == "COPY" for word in words[:-1]]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert ("USER", ["entity-sync"]) in steps
    assert 'ENTRYPOINT ["entity-sync"]' in lines


def test_page_names_the_profiles():
    """The file's head and the documents name every profile."""
    head = (ROOT / "compose.yaml").read_text().split("\nname:")[0]
    assert [profile for profile in PROFILES if profile not in head] == []
    assert "docker compose --profile nsq up --build" in (ROOT / "docs" / "brokers.md").read_text()
