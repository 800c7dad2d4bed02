#!/usr/bin/env python3
"""A ConversationRelay app on Twilio's own framework, `twilio-agent-connect`, in its relay-only mode.

    relay_app.py PORT LOG

Its server, its check of signatures, its reading and writing of messages and its dropping of an answer that was cut off are
all the framework's. Ours is what it answers, word by word, and LOG: a line of JSON for each thing it was told.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from tac import TAC, TACConfig
from tac.channels.voice import VoiceChannel
from tac.models.session import ConversationSession
from tac.models.voice import InterruptMessage
from tac.server import TACFastAPIServer, TACServerConfig

#: At least ten seconds of speech, so that there is something to cut off.
LONG = (
    "You can save it to any folder that you like, and I will gladly go through all of them with you now. There is the inbox, "
    "there is the archive, there is the folder for old friends, and there is the one that nobody ever opens at all."
)
SHORT = "I am sorry to hear that. I will ask somebody to call you back."
#: From one word to the next.
WORD_SECONDS = 0.02


def app(port: int, log: Path) -> TACFastAPIServer:
    tac = TAC(
        config=TACConfig(
            account_sid="AC00000000000000000000000000000001",
            auth_token=os.environ["TWILIO_AUTH_TOKEN"],
            api_key="SK00000000000000000000000000000001",
            api_secret="never used: nothing is asked of Twilio's REST API",
            phone_number="+15550100002",
            voice_public_domain=f"127.0.0.1:{port}",
        )
    )
    voice = VoiceChannel(tac)

    def note(**what: object) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")

    async def answer(text: str) -> AsyncGenerator[str, None]:
        for number, word in enumerate(text.split(" ")):
            yield word if number == 0 else f" {word}"
            await asyncio.sleep(WORD_SECONDS)

    async def on_message(message: str, session: ConversationSession, _memory: object) -> None:
        caller = session.author_info.address if session.author_info else None
        note(prompt=message, call=session.call_sid, caller=caller)
        await voice.send_response(session.conversation_id, answer(LONG if "folder" in message else SHORT))

    def on_interrupt(_session: ConversationSession, message: InterruptMessage) -> None:
        note(interrupt=message.utterance_until_interrupt, ms=message.duration_until_interrupt_ms)

    async def on_end(session: ConversationSession) -> None:
        note(ended=session.call_sid)

    tac.on_message_ready(on_message)
    tac.on_interrupt(on_interrupt)
    tac.on_conversation_ended(on_end)
    return TACFastAPIServer(tac=tac, config=TACServerConfig(host="127.0.0.1", port=port), voice_channel=voice)


if __name__ == "__main__":
    # The framework tells its makers of every event unless it is told not to.
    os.environ["TAC_ANALYTICS_DISABLED"] = "true"
    app(int(sys.argv[1]), Path(sys.argv[2])).start()
