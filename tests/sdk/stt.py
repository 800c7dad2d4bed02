"""Drives a running `trunkline emulate stt` with the vendors' own Python SDKs.

    python tests/sdk/stt.py ws://127.0.0.1:9200

Each SDK streams a recorded caller of fixtures/audio in pieces of 20 ms, faster than real time, and what it understands is
compared with what is said in the clip. The server must know its built-in script. If it was started with `--api-key`, the
key is taken from STT_API_KEY. Every wait is limited. The last line is "N passed, M failed".
"""

import asyncio
import json
import os
import sys
import traceback
import wave
from pathlib import Path

# tests/sdk holds a file with the name of a package that is imported here; the folder must not be searched for it.
sys.path = [entry for entry in sys.path if os.path.abspath(entry or ".") != os.path.dirname(os.path.abspath(__file__))]

import cartesia  # noqa: E402  (the path has to be mended first)
import deepgram  # noqa: E402
import gradium.client  # noqa: E402

CHECK_SECONDS = 60
KEY = os.environ.get("STT_API_KEY", "any-key")
CLIPS = Path(__file__).resolve().parents[2] / "fixtures" / "audio"
QUESTION = "Which folder should I save the message to?"
THANKS = "Thank you."


def mulaw(sample):
    """One 16-bit sample as G.711 mu-law, by its definition. (The standard library's module is gone from Python 3.13.)"""
    magnitude = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
    segment = magnitude.bit_length() - 6
    return (0 if sample < 0 else 0x80) | (0x7F - (segment << 4 | (magnitude >> segment + 1 & 15)))


def linear(clip):
    with wave.open(str(CLIPS / clip)) as file:
        assert file.getframerate() == 8000 and file.getnchannels() == 1 and file.getsampwidth() == 2
        return file.readframes(file.getnframes())


def telephone(clip):
    samples = linear(clip)
    pairs = range(0, len(samples), 2)
    return bytes(mulaw(int.from_bytes(samples[at : at + 2], "little", signed=True)) for at in pairs)


def pieces(audio, size=160):
    return [audio[at : at + size] for at in range(0, len(audio), size)]


def silence(ms):
    return b"\xff" * (8 * ms)


async def played(send, audio):
    for piece in pieces(audio):
        await send(piece)
        # Ten times real time, so that answers come while audio is still going out.
        await asyncio.sleep(0.002)


def cartesia_client(url):
    return cartesia.AsyncCartesia(
        api_key=KEY, base_url=url.replace("ws", "http", 1), websocket_base_url=url, max_retries=0
    )


async def cartesia_turns(url):
    async with cartesia_client(url) as client:
        socket = client.stt.auto_finalize.websocket(
            model="ink-2", encoding="pcm_mulaw", sample_rate=8000, keyterm=["folder"], turn_end_timeout_ms=2000
        )
        async with socket as connection:
            audio = silence(300) + telephone("question.wav") + silence(1500) + telephone("thank-you.wav")
            sending = asyncio.create_task(played(connection.send_raw, audio + silence(1500)))
            events = []
            async for event in connection:
                events.append(event)
                if sum(event.type == "turn.end" for event in events) == 2:
                    await sending
                    await connection.send({"type": "close"})
                    break
    kinds = [event.type for event in events]
    assert kinds[:3] == ["connected", "turn.start", "turn.update"], kinds
    assert kinds.count("turn.eager_end") == 2, kinds
    ends = [event.transcript for event in events if event.type == "turn.end"]
    assert ends == [QUESTION, THANKS], ends
    updates = [event.transcript for event in events if event.type == "turn.update"]
    assert updates[0] == "Which" and updates[7] == QUESTION, updates
    assert len({event.request_id for event in events}) == 1


