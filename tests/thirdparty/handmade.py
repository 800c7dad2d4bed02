#!/usr/bin/env python3
"""Speaks Twilio's media-stream protocol to a gateway by hand, politely and then rudely.

    handmade.py ws://127.0.0.1:8080/twilio/media

The gateway must run in open mode with the script agent and a greeting of at least fifteen seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from line import Line
from phone import BYTES_PER_SECOND, QUESTION, SILENCE, Checks, is_speech, milliseconds, read_clip

#: The greeting must have begun by then.
FIRST_AUDIO_SECONDS = 3.0
#: How long the greeting is listened to before the caller speaks.
LISTEN_SECONDS = 4.0
#: More than this in the carrier's buffer is not the pace of speech.
AHEAD_SECONDS_MAX = 0.5
#: The caller may miss this much while listening, on a machine that is busy with other work.
DRY_SECONDS_MAX = 0.1
#: From the caller's first loud frame to `clear`.
CLEAR_SECONDS_MAX = 1.5
#: From the caller's last loud frame to the next turn.
ANSWER_SECONDS_MAX = 10.0
#: No scene lasts longer, whatever hangs.
SCENE_SECONDS_MAX = 60.0
#: A message above this ends the stream.
MESSAGE_BYTES_MAX = 64 * 1024


@dataclass
class Run:
    """What every scene needs."""

    url: str
    clip: list[bytes]
    answer: bool
    checks: Checks

    @asynccontextmanager
    async def line(self, name: str) -> AsyncIterator[Line]:
        """A connected socket that has said nothing yet; its tasks and itself end with the block."""
        limits = {"open_timeout": 5, "close_timeout": 2, "ping_interval": None}
        async with connect(self.url, compression=None, proxy=None, **limits) as socket:
            line = Line(socket, name)
            try:
                yield line
            finally:
                await line.drop()


async def polite(run: Run) -> None:
    """A call as Twilio makes it: listen, interrupt, hear the answer, hang up."""
    check = run.checks.check
    async with run.line("a1") as line:
        seen = line.seen
        await line.connected()
        await line.start()
        line.talk()
        await line.until(lambda: bool(seen.media), FIRST_AUDIO_SECONDS)
        first = seen.media[0][0] - line.started_at if seen.media else None
        if not check(first is not None, "the greeting begins", milliseconds(first)):
            well_formed(run, line)
            return
        await line.until(lambda: False, LISTEN_SECONDS)
        listened = list(seen.media)
        span = listened[-1][0] - listened[0][0]
        spoken = sum(len(audio) for _, audio in listened) / BYTES_PER_SECOND
        pace = f"{spoken:.2f} s of audio in {span:.2f} s, at most {milliseconds(line.playout.ahead_max)} ahead"
        check(span >= LISTEN_SECONDS - 0.5, "it goes on while the caller is silent", f"{span:.2f} s")
        loud = sum(is_speech(audio) for _, audio in listened)
        check(loud * 3 >= len(listened), "it is speech, not silence", f"{loud} of {len(listened)} messages")
        check(line.playout.ahead_max <= AHEAD_SECONDS_MAX, "it comes no faster than it is heard", pace)
        check(line.playout.dry <= DRY_SECONDS_MAX, "and no slower", f"{milliseconds(line.playout.dry)} missing")
        names = [name for _, name in seen.marks]
        count = f"{len(names)} marks, {seen.marks_returned} returned as played"
        distinct = len(set(names)) == len(names)
        check(len(names) >= LISTEN_SECONDS / 2 and distinct, "marks come, each with its name", count)
        check(not seen.clears, "nothing is cleared while the caller is silent")

        await interrupt(run, line)
        well_formed(run, line)
        check(await line.hang_up(5), "after stop the gateway closes the stream")


async def interrupt(run: Run, line: Line) -> None:
    """The caller speaks into what is being said, and listens again."""
    check, seen = run.checks.check, line.seen
    clears = len(seen.clears)
    spoke_before = len(seen.speech)
    line.say(run.clip)
    await line.until(lambda: len(seen.clears) > clears, CLEAR_SECONDS_MAX + 1)
    await line.until(line.has_said_all, len(run.clip) * 0.02 + 2)
    if not check(len(seen.speech) > spoke_before, "the caller can speak"):
        return
    began, ended = seen.speech[spoke_before], seen.speech[-1]
    cleared = seen.clears[clears] if len(seen.clears) > clears else None
    took = milliseconds(None if cleared is None else cleared - began)
    soon = cleared is not None and cleared - began <= CLEAR_SECONDS_MAX
    check(soon, "speech is answered by clear", took)
    if cleared is None:
        return
    print(f"       the carrier still held {milliseconds(seen.held[clears])} of audio")
    stale = sum(cleared < at <= ended for at, _ in seen.media)
    check(stale == 0, "not one frame between clear and the caller's last word", f"{stale} frames")

    def answered() -> bool:
        return any(at > ended and is_speech(audio) for at, audio in seen.media)

    if run.answer:
        await line.until(answered, ANSWER_SECONDS_MAX)
        again = next((at - ended for at, audio in seen.media if at > ended and is_speech(audio)), None)
        check(again is not None, "after the caller's last word the gateway speaks again", milliseconds(again))


def well_formed(run: Run, line: Line) -> None:
    """All that came so far, field by field."""
    faults = "; ".join(sorted(set(line.seen.faults)))
    run.checks.check(not faults, "every message has exactly its documented fields", faults)


def rudenesses(line: Line) -> list[tuple[str, str | bytes]]:
    """Messages that no carrier should send, each with its name. None may end the call, nor count as an input of it."""
    sid = {"streamSid": line.stream_sid, "sequenceNumber": "9"}

    def message(event: object, **fields: object) -> str:
        return json.dumps(sid | {"event": event} | fields)

    def media(**fields: object) -> str:
        return message("media", media={"track": "inbound", "chunk": "1", "timestamp": "20"} | fields)

    silence = json.loads(json.dumps(line.media_message(SILENCE)))["media"]["payload"]
    return [
        ("text that is not JSON", "hello?"),
        ("an empty message", ""),
        ("half an object", '{"event":"media","streamSid":'),
        ("a bare null", "null"),
        ("a bare number", "42"),
        ("an array", '["media"]'),
        ("an object without event", "{}"),
        ("an event that is a number", message(7)),
        ("an event that is an object", message({"media": 1})),
        ("an unknown event", message("hold-music", volume=11)),
        ("media without media", message("media")),
        ("media that is a list", message("media", media=[1, 2, 3])),
        ("media without payload", media()),
        ("a payload that is a number", media(payload=160)),
        ("a payload that is not base64", media(payload="***")),
        ("a payload of half a base64 group", media(payload="//////8")),
        ("an empty payload", media(payload="")),
        ("one second of silence in one message", media(payload="/" * 10666 + "8=")),
        ("numbers that are numbers", media(payload=silence, chunk=3, timestamp=60)),
        ("numbers below zero", media(payload=silence, chunk="-1", timestamp="-20")),
        ("numbers beyond 64 bits", media(payload=silence, chunk="9" * 40, timestamp="9" * 400)),
        ("numbers beyond floating point", '{"event":"media","sequenceNumber":1e999,"media":{"payload":1e999}}'),
        ("a track that does not exist", media(payload=silence, track="sideways")),
        ("media for another stream", json.dumps(json.loads(media(payload=silence)) | {"streamSid": "MZother"})),
        ("a mark that was never sent", message("mark", mark={"name": "no such mark"})),
        ("a mark without mark", message("mark")),
        ("a mark whose name is a number", message("mark", mark={"name": 5})),
        ("a digit without dtmf", message("dtmf")),
        ("a digit that is none", message("dtmf", dtmf={"track": "inbound_track", "digit": "several"})),
        ("connected once more", json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})),
        ("start once more", json.dumps(line.start_message())),
        ("half a surrogate pair", r'{"event":"\ud800","streamSid":"\udc00"}'),
        ("a nesting without end", "[" * 30_000),
        ("a message just under the limit", json.dumps({"event": "x" * (MESSAGE_BYTES_MAX - 100)})),
        ("a binary message", bytes(range(256))),
        ("a binary message that holds JSON", json.dumps(line.media_message(SILENCE)).encode()),
    ]


async def rude(run: Run) -> None:
    """A call full of garbage, which goes on all the same and can still be interrupted."""
    check = run.checks.check
    async with run.line("b2") as line:
        seen = line.seen
        await line.send(line.media_message(SILENCE))
        await line.send(line.numbered({"event": "mark", "mark": {"name": "before start"}}))
        await line.connected()
        await line.start()
        line.talk()
        greeted = await line.until(lambda: bool(seen.media), FIRST_AUDIO_SECONDS)
        if not check(greeted, "media before start is survived, and the greeting begins"):
            return
        for name, text in rudenesses(line):
            count = len(seen.media)
            await line.socket.send(text)
            # Three frames, because those already on their way prove nothing about what this message did.
            goes_on = await line.until(lambda: len(seen.media) >= count + 3, 1.0)
            if not check(goes_on, f"the call survives {name}"):
                return
        check(not seen.clears, "none of it was taken for a caller who interrupts")
        await interrupt(run, line)
        well_formed(run, line)
        check(await line.hang_up(5), "after stop the gateway closes the stream")


async def cut_off(run: Run) -> None:
    """A line that dies in mid-sentence leaves a gateway that takes the next call."""
    async with run.line("c3") as line:
        await line.start()
        line.talk()
        await line.until(lambda: bool(line.seen.media), FIRST_AUDIO_SECONDS)
        line.socket.transport.abort()
    async with run.line("c4") as line:
        await line.start()
        line.talk()
        heard = await line.until(lambda: bool(line.seen.media), FIRST_AUDIO_SECONDS)
        run.checks.check(heard, "a line cut off in mid-sentence leaves the next call unharmed")


async def limits(run: Run) -> None:
    """What the gateway refuses."""
    check = run.checks.check
    async with run.line("d5") as line:
        await line.connected()
        await line.start()
        seen = await closing(line, json.dumps({"event": "x" * MESSAGE_BYTES_MAX}), 5)
        check(seen is not None and seen[0] == 1009, "a message above 64 KiB ends the stream with 1009", describe(seen))
    async with run.line("d6") as line:
        seen = await closing(line, None, 9)
        in_time = seen is not None and 3 <= seen[1] <= 8
        check(in_time, "a socket without start is closed after about 5 s", describe(seen))


async def closing(line: Line, text: str | None, seconds: float) -> tuple[int | None, float] | None:
    """Sends `text` and waits for the gateway to close: its code and after how long; nothing if it did not."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            if text is not None:
                await line.socket.send(text)
            while True:
                await line.socket.recv()
    except ConnectionClosed as closed:
        return (closed.rcvd.code if closed.rcvd else None), time.monotonic() - began
    except TimeoutError:
        return None


