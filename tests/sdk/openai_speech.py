"""Drives a running `trunkline emulate speech` with OpenAI's own Python SDK.

    python tests/sdk/openai_speech.py http://127.0.0.1:9200/v1

The server should be started with `--max-contexts 2`, and send audio so slowly (`--speed-factor 4`) that there is something to
cancel. If it was started with `--api-key`, the key is taken from the environment variable OPENAI_API_KEY. Every wait is
limited. The last line is "N passed, M failed".
"""

import asyncio
import base64
import json
import os
import sys
import time
import traceback
import urllib.request

import openai
from openai import AsyncOpenAI

WAIT_SECONDS = 20
CHECK_SECONDS = 60
KEY = os.environ.get("OPENAI_API_KEY", "any-key")
RATE = 24_000
TEXT = "Your appointment is on Tuesday at ten. Please bring your papers with you."


def asked(text=TEXT, **more):
    return {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": text, "response_format": "pcm", **more}


def streamed(client, request):
    return client.audio.speech.with_streaming_response.create(**request)


async def journal(client):
    url = str(client.base_url).removesuffix("/").removesuffix("/v1") + "/journal"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})

    def fetch():
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return json.load(answer)["requests"]

    return await asyncio.to_thread(fetch)


async def ended(client):
    """The journal's last request, once it has ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        last = (await journal(client))[-1]
        if last["ended"]:
            return last
        await asyncio.sleep(0.02)
    raise AssertionError("the request did not end in time")


async def speech_is_streamed(client):
    began, first, audio = time.monotonic(), None, b""
    async with streamed(client, asked(instructions="Speak calmly.", speed=1.25)) as response:
        assert response.headers["content-type"] == "audio/pcm", response.headers
        async for piece in response.iter_bytes():
            first = first or time.monotonic() - began
            audio += piece
    whole = time.monotonic() - began
    last = await ended(client)
    assert len(audio) == last["samples"] * 2 and last["samples"] > RATE, (len(audio), last["samples"])
    assert any(audio), "silence"
    assert first < whole / 2, (first, whole)
    assert (last["input"], last["instructions"], last["speed"]) == (TEXT, "Speak calmly.", 1.25), last
    assert last["ended"]["how"] == "complete", last["ended"]


async def speech_comes_whole(client):
    answer = await client.audio.speech.create(**asked("Short.", response_format="wav"))
    assert answer.content[:4] == b"RIFF" and len(answer.content) > RATE // 2, len(answer.content)


async def speech_comes_as_events(client):
    audio, done = b"", None
    async with streamed(client, asked("Short.", stream_format="sse")) as response:
        async for line in response.iter_lines():
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                audio += base64.b64decode(event.get("audio", ""))
                done = event if event["type"] == "speech.audio.done" else done
    assert len(audio) == (await ended(client))["samples"] * 2
    assert done["usage"]["total_tokens"] == 2, done


async def refusals_are_typed(client):
    for wrong, param in [({"response_format": "mp3"}, "response_format"), ({"speed": 9}, "speed")]:
        try:
            await client.audio.speech.create(**asked(**wrong))
        except openai.BadRequestError as raised:
            assert (raised.param, raised.code) == (param, "invalid_value"), raised
        else:
            raise AssertionError(f"{wrong} was taken")


async def too_many_at_once_are_refused_and_tried_again(client):
    async with streamed(client, asked()), streamed(client, asked()):
        try:
            await client.audio.speech.create(**asked("Short."))
        except openai.RateLimitError as raised:
            assert raised.response.headers["retry-after"] == "1"
        else:
            raise AssertionError("no RateLimitError")
    again = await client.with_options(max_retries=3).audio.speech.create(**asked("Short."))
    assert len(again.content) > RATE // 2


async def a_cancel_is_seen_by_the_server(client):
    async with streamed(client, asked()) as response:
        async for _ in response.iter_bytes():
            break
    last = await ended(client)
    assert last["ended"]["how"] == "cancelled", last["ended"]
    assert 0 < last["samples_sent"] < last["samples"], last


CHECKS = [
    speech_is_streamed,
    speech_comes_whole,
    speech_comes_as_events,
    refusals_are_typed,
    too_many_at_once_are_refused_and_tried_again,
    a_cancel_is_seen_by_the_server,
]


async def main(url):
    passed = failed = 0
    for check in CHECKS:
        try:
            async with AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0, timeout=WAIT_SECONDS) as client:
                await asyncio.wait_for(check(client), CHECK_SECONDS)
        except (Exception, asyncio.CancelledError):
            failed += 1
            print(f"FAILED {check.__name__}")
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"ok     {check.__name__}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: openai_speech.py http://HOST:PORT/v1")
    sys.exit(asyncio.run(main(sys.argv[1])))
