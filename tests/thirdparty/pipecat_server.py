"""A media-stream server made of pipecat, for `trunkline call` to be tried against.

It says a 440 Hz tone for 20 seconds. When the caller becomes loud it interrupts itself, as pipecat does for a speaking
user, and 400 ms after the caller has fallen silent it says a 1000 Hz tone for 3 seconds.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python pipecat_server.py 8765
    trunkline call ws://127.0.0.1:8765/media --caller SPEECH.wav --wav call.wav
"""

import asyncio
import sys

import numpy
import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import InputAudioRawFrame, StartFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

RATE = 8000
LOUD = 2000  # of 32768
QUIET_SECONDS = 0.4

app = FastAPI()


def tone(hertz, seconds):
    wave = 8000 * numpy.sin(2 * numpy.pi * hertz * numpy.arange(int(seconds * RATE)) / RATE)
    return TTSAudioRawFrame(audio=wave.astype("<i2").tobytes(), sample_rate=RATE, num_channels=1)


class ToneSpeaker(FrameProcessor):
    def __init__(self):
        super().__init__()
        self.caller_speaks = False
        self.quiet_since = None

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.push_frame(tone(440, 20))
        elif isinstance(frame, InputAudioRawFrame):
            await self.listen(numpy.frombuffer(frame.audio, dtype="<i2"))

    async def listen(self, samples):
        now = asyncio.get_running_loop().time()
        if numpy.abs(samples.astype(int)).max() >= LOUD:
            self.quiet_since = now
            if not self.caller_speaks:
                self.caller_speaks = True
                await self.broadcast_interruption()
        elif self.caller_speaks and now - self.quiet_since >= QUIET_SECONDS:
            self.caller_speaks = False
            await self.push_frame(tone(1000, 3))


@app.websocket("/media")
async def media(websocket: WebSocket):
    await websocket.accept()
    _, call = await parse_telephony_websocket(websocket)
    serializer = TwilioFrameSerializer(
        stream_sid=call["stream_id"],
        call_sid=call["call_id"],
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
    transport = FastAPIWebsocketTransport(websocket=websocket, params=params)
    pipeline = Pipeline([transport.input(), ToneSpeaker(), transport.output()])
    params = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    worker = PipelineWorker(pipeline, params=params)

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(_transport, _client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
