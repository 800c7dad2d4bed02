"""Drives a running `trunkline emulate cartesia` with the vendor's own Python SDK.

    python tests/sdk/cartesia.py ws://127.0.0.1:9000

The server must know at least the voice "sdk-check" and, if it was started with `--api-key`, the key is taken from the
environment variable CARTESIA_API_KEY. Every wait is limited. The last line is "N passed, M failed".
"""

import asyncio
import os
import sys
import time
import traceback

# This file has the name of the package that it imports; its folder must not be searched for it.
sys.path = [entry for entry in sys.path if os.path.abspath(entry or ".") != os.path.dirname(os.path.abspath(__file__))]

from cartesia import AsyncCartesia  # noqa: E402  (the path has to be mended first)

WAIT_SECONDS = 20
CHECK_SECONDS = 60
VOICE = {"mode": "id", "id": "sdk-check"}
MULAW = {"container": "raw", "encoding": "pcm_mulaw", "sample_rate": 8000}
S16 = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000}


def client_for(url):
    base = url.rstrip("/").removesuffix("/tts/websocket")
    return AsyncCartesia(
        api_key=os.environ.get("CARTESIA_API_KEY", "any-key"),
        base_url=base.replace("ws", "http", 1),
        websocket_base_url=base,
        max_retries=0,
    )


def context_of(connection, output_format, **more):
    return connection.context(
        timeout=WAIT_SECONDS,
        model_id="sonic-3",
        voice=VOICE,
        language="en",
        output_format=output_format,
        max_buffer_delay_ms=0,
        **more,
    )


async def received(context):
    return [event async for event in context.receive()]


def audio(events):
    return b"".join(event.audio for event in events if event.type == "chunk")


def kinds(events):
    return [event.type for event in events]


def words(events):
    times = [event.word_timestamps for event in events if event.type == "timestamps"]
    return [word for time in times for word in zip(time.words, time.start, time.end, strict=True)]


async def push_flush_push_and_end(client):
    async with client.tts.websocket_connect() as connection:
        context = context_of(connection, MULAW, add_timestamps=True)
        await context.push("Hello there. ")
        await context.push("", flush=True)
        await context.push("Your appointment is at 5 today.")
        await context.no_more_inputs()
        events = await received(context)
    assert kinds(events)[-1] == "done", kinds(events)
    flushed = kinds(events).index("flush_done")
    assert events[flushed].flush_id == 1 and events[flushed].flush_done is True
    assert kinds(events).count("flush_done") == 1
    assert all(event.flush_id == 1 for event in events[:flushed] if event.type == "chunk")
    assert all(event.flush_id == 2 for event in events[flushed:] if event.type == "chunk")
    assert audio(events[:flushed]) and audio(events[flushed:])
    spoken = words(events)
    bare = [word.strip(".,") for word, _, _ in spoken]
    assert bare == ["Hello", "there", "Your", "appointment", "is", "at", "5", "today"], bare
    edges = [edge for _, start, end in spoken for edge in (start, end)]
    assert edges == sorted(edges), edges
    assert edges[-1] <= len(audio(events)) / 8000, (edges[-1], len(audio(events)))


async def two_contexts_interleave(client):
    async with client.tts.websocket_connect() as connection:
        order = []

        async def speak(name, text):
            context = context_of(connection, S16)
            await context.push(text)
            await context.no_more_inputs()
            events = []
            async for event in context.receive():
                order.append(name)
                events.append(event)
            return events

        text = "This sentence is long enough to need a good many chunks of audio."
        first, second = await asyncio.gather(speak("a", text), speak("b", text))
    for events in (first, second):
        assert kinds(events)[-1] == "done" and len({event.context_id for event in events}) == 1
    assert {event.context_id for event in first}.isdisjoint({event.context_id for event in second})
    assert len(audio(first)) == len(audio(second)) > 32_000
    assert sum(one != other for one, other in zip(order, order[1:])) > 3, "".join(order)


async def a_cancel_stops_one_context_only(client):
    async with client.tts.websocket_connect() as connection:
        cancelled = context_of(connection, S16)
        await cancelled.push("A long story begins here, and it would take quite a while to tell all of it. " * 3)
        async for event in cancelled.receive():
            if event.type == "chunk":
                break
        started = time.monotonic()
        await cancelled.cancel()
        after = context_of(connection, S16)
        await after.push("Still here.")
        await after.no_more_inputs()
        events = await received(after)
        assert kinds(events)[-1] == "done" and audio(events)
        # At four times real time the story alone would take longer than this.
        assert time.monotonic() - started < 3


async def an_error_ends_its_context_only(client):
    async with client.tts.websocket_connect() as connection:
        wrong = context_of(connection, S16)
        await wrong.push("...")
        events = await received(wrong)
        assert kinds(events) == ["error"], kinds(events)
        error = events[0]
        assert error.status_code == 400 and error.done is True and error.title and error.request_id
        assert "punctuation" in error.error, error.error

        changed = context_of(connection, S16)
        await changed.push("One voice begins this sentence, ")
        await changed.push("another must not end it.", voice={"mode": "id", "id": "other"})
        events = await received(changed)
        assert kinds(events)[-1] == "error" and events[-1].status_code == 400, kinds(events)

        fine = context_of(connection, S16)
        await fine.push("All is well.")
        await fine.no_more_inputs()
        assert kinds(await received(fine))[-1] == "done"


async def an_older_version_in_the_query_wins(client):
    async with client.tts.websocket_connect(extra_query={"cartesia_version": "2026-03-01"}) as connection:
        context = context_of(connection, {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100})
        await context.push("Good morning.")
        await context.no_more_inputs()
        events = await received(context)
    assert kinds(events)[-1] == "done"
    assert len(audio(events)) % 4 == 0 and len(audio(events)) > 4 * 44100 // 2


async def two_version_headers_are_tolerated(client):
    async with client.tts.websocket_connect(extra_headers={"Cartesia-Version": "2026-03-01"}) as connection:
        context = context_of(connection, MULAW)
        await context.push("Good evening.")
        await context.no_more_inputs()
        assert kinds(await received(context))[-1] == "done"


CHECKS = [
    push_flush_push_and_end,
    two_contexts_interleave,
    a_cancel_stops_one_context_only,
    an_error_ends_its_context_only,
    an_older_version_in_the_query_wins,
    two_version_headers_are_tolerated,
]


async def main(url):
    passed = failed = 0
    for check in CHECKS:
        try:
            async with client_for(url) as client:
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
        sys.exit("usage: cartesia.py ws://HOST:PORT")
    sys.exit(asyncio.run(main(sys.argv[1])))
