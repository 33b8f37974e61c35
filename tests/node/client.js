// The official package, of which only the base URL and the key are ours, and what all tests do with it.

import assert from "node:assert/strict";

import OpenAI, { toFile } from "openai";

export const BASE_URL = process.env.OPENAI_COMPAT_BASE_URL;
export const CHAT = "/v1/chat/completions";
export const MANY = 250;

const TERMINAL = ["completed", "failed", "expired", "cancelled"];

export function connect(tenant, options = {}) {
  return new OpenAI({ baseURL: BASE_URL, apiKey: `sk-${tenant}-0123456789abcdef`, ...options });
}

export function request(n, text = "say") {
  const body = { model: "demo-small", messages: [{ role: "user", content: text }] };
  return `${JSON.stringify({ custom_id: `row-${n}`, method: "POST", url: CHAT, body })}\n`;
}

export function rows(count, text) {
  return Array.from({ length: count }, (_, n) => request(n, text)).join("");
}

export async function upload(client, content, name = "job.jsonl") {
  return client.files.create({ file: await toFile(Buffer.from(content), name), purpose: "batch" });
}

export function create(client, fileId, more = {}) {
  return client.batches.create({ input_file_id: fileId, endpoint: CHAT, completion_window: "24h", ...more });
}

export async function until(what, ready) {
  const end = Date.now() + 60_000;
  while (Date.now() < end) {
    const answer = await ready();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`${what}: not within a minute`);
}

export function finished(client, batchId) {
  return until(`the end of ${batchId}`, async () => {
    const batch = await client.batches.retrieve(batchId);
    return TERMINAL.includes(batch.status) && batch;
  });
}

export async function ids(pages) {
  const found = [];
  for await (const object of pages) found.push(object.id);
  return found;
}

// The calls at `width` places at once, each place one after the other.
export async function atOnce(width, count, call) {
  let next = 0;
  const made = [];
  const place = async () => {
    while (next < count) {
      const n = next++;
      made[n] = await call(n);
    }
  };
  await Promise.all(Array.from({ length: width }, place));
  return made;
}
