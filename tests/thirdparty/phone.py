"""What the third-party checks share: the audio of a telephone line, its playing, and counted checks.

Nothing here is taken from the gateway or its emulators, so that a mistake on one side is seen from the other.
"""

from __future__ import annotations

import array
import sys
import wave
from collections import deque
from pathlib import Path

#: One frame of the line: 20 ms of mu-law at 8 kHz.
FRAME_BYTES = 160
FRAME_SECONDS = 0.02
BYTES_PER_SECOND = 8000
SILENCE = b"\xff" * FRAME_BYTES
#: -40 dBFS. A frame that holds a louder sample counts as speech, for the caller's clip and for what is heard.
SPEECH_LEVEL = 327
#: The clip that interrupts, unless another is named.
QUESTION = Path(__file__).parents[2] / "fixtures" / "audio" / "question.wav"


def decode(code: int) -> int:
    """The 16-bit sample of one mu-law byte (G.711)."""
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def encode(sample: int) -> int:
    """The mu-law byte of one 16-bit sample (G.711)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 0x84
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3)) & 0x0F) & 0xFF


_SAMPLES = [decode(code) for code in range(256)]


def is_speech(audio: bytes) -> bool:
    """Whether mu-law audio holds a sample above -40 dBFS."""
    return any(abs(_SAMPLES[code]) > SPEECH_LEVEL for code in audio)


def read_clip(path: Path) -> list[bytes]:
    """A mono 8 kHz 16-bit WAV as frames of the line, the last one filled up with silence."""
    with wave.open(str(path)) as clip:
        shape = (clip.getnchannels(), clip.getsampwidth(), clip.getframerate())
        if shape != (1, 2, 8000):
            raise ValueError(f"{path.name}: channels, bytes, rate are {shape}, not (1, 2, 8000)")
        samples = array.array("h", clip.readframes(clip.getnframes()))
    if sys.byteorder == "big":
        samples.byteswap()
    audio = bytes(encode(sample) for sample in samples)
    return [audio[at : at + FRAME_BYTES].ljust(FRAME_BYTES, b"\xff") for at in range(0, len(audio), FRAME_BYTES)]


class Playout:
    """A carrier's buffer: audio plays in order of arrival, at the pace of speech. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._ends: float | None = None
        self._marks: deque[tuple[float, str]] = deque()
        #: Most audio ever held, and time for which there was none between the first audio and the last.
        self.ahead_max = 0.0
        self.dry = 0.0

    def media(self, now: float, seconds: float) -> None:
        """Takes audio that arrived at `now`."""
        if self._ends is not None and now > self._ends:
            self.dry += now - self._ends
        self._ends = max(now, self._ends or now) + seconds
        self.ahead_max = max(self.ahead_max, self._ends - now)

    def mark(self, now: float, name: str) -> None:
        """Remembers a mark, due when all audio before it has played."""
        self._marks.append((max(now, self._ends or now), name))

    def due(self, now: float) -> list[str]:
        """The marks whose audio has played by `now`, once each."""
        names = []
        while self._marks and self._marks[0][0] <= now:
            names.append(self._marks.popleft()[1])
        return names

    def clear(self, now: float) -> list[str]:
        """Drops what has not played. Twilio then returns every mark that was out, played or not."""
        names = [name for _, name in self._marks]
        self._marks.clear()
        self._ends = None
        return names

    def held(self, now: float) -> float:
        """Seconds of audio not yet played."""
        return max(0.0, (self._ends or now) - now)


class Checks:
    """Counts what held and what did not, a line each, and closes with the sum."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, holds: bool, what: str, seen: str = "") -> bool:
        """Notes one fact; `seen` is what was measured."""
        self.passed += holds
        self.failed += not holds
        print(f"{'ok    ' if holds else 'FAILED'} {what}{f': {seen}' if seen else ''}", flush=True)
        return holds

    def finish(self) -> int:
        """Prints the closing line; the process's exit code."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def milliseconds(seconds: float | None) -> str:
    """For people: a time that was not seen is never a zero."""
    return "not observed" if seconds is None else f"{seconds * 1000:.0f} ms"
