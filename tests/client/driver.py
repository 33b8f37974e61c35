"""The official `openai` package, sync and async, behind one way to be called: a test is written once and holds for both.

    file = driver.done(driver.client.files.retrieve(file_id))
    for batch in driver.each(driver.client.batches.list()): ...
"""

import asyncio

import openai
from openai.pagination import AsyncCursorPage, SyncCursorPage

# What OpenAI sends in a list and its package has no field for.
LIST_EXTRAS = {"object", "first_id", "last_id"}


class Sync:
    name = "sync"
    page = SyncCursorPage

    def __init__(self, base_url, key, **options):
        self.client = openai.OpenAI(base_url=base_url, api_key=key, **options)

    def done(self, call):
        return call

    def each(self, pages):
        return iter(pages)

    def streamed(self, call):
        """Status, headers and bytes of a call of `with_streaming_response`."""
        with call as answer:
            return answer.status_code, answer.headers, b"".join(answer.iter_bytes(1000))

    def close(self):
        self.client.close()


class Async:
    name = "async"
    page = AsyncCursorPage

    def __init__(self, base_url, key, **options):
        self.loop = asyncio.new_event_loop()
        self.client = openai.AsyncOpenAI(base_url=base_url, api_key=key, **options)

    def done(self, call):
        return self.loop.run_until_complete(call)

    def each(self, pages):
        objects = aiter(pages)
        while (found := self.done(anext(objects, None))) is not None:
            yield found

    def streamed(self, call):
        async def read():
            async with call as answer:
                return answer.status_code, answer.headers, b"".join([part async for part in answer.iter_bytes(1000)])

        return self.done(read())

    def close(self):
        self.done(self.client.close())
        self.loop.close()


KINDS = (Sync, Async)


def strict(kind, raw):
    """The answer as the package's own type: no text for a number, and no key that the type does not have."""
    parsed = kind.model_validate_json(raw.http_response.text, strict=True)
    assert unknown_keys(parsed) == set()
    return parsed


def strict_list(page_kind, raw):
    parsed = page_kind.model_validate_json(raw.http_response.text, strict=True)
    assert set(parsed.model_extra) == LIST_EXTRAS
    assert [unknown_keys(found) for found in parsed.data] == [set()] * len(parsed.data)
    return parsed


def unknown_keys(value):
    if isinstance(value, list):
        return set().union(*map(unknown_keys, value))
    if not isinstance(value, openai.BaseModel):
        return set()
    fields = [getattr(value, name) for name in type(value).model_fields]
    return set(value.model_extra or ()) | unknown_keys(fields)
