#!/usr/bin/env python3
"""A whole call with a ConversationRelay app that somebody else wrote: two questions, two interruptions.

    relay.py TRUNKLINE                          relay_app.py, which checks signatures; what it was told is checked as well
    relay.py TRUNKLINE --app URL [--llm PORT]   whatever listens at URL (ws://...)

Starts the scripted recogniser and a gateway whose agent is the app, then makes one call with the emulated carrier. The caller
speaks into the greeting, then into the answer. `--llm` starts the emulated language model on that port, for apps that want one;
started before, they find it by OPENAI_BASE_URL.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

from phone import Checks

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "audio"
GREETING = (
    "Hello, and thank you for calling. This greeting goes on for quite a while, so that whoever calls has something to speak "
    "into, and can find out that it falls silent at once."
)
#: What the caller says, and when each of them begins, in seconds from the first.
QUESTION, COMPLAINT = "Which folder should I save the message to?", "Something is terribly wrong!"
CALLER = [("question.wav", 0.0), ("wrong.wav", 7.5)]
#: For apps that ask a language model: a long answer to the question, a short one to the rest.
LLM_SCRIPT = """
[[rule]]
hears = ["folder"]
says = "You can save it to any folder that you like, and I will gladly go through all of them with you now. There is the \
inbox, there is the archive, there is the folder for old friends, and there is the one that nobody ever opens at all."

