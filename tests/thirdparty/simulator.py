#!/usr/bin/env python3
"""Runs the simulator `streamdouble` against a gateway: a caller lets the greeting run, then speaks into it.

    simulator.py ws://127.0.0.1:8080/twilio/media

The gateway must run in open mode with the script agent and a greeting of at least ten seconds. All figures come from
the simulator's own frame trace: it dials, paces, plays and echoes marks; this file only writes its scenario and reads
what it saw. One trait to know: unlike Twilio, it returns no mark that a `clear` overtook.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from phone import BYTES_PER_SECOND, QUESTION, Checks, Playout, is_speech, milliseconds, read_clip

#: How long the greeting is listened to before the caller speaks.
LISTEN_SECONDS = 5.0
#: The greeting must have begun by then: connecting, synthesis and the carrier's buffer included.
FIRST_AUDIO_SECONDS = 3.0
#: More than this in the carrier's buffer is not the pace of speech: a `clear` would have too much to throw away.
AHEAD_SECONDS_MAX = 0.5
#: The caller may miss this much over the whole of LISTEN_SECONDS, on a machine that is busy with other work.
DRY_SECONDS_MAX = 0.1
#: From the first loud frame of the caller to `clear`: the gateway's minimum of speech, and a margin.
CLEAR_SECONDS_MAX = 1.5
#: The whole call. The simulator has limits for each step; this one is for the simulator itself.
CALL_SECONDS_MAX = 60


@dataclass
class Call:
    """What the trace holds, times in seconds from the first message."""

    #: Arrival and sound of each outbound media message.
    media: list[tuple[float, bytes]] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)
    marks_echoed: list[float] = field(default_factory=list)
    clears: list[float] = field(default_factory=list)
    #: The caller's frames that hold speech.
    speech: list[float] = field(default_factory=list)
    unreadable: int = 0


def scenario(clip: Path) -> str:
    """The simulator's script, as JSON, which is YAML too."""
    steps: list[dict[str, object]] = [
        {"wait_for": {"event": "audio", "timeout": FIRST_AUDIO_SECONDS + 7}},
        {"wait": LISTEN_SECONDS},
        {"expect": "audio"},
        {"expect": "mark"},
        {"expect": "no clear"},
        {"say": str(clip.resolve())},
        {"wait_for": {"event": "clear", "timeout": 2}},
        {"expect": "clear"},
        {"wait": 4.0},
        {"expect": "no_violations"},
    ]
    return json.dumps({"name": "a caller speaks into the greeting", "steps": steps})


def run(url: str, clip: Path, folder: Path) -> tuple[int, dict[str, object], Path]:
    """Places the call; the simulator's exit code, its own figures and the path of its trace."""
    script, trace = folder / "call.yaml", folder / "trace.jsonl"
    script.write_text(scenario(clip), encoding="utf-8")
    tool = Path(sys.executable).parent / "streamdouble"
    command = [str(tool), "scenario", str(script), url, "--json", "--trace", str(trace), "--trace-payloads"]
    command += ["--max-drain", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS_MAX, check=False)
    try:
        figures = json.loads(done.stdout)
    except ValueError:
        figures = {}
        print(done.stderr.strip()[-2000:], file=sys.stderr)
    return done.returncode, figures, trace


def read(trace: Path) -> Call:
    """Sorts the trace by what each frame is."""
    call = Call()
    if not trace.exists():
        return call
    with trace.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    origin = records[0]["t"] if records else 0.0
    for record in records:
        at = record.get("t", 0.0) - origin
        audio = sound(record)
        match record.get("dir"), record.get("event"):
            case "in", "media" if audio is not None:
                call.media.append((at, audio))
            case "in", "mark":
                call.marks.append(at)
            case "in", "clear":
                call.clears.append(at)
            case "in", _:
                call.unreadable += 1
            case "out", "mark":
                call.marks_echoed.append(at)
            case "out", "media" if audio is not None and is_speech(audio):
                call.speech.append(at)
    return call


def sound(record: dict[str, object]) -> bytes | None:
    """The mu-law audio of a traced media frame."""
    payload = record.get("payload")
    try:
        return base64.b64decode(payload, validate=True) if isinstance(payload, str) else None
    except binascii.Error:
        return None


