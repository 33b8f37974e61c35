import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";

import { toFile } from "openai";

import { MANY, atOnce, connect, ids, request, rows, upload } from "./client.js";

const client = connect("node");

test("each way to give a file gives the same file", async (t) => {
  const content = request(1);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "ditto-node-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, "job.jsonl"), content);
  const ways = [
    fs.createReadStream(path.join(folder, "job.jsonl")),
    new File([content], "job.jsonl"),
    await toFile(Buffer.from(content), "job.jsonl"),
    await toFile(new Response(content), "job.jsonl", { type: "application/jsonl" }),
  ];

  for (const file of ways) {
    const made = await client.files.create({ file, purpose: "batch" });
    assert.deepEqual(
      [made.object, made.filename, made.bytes, made.purpose, made.status],
      ["file", "job.jsonl", content.length, "batch", "processed"],
    );
    assert.equal(await (await client.files.content(made.id)).text(), content);
  }
});

test("a file lives as long as was asked", async () => {
  const file = await toFile(Buffer.from("{}"), "a.jsonl");
  const made = await client.files.create({ file, purpose: "batch", expires_after: { anchor: "created_at", seconds: 3600 } });

  assert.equal(made.expires_at - made.created_at, 3600);
});

test("a file is retrieved, waited for and deleted", async () => {
  const file = await upload(client, rows(3));

  assert.deepEqual(await client.files.retrieve(file.id), file);
  assert.equal((await client.files.waitForProcessing(file.id)).status, "processed");
  assert.deepEqual(await client.files.delete(file.id), { id: file.id, object: "file", deleted: true });
});

test("content is read whole, raw and streamed", async () => {
  const content = rows(500);
  const file = await upload(client, content);

  const whole = await client.files.content(file.id);
  const raw = await client.files.content(file.id).asResponse();
  const { response } = await client.files.content(file.id).withResponse();
  const parts = [];
  for await (const part of response.body) parts.push(part);

  assert.equal(await whole.text(), content);
  assert.equal(await raw.text(), content);
  assert.equal(Buffer.concat(parts).toString(), content);
  assert.equal(response.headers.get("content-length"), String(content.length));
  assert.ok(response.headers.get("x-request-id"));
});

test("a file comes in parts", async () => {
  const content = rows(3);
  const about = { filename: "parts.jsonl", purpose: "batch", mime_type: "text/jsonl" };
  const pending = await client.uploads.create({ bytes: content.length, ...about });
  const part_ids = [];
  for (const piece of [content.slice(0, 100), content.slice(100)]) {
    const part = await client.uploads.parts.create(pending.id, { data: await toFile(Buffer.from(piece), "part") });
    part_ids.push(part.id);
  }

  const done = await client.uploads.complete(pending.id, { part_ids });

  assert.deepEqual([pending.status, done.status], ["pending", "completed"]);
  assert.equal(await (await client.files.content(done.file.id)).text(), content);
});

test("an upload in parts is cancelled", async () => {
  const about = { filename: "parts.jsonl", purpose: "batch", mime_type: "text/jsonl" };
  const pending = await client.uploads.create({ bytes: 2, ...about });

  assert.equal((await client.uploads.cancel(pending.id)).status, "cancelled");
});

test("files are paged to the end, each once and newest first", async () => {
  const many = connect("node-many");
  await atOnce(4, MANY, (n) => upload(many, "{}", `${n}.jsonl`));

  const listed = await ids(many.files.list({ limit: 100, purpose: "batch" }));
  const oldest = await ids(many.files.list({ limit: 100, purpose: "batch", order: "asc" }));

  assert.equal(new Set(listed).size, listed.length);
  assert.ok(listed.length >= MANY);
  // The tenant's other test has a file of its own, which may come between the two lists.
  assert.deepEqual(oldest.filter((id) => listed.includes(id)), listed.reverse());
});

test("a loop that deletes what it lists walks to the end", async () => {
  const loop = connect("node-loop");
  await atOnce(4, 25, (n) => upload(loop, "{}", `${n}.jsonl`));

  for await (const file of loop.files.list({ limit: 10 })) await loop.files.delete(file.id);

  assert.deepEqual(await ids(loop.files.list()), []);
});
