"""What the matrix stands on: the files of deploy/proxy with other ports, and programs that are started and ended."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
HOST = "gw.example.com"
#: No program takes longer to listen.
START_SECONDS_MAX = 20.0


@dataclass(frozen=True)
class Variant:
    """One way of standing behind a proxy."""

    #: As configured and as entered at the carrier.
    public_url: str
    #: What the proxy does to a path below the prefix of that URL.
    strips: bool = False

    @property
    def origin(self) -> str:
        """The public URL, up to our own routes."""
        return self.public_url.rstrip("/")

    @property
    def prefix(self) -> str:
        """The path in it; empty, or without a slash at its end."""
        return "/" + self.origin.split("/", 3)[3] if self.origin.count("/") > 2 else ""


VARIANTS = [
    Variant(f"https://{HOST}"),
    Variant(f"https://{HOST}/"),
    Variant(f"https://{HOST}:8443"),
    Variant(f"https://{HOST}/voice"),
    Variant(f"https://{HOST}/voice", strips=True),
    Variant(f"https://{HOST}:8443/voice/one/", strips=True),
]


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """`text` with each of `pairs` replaced; every one of them has to be there."""
    for old, new in pairs:
        if old not in text:
            raise ValueError(f"the file does not hold {old!r} any more")
        text = text.replace(old, new)
    return text


def nginx(folder: Path, variant: Variant, port: int, gateway: int) -> list[str]:
    """`deploy/proxy/nginx.conf` as a program that ends TLS on `port` for the gateway on port `gateway`."""
    location = f"location {variant.prefix}/twilio/ {{"
    if variant.strips:
        location += f"\n        rewrite ^{variant.prefix}(/.*)$ $1 break;"
    text = replaced(
        (DEPLOY / "proxy/nginx.conf").read_text(),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("    listen [::]:443 ssl;\n", ""),
        ("server 127.0.0.1:8080;", f"server 127.0.0.1:{gateway};"),
        ("/etc/ssl/trunkline/", f"{folder.parent}/"),
        ("\n    location /twilio/ {", f"\n    {location}"),
    )
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    head = f"daemon off; pid {folder}/nginx.pid; error_log stderr warn; events {{}}\nhttp {{ access_log off; {temporary}\n"
    (folder / "nginx.conf").write_text(head + text + "}\n")
    return ["/usr/sbin/nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, variant: Variant, port: int, gateway: int) -> list[str]:
    """`deploy/proxy/Caddyfile` likewise."""
    handle = f"handle {variant.prefix}/twilio/* {{"
    if variant.strips:
        handle += f"\n\t\turi strip_prefix {variant.prefix}"
    text = replaced(
        (DEPLOY / "proxy/Caddyfile").read_text(),
        (f"\n{HOST} {{\n", f"\nhttps://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {folder.parent}/fullchain.pem {folder.parent}/key.pem\n"),
        ("\n\thandle /twilio/* {", f"\n\t{handle}"),
        ("127.0.0.1:8080", f"127.0.0.1:{gateway}"),
    )
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


PROXIES = {"nginx": nginx, "caddy": caddy}


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def running(command: list[str], port: int, log: Path, environment: dict[str, str]) -> Iterator[None]:
    """A program that listens on `port`; asked to end with the block, and made to after ten seconds."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment, cwd=log.parent)
    try:
        limit = time.monotonic() + START_SECONDS_MAX
        while not listens(port):
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"{command[0]} does not listen: {log.read_text()[-600:]}")
            time.sleep(0.05)
        yield
    finally:
        # A gateway waits for the streams that it promised in its answers; the second signal is not asked twice.
        for seconds in (0.5, 10):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Whether somebody takes connections on `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def certificate(folder: Path) -> ssl.SSLContext:
    """A certificate for the public host in `folder`, and a client that believes nobody else."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    command += ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return ssl.create_default_context(cafile=str(folder / "fullchain.pem"))


def settings(variant: Variant, port: int, auth_token: str) -> str:
    """A gateway with trust, which says one sentence with the built-in voice."""
    return (
        f'[server]\nlisten = "127.0.0.1:{port}"\npublic_url = "{variant.public_url}"\napi_token = "0123456789abcdef"\n'
        f'[twilio]\nauth_token = "{auth_token}"\n[agent.script]\ngreeting = "Good morning, and welcome."\nlines = []\n'
    )


def words(variant: Variant) -> str:
    """The variant, for people."""
    return re.sub("^https://", "", variant.public_url) + (", prefix stripped" if variant.strips else "")