def judge_greeting(checks: Checks, call: Call) -> None:
    """The greeting, up to the moment the caller speaks."""
    until = call.speech[0] if call.speech else float("inf")
    media = [(at, audio) for at, audio in call.media if at < until]
    first = media[0][0] if media else None
    checks.check(first is not None and first <= FIRST_AUDIO_SECONDS, "the greeting begins", milliseconds(first))
    playout = Playout()
    for at, audio in media:
        playout.media(at, len(audio) / BYTES_PER_SECOND)
    spoken = sum(len(audio) for _, audio in media) / BYTES_PER_SECOND
    span = media[-1][0] - media[0][0] if media else 0.0
    checks.check(span >= LISTEN_SECONDS - 0.5, "it goes on until the caller speaks", f"{span:.2f} s")
    loud = sum(is_speech(audio) for _, audio in media)
    checks.check(loud * 3 >= len(media) > 0, "it is speech, not silence", f"{loud} of {len(media)} messages")
    pace = f"{spoken:.2f} s of audio in {span:.2f} s, at most {milliseconds(playout.ahead_max)} ahead"
    checks.check(bool(media) and playout.ahead_max <= AHEAD_SECONDS_MAX, "it comes no faster than it is heard", pace)
    missing = f"{milliseconds(playout.dry)} missing"
    checks.check(bool(media) and playout.dry <= DRY_SECONDS_MAX, "and no slower", missing)
    marks = sum(at < until for at in call.marks)
    echoed = sum(at < until for at in call.marks_echoed)
    checks.check(marks >= LISTEN_SECONDS / 2, "marks come with it", f"{marks} marks, {echoed} returned as played")
    checks.check(not any(at < until for at in call.clears), "nothing is cleared while the caller is silent")


def judge_interruption(checks: Checks, call: Call, answer: bool) -> None:
    """From the caller's first loud frame on."""
    if not checks.check(bool(call.speech), "the caller spoke"):
        return
    began, ended = call.speech[0], call.speech[-1]
    cleared = next((at for at in call.clears if at >= began), None)
    took = None if cleared is None else cleared - began
    soon = took is not None and took <= CLEAR_SECONDS_MAX
    checks.check(soon, "speech is answered by clear", milliseconds(took))
    if cleared is None:
        return
    stale = sum(cleared < at <= ended for at, _ in call.media)
    checks.check(stale == 0, "not one frame of audio between clear and the caller's last word", f"{stale} frames")
    again = next((at for at, audio in call.media if at > ended and is_speech(audio)), None)
    seen = milliseconds(None if again is None else again - ended)
    if answer:
        checks.check(again is not None, "after the caller's last word the gateway speaks again", seen)
    else:
        print(f"       the gateway speaks again: {seen}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run streamdouble against a Twilio media-stream URL.")
    parser.add_argument("url", help="such as ws://127.0.0.1:8080/twilio/media")
    parser.add_argument("--clip", type=Path, default=QUESTION, help="what the caller says, an 8 kHz mono WAV")
    parser.add_argument("--no-answer", action="store_true", help="the script has no line to say after an interruption")
    options = parser.parse_args()
    checks = Checks()
    read_clip(options.clip)
    with tempfile.TemporaryDirectory() as folder:
        try:
            code, figures, trace = run(options.url, options.clip, Path(folder))
        except subprocess.TimeoutExpired:
            checks.check(False, "the simulator ends by itself", f"still running after {CALL_SECONDS_MAX} s")
            return checks.finish()
        call = read(trace)
    judge_greeting(checks, call)
    judge_interruption(checks, call, answer=not options.no_answer)
    violations = figures.get("violations")
    lawful = violations == [] and call.unreadable == 0
    checks.check(lawful, "the simulator finds no breach of the protocol", str(violations))
    checks.check(figures.get("closed_by") is None and bool(figures), "the call lasts until the caller hangs up")
    pacing = figures.get("pacing")
    late = pacing.get("mean_lateness_ms") if isinstance(pacing, dict) else None
    checks.check(code == 0, "the simulator's own verdict", f"exit {code}; its frames left {late} ms late on average")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
