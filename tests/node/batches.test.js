import assert from "node:assert/strict";
import { test } from "node:test";

import { MANY, connect, create, finished, ids, request, rows, until, upload } from "./client.js";

const client = connect("node");

test("a batch is made, run and read", async () => {
  const created = await create(client, (await upload(client, rows(3))).id, { metadata: { job: "seven" } });
  const batch = await finished(client, created.id);
  const output = await (await client.files.content(batch.output_file_id)).text();

  assert.equal(created.status, "validating");
  assert.deepEqual(created.metadata, { job: "seven" });
  assert.deepEqual([batch.status, batch.error_file_id], ["completed", null]);
  assert.deepEqual(batch.request_counts, { total: 3, completed: 3, failed: 0 });
  assert.deepEqual(
    output.trimEnd().split("\n").map((line) => JSON.parse(line).custom_id),
    ["row-0", "row-1", "row-2"],
  );
});

test("a bad file fails its batch and says where", async () => {
  const file = await upload(client, `${request(1)}nonsense\n`);
  const batch = await finished(client, (await create(client, file.id)).id);

  assert.equal(batch.status, "failed");
  assert.deepEqual(batch.errors.data.map((fault) => [fault.line, fault.code]), [[2, "invalid_json_line"]]);
});

test("batches are paged to the end while new ones arrive", async () => {
  const many = connect("node-many");
  const file = await upload(many, request(1));
  const made = [];
  for (let n = 0; n < MANY; n++) made.push((await create(many, file.id)).id);

  const listed = [];
  let arrived = 0;
  for await (const batch of many.batches.list({ limit: 50 })) {
    listed.push(batch.id);
    if (listed.length % 25 === 0) {
      await create(many, file.id);
      arrived++;
    }
  }

  assert.deepEqual(listed, made.reverse());
  assert.ok(arrived >= 10);
});

test("a batch that runs is cancelled, and cancelled again", async () => {
  const file = await upload(client, rows(2000, "sim: delay 1s"));
  const { id } = await create(client, file.id);
  await until("lines in flight", async () => (await client.batches.retrieve(id)).status === "in_progress");

  const first = await client.batches.cancel(id);
  const batch = await finished(client, id);
  const again = await client.batches.cancel(id);

  assert.ok(["cancelling", "cancelled"].includes(first.status));
  assert.deepEqual([batch.status, again.status], ["cancelled", "cancelled"]);
  assert.ok(batch.error_file_id);
});
