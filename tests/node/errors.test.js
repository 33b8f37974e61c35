import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { connect, create, finished, request, rows, upload } from "./client.js";

const client = connect("node");

test("what is not there is a NotFoundError", async () => {
  const calls = [
    () => client.files.retrieve("file-none"),
    () => client.files.content("file-none"),
    () => client.files.delete("file-none"),
    () => client.batches.retrieve("batch_none"),
    () => client.batches.cancel("batch_none"),
  ];
  for (const call of calls) {
    const refused = await rejected(call, OpenAI.NotFoundError);
    assert.equal(refused.type, "invalid_request_error");
    assert.ok(refused.requestID);
  }
});

test("a wrong request is a BadRequestError with its param and code", async () => {
  const file = await upload(client, rows(3));

  const window = await rejected(() => create(client, file.id, { completion_window: "1h" }), OpenAI.BadRequestError);
  assert.deepEqual([window.param, window.code], ["completion_window", "invalid_value"]);
  const limit = await rejected(() => client.batches.list({ limit: 101 }), OpenAI.BadRequestError);
  assert.deepEqual([limit.param, limit.code], ["limit", "integer_above_max_value"]);
});

test("a cancel that comes too late is a ConflictError", async () => {
  const batch = await finished(client, (await create(client, (await upload(client, rows(3))).id)).id);

  const late = await rejected(() => client.batches.cancel(batch.id), OpenAI.ConflictError);

  assert.equal(late.error.message, "Cannot cancel a batch with status 'completed'.");
  assert.equal(late.headers.get("x-should-retry"), "false");
});

test("a key of nobody is an AuthenticationError", async () => {
  const refused = await rejected(() => connect("nobody").files.list(), OpenAI.AuthenticationError);

  assert.equal(refused.code, "invalid_api_key");
});

test("a tenant that has all it may have gets a RateLimitError at once", async () => {
  const full = connect("node-full");
  const large = request(1, "x".repeat(1000)).repeat(2000);
  await upload(full, large);

  const refused = await rejected(() => upload(full, large), OpenAI.RateLimitError);

  assert.deepEqual([refused.type, refused.code], ["insufficient_quota", "storage_limit_exceeded"]);
  assert.equal(refused.headers.get("x-should-retry"), "false");
});

async function rejected(call, kind) {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof kind, `${error}`);
    return error;
  }
  assert.fail("it was not refused");
}
