#!/usr/bin/env python3
"""Makes seeds for the targets from fixtures/, docs/ and what broke one before, always the same ones.

    fuzz/seeds.py [FOLDER]      default: fuzz/seeds, one folder for each target

Recorded calls are cut down: a fuzzer learns nothing from the hundredth frame of silence.
"""

import base64
import json
import random
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A byte each, so that it is vendor number n whatever the target divides it by (see fuzz/src/speech.rs).
VOICES = ["cartesia", "gradium", "elevenlabs", "rime", "deepgram", "deepgram_flux", "openai"]
EARS = ["cartesia", "cartesia-manual", "deepgram", "deepgram_flux", "gradium"]
MEDIA_MAX = 6
LINES_MAX = 40
TEXT_MAX = 6_000
# What we would have said first, so that answers belong to something: text, flush and end of two contexts.
COMMANDS = [">s11Hello there. ", ">f11", ">s21And more. ", ">F11", ">c21"]


def vendor(names: list[str], name: str) -> bytes:
    at = names.index(name)
    return bytes([next(byte for byte in range(64, 128) if byte % len(names) == at)])


def shorter(text: str) -> str:
    """Long base64 inside a message, cut to a few bytes that still are base64."""
    return re.sub(r"[A-Za-z0-9+/]{64,}={0,2}", lambda long: long.group()[:48], text)


def tape(path: Path) -> tuple[dict, list[dict]]:
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return lines[0], lines[1:]


def port_of(entry: dict) -> str:
    port = entry.get("input", {}).get("port", "")
    return port if isinstance(port, str) else next(iter(port))


def said(entries: list[dict], port: str) -> list[str]:
    """The messages of a peer, audio as a line of its own kind, most of the media left out."""
    lines, media = [], 0
    for entry in entries:
        if port_of(entry) != port:
            continue
        if "text" in entry["input"]:
            text = shorter(entry["input"]["text"])
            media += '"event":"media"' in text
            if '"event":"media"' not in text or media <= MEDIA_MAX:
                lines.append(text.replace("\n", " "))
        elif "binary" in entry["input"]:
            media += 1
            if media <= MEDIA_MAX:
                sound = base64.b64decode(entry["input"]["binary"])[:32]
                lines.append("~" + sound.replace(b"\n", b"\0").decode("latin-1"))
    return lines[:LINES_MAX]


def script(lines: list[str]) -> bytes:
    parts = [b"~" + line[1:].encode("latin-1") if line.startswith("~") else line.encode() for line in lines]
    return b"\n".join(parts)


def short_tape(header: dict, entries: list[dict]) -> bytes:
    kept, media, size = [json.dumps(header)], 0, 0
    for entry in entries:
        line = json.dumps(entry)
        is_media = '\\"media\\"' in line or '"binary"' in line
        media += is_media
        if (is_media and media > MEDIA_MAX) or "end" in entry:
            continue
        line = re.sub(r"[A-Za-z0-9+/]{64,}={0,2}", lambda long: long.group()[:48], line)
        size += len(line)
        if size > TEXT_MAX:
            break
        kept.append(line)
    return "\n".join(kept).encode()


def calls():
    for path in sorted((ROOT / "fixtures/calls").glob("*/tape.jsonl")):
        header, entries = tape(path)
        name = path.parent.name
        yield "tape", name, short_tape(header, entries)
        yield "carrier", name, script(said(entries, "carrier"))
        if app := said(entries, "app"):
            yield "app", name, script(app)
        first = header["voices"][0]
        if isinstance(first, dict) and (speech := said(entries, "voice")):
            yield "voices", name, vendor(VOICES, next(iter(first))) + script(COMMANDS[:3] + speech + COMMANDS[3:])
        if heard := said(entries, "hearing"):
            who = next(iter(header["hearing"]))
            yield "hearing", name, vendor(EARS, who) + script([">d", ">a" + "\0" * 16, *heard, ">f", ">c"])