async def cartesia_manual(url):
    async with cartesia_client(url) as client:
        socket = client.stt.manual_finalize.websocket(
            model="ink-2", encoding="pcm_s16le", sample_rate=8000, language="en"
        )
        async with socket as connection:
            audio = linear("question.wav")
            events = []
            for piece in pieces(audio[: len(audio) // 2 & ~1], 320):
                await connection.send_raw(piece)
            await connection.send("finalize")
            while not events or events[-1].type != "flush_done":
                events.append(await connection.recv())
            for piece in pieces(audio[len(audio) // 2 & ~1 :], 320):
                await connection.send_raw(piece)
            await connection.send("close")
            while events[-1].type != "done":
                events.append(await connection.recv())
    finals = [event for event in events if event.type == "transcript" and event.is_final]
    assert len(finals) == 2, [event.type for event in events]
    assert "".join(event.text for event in finals).strip() == QUESTION, [event.text for event in finals]
    assert all(event.language == "en" and event.duration > 1 for event in finals)
    assert any(not event.is_final for event in events if event.type == "transcript")


async def cartesia_error(url):
    async with cartesia_client(url) as client:
        socket = client.stt.manual_finalize.websocket(model="ink-2", encoding="pcm_mulaw", sample_rate=8000)
        async with socket as connection:
            await connection.send_raw("hello?")
            event = await connection.recv()
    assert event.type == "error" and event.status_code == 400 and event.title and event.message, event


def deepgram_client(url):
    base = url.replace("ws", "http", 1)
    environment = deepgram.DeepgramClientEnvironment(base=base, production=url, agent=url, agent_rest=base)
    return deepgram.AsyncDeepgramClient(api_key=KEY, environment=environment)


async def deepgram_nova(url):
    options = dict(
        model="nova-3", encoding="mulaw", sample_rate=8000, channels=1, interim_results="true", endpointing=300,
        utterance_end_ms=1000, vad_events="true", smart_format="true",
    )
    async with deepgram_client(url).listen.v1.connect(**options) as connection:
        await connection.send_keep_alive()
        audio = silence(300) + telephone("question.wav") + silence(1500) + telephone("thank-you.wav")
        sending = asyncio.create_task(played(connection.send_media, audio))
        messages = []
        async for message in connection:
            messages.append(message)
            if message.type == "UtteranceEnd":
                await sending
                await connection.send_finalize()
            if message.type == "Results" and message.from_finalize:
                await connection.send_close_stream()
    kinds = [message.type for message in messages]
    assert kinds[0] == "SpeechStarted" and kinds.count("UtteranceEnd") == 1 and kinds[-1] == "Metadata", kinds
    results = [message for message in messages if message.type == "Results"]
    finals = [result.channel.alternatives[0] for result in results if result.is_final]
    texts = [final.transcript for final in finals if final.transcript]
    assert texts == [QUESTION, THANKS], texts
    assert [result.speech_final for result in results if result.is_final][:1] == [True]
    assert [word.word for word in finals[0].words][:2] == ["which", "folder"]
    assert finals[0].words[7].punctuated_word == "to?"
    assert any(not result.is_final for result in results)
    assert messages[-1].duration > 5 and messages[-1].channels == 1


async def deepgram_flux(url):
    options = dict(
        model="flux-general-en", encoding="mulaw", sample_rate=8000, eot_threshold=0.7, eager_eot_threshold=0.4,
        eot_timeout_ms=5000,
    )
    async with deepgram_client(url).listen.v2.connect(**options) as connection:
        audio = silence(300) + telephone("question.wav") + silence(1500) + telephone("thank-you.wav")
        sending = asyncio.create_task(played(connection.send_media, audio))
        messages = []
        async for message in connection:
            messages.append(message)
            event = getattr(message, "event", None)
            if event == "EndOfTurn" and message.turn_index == 0:
                await connection.send_configure({"type": "Configure", "thresholds": {"eot_threshold": 0.8}})
            if message.type == "ConfigureSuccess":
                await sending
                await connection.send_force_end_turn()
            if event == "EndOfTurn" and message.turn_index == 1:
                await connection.send_close_stream()
    assert messages[0].type == "Connected", messages[0]
    assert [message.sequence_id for message in messages] == list(range(len(messages)))
    infos = [message for message in messages if message.type == "TurnInfo"]
    ends = [(info.transcript, info.trigger) for info in infos if info.event == "EndOfTurn"]
    assert ends == [(QUESTION, "model"), (THANKS, "manual")], ends
    events = {info.event for info in infos}
    assert events == {"StartOfTurn", "Update", "EagerEndOfTurn", "EndOfTurn"}, events
    success = next(message for message in messages if message.type == "ConfigureSuccess")
    assert success.thresholds.eot_threshold == 0.8 and success.thresholds.eager_eot_threshold == 0.4


async def deepgram_without_a_key(url):
    base = url.replace("ws", "http", 1)
    environment = deepgram.DeepgramClientEnvironment(base=base, production=url, agent=url, agent_rest=base)
    client = deepgram.AsyncDeepgramClient(api_key="", environment=environment)
    try:
        async with client.listen.v1.connect(model="nova-3", encoding="mulaw", sample_rate=8000):
            pass
    except Exception as refused:
        assert "401" in str(refused) or getattr(refused, "status_code", None) == 401, refused
    else:
        raise AssertionError("it was let in")


def gradium_client(url):
    return gradium.client.GradiumClient(base_url=url.replace("ws", "http", 1) + "/api/", api_key=KEY)


async def gradium_realtime(url):
    config = {"language": "en", "delay_in_frames": 10}
    socket = gradium_client(url).stt_realtime(
        input_format="ulaw_8000", json_config=config, wait_for_ready_on_start=True
    )
    async with socket as stt:
        assert stt.ready["delay_in_frames"] == 10, stt.ready
        sending = asyncio.create_task(played(stt.send_audio, telephone("question.wav") + silence(1000)))
        messages, flushed = [], False
        async for message in stt:
            messages.append(message)
            calm = message["type"] == "step" and message["vad"][3]["inactivity_prob"] > 0.5
            if calm and message["total_duration_s"] > 3 and not flushed:
                flushed = True
                await stt.send_flush(flush_id=7)
            if message["type"] == "flushed":
                await sending
                await stt.send_eos()
    words = [message["text"] for message in messages if message["type"] == "text"]
    assert " ".join(words) == QUESTION, words
    kinds = [message["type"] for message in messages]
    assert kinds.count("end_text") == 8 and kinds[-1] == "end_of_stream", kinds[-3:]
    assert next(message for message in messages if message["type"] == "flushed")["flush_id"] == 7


async def gradium_whole(url):
    setup = {"model_name": "default", "input_format": "ulaw_8000"}
    result = await gradium_client(url).stt(setup, telephone("thank-you.wav"))
    assert result.text == THANKS, result


async def gradium_error(url):
    async with gradium_client(url).stt_realtime(input_format="opus") as stt:
        try:
            await stt.recv()
        except RuntimeError as refused:
            assert json.dumps("scripted")[1:-1] in str(refused), refused
        else:
            raise AssertionError("it was accepted")


CHECKS = [
    cartesia_turns,
    cartesia_manual,
    cartesia_error,
    deepgram_nova,
    deepgram_flux,
    deepgram_without_a_key,
    gradium_realtime,
    gradium_whole,
    gradium_error,
]


async def main(url):
    passed = failed = 0
    for check in CHECKS:
        try:
            await asyncio.wait_for(check(url.rstrip("/")), CHECK_SECONDS)
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
        sys.exit("usage: stt.py ws://HOST:PORT")
    sys.exit(asyncio.run(main(sys.argv[1])))
