"""Drives the running emulators of voices with the vendors' own Python SDKs.

    python tests/sdk/tts.py gradium ws://127.0.0.1:9001/api/speech/tts
    python tests/sdk/tts.py deepgram ws://127.0.0.1:9003
    SSL_CERT_FILE=ca.pem python tests/sdk/tts.py elevenlabs wss://localhost:9002

Gradium's and Deepgram's SDKs do everything here by themselves. ElevenLabs' SDK always dials wss, hence the TLS and the
authority's certificate, and it speaks one context without ids (`stream-input`) only. It has the message types of the
multi-context socket, but no client for it: that one is driven by hand here, over `websockets`, with the SDK's own types for
what is sent and what is received. Every wait is limited. The last line is "N passed, M failed".
"""

import asyncio
import base64
import json
import os
import ssl
import sys
import traceback

# tests/sdk holds a file with the name of a package; the folder must not be searched for any.
sys.path = [entry for entry in sys.path if os.path.abspath(entry or ".") != os.path.dirname(os.path.abspath(__file__))]

CHECK_SECONDS = 60
KEY = os.environ.get("TTS_API_KEY", "any-key")


def words_in(text):
    return [word.strip(".,!?") for word in text.split()]


# --- Gradium -----------------------------------------------------------------------------------------------------------


def gradium_client(url):
    import gradium

    base = url.replace("ws", "http", 1).removesuffix("speech/tts")
    return gradium.client.GradiumClient(base_url=base, api_key=KEY)


def gradium_audio(messages):
    return b"".join(message["audio"] for message in messages if message["type"] == "audio")


async def gradium_realtime(url):
    config = {"padding_bonus": -0.5}
    setup = dict(voice_id="v", output_format="ulaw_8000", json_config=config)
    async with gradium_client(url).tts_realtime(**setup) as tts:
        await tts.send_text("Hello there. <flush>")
        await tts.send_text("Your appointment is at five today.")
        await tts.send_eos()
        messages = [message async for message in tts]
    kinds = [message["type"] for message in messages]
    assert kinds[0] == "ready" and kinds[-1] == "end_of_stream" and kinds.count("flushed") == 1, kinds
    assert tts.ready["sample_rate"] == 8000 and tts.ready["frame_size"] == 640, tts.ready
    spoken = [message["text"].strip(".") for message in messages if message["type"] == "text"]
    assert spoken == words_in("Hello there. Your appointment is at five today."), spoken
    audio = [message for message in messages if message["type"] == "audio"]
    assert all(one["stop_s"] == other["start_s"] for one, other in zip(audio, audio[1:]))
    assert abs(audio[-1]["stop_s"] - len(gradium_audio(messages)) / 8000) < 0.002
    edges = [(word["start_s"], word["stop_s"]) for word in messages if word["type"] == "text"]
    assert edges == sorted(edges) and edges[-1][1] <= audio[-1]["stop_s"], edges


async def gradium_waits_for_ready(url):
    setup = dict(voice_id="v", output_format="pcm_16000", wait_for_ready_on_start=True)
    async with gradium_client(url).tts_realtime(**setup) as tts:
        assert tts.ready["sample_rate"] == 16000 and tts.ready["request_id"], tts.ready
        await tts.send_text("Good morning.")
        await tts.send_eos()
        messages = [message async for message in tts]
    assert len(gradium_audio(messages)) > 16000 and messages[-1]["type"] == "end_of_stream"


async def gradium_multiplexed(url):
    texts = {"a": "This is what the first one has to say.", "b": "And this is said by the other one."}
    async with gradium_client(url).tts_realtime(send_setup_on_start=False) as tts:
        for name in texts:
            setup = dict(voice_id="v", output_format="pcm_8000", close_ws_on_eos=False, client_req_id=name)
            await tts.send_setup(setup)
        for name, text in texts.items():
            await tts.send_text(text, client_req_id=name)
            await tts.send_eos(client_req_id=name)
        messages, open_ids = [], set(texts)
        while open_ids:
            messages.append(await tts.recv())
            if messages[-1]["type"] == "end_of_stream":
                open_ids.remove(messages[-1]["client_req_id"])
        # An id that is over may be used again, on the same socket.
        await tts.send_setup(dict(voice_id="v", output_format="pcm_8000", close_ws_on_eos=False, client_req_id="a"))
        await tts.send_text("Once more.", client_req_id="a")
        await tts.send_eos(client_req_id="a")
        again = []
        while not again or again[-1]["type"] != "end_of_stream":
            again.append(await tts.recv())
        await tts.send_eos()
        assert await tts.recv() is None, "the socket did not close"
    order = "".join(message["client_req_id"] for message in messages if message["type"] == "audio")
    assert sum(one != other for one, other in zip(order, order[1:])) > 3, order
    for name, text in texts.items():
        mine = [message for message in messages if message["client_req_id"] == name]
        spoken = [message["text"].strip(".") for message in mine if message["type"] == "text"]
        assert spoken == words_in(text) and len(gradium_audio(mine)) > 16000, (name, spoken)
    assert gradium_audio(again)


