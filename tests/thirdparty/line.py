"""A carrier's end of one media stream, spoken by hand: what it sends, what it saw, and when."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from phone import BYTES_PER_SECOND, FRAME_SECONDS, SILENCE, Playout, is_speech

#: The fields of each message to the carrier, exactly: one more or one less is Twilio's warning 31951.
FIELDS = {
    "media": {"event": str, "streamSid": str, "media": {"payload": str}},
    "mark": {"event": str, "streamSid": str, "mark": {"name": str}},
    "clear": {"event": str, "streamSid": str},
}


@dataclass
class Seen:
    """All that came from the gateway and went to it, in seconds of `time.monotonic`."""

    media: list[tuple[float, bytes]] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    clears: list[float] = field(default_factory=list)
    #: Audio that the carrier still held when a clear came, one figure for each clear.
    held: list[float] = field(default_factory=list)
    #: What is wrong with messages, without their content.
    faults: list[str] = field(default_factory=list)
    #: When the caller's frames with speech were sent.
    speech: list[float] = field(default_factory=list)
    marks_returned: int = 0


class Line:
    """One call: streams the caller's audio, plays the gateway's, returns marks, obeys clear."""

    def __init__(self, socket: ClientConnection, name: str) -> None:
        self.socket = socket
        self.stream_sid = f"MZ{name:0>32}"
        self.call_sid = f"CA{name:0>32}"
        self.seen = Seen()
        self.playout = Playout()
        self.started_at = time.monotonic()
        self._caller: deque[bytes] = deque()
        self._sequence = 0
        self._chunk = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def connected(self) -> None:
        """The first message of a stream."""
        await self.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    async def start(self) -> None:
        """Announces the call."""
        self.started_at = time.monotonic()
        await self.send(self.start_message())

    def start_message(self) -> dict[str, object]:
        """`start` as Twilio writes it, for an empty `<Connect><Stream>`."""
        return self.numbered(
            {
                "event": "start",
                "start": {
                    "accountSid": "AC" + "0" * 31 + "1",
                    "streamSid": self.stream_sid,
                    "callSid": self.call_sid,
                    "tracks": ["inbound"],
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    "customParameters": {},
                },
            }
        )

    def media_message(self, frame: bytes) -> dict[str, object]:
        """One frame of the caller; numbers are strings, as Twilio writes them."""
        self._chunk += 1
        media = {"track": "inbound", "chunk": str(self._chunk), "timestamp": str(self._chunk * 20)}
        return self.numbered({"event": "media", "media": media | {"payload": base64.b64encode(frame).decode()}})

    def numbered(self, message: dict[str, object]) -> dict[str, object]:
        """`message` with what every message after `connected` carries."""
        self._sequence += 1
        return message | {"sequenceNumber": str(self._sequence), "streamSid": self.stream_sid}

    async def send(self, message: dict[str, object]) -> None:
        """Writes one message as text."""
        await self.socket.send(json.dumps(message))

    def talk(self) -> None:
        """Starts the three halves of a live line; `hang_up` ends them."""
        self._tasks = [asyncio.create_task(half()) for half in (self._stream, self._listen, self._return_marks)]

    def say(self, frames: list[bytes]) -> None:
        """Puts speech on the line instead of silence, from the next frame on."""
        self._caller.extend(frames)

    def has_said_all(self) -> bool:
        """Whether no speech waits to be sent."""
        return not self._caller

    def is_up(self) -> bool:
        """Whether every half of the line still runs."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Waits for `holds`, at most `seconds`, or for the end of the line."""
        limit = time.monotonic() + seconds
        while not holds():
            if time.monotonic() >= limit or not self.is_up():
                return holds()
            await asyncio.sleep(0.005)
        return True

    async def hang_up(self, seconds: float) -> bool:
        """Sends `stop` and waits for the gateway to close; whether it did within `seconds`."""
        closed = not self.is_up()
        if not closed:
            self._tasks[0].cancel()
            stop = {"accountSid": "AC" + "0" * 31 + "1", "callSid": self.call_sid}
            await self.send(self.numbered({"event": "stop", "stop": stop}))
            closed = bool((await asyncio.wait([self._tasks[1]], timeout=seconds))[0])
        await self.drop()
        return closed

    async def drop(self) -> None:
        """Ends the halves without a word to the gateway."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stream(self) -> None:
        base, count = time.monotonic(), 0
        while True:
            # Each frame's moment is counted from the first, so that a late wake-up is not carried on.
            await asyncio.sleep(max(0.0, base + count * FRAME_SECONDS - time.monotonic()))
            count += 1
            frame = self._caller.popleft() if self._caller else SILENCE
            if is_speech(frame):
                self.seen.speech.append(time.monotonic())
            await self.send(self.media_message(frame))

    async def _listen(self) -> None:
        try:
            async for text in self.socket:
                await self._take(time.monotonic(), text)
        except ConnectionClosed:
            return

    async def _take(self, now: float, text: str | bytes) -> None:
        message = self._readable(text)
        match message.get("event"):
            case "media":
                try:
                    audio = base64.b64decode(message["media"]["payload"], validate=True)
                except binascii.Error:
                    self.seen.faults.append("media whose payload is not base64")
                    return
                self.seen.media.append((now, audio))
                self.playout.media(now, len(audio) / BYTES_PER_SECOND)
            case "mark":
                self.seen.marks.append((now, message["mark"]["name"]))
                self.playout.mark(now, message["mark"]["name"])
            case "clear":
                self.seen.clears.append(now)
                self.seen.held.append(self.playout.held(now))
                await self._return(self.playout.clear(now))

    def _readable(self, text: str | bytes) -> dict:
        """The message, if it is one of the three and holds exactly its fields; else nothing, and a fault."""
        if isinstance(text, bytes):
            self.seen.faults.append("a binary message")
            return {}
        try:
            message = json.loads(text)
        except ValueError:
            self.seen.faults.append("a message that is not JSON")
            return {}
        event = message.get("event") if isinstance(message, dict) else None
        wanted = FIELDS.get(event) if isinstance(event, str) else None
        if wanted is None or not matches(message, wanted):
            self.seen.faults.append(f"a message of the wrong shape ({event if wanted else 'unknown event'})")
            return {}
        if message["streamSid"] != self.stream_sid:
            self.seen.faults.append(f"{event} for another stream")
            return {}
        return message

    async def _return_marks(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            await self._return(self.playout.due(time.monotonic()))

    async def _return(self, names: list[str]) -> None:
        for name in names:
            self.seen.marks_returned += 1
            await self.send(self.numbered({"event": "mark", "mark": {"name": name}}))


def matches(value: object, wanted: object) -> bool:
    """Whether `value` has exactly the fields of `wanted`, of those types, to the bottom."""
    if isinstance(wanted, dict):
        return (
            isinstance(value, dict)
            and value.keys() == wanted.keys()
            and all(matches(value[name], inner) for name, inner in wanted.items())
        )
    return isinstance(wanted, type) and isinstance(value, wanted)
