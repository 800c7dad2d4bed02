"""Drives a running `trunkline emulate llm --script tests/sdk/openai_sdk.toml` with OpenAI's own Python SDK.

    python tests/sdk/openai_sdk.py http://127.0.0.1:9100/v1

If the server was started with `--api-key`, the key is taken from the environment variable OPENAI_API_KEY. Tokens should
come at least 10 ms apart, so that there is something to cancel. Every wait is limited. The last line is
"N passed, M failed".
"""

import asyncio
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
STORY_BEGINS = "Once upon a time"


def tool(name):
    parameters = {"type": "object", "properties": {"day": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": "A tool.", "parameters": parameters}}


TOOLS = [tool("book_appointment"), tool("end_call")]


def asked(text, **more):
    return {"model": "any-model", "messages": [{"role": "user", "content": text}], **more}


async def streamed(client, request):
    """The text of a stream and its last `finish_reason`."""
    text, finish = "", None
    async for chunk in await client.chat.completions.create(**request, stream=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return text, finish


async def journal(client):
    url = str(client.base_url).removesuffix("/").removesuffix("/v1") + "/journal"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})

    def fetch():
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return json.load(answer)["exchanges"]

    return await asyncio.to_thread(fetch)


async def ended(client):
    """The journal's last exchange, once it has ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        last = (await journal(client))[-1]
        if last["ended"]:
            return last
        await asyncio.sleep(0.02)
    raise AssertionError("the exchange did not end in time")


async def an_answer_is_streamed_and_counted(client):
    text, chunks, usage = "", 0, None
    request = asked("Hello there", stream=True, stream_options={"include_usage": True}, temperature=0.3)
    async for chunk in await client.chat.completions.create(**request):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            chunks += bool(choice.delta.content)
    assert text == "You said: Hello there", text
    assert chunks == usage.completion_tokens == 5, (chunks, usage)
    assert usage.total_tokens == usage.prompt_tokens + 5


async def an_answer_comes_whole(client):
    completion = await client.chat.completions.create(**asked("Hello there"), max_completion_tokens=4)
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("You said: Hello", "length"), choice
    assert completion.id.startswith("chatcmpl-") and completion.usage.completion_tokens == 4


async def tool_calls_are_put_together_from_pieces(client):
    request = asked("Please book.", tools=TOOLS, stream=True)
    calls, pieces, finish, text = {}, 0, None, ""
    async for chunk in await client.chat.completions.create(**request):
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or []:
            so_far = calls.setdefault(call.index, {"id": None, "name": "", "arguments": ""})
            so_far["id"] = so_far["id"] or call.id
            so_far["name"] += call.function.name or ""
            so_far["arguments"] += call.function.arguments or ""
            pieces += 1
    assert (text, finish) == ("One moment.", "tool_calls"), (text, finish)
    assert [call["name"] for call in calls.values()] == ["book_appointment", "end_call"], calls
    assert json.loads(calls[0]["arguments"]) == {"day": "Tuesday", "time": "10:00", "who": "Zo\u00eb"}, calls
    assert pieces > 10 and json.loads(calls[1]["arguments"]) == {}

    # The SDK's own accumulation agrees, and its message is taken back with the results.
    async with client.chat.completions.stream(**asked("Please book.", tools=TOOLS)) as stream:
        final = await stream.get_final_completion()
    message = final.choices[0].message
    assert [call.function.arguments for call in message.tool_calls] == [call["arguments"] for call in calls.values()]
    whole = await client.chat.completions.create(**asked("Please book.", tools=TOOLS))
    assert whole.choices[0].finish_reason == "tool_calls"
    message = whole.choices[0].message
    messages = [{"role": "user", "content": "Please book."}, message]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "{}"} for call in reversed(message.tool_calls)]
    text, finish = await streamed(client, {"model": "any-model", "messages": messages, "tools": TOOLS})
    assert (text, finish) == ("That is booked.", "stop"), text


async def errors_before_the_stream_are_typed(client):
    for request, error, param in [
        ({"model": "m", "messages": []}, openai.BadRequestError, "messages"),
        (asked("x", stream=True, extra_body={"keep_alive": 5}), openai.BadRequestError, "keep_alive"),
        ({"model": "m", "messages": [{"role": "tool", "tool_call_id": "1", "content": ""}]}, openai.BadRequestError,
         "messages[0].tool_call_id"),
        (asked("It is broken.", stream=True), openai.InternalServerError, None),
    ]:
        try:
            await client.chat.completions.create(**request)
        except error as raised:
            assert raised.param == param, raised
        else:
            raise AssertionError(f"no {error.__name__} for {request}")


async def too_many_requests_are_tried_again_later(client):
    try:
        await client.chat.completions.create(**asked("You ask too often."))
    except openai.RateLimitError as raised:
        assert raised.response.headers["retry-after"] == "1" and raised.code == "rate_limit_exceeded"
    else:
        raise AssertionError("no RateLimitError")
    assert (await streamed(client, asked("You ask too often.")))[0] == "Now it works."


async def errors_in_the_stream_are_raised(client):
    for words, error in [
        ("error in the middle", openai.APIError),
        ("named error", openai.APIError),
        ("cut", openai.APIConnectionError),
    ]:
        text = ""
        try:
            async for chunk in await client.chat.completions.create(**asked(words), stream=True):
                text += chunk.choices[0].delta.content or ""
        except error:
            assert text == "One two three", (words, text)
            assert (await ended(client))["ended"]["how"] == "failed"
        else:
            raise AssertionError(f"{words}: nothing was raised")


async def a_silent_server_is_left(client):
    try:
        await streamed(client.with_options(timeout=0.3), asked("Be silent."))
    except openai.APITimeoutError:
        last = await ended(client)
        assert (last["ended"]["how"], last["tokens_sent"], last["status"]) == ("cancelled", 0, 200), last
    else:
        raise AssertionError("the silence ended")


async def oddities_are_read_as_they_are_meant(client):
    said = await streamed(client, asked("Something odd."))
    assert said == ("Le caf\u00e9 est l\u00e0, \U0001f600 voil\u00e0.", "stop"), said
    assert await streamed(client, asked("Say nothing.")) == ("", "stop")


async def a_cancel_is_seen_by_the_server(client):
    text = ""
    stream = await client.chat.completions.create(**asked("Tell me a long story."), stream=True)
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        if text == STORY_BEGINS:
            break
    await stream.close()
    last = await ended(client)
    assert last["ended"]["how"] == "cancelled", last["ended"]
    assert last["text_sent"].startswith(STORY_BEGINS) and last["tokens_sent"] < last["tokens_planned"] // 2, last
    assert last["messages"] == [{"role": "user", "content": "Tell me a long story."}]


async def models_are_listed(client):
    models = [model.id async for model in await client.models.list()]
    assert models and (await client.models.retrieve(models[0])).id == models[0]
    try:
        await client.models.retrieve("no-such-model")
    except openai.NotFoundError as raised:
        assert raised.code == "model_not_found"
    else:
        raise AssertionError("no NotFoundError")


CHECKS = [
    an_answer_is_streamed_and_counted,
    an_answer_comes_whole,
    tool_calls_are_put_together_from_pieces,
    errors_before_the_stream_are_typed,
    too_many_requests_are_tried_again_later,
    errors_in_the_stream_are_raised,
    a_silent_server_is_left,
    oddities_are_read_as_they_are_meant,
    a_cancel_is_seen_by_the_server,
    models_are_listed,
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
        sys.exit("usage: openai_sdk.py http://HOST:PORT/v1")
    sys.exit(asyncio.run(main(sys.argv[1])))