[[rule]]
says = "I am sorry to hear that. I will ask somebody to call you back."
"""
#: Checked by Twilio's own validator in the app.
TOKEN = "12345"
#: From the caller's first loud sample to `clear`.
CLEAR_MS_MAX = 1_500
START_SECONDS_MAX = 30
CALL_SECONDS_MAX = 90


class Started:
    """A server, until the end of the `with`."""

    def __init__(self, folder: Path, *command: str, environment: dict[str, str] | None = None) -> None:
        self.log = folder / f"{Path(command[1]).name}-{command[2]}.log"
        self.file = self.log.open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self.file,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.file.close()

    def url(self, pattern: str) -> str:
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(pattern, self.log.read_text(encoding="utf-8"))
            if found:
                return found.group(0)
            time.sleep(0.1)
        sys.exit(f"no {pattern} from {self.log.name}:\n{self.log.read_text(encoding='utf-8')[-2000:]}")


def caller(folder: Path) -> Path:
    """One recording of all that the caller says, with the silences between."""
    path = folder / "caller.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 8_000, 0, "NONE", "not compressed"))
        for name, begins in CALLER:
            with wave.open(str(FIXTURES / name), "rb") as clip:
                out.writeframes(b"\0\0" * max(0, int(begins * 8_000) - out.tell()))
                out.writeframes(clip.readframes(clip.getnframes()))
    return path


def gateway_environment(app_url: str, stt_url: str, folder: Path) -> dict[str, str]:
    settings = {
        "SERVER__LISTEN": "127.0.0.1:0",
        "AGENT__KIND": "relay",
        "AGENT__RELAY__URL": app_url,
        "AGENT__RELAY__WELCOME_GREETING": GREETING,
        "HEARING__PROVIDER": "deepgram",
        "HEARING__DEEPGRAM__URL": stt_url,
        "HEARING__DEEPGRAM__API_KEY": "any-key-will-do",
        "TAPE__DIR": str(folder / "tapes"),
    }
    (folder / "tapes").mkdir()
    return {f"TRUNKLINE__{name}": value for name, value in settings.items()}


def call(trunkline: str, url: str, recording: Path) -> dict:
    arguments = [trunkline, "call", f"{url.replace('http', 'ws', 1)}/twilio/media", "--caller", str(recording), "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=CALL_SECONDS_MAX, check=False)
    if done.returncode != 0:
        sys.exit(f"the call failed:\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def check_tape(checks: Checks, trunkline: str, folder: Path) -> None:
    """The gateway recorded the call, redacted, and performs it again to the byte."""
    tapes = [str(tape) for tape in (folder / "tapes").glob("**/*.jsonl")]
    replay = [trunkline, "replay", "--check", *tapes]
    done = subprocess.run(replay, capture_output=True, text=True, timeout=CALL_SECONDS_MAX, check=False)
    checks.check(len(tapes) == 1 and done.returncode == 0, "its tape is performed again", (done.stdout + done.stderr).strip()[-300:])
    said = "".join(Path(tape).read_text(encoding="utf-8") for tape in tapes)
    checks.check("folder" not in said and "terribly" not in said, "and nothing that was said is on it")


def check_call(checks: Checks, report: dict) -> None:
    turn = report["caller_turns"][0]
    after = turn["clear_after_ms"]
    checks.check(turn["interrupts"] and after is not None and after < CLEAR_MS_MAX, "the greeting falls silent", f"{after} ms")
    checks.check(report["clears"] == 2, "greeting and answer are cut off", f"{report['clears']} clears")
    happenings = [entry["event"] for entry in report["timeline"]]
    last_clear = len(happenings) - 1 - happenings[::-1].index("clear") if "clear" in happenings else 0
    checks.check("speech_again" in happenings[last_clear:], "the second answer is spoken", " ".join(happenings))
    checks.check(report["warnings_total"] == 0, "no message breaks the protocol", str(report["warnings"] or ""))


def check_told(checks: Checks, log: Path) -> None:
    told = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    prompts = [line["prompt"] for line in told if "prompt" in line]
    checks.check(prompts == [QUESTION, COMPLAINT], "the app is told what the caller said", str(prompts))
    # The framework knows no conversation before the first prompt, and drops the interruption of the greeting.
    interrupts = [line for line in told if "interrupt" in line]
    checks.check(len(interrupts) == 1, "the app is told of the answer that was cut off", str(interrupts))
    for line in interrupts:
        heard, ms = line["interrupt"], line["ms"]
        checks.check("You can save it" in heard and "nobody ever opens" not in heard, "and what was heard of it", heard)
        checks.check(1_000 < ms < 10_000, "and how long", f"{ms} ms")


def talk(trunkline: str, app_url: str, token: str | None, llm_port: int | None, folder: Path) -> dict:
    (folder / "llm.toml").write_text(LLM_SCRIPT, encoding="utf-8")
    listen = ("--listen", f"127.0.0.1:{llm_port or 0}", "--script", str(folder / "llm.toml"))
    with (
        Started(folder, trunkline, "emulate", "llm", *listen) as model,
        Started(folder, trunkline, "emulate", "stt", "--listen", "127.0.0.1:0") as stt,
    ):
        model.url(r"http://127\.0\.0\.1:\d+")
        stt_url = stt.url(r"ws://127\.0\.0\.1:\d+") + "/v1/listen"
        environment = gateway_environment(app_url, stt_url, folder) | ({"TWILIO_AUTH_TOKEN": token} if token else {})
        # With a token alone, calls would have to be signed as well; only what the app is shown is of interest here.
        with Started(folder, trunkline, "serve", "--insecure", environment=environment) as gateway:
            return call(trunkline, gateway.url(r"http://127\.0\.0\.1:\d+"), caller(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trunkline")
    parser.add_argument("--app")
    parser.add_argument("--llm", type=int)
    arguments = parser.parse_args()
    checks, trunkline = Checks(), str(Path(arguments.trunkline).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.app:
            check_call(checks, talk(trunkline, arguments.app, None, arguments.llm, folder))
            check_tape(checks, trunkline, folder)
        else:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            program = (sys.executable, str(Path(__file__).with_name("relay_app.py")), str(port), str(folder / "told"))
            with Started(folder, *program, environment={"TWILIO_AUTH_TOKEN": TOKEN}) as app:
                app.url(r"Uvicorn running")
                report = talk(trunkline, f"ws://127.0.0.1:{port}/ws", TOKEN, arguments.llm, folder)
            check_call(checks, report)
            check_told(checks, folder / "told")
            check_tape(checks, trunkline, folder)
    sys.exit(checks.finish())


if __name__ == "__main__":
    main()
