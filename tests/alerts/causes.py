"""A cause for each alert, and what the runbook says against it.

Each is a generator that yields its gateway twice: once when it is healthy and the cause is about to come, and once when the alert
should fire. What follows is the remedy.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from world import API_TOKEN, AUTH_TOKEN, Gateway, Repeated, Scene, Vendor, get

#: How a quota of the processor treats a program: stopped for so long, and again.
STOPPED_SECONDS, RUNNING_SECONDS = 0.2, 0.5
TMPFS_MIB = 16

Steps = Iterator[Gateway]


@dataclass(frozen=True)
class Drill:
    """One cause. More than one alert may be due to it."""

    alerts: tuple[str, ...]
    cause: str
    remedy: str
    perform: Callable[[Scene], Steps]
    #: A line that the gateway's log must have when the alert fires.
    log: str | None = None
    needs_root: bool = False


def cartesia(vendor: Vendor, chain: str = "cartesia local", **more: str) -> dict[str, str]:
    return {"SPEECH__CHAIN": chain, "SPEECH__CARTESIA__URL": vendor.url, "SPEECH__CARTESIA__API_KEY": "any", **more}


def trusting(public_url: str) -> dict[str, str]:
    return {
        "SERVER__PUBLIC_URL": public_url,
        "SERVER__API_TOKEN": API_TOKEN,
        "TWILIO__AUTH_TOKEN": AUTH_TOKEN,
    }


# --- scrapes ---------------------------------------------------------------------------------------------------------


def killed(scene: Scene) -> Steps:
    gateway = scene.gateway()
    yield gateway
    gateway.kill()
    yield gateway
    gateway.serve()


def hung(scene: Scene) -> Steps:
    gateway = scene.gateway()
    yield gateway
    gateway.signal(signal.SIGSTOP)
    yield gateway
    gateway.signal(signal.SIGCONT)


def wrong_scrape_token(scene: Scene) -> Steps:
    gateway = scene.gateway(**trusting("https://gw.example.com"))
    yield gateway
    scene.prometheus.token.write_text("another")
    yield gateway
    scene.prometheus.token.write_text(API_TOKEN)


def nobody_found(scene: Scene) -> Steps:
    gateway = scene.gateway()
    yield gateway
    scene.prometheus.scrape()
    yield gateway
    scene.prometheus.scrape(gateway.instance)


# --- the processor ---------------------------------------------------------------------------------------------------


def throttled(scene: Scene) -> Steps:
    gateway = scene.gateway()
    scene.load(gateway, 10, 20)
    time.sleep(5)
    yield gateway

    def slice_of_time() -> None:
        gateway.signal(signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        gateway.signal(signal.SIGCONT)

    with Repeated(slice_of_time, RUNNING_SECONDS):
        yield gateway


# --- voices ----------------------------------------------------------------------------------------------------------


def slow_voice(scene: Scene) -> Steps:
    vendor = scene.vendor("cartesia")
    gateway = scene.gateway(**cartesia(vendor))
    scene.load(gateway, 2, 6)
    time.sleep(5)
    yield gateway
    vendor.serve("--speed-factor", "0.6")
    yield gateway
    vendor.serve()


def late_voice(scene: Scene) -> Steps:
    vendor = scene.vendor("cartesia")
    gateway = scene.gateway(**cartesia(vendor))
    scene.load(gateway, 2, 6)
    time.sleep(5)
    yield gateway
    vendor.serve("--first-byte-ms", "1500")
    yield gateway
    gateway.restart(SPEECH__CHAIN="local")


def vendor_away(scene: Scene) -> Steps:
    vendor = scene.vendor("cartesia")
    gateway = scene.gateway(**cartesia(vendor, "cartesia"))
    scene.load(gateway, 2, 8)
    time.sleep(5)
    yield gateway
    vendor.stop()
    yield gateway
    gateway.restart(SPEECH__CHAIN="cartesia local")


def refused_key(scene: Scene) -> Steps:
    vendor = scene.vendor("cartesia", "--api-key", "right")
    gateway = scene.gateway(**cartesia(vendor, "cartesia", SPEECH__CARTESIA__API_KEY="right"))
    scene.load(gateway, 2, 8)
    time.sleep(5)
    yield gateway
    gateway.restart(SPEECH__CARTESIA__API_KEY="wrong")
    yield gateway
    gateway.restart(SPEECH__CARTESIA__API_KEY="right")


def broken_vendor(*options: str) -> Callable[[Scene], Steps]:
    def perform(scene: Scene) -> Steps:
        vendor = scene.vendor("cartesia")
        gateway = scene.gateway(**cartesia(vendor))
        scene.load(gateway, 3, 4)
        time.sleep(5)
        yield gateway
        vendor.serve(*options)
        yield gateway
        if '"breaker":"closed"' in get(f"{gateway.url}/v1/voices").replace(" ", ""):
            raise AssertionError("GET /v1/voices shows a closed breaker while the alert fires")
        vendor.serve()

    return perform


def small_account(scene: Scene) -> Steps:
    vendor = scene.vendor("cartesia")
    gateway = scene.gateway(**cartesia(vendor, SPEECH__CARTESIA__MAX_CONTEXTS="15"))
    scene.load(gateway, 4, 8)
    time.sleep(5)
    yield gateway
    vendor.serve("--max-contexts", "1")
    gateway.restart(SPEECH__CARTESIA__MAX_CONTEXTS="1", SPEECH__CHAIN="cartesia")
    yield gateway
    vendor.serve("--max-contexts", "15")
    gateway.restart(SPEECH__CARTESIA__MAX_CONTEXTS="15")


# --- callers and the carrier -----------------------------------------------------------------------------------------


def full(scene: Scene) -> Steps:
    gateway = scene.gateway()
    for _ in range(3):
        scene.calls("--webhook", f"{gateway.url}/twilio/voice", "--seconds", "5")
    time.sleep(2)
    yield gateway
    gateway.restart(SERVER__MAX_CALLS="1")
    yield gateway
    gateway.restart(SERVER__MAX_CALLS="10")


def wrong_public_url(scene: Scene) -> Steps:
    right, wrong = "https://gw.example.com", "https://gateway.example.com"
    gateway = scene.gateway(**trusting(right))
    scene.calls(
        *("--webhook", f"{right}/twilio/voice", "--connect", gateway.instance, "--seconds", "2"),
        *("--auth-token-env", "TOKEN"),
        environment={"TOKEN": AUTH_TOKEN},
    )
    time.sleep(4)
    yield gateway
    gateway.restart(SERVER__PUBLIC_URL=wrong)
    yield gateway
    gateway.restart(SERVER__PUBLIC_URL=right)


def stranger(scene: Scene) -> Steps:
    """Streams that are signed with a right token, without the one-time token of a webhook: a replica with another `token_key`."""
    gateway = scene.gateway(**trusting("https://gw.example.com"))
    yield gateway
    streams = scene.calls(
        *("wss://gw.example.com/twilio/media", "--connect", gateway.instance, "--seconds", "2", "--auth-token-env", "TOKEN"),
        environment={"TOKEN": AUTH_TOKEN},
    )
    yield gateway
    streams.end()


def deaf(scene: Scene) -> Steps:
    recogniser = scene.vendor("stt", "--api-key", "right")
    gateway = scene.gateway(
        HEARING__PROVIDER="deepgram", HEARING__DEEPGRAM__URL=recogniser.url, HEARING__DEEPGRAM__API_KEY="right"
    )
    scene.load(gateway, 2, 6)
    time.sleep(5)
    yield gateway
    gateway.restart(HEARING__DEEPGRAM__API_KEY="wrong")
    yield gateway
    gateway.restart(HEARING__DEEPGRAM__API_KEY="right")


# --- TLS -------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, days: int) -> None:
    """Makes a pair for so long, and puts it where the gateway looks."""
    new = folder / "new"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days)]
        + ["-subj", "/CN=gw.example.com", "-addext", "subjectAltName=DNS:gw.example.com"]
        + ["-keyout", f"{new}.key", "-out", f"{new}.pem"],
        check=True,
        capture_output=True,
    )
    for kind in ("key", "pem"):
        Path(f"{new}.{kind}").rename(folder / f"gateway.{kind}")


def expiring(scene: Scene) -> Steps:
    certificate(scene.folder, 90)
    files = {"TLS__CERT_FILE": str(scene.folder / "gateway.pem"), "TLS__KEY_FILE": str(scene.folder / "gateway.key")}
    gateway = scene.gateway(control=True, **files)
    yield gateway
    certificate(scene.folder, 3)
    yield gateway
    certificate(scene.folder, 90)


# --- tapes -----------------------------------------------------------------------------------------------------------


def without(folder: str) -> Callable[[Scene], Steps]:
    """The folder that a key names is no folder any more."""

    def perform(scene: Scene) -> Steps:
        kept, away = scene.folder / "kept", scene.folder / "away"
        kept.mkdir()
        gateway = scene.gateway(**{folder: str(kept)})
        scene.load(gateway, 2, 4)
        time.sleep(3)
        yield gateway
        kept.rename(away)
        kept.write_text("not a folder")
        yield gateway
        kept.unlink()
        away.rename(kept)

    return perform


def full_disk(scene: Scene) -> Steps:
    tapes = scene.folder / "disk"
    tapes.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(tapes)], check=True)
    scene.callback(subprocess.run, ["umount", "--lazy", str(tapes)], check=True)
    gateway = scene.gateway(TAPE__DIR=str(tapes))
    scene.load(gateway, 1, 6)
    time.sleep(3)
    yield gateway
    old = tapes / "CA-of-last-month.jsonl"
    with old.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    yield gateway
    old.unlink()


def is_root() -> bool:
    return os.geteuid() == 0


DRILLS = [
    Drill(("TrunklineNotScraped",), "the process was killed", "it was started again", killed),
    Drill(("TrunklineNotScraped",), "the process hung (SIGSTOP)", "it went on (SIGCONT)", hung),
    Drill(("TrunklineNotScraped",), "the scrape had a wrong token", "the right one in its file", wrong_scrape_token),
    Drill(("TrunklineGone",), "the list of targets was empty", "the gateway was in it again", nobody_found),
    Drill(
        ("TrunklineLate", "TrunklineStrained"),
        "10 calls, and the process stopped for 0.2 s, again and again, as a quota of the processor does",
        "no more stops",
        throttled,
        "frames are late: new calls are refused until they are in time again",
    ),
    Drill(("TrunklineUnderruns",), "a voice that speaks at 0.6 of the pace", "the vendor was well again", slow_voice),
    Drill(
        ("TrunklineSlowFirstByte",),
        "a voice with its first audio after 1.5 s",
        "another voice first in `speech.chain`, restart",
        late_voice,
    ),
    Drill(
        ("TrunklineRefusesCalls",),
        "three callers, `max_calls` 1",
        "`max_calls` 10, restart",
        full,
        "the call is sent away",
    ),
    Drill(
        ("TrunklineRefusesSignatures",),
        "`public_url` was not what the carrier calls",
        "`public_url` put right, restart",
        wrong_public_url,
        "a request is not signed by the carrier",
    ),
    Drill(
        ("TrunklineRefusesSignatures",),
        "streams without the token of a webhook",
        "they stopped",
        stranger,
        "a stream is turned away",
    ),
    Drill(
        ("TrunklineSpeechFails",),
        "the only voice of the chain was away",
        "`local` behind it, restart",
        vendor_away,
        "the link to the voice is down",
    ),
    Drill(
        ("TrunklineSpeechFails",),
        "a wrong key, no second voice",
        "the right key, restart",
        refused_key,
        "the link to the voice is down",
    ),
    Drill(
        ("TrunklineBreakerOpen",),
        "the vendor answered with 503",
        "the vendor was well again",
        broken_vendor("--fault", "refuse"),
        "the voice keeps failing: its breaker opens",
    ),
    Drill(
        ("TrunklineBreakerOpen",),
        "the vendor took connections and answered none",
        "the vendor was well again",
        broken_vendor("--fault", "handshake-slow=20000"),
        "the voice keeps failing: its breaker opens",
    ),
    Drill(
        ("TrunklineContextsWait",),
        "four callers, an account with one context",
        "an account with 15, `max_contexts` 15, restart",
        small_account,
    ),
    Drill(
        ("TrunklineHearingLost",),
        "the recogniser's key was wrong",
        "the right key, restart",
        deaf,
        "a link for hearing is down",
    ),
    Drill(
        ("TrunklineTapesLost",),
        "`tape.dir` was no folder any more",
        "it was back",
        without("TAPE__DIR"),
        "a tape cannot be written any further",
    ),
    Drill(
        ("TrunklineTapesLost",),
        "the disk was full (a tmpfs of 16 MiB, and old tapes)",
        "the old tapes were deleted",
        full_disk,
        "a tape cannot be written any further",
        needs_root=True,
    ),
    Drill(
        ("TrunklineRecordingsLost",),
        "`recording.dir` was no folder any more",
        "it was back",
        without("RECORDING__DIR"),
        "a recording cannot be written any further",
    ),
    Drill(
        ("TrunklineCertificateExpires",),
        "a certificate for three days more",
        "one for 90 days in the same files",
        expiring,
        "new connections get the new certificate",
    ),
]
