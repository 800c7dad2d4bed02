#!/usr/bin/env python3
"""Real proxies in front of a real gateway with trust: what Twilio signs is accepted, and nothing else.

    matrix.py target/release/trunkline

nginx and Caddy end TLS with the files of deploy/proxy; only ports, certificates and the prefix are put in. For each of them and
each form of `public_url`: signed webhooks and upgrades, the same with forged headers, and forgeries; then a whole short call.
Signatures are made here, by Twilio's description, not by the gateway's code.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import os
import ssl
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

sys.path.insert(0, str(Path(__file__).parents[1] / "thirdparty"))

from line import Line
from phone import Checks, is_speech
from setup import HOST, PROXIES, VARIANTS, Variant, certificate, free_port, running, settings, words

AUTH_TOKEN = "12345"
FORM = {"AccountSid": "AC" + "0" * 31 + "1", "CallSid": "CA" + "0" * 31 + "2", "From": "+15550100001", "To": "+15550100002"}
#: What a stranger, or a proxy further out, may send along.
FORGED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example.com",
    "X-Forwarded-Port": "9443",
    "X-Forwarded-Prefix": "/evil",
    "X-Original-URL": "/evil/twilio/voice",
    "X-Rewrite-URL": "/evil/twilio/voice",
    "Forwarded": 'for=203.0.113.7;host="evil.example.com";proto=http',
}
AUDIO_SECONDS_MAX = 10.0


@dataclass
class Desk:
    """One proxy before one gateway, and what is known of both."""

    name: str
    variant: Variant
    port: int
    trusted: ssl.SSLContext
    checks: Checks
    faults: list[str] = field(default_factory=list)
    asked: int = 0

    def expect(self, holds: bool, what: str) -> None:
        self.asked += 1
        if not holds:
            self.faults.append(what)

    def webhook(self, target: str, signature: str | None, headers: dict[str, str] | None = None, host: str | None = None) -> tuple[int, str]:
        """Posts the form to `target` at the proxy, as a carrier that knows the public URL."""
        authority = urlsplit(self.variant.public_url).netloc
        sent = {"Host": host or authority, "Content-Type": "application/x-www-form-urlencoded"} | (headers or {})
        if signature is not None:
            sent["X-Twilio-Signature"] = signature
        # The name for TLS is the public one, whatever Host says.
        connection = Through(self.port, self.trusted)
        try:
            connection.request("POST", target, urlencode(FORM), sent)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    async def upgrade(self, target: str, signature: str | None, headers: dict[str, str] | None = None) -> int:
        """The status of an upgrade at the proxy; 101 if it became a WebSocket."""
        try:
            async with self.socket(target, signature, headers):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    def socket(self, target: str, signature: str | None, headers: dict[str, str] | None = None) -> connect:
        """A WebSocket to `target`, by way of the proxy."""
        sent = dict(headers or {})
        if signature is not None:
            sent["X-Twilio-Signature"] = signature
        url = f"wss://{urlsplit(self.variant.public_url).netloc}{target}"
        return connect(url, host="127.0.0.1", port=self.port, ssl=self.trusted, server_hostname=HOST, additional_headers=sent,
                       compression=None, proxy=None, open_timeout=10, close_timeout=2, ping_interval=None)


class Through(http.client.HTTPSConnection):
    """A connection to a port of loopback, with the public name in TLS."""

    def __init__(self, port: int, trusted: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", port, timeout=10, context=trusted)
        self._trusted = trusted

    def connect(self) -> None:
        """TCP by address, TLS by name."""
        http.client.HTTPConnection.connect(self)
        self.sock = self._trusted.wrap_socket(self.sock, server_hostname=HOST)


def sign(url: str, parameters: dict[str, str] | None = None, key: str = AUTH_TOKEN) -> str:
    """Twilio's signature: the URL, then each parameter's name and value, sorted by name; HMAC-SHA1 in base64."""
    text = url + "".join(name + value for name, value in sorted((parameters or {}).items()))
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha1).digest()).decode()


def forgeries(variant: Variant, route: str) -> dict[str, str]:
    """URLs that are not the one at `route`, each of which somebody could have a good signature for."""
    parts = urlsplit(variant.origin)
    origin = variant.origin
    secure, plain = ("wss", "ws") if route.startswith("/twilio/media") else ("https", "http")
    at = f"{secure}://{parts.netloc}{parts.path}{route}"
    return {
        "another path": f"{secure}://{parts.netloc}{parts.path}/twilio/other",
        "another prefix": f"{secure}://{parts.netloc}/evil{parts.path}{route}",
        "another port": f"{secure}://{HOST}:9443{parts.path}{route}",
        "another scheme": f"{plain}://{parts.netloc}{parts.path}{route}",
        "another host": f"{secure}://evil.example.com{parts.path}{route}",
        "another query": f"{at}?tenant=evil",
        "the address behind the proxy": f"http://127.0.0.1:8080{route}",
    } | ({"no prefix": f"{secure}://{parts.netloc}{route}"} if urlsplit(origin).path else {})


def webhooks(desk: Desk) -> None:
    """No false reject and no false accept of a webhook."""
    variant = desk.variant
    target = f"{variant.prefix}/twilio/voice"
    url = f"{variant.origin}/twilio/voice"
    stream = f'url="{variant.origin.replace("https", "wss")}/twilio/media"'

    def accepted(status: int, body: str) -> bool:
        return status == 200 and "<Stream" in body

    for query in ("", "?b=2&a=%41+x", "?path=%2Fone%2F%2Ftwo"):
        for headers in ({}, FORGED):
            status, body = desk.webhook(target + query, sign(url + query, FORM), headers)
            desk.expect(accepted(status, body) and stream in body, f"a good webhook {query} got {status} (forged headers: {bool(headers)})")
    for name, forged in forgeries(variant, "/twilio/voice").items():
        for headers in ({}, FORGED):
            answer = desk.webhook(target, sign(forged, FORM), headers)
            desk.expect(not accepted(*answer), f"a webhook signed for {name} got {answer[0]}")
    for name, signature in {
        "no signature": None,
        "an empty signature": "",
        "no parameters signed": sign(url),
        "another call signed": sign(url, FORM | {"CallSid": "CA" + "0" * 31 + "3"}),
        "another key": sign(url, FORM, "54321"),
    }.items():
        status, body = desk.webhook(target, signature)
        desk.expect(status == 403 and "<Stream" not in body, f"a webhook with {name} got {status}")
    # A Host that is not ours: a proxy may turn it away or hand it on, but it makes no signature good.
    answer = desk.webhook(target, sign("https://evil.example.com/twilio/voice", FORM), FORGED, host="evil.example.com")
    desk.expect(not accepted(*answer), f"a webhook for a forged Host got {answer[0]}")
    # Nothing but the carrier's routes is to be had from outside, with or without the prefix.
    for route in ("/healthz", "/metrics", "/v1/calls", "/twilio/../metrics", "/twilio/%2e%2e/metrics", "//metrics"):
        for prefix in {"", variant.prefix}:
            status, body = desk.webhook(prefix + route, None, {"Authorization": "Bearer 0123456789abcdef"})
            desk.expect(status in {400, 403, 404} and "trunkline_" not in body, f"{prefix}{route} got {status} from outside")


async def upgrades(desk: Desk) -> None:
    """The same for media streams."""
    variant = desk.variant
    origin = variant.origin.replace("https", "wss")
    for route in ("/twilio/media", "/twilio/media/"):
        for query in ("", "?token=abc123&foo=b%61r"):
            target = f"{variant.prefix}{route}{query}"
            for headers in ({}, FORGED):
                status = await desk.upgrade(target, sign(f"{origin}{route}{query}"), headers)
                desk.expect(status == 101, f"a good upgrade {route}{query} got {status} (forged headers: {bool(headers)})")
    target = f"{variant.prefix}/twilio/media"
    for name, forged in forgeries(variant, "/twilio/media").items():
        for headers in ({}, FORGED):
            status = await desk.upgrade(target, sign(forged), headers)
            desk.expect(status == 403, f"an upgrade signed for {name} got {status}")
    for name, signature in {"no signature": None, "another key": sign(f"{origin}/twilio/media", key="54321")}.items():
        status = await desk.upgrade(target, signature)
        desk.expect(status == 403, f"an upgrade with {name} got {status}")


async def call(desk: Desk) -> None:
    """A whole call: the webhook's answer is followed, and speech comes back."""
    url = f"{desk.variant.origin}/twilio/voice"
    _, body = desk.webhook(f"{desk.variant.prefix}/twilio/voice", sign(url, FORM))
    stream = ElementTree.fromstring(body).find(".//Stream")
    if stream is None:
        desk.expect(False, "the webhook's answer has no stream")
        return
    address = stream.attrib["url"]
    parameters = {parameter.attrib["name"]: parameter.attrib["value"] for parameter in stream}
    async with desk.socket(urlsplit(address).path, sign(address)) as socket:
        line = Line(socket, "2")
        line.call_sid = FORM["CallSid"]
        await line.connected()
        start = line.start_message()
        start["start"] |= {"accountSid": FORM["AccountSid"], "customParameters": parameters}
        await line.send(start)
        line.talk()
        heard = await line.until(lambda: any(is_speech(audio) for _, audio in line.seen.media), AUDIO_SECONDS_MAX)
        desk.expect(heard, "no speech came back")
        desk.expect(await line.hang_up(5.0), "the gateway did not close after stop")
        desk.expect(not line.seen.faults, f"faults: {line.seen.faults}")