async def gradium_whole(url):
    result = await gradium_client(url).tts(dict(voice_id="v", output_format="pcm_24000"), ["Good", "evening", "."])
    assert result.sample_rate == 24000 and len(result.pcm16()) > 12000
    assert [word.text for word in result.text_with_timestamps] == ["Good", "evening"], result.text_with_timestamps


async def gradium_error(url):
    async with gradium_client(url).tts_realtime(voice_id="v", output_format="nonsense") as tts:
        try:
            await tts.recv()
        except RuntimeError as refused:
            assert "1008" in str(refused), refused
        else:
            raise AssertionError("it was accepted")


# --- Deepgram ----------------------------------------------------------------------------------------------------------


def deepgram_client(url, key=KEY):
    import deepgram

    base = url.rstrip("/").replace("ws", "http", 1)
    environment = deepgram.DeepgramClientEnvironment(
        base=base, production=url.rstrip("/"), agent=url, agent_rest=base
    )
    return deepgram.AsyncDeepgramClient(api_key=key, environment=environment)


def kind_of(message):
    return "audio" if isinstance(message, bytes) else message.type


async def up_to(connection, kind):
    messages = []
    while not messages or kind_of(messages[-1]) != kind:
        messages.append(await connection.recv())
    return messages


def binary(messages):
    return b"".join(message for message in messages if isinstance(message, bytes))


async def deepgram_aura(url):
    from deepgram.speak.v1.types import SpeakV1Text

    options = dict(model="aura-2-thalia-en", encoding="mulaw", sample_rate=8000)
    async with deepgram_client(url).speak.v1.connect(**options) as connection:
        metadata = await connection.recv()
        assert metadata.type == "Metadata" and metadata.model_name == "aura-2-thalia-en" and metadata.request_id
        await connection.send_text(SpeakV1Text(type="Speak", text="Hello there. "))
        await connection.send_flush()
        first = await up_to(connection, "Flushed")
        assert first[-1].sequence_id == 0 and len(binary(first)) > 4000
        await connection.send_text(SpeakV1Text(type="Speak", text="A long story begins here, and it goes on. " * 4))
        await connection.send_flush()
        await up_to(connection, "audio")
        await connection.send_clear()
        cleared = await up_to(connection, "Cleared")
        assert cleared[-1].sequence_id == 1
        await connection.send_text(SpeakV1Text(type="Speak", text="After it."))
        await connection.send_flush()
        after = await up_to(connection, "Flushed")
        assert after[-1].sequence_id == 2 and 4000 < len(binary(after)) < 24000
        await connection.send_close()


async def deepgram_flushes_too_often(url):
    async with deepgram_client(url).speak.v1.connect(model="m", encoding="linear16", sample_rate=16000) as connection:
        for _ in range(21):
            await connection.send_flush()
        messages = await up_to(connection, "Warning")
        assert messages[-1].code and messages[-1].description
        await connection.send_close()


async def deepgram_flux(url):
    from deepgram.speak.v2.types import (
        SpeakV2Configure,
        SpeakV2Interrupt,
        SpeakV2InterruptPlaybackOffset,
        SpeakV2Speak,
    )

    options = dict(model="flux-haley-en", encoding="mulaw", sample_rate=8000)
    async with deepgram_client(url).speak.v2.connect(**options) as connection:
        connected = await connection.recv()
        assert connected.type == "Connected" and connected.model_uuids and connected.request_id
        await connection.send_speak(SpeakV2Speak(text="Good morning. "))
        await connection.send_flush()
        turn = await up_to(connection, "SpeechMetadata")
        kinds = [kind_of(message) for message in turn if kind_of(message) != "audio"]
        assert kinds == ["SpeechStarted", "Flushed", "SpeechMetadata"], kinds
        ids = {message.speech_id for message in turn if not isinstance(message, bytes)}
        assert len(ids) == 1 and ids.pop().startswith("dg_sp_")
        metadata = turn[-1]
        assert metadata.input_character_count == 14 and metadata.controls_applied.breaks_applied == 0
        assert abs(metadata.audio_duration_ms - len(binary(turn)) / 8) <= 1
        text = "Your appointment is on Tuesday. And much more could be said about it."
        await connection.send_speak(SpeakV2Speak(text=text))
        await connection.send_flush()
        await up_to(connection, "SpeechStarted")
        await up_to(connection, "audio")
        at = metadata.audio_duration_ms + 700
        offset = SpeakV2InterruptPlaybackOffset(type="time_ms", value=at)
        await connection.send_interrupt(SpeakV2Interrupt(playback_offset=offset))
        answer = (await up_to(connection, "SpeechInterrupted"))[-1]
        assert answer.audio_played_ms == at and answer.metadata.speech_id
        assert answer.text_spoken + answer.text_remaining == text and answer.text_spoken.startswith("Your"), answer
        await connection.send_interrupt(SpeakV2Interrupt(playback_offset=offset))
        assert (await connection.recv()).code == "INVALID_INTERRUPT_OFFSET"
        await connection.send_configure(SpeakV2Configure(speed=1.2))
        assert (await connection.recv()).applied.speed == 1.2
        await connection.send_close()
        session = await connection.recv()
        assert session.type == "SessionMetadata" and session.total_audio_duration_ms == at, session


