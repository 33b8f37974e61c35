import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";

import { BASE_URL, atOnce, connect, create, ids, rows, upload } from "./client.js";

const USERS = 10;

test("of a hundred creates whose first answer is lost there are a hundred batches", async (t) => {
  const direct = connect("node-lost");
  const file = await upload(direct, rows(1));
  const proxy = await dropping(t);
  const client = connect("node-lost", { baseURL: proxy.baseURL });

  // Ten users at once, each of whom sends the same body ten times.
  const user = async (n) => {
    const made = [];
    for (let turn = 0; turn < 10; turn++) made.push((await create(client, file.id, { metadata: { user: `${n}` } })).id);
    return made;
  };
  const made = (await atOnce(USERS, USERS, user)).flat();

  assert.equal(proxy.dropped(), 100);
  assert.equal(new Set(made).size, 100);
  assert.deepEqual((await ids(direct.batches.list({ limit: 100 }))).sort(), made.sort());
});

// A proxy that brings each request to the server and drops its first answer to a create.
async function dropping(t) {
  let dropped = 0;
  const proxy = http.createServer((request, answer) => {
    const options = { method: request.method, headers: request.headers };
    const passed = http.request(BASE_URL.replace(/\/v1$/, request.url), options, (whole) => {
      const first = request.method === "POST" && request.headers["x-stainless-retry-count"] === "0";
      if (first && request.url === "/v1/batches") {
        whole.resume().on("end", () => {
          dropped++;
          request.socket.destroy();
        });
        return;
      }
      answer.writeHead(whole.statusCode, whole.headers);
      whole.pipe(answer);
    });
    request.pipe(passed);
  });
  await listen(proxy);
  t.after(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  return { baseURL: `http://127.0.0.1:${proxy.address().port}/v1`, dropped: () => dropped };
}

// Below 32768, where the kernel begins to hand out ports to outgoing connections.
async function listen(server) {
  for (let tries = 0; tries < 100; tries++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const bound = await new Promise((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (bound) return;
  }
  assert.fail("no free port");
}