@contextmanager
def gateway(program: str, folder: Path, variant: Variant) -> Iterator[int]:
    """A gateway with trust for one form of public URL; its port."""
    port = free_port()
    (folder / "settings.toml").write_text(settings(variant, port, AUTH_TOKEN))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE__")}
    command = [program, "serve", "--config", str(folder / "settings.toml")]
    with running(command, port, folder / "gateway.log", environment):
        yield port


def main() -> None:
    program = str(Path(sys.argv[1]).resolve())
    checks = Checks()
    with tempfile.TemporaryDirectory() as scratch:
        trusted = certificate(Path(scratch))
        # nginx gives up root, and a scratch folder is its owner's alone.
        Path(scratch).chmod(0o755)
        for variant in VARIANTS:
            folder = Path(scratch) / f"variant-{VARIANTS.index(variant)}"
            folder.mkdir()
            with gateway(program, folder, variant) as behind:
                for name, proxy in PROXIES.items():
                    port = free_port()
                    command = proxy(folder, variant, port, behind)
                    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
                    # The certificate lies in the folder above.
                    with running(command, port, folder / f"{name}.log", os.environ | home):
                        desk = Desk(name, variant, port, trusted, checks)
                        webhooks(desk)
                        asyncio.run(upgrades(desk))
                        try:
                            asyncio.run(asyncio.wait_for(call(desk), 60))
                        except (InvalidStatus, OSError, ElementTree.ParseError) as error:
                            desk.expect(False, f"a whole call: {error}")
                    faults = "".join(f"\n    {fault}" for fault in desk.faults)
                    checks.check(not desk.faults, f"{name}, {words(variant)}", f"{desk.asked} facts{faults}")
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]}: {error.stderr.decode()[-400:]}")