def describe(seen: tuple[int | None, float] | None) -> str:
    """A closing, for people."""
    return "not closed" if seen is None else f"code {seen[0] or 'none'} after {seen[1]:.1f} s"


async def strangers(run: Run) -> None:
    """Open mode is for this machine: a browser page or a rebound name is turned away before the upgrade."""
    parts = urlsplit(run.url)
    foreign = urlunsplit(parts._replace(netloc=f"gateway.example:{parts.port}"))
    attempts = [
        ("an Origin", lambda: connect(run.url, origin="https://page.example", open_timeout=5, proxy=None)),
        ("a foreign Host", lambda: connect(foreign, host=parts.hostname, port=parts.port, open_timeout=5, proxy=None)),
    ]
    for name, attempt in attempts:
        try:
            async with attempt():
                seen = "taken"
        except InvalidStatus as refused:
            seen = str(refused.response.status_code)
        run.checks.check(seen == "403", f"an upgrade with {name} is refused with 403", seen)


SCENES: dict[str, Callable[[Run], Awaitable[None]]] = {
    "polite": polite,
    "rude": rude,
    "cut-off": cut_off,
    "limits": limits,
    "strangers": strangers,
}


async def play(run: Run, scenes: list[str]) -> None:
    """One scene after the other: two at once would disturb each other's figures."""
    for name in scenes:
        print(f"-- {name}: {(SCENES[name].__doc__ or '').splitlines()[0]}", flush=True)
        try:
            async with asyncio.timeout(SCENE_SECONDS_MAX):
                await SCENES[name](run)
        except (TimeoutError, OSError, ConnectionClosed, InvalidStatus) as broken:
            run.checks.check(False, f"the scene {name} runs to its end", f"{type(broken).__name__}: {broken}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Speak Twilio's media-stream protocol to a gateway by hand.")
    parser.add_argument("url", help="such as ws://127.0.0.1:8080/twilio/media")
    parser.add_argument("--clip", type=Path, default=QUESTION, help="what the caller says, an 8 kHz mono WAV")
    parser.add_argument("--no-answer", action="store_true", help="the script has no line to say after an interruption")
    parser.add_argument("--scene", choices=SCENES, action="append", help="only this one; may be given again")
    options = parser.parse_args()
    run = Run(options.url, read_clip(options.clip), not options.no_answer, Checks())
    asyncio.run(play(run, options.scene or list(SCENES)))
    return run.checks.finish()


if __name__ == "__main__":
    sys.exit(main())
