"""TLS and AUTH with a real nsqd: verified, and the secret goes where it should only."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from entity_sync.brokers.base import Message
from entity_sync.brokers.nsq import NsqBroker
from entity_sync.errors import BrokerUnavailable, ConfigurationError
from tests.support.servers import Nsqd

pytestmark = pytest.mark.needs("nsqd")
SECRET = "hush/hush+ü"
QUOTED = "hush%2Fhush%2B%C3%BC"


class Strict(Nsqd):
    """nsqd with options of its own."""

    options: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [*super().command(), "--https-address=127.0.0.1:0", *self.options]

    def greeting(self) -> tuple[bytes, bytes]:
        return super().greeting()[0], b"E_"  # where TLS or a secret is required, whatever is said is refused


@asynccontextmanager
async def nsqd(directory: Path, *options: str):
    server = Strict(directory)
    server.options = options
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    """A directory with an authority, and a certificate it gave to 127.0.0.1."""
    directory: Path = tmp_path_factory.mktemp("authority")
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = dt.datetime.now(dt.UTC)

    def builder(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    constraints = x509.BasicConstraints(ca=True, path_length=None)
    subject = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    ca = builder(ca_name, ca_key.public_key()).add_extension(constraints, critical=True)
    ca = ca.add_extension(subject, critical=False).add_extension(_signs_certificates(), critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = builder(x509.Name([]), key.public_key()).add_extension(names, critical=True)
    leaf = leaf.add_extension(issuer, critical=False)
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (directory / "cert.pem").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (directory / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory


def _signs_certificates() -> x509.KeyUsage:
    unused = (
        "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
        "decipher_only", "crl_sign", "digital_signature",
    )  # fmt: skip
    return x509.KeyUsage(key_cert_sign=True, **dict.fromkeys(unused, False))


def tls_options(authority: Path) -> tuple[str, ...]:
    return (f"--tls-cert={authority}/cert.pem", f"--tls-key={authority}/key.pem", "--tls-required=true")


async def exchanged(broker: NsqBroker, count: int = 3) -> None:
    """Messages go out and come back."""
    await broker.connect()
    await broker.subscribe(["items"])
    payloads = [bytes([n]) * 50_000 for n in range(1, count + 1)]
    await broker.publish("items", payloads)
    found = broker.receive()
    async with asyncio.timeout(10):
        assert [await anext(found) for _ in payloads] == [Message("items", one) for one in payloads]
    await broker.close()


async def test_encrypted(tmp_path, authority):
    """`nsqs://` with `?ca=` exchanges messages with an nsqd that requires TLS; a context does as well."""
    async with nsqd(tmp_path, *tls_options(authority)) as server:
        place = f"nsqs://127.0.0.1:{server.port}"
        await exchanged(NsqBroker(f"{place}?ca={authority}/ca.pem"))
        await exchanged(NsqBroker(place, tls=ssl.create_default_context(cafile=authority / "ca.pem")))


async def test_unknown_authority_is_refused(tmp_path, authority):
    """A certificate that the system's authorities did not give is refused: verification is on."""
    async with nsqd(tmp_path, *tls_options(authority)) as server:
        broker = NsqBroker(f"nsqs://127.0.0.1:{server.port}")
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            await broker.connect()
        await broker.close()


async def test_other_host_is_refused(tmp_path, authority):
    """A certificate of another name is refused: ours is for 127.0.0.1, not localhost."""
    async with nsqd(tmp_path, *tls_options(authority)) as server:
        broker = NsqBroker(f"nsqs://localhost:{server.port}?ca={authority}/ca.pem")
        with pytest.raises(BrokerUnavailable, match="localhost"):
            await broker.connect()
        await broker.close()


async def test_plain_where_tls_is_required(tmp_path, authority):
    """`nsq://` to an nsqd that requires TLS is refused with nsqd's words."""
    async with nsqd(tmp_path, *tls_options(authority)) as server:
        broker = NsqBroker(server.url)
        with pytest.raises(BrokerUnavailable, match="E_INVALID"):
            await exchanged(broker)
        await broker.close()


async def test_tls_where_there_is_none(tmp_path):
    """`nsqs://` to an nsqd without TLS is a mistake of the set-up; it never falls back to plain."""
    async with nsqd(tmp_path) as server:
        broker = NsqBroker(server.url.replace("nsq:", "nsqs:"))
        with pytest.raises(ConfigurationError, match="no TLS"):
            await broker.connect()
        await broker.close()


async def test_frozen_inside_tls(tmp_path, authority):
    """`close` against a stopped nsqd is as short with TLS, whose own goodbye would wait for ever."""
    async with nsqd(tmp_path, *tls_options(authority)) as server:
        broker = NsqBroker(f"nsqs://127.0.0.1:{server.port}?ca={authority}/ca.pem")
        await broker.connect()
        await broker.subscribe(["items"])
        server.freeze()
        async with asyncio.timeout(2.5):
            await broker.close()
        server.thaw()


@asynccontextmanager
async def auth_server():
    """What nsqd asks about secrets; allows ours everything, refuses any other."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        asked.append(parse_qs(urlsplit(line).query)["secret"][0])
        allowed = [{"topic": ".*", "channels": [".*"], "permissions": ["subscribe", "publish"]}]
        body = json.dumps({"ttl": 60, "authorizations": allowed if asked[-1] == SECRET else []}).encode()
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def test_secret(tmp_path):
    """The secret, as the URL's password, its option or an argument, is what nsqd asks its authority about."""
    async with (
        auth_server() as (port, asked),
        nsqd(tmp_path, f"--auth-http-address=127.0.0.1:{port}") as server,
    ):
        await exchanged(NsqBroker(f"nsq://:{QUOTED}@127.0.0.1:{server.port}"))
        await exchanged(NsqBroker(f"{server.url}?auth_secret={QUOTED}"))
        await exchanged(NsqBroker(server.url, secret=SECRET))
        assert set(asked) == {SECRET}


async def test_wrong_or_missing_secret(tmp_path, caplog):
    """A secret that is refused is not in the error; a missing one is a mistake of the set-up."""
    async with auth_server() as (port, _), nsqd(tmp_path, f"--auth-http-address=127.0.0.1:{port}") as server:
        broker = NsqBroker(f"nsq://:wrong@127.0.0.1:{server.port}")
        with pytest.raises(BrokerUnavailable, match="E_UNAUTHORIZED") as caught:
            await broker.connect()
        assert "wrong" not in str(caught.value) + caplog.text
        with pytest.raises(ConfigurationError, match="wants a secret"):
            await NsqBroker(server.url).connect()
        await broker.close()


async def test_secret_that_nobody_asks_for(tmp_path):
    """A secret is not sent to an nsqd that does not want one, and it works."""
    async with nsqd(tmp_path) as server:
        await exchanged(NsqBroker(server.url, secret=SECRET))