async def deepgram_without_a_key(url):
    try:
        async with deepgram_client(url, key="").speak.v1.connect(model="m"):
            pass
    except Exception as refused:
        assert "401" in str(refused) or getattr(refused, "status_code", None) == 401, refused
    else:
        raise AssertionError("it was let in")


# --- ElevenLabs --------------------------------------------------------------------------------------------------------


async def elevenlabs_single_context(url):
    from elevenlabs import ElevenLabs, VoiceSettings

    client = ElevenLabs(api_key=KEY, base_url=url.replace("wss", "https", 1))

    def whole():
        audio = client.text_to_speech.convert_realtime(
            "voice",
            text=iter(["Hello there. ", "Your appointment is at five today."]),
            model_id="eleven_flash_v2_5",
            output_format="ulaw_8000",
            voice_settings=VoiceSettings(stability=0.5, similarity_boost=0.8),
        )
        return b"".join(audio)

    # The SDK's client is a blocking one.
    audio = await asyncio.to_thread(whole)
    assert len(audio) > 16000, len(audio)


def multi_url(url):
    query = "model_id=eleven_flash_v2_5&output_format=pcm_8000&sync_alignment=true&auto_mode=true&inactivity_timeout=60"
    return f"{url}/v1/text-to-speech/voice/multi-stream-input?{query}"


def multi_socket(url):
    from websockets.asyncio.client import connect

    trusted = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
    return connect(multi_url(url), additional_headers={"xi-api-key": KEY}, ssl=trusted)


async def say(socket, message):
    await socket.send(message.json(by_alias=False, exclude_none=True))


async def hear(socket):
    """A message as the SDK's types have it: audio of a context, or its end."""
    from elevenlabs.types import AudioOutputMulti, FinalOutputMulti

    message = json.loads(await socket.recv())
    if message.get("isFinal"):
        return FinalOutputMulti.model_validate(message)
    assert message.get("audio"), message
    return AudioOutputMulti.model_validate(message)


async def elevenlabs_two_contexts(url):
    from elevenlabs.types import CloseContext, CloseSocket, FlushContext, InitializeConnectionMulti, SendTextMulti

    texts = {"a": "This is what the first one has to say. ", "b": "And this is said by the other one. "}
    async with multi_socket(url) as socket:
        for name in texts:
            await say(socket, InitializeConnectionMulti(context_id=name, voice_settings={"stability": 0.5}))
        for name, text in texts.items():
            await say(socket, SendTextMulti(text=text, context_id=name))
            await say(socket, FlushContext(context_id=name, flush=True))
            await say(socket, CloseContext(context_id=name, close_context=True))
        spoken, audio, offset, order = ({name: empty for name in texts} for empty in ("", b"", 0, 0))
        changes, last, open_ids = 0, None, set(texts)
        while open_ids:
            message = await hear(socket)
            name = message.context_id
            if message.__class__.__name__ == "FinalOutputMulti":
                open_ids.remove(name)
                continue
            changes, last = changes + (name != last), name
            audio[name] += base64.b64decode(message.audio)
            alignment = message.alignment
            spoken[name] += "".join(alignment.chars)
            assert alignment.char_start_times_ms[0] == 0, alignment
            offset[name] += alignment.char_start_times_ms[-1] + alignment.char_durations_ms[-1]
        await say(socket, CloseSocket(close_socket=True))
        await socket.wait_closed()
        assert socket.close_code == 1000, socket.close_code
    assert changes > 4, changes
    for name, text in texts.items():
        assert words_in(spoken[name]) == words_in(text), spoken[name]
        assert abs(offset[name] - len(audio[name]) / 16) <= 1, (offset[name], len(audio[name]))


async def elevenlabs_sixth_context(url):
    from elevenlabs.types import KeepContextAlive, InitializeConnectionMulti

    async with multi_socket(url) as socket:
        for name in "abcde":
            await say(socket, InitializeConnectionMulti(context_id=name))
        await say(socket, KeepContextAlive(context_id="f"))
        error = json.loads(await socket.recv())
        assert error["code"] == 1008 and error["message"], error
        await socket.wait_closed()
        assert socket.close_code == 1008, socket.close_code


CHECKS = {
    "gradium": [gradium_realtime, gradium_waits_for_ready, gradium_multiplexed, gradium_whole, gradium_error],
    "deepgram": [deepgram_aura, deepgram_flushes_too_often, deepgram_flux, deepgram_without_a_key],
    "elevenlabs": [elevenlabs_single_context, elevenlabs_two_contexts, elevenlabs_sixth_context],
}


async def main(vendor, url):
    passed = failed = 0
    for check in CHECKS[vendor]:
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
    if len(sys.argv) != 3 or sys.argv[1] not in CHECKS:
        sys.exit(f"usage: tts.py {'|'.join(CHECKS)} URL")
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2])))
