"""The lines of a batch file, asked by the official package in a loop as its users write one. Tells its cost as JSON.

    official_client.py BASE_URL FILE PERMITS
"""

import asyncio
import json
import sys
import time

import openai


async def main(base_url, path, permits):
    bodies = iter([json.loads(line)["body"] for line in open(path)])
    count = sum(1 for _ in open(path))
    client = openai.AsyncOpenAI(base_url=base_url, api_key="unused")

    async def ask():
        for body in bodies:
            answer = await client.chat.completions.create(**body)
            assert answer.choices

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask() for _ in range(permits)))
    print(json.dumps({"lines": count, "seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu}))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