def configurations():
    example = (ROOT / "deploy/settings.example.toml").read_text()
    yield "configuration", "example", example.encode()
    yield "configuration", "example-whole", re.sub(r"(?m)^#: ", "", example).encode()
    for page in sorted((ROOT / "docs").glob("**/*.md")):
        for n, block in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)):
            yield "configuration", f"{page.stem}-{n}", block.encode()
    for n in range(0, 240, 24):
        values = ["1", "true", "0.5", "text", '["one"]', "https://a.example/b", "wss://a.example/b", "127.0.0.1:80"]
        lines = [f"{key}={value}" for key in range(n, n + 24) for value in values[key % 3 :: 3]]
        yield "configuration", f"variables-{n}", b"\0" + "\n".join(lines).encode()


def requests():
    page = (ROOT / "docs/api.md").read_text()
    bodies = sorted(set(re.findall(r"'(\{.*?\})'", page)))
    routes = ["/v1/calls", "/v1/calls/CA1/say?wait=heard", "/v1/calls/CA1/play", "/v1/calls/CA1/digits", "/base/v1/calls"]
    token = "host: localhost\nauthorization: Bearer 0123456789abcdef"
    for n, body in enumerate(bodies):
        yield "api", f"body-{n}", f"POST {routes[n % len(routes)]}\n{token}\n\n{body}".encode()
    for n, path in enumerate(["/healthz", "/readyz", "/metrics", "/v1/voices", "/v1/calls/CA1", "/twilio/media"]):
        yield "api", f"get-{n}", f"GET {path}\n{token}\nupgrade: websocket\nconnection: upgrade\n".encode()
    form = "CallSid=CA1&AccountSid=AC1&From=%2B15550100001&To=sip%3Aa%40b&Direction=inbound&CallStatus=ringing"
    kind = "content-type: application/x-www-form-urlencoded"
    for n, path in enumerate(["/twilio/voice?order=x", "/twilio/stream-status", "/twilio/after"]):
        yield "api", f"form-{n}", f"POST {path}\nhost: localhost\n{kind}\n\n{form}".encode()
    signatures = ["RSOYDt4T1cUTdK1PDd93/VVr8B8=", "", "not base64"]
    settings = ["", '{"version":"1","algorithm":"HMAC-SHA256","keyId":"SK1"}', "v=1;alg=HMAC-SHA256;kid=SK1"]
    for n, signature in enumerate(signatures):
        query = "bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620&a=%41"
        yield "webhook", f"form-{n}", f"{query}\n{signature}\n{settings[n]}\n{form}".encode()


def texts():
    for n, parts in enumerate([
        ["wss://gw.example.com/twilio/media", "tenant", "acme & <sons>", "https://gw.example.com/twilio/after?a=1&b=2"],
        ["a\"b'c", "]]>", "<!--", "&amp;&#10;\n\t\r"],
        ["\u0001\u007f\u0085\ufffe", "ä\u2028", "<Response/>", ""],
        ["+15550100001", "sip:a@b.example", "client:anna", "1w2#"],
    ]):
        yield "twiml", f"texts-{n}", "\0".join(parts).encode()
    yield "twiml", "response", b"<?xml version=\"1.0\"?><Response><Dial>+15550100009</Dial></Response>"
    dice = random.Random(1)
    for n in range(24):
        yield "core", f"random-{n}", bytes(dice.choices(range(256), k=100 * (n + 1)))


def wav(bits: int, channels: int, kind: int, rate: int) -> bytes:
    frame = bits // 8 * channels
    sound = bytes(n * 37 % 256 for n in range(frame * 200))
    head = struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", len(body)) + body


def recordings():
    for bits, channels, kind, rate in [(16, 1, 1, 8_000), (8, 2, 1, 44_100), (24, 1, 1, 48_000), (32, 1, 3, 16_000),
                                       (8, 1, 7, 8_000), (8, 1, 6, 8_000)]:
        yield "recording", f"wav-{bits}-{channels}-{kind}", b"@" + wav(bits, channels, kind, rate)
    yield "recording", "tone.mp3", b"@" + (ROOT / "fixtures/music/tone.mp3").read_bytes()


def regressions():
    for path in sorted((ROOT / "fuzz/regressions").glob("*/*")):
        yield path.parent.name, f"regression-{path.name}", path.read_bytes()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "fuzz/seeds"
    count = 0
    for source in (calls, configurations, requests, texts, recordings, regressions):
        for target, name, seed in source():
            path = folder / target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(seed)
            count += 1
    print(f"{count} seeds in {folder}")


if __name__ == "__main__":
    main()
