// Runs one client's shapes against a stack and prints one line of JSON for each.

import assert from 'node:assert/strict';

export const stack = JSON.parse(process.env.STACK);

// Counts the requests that a client really makes.
export class Counter {
  statuses = [];
  sent = 0;

  fetch = async (...args) => {
    this.sent += 1;
    const response = await fetch(...args);
    this.statuses.push(response.status);
    return response;
  };
}

export async function run(shapes) {
  for (const [shape, prove] of Object.entries(shapes)) {
    let error = null;
    try {
      await prove();
    } catch (caught) {
      error = caught?.stack ?? String(caught);
    }
    process.stdout.write(JSON.stringify({ shape, error }) + '\n');
  }
}

export async function caught(promise, kind) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof kind, `${error?.stack} is no ${kind.name}`);
    return error;
  }
  return assert.fail('nothing was thrown');
}

export async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}
