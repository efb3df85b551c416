// The official OpenAI SDK for Node, as a customer sets it up.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import { Counter, all, caught, run, stack } from './outcomes.mjs';

const MOST_CALLS = 400;
const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const PNG = '89504e47';
const City = z.object({ name: z.string(), districts: z.number() });
const WEATHER = {
  name: 'weather',
  description: 'Tells the weather in a city.',
  parameters: {
    type: 'object',
    properties: { city: { type: 'string' } },
    required: ['city'],
    additionalProperties: false,
  },
  strict: true,
};
const tools = [{ type: 'function', function: WEATHER }];
const flat = [{ type: 'function', ...WEATHER }];
const model = stack.model;

function sdk(key = stack.key, options = {}) {
  const counter = new Counter();
  const client = new OpenAI({
    apiKey: key,
    baseURL: stack.base_url,
    fetch: counter.fetch,
    ...options,
  });
  return { client, counter };
}

const { client } = sdk();
const says = (content) => [{ role: 'user', content }];

function chat(by, options = {}, request = {}) {
  const body = { model, messages: says('Hello'), ...options };
  return by.chat.completions.create(body, request);
}

// A refusal that another try cannot help: one request, no more.
async function refused(kind, key, options) {
  const { client: by, counter } = sdk(key);
  const error = await caught(chat(by, options), kind);
  assert.equal(counter.sent, 1);
  return error;
}

function isPicture(base64) {
  assert.equal(Buffer.from(base64, 'base64').subarray(0, 4).toString('hex'), PNG);
}

await run({
  async chat() {
    const answer = await chat(client, { model: stack.alias });
    assert.equal(answer.choices[0].message.content, 'Hello');
    assert.equal(answer.model, stack.alias);
    assert.equal(answer.usage.total_tokens, 15);
  },

  async 'chat-stream'() {
    const chunks = await all(await chat(client, { stream: true }));
    assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
    const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
    assert.equal(text, 'Hello');
  },

  async 'chat-usage'() {
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = await all(await chat(client, options));
    const last = chunks.pop();
    assert.ok(chunks.every((chunk) => chunk.usage === null));
    assert.deepEqual(last.choices, []);
    assert.equal(last.usage.total_tokens, 15);
  },

  async 'chat-helper'() {
    const stream = client.chat.completions.stream({ model, messages: says('Hello out there') });
    const deltas = [];
    stream.on('content', (delta) => deltas.push(delta));
    assert.equal(await stream.finalContent(), 'Hello out there');
    assert.equal(deltas.join(''), 'Hello out there');
    assert.ok(deltas.length > 1);
  },

  async 'chat-choices'() {
    const answer = await chat(client, { n: 3 });
    assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
  },

  async 'chat-tools'() {
    const runner = client.chat.completions.runTools({
      model,
      messages: says('How is the weather in Paris?'),
      tools: [
        {
          type: 'function',
          function: { ...WEATHER, parse: JSON.parse, function: ({ city }) => `sunny in ${city}` },
        },
      ],
    });
    assert.equal(await runner.finalContent(), 'The tool says sunny in Paris.');
  },

  async 'chat-tools-stream'() {
    const stream = client.chat.completions.stream({ model, messages: says('Weather?'), tools });
    const final = await stream.finalChatCompletion();
    const [call] = final.choices[0].message.tool_calls;
    assert.deepEqual([call.id, call.function.name], ['call_1', 'weather']);
    assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Paris' });
    assert.equal(final.choices[0].finish_reason, 'tool_calls');
  },

  async 'chat-json'() {
    const answer = await client.chat.completions.parse({
      model,
      messages: says('Which city?'),
      response_format: zodResponseFormat(City, 'city'),
    });
    assert.deepEqual(answer.choices[0].message.parsed, { name: 'Paris', districts: 7 });
  },

  async 'chat-picture'() {
    const parts = [
      { type: 'text', text: 'What is this?' },
      { type: 'image_url', image_url: { url: PIXEL } },
    ];
    const answer = await chat(client, { messages: says(parts) });
    assert.equal(answer.choices[0].message.content, 'I see 1 picture.');
  },

  async completions() {
    const answer = await client.completions.create({ model, prompt: 'Once upon' });
    assert.equal(answer.choices[0].text, 'Once upon');
  },

  async 'completions-stream'() {
    const body = { model, prompt: 'Once upon', stream: true };
    const events = await all(await client.completions.create(body));
    assert.equal(events.map((event) => event.choices[0].text).join(''), 'Once upon');
  },

  async embeddings() {
    const body = { model: stack.embedding_model, input: ['one', 'two', 'one'] };
    const answer = await client.embeddings.create(body);
    const [first, second, third] = answer.data.map((each) => each.embedding);
    assert.deepEqual(first, third);
    assert.notDeepEqual(first, second);
    assert.equal(typeof first[0], 'number');
  },

  async images() {
    const body = { model: stack.image_model, prompt: 'a cat', size: '1024x1024', quality: 'low' };
    const answer = await client.images.generate(body);
    isPicture(answer.data[0].b64_json);
  },

  async 'images-stream'() {
    const events = await all(
      await client.images.generate({
        model: stack.image_model,
        prompt: 'a cat',
        size: '1024x1024',
        quality: 'low',
        stream: true,
        partial_images: 1,
      }),
    );
    assert.deepEqual(
      events.map((event) => event.type),
      ['image_generation.partial_image', 'image_generation.completed'],
    );
    isPicture(events[1].b64_json);
  },

  async responses() {
    const answer = await client.responses.create({ model, input: 'Hello there' });
    assert.equal(answer.output_text, 'Hello there');
    assert.equal(answer.status, 'completed');
  },

  async 'responses-stream'() {
    const stream = client.responses.stream({ model, input: 'Hello out there' });
    const deltas = [];
    stream.on('response.output_text.delta', (event) => deltas.push(event.delta));
    const final = await stream.finalResponse();
    assert.equal(final.output_text, 'Hello out there');
    assert.equal(deltas.join(''), 'Hello out there');
    assert.ok(deltas.length > 1);
  },

  async 'responses-tools'() {
    const question = { role: 'user', content: 'How is the weather?' };
    const asked = await client.responses.create({ model, input: [question], tools: flat });
    const [call] = asked.output;
    assert.deepEqual(JSON.parse(call.arguments), { city: 'Paris' });
    const result = { type: 'function_call_output', call_id: call.call_id, output: 'sunny' };
    const input = [question, call, result];
    const answer = await client.responses.create({ model, input, tools: flat });
    assert.equal(answer.output_text, 'The tool says sunny.');
  },

  async 'responses-tools-stream'() {
    const stream = client.responses.stream({ model, input: 'Weather?', tools: flat });
    const [call] = (await stream.finalResponse()).output;
    assert.deepEqual([call.call_id, call.name], ['call_1', 'weather']);
    assert.deepEqual(JSON.parse(call.arguments), { city: 'Paris' });
  },

  async 'responses-json'() {
    const text = { format: zodTextFormat(City, 'city') };
    const answer = await client.responses.parse({ model, input: 'Which city?', text });
    assert.deepEqual(answer.output_parsed, { name: 'Paris', districts: 7 });
  },

  async models() {
    const names = (await all(client.models.list())).map((each) => each.id);
    assert.equal(new Set(names).size, names.length);
    for (const name of [model, 'sandbox/echo', stack.image_model]) assert.ok(names.includes(name));
  },

  async model() {
    assert.equal((await client.models.retrieve(model)).id, model);
    assert.equal((await client.models.retrieve(stack.alias)).id, stack.alias);
  },

  async 'request-id'() {
    const answer = await chat(client);
    assert.equal(answer._request_id.replace('req_', ''), answer.id.replace('chatcmpl-', ''));
    const error = await refused(OpenAI.NotFoundError, stack.key, { model: 'no/such' });
    assert.match(error.requestID, /^req_/);
  },

  async 'error-400'() {
    const error = await refused(OpenAI.BadRequestError, stack.key, { temperature: 9 });
    assert.deepEqual([error.status, error.param], [400, 'temperature']);
    assert.equal(error.error.reason, 'invalid_parameter');
  },

  async 'error-401'() {
    await refused(OpenAI.AuthenticationError, 'sk-tg-nonsense');
  },

  async 'error-402'() {
    const error = await refused(OpenAI.APIError, stack.key, { model: 'fake/dear' });
    assert.deepEqual([error.status, error.type], [402, 'insufficient_funds']);
  },

  async 'error-403'() {
    await refused(OpenAI.PermissionDeniedError, stack.narrow_key);
  },

  async 'error-404'() {
    const error = await refused(OpenAI.NotFoundError, stack.key, { model: 'no/such' });
    assert.equal(error.param, 'model');
  },

  async 'error-409'() {
    const { client: by, counter } = sdk();
    const once = { headers: { 'Idempotency-Key': randomUUID() } };
    const first = await chat(by, {}, once);
    const again = await chat(by, {}, once);
    assert.equal(first.id, again.id);
    await caught(chat(by, { temperature: 0.5 }, once), OpenAI.ConflictError);
    assert.deepEqual(counter.statuses, [200, 200, 409]);
  },

  async 'error-429'() {
    const { client: by, counter } = sdk(stack.paced_key);
    let refusal = null;
    for (let n = 0; n < MOST_CALLS && refusal === null; n += 1) {
      try {
        await chat(by, {}, { maxRetries: 0 });
      } catch (error) {
        assert.ok(error instanceof OpenAI.RateLimitError, String(error));
        refusal = error;
      }
    }
    assert.ok(Number(refusal.headers.get('retry-after')) >= 1);
    counter.statuses.length = 0;
    assert.equal((await chat(by)).choices[0].message.content, 'Hello');
    assert.deepEqual(counter.statuses, [429, 200]);
  },

  async 'error-429-cap'() {
    const error = await refused(OpenAI.RateLimitError, stack.capped_key);
    assert.equal(error.headers.get('x-should-retry'), 'false');
  },

  async 'error-429-reserved'() {
    const { client: by, counter } = sdk(stack.shared_key, { maxRetries: 20 });
    const other = caught(
      chat(by, { model: 'fake/slow' }, { maxRetries: 0 }),
      OpenAI.InternalServerError,
    );
    await new Promise((resolve) => setTimeout(resolve, stack.slow_s * 300));
    assert.equal((await chat(by)).choices[0].message.content, 'Hello');
    await other;
    assert.ok(counter.statuses.includes(429));
  },

  async 'error-502'() {
    const { client: by, counter } = sdk();
    await caught(chat(by, { model: 'fake/broken' }), OpenAI.InternalServerError);
    assert.deepEqual(counter.statuses, [502, 502, 502]);
  },

  async 'error-stream'() {
    const stream = await chat(client, { model: 'fake/cut', stream: true });
    const chunks = [];
    const reading = (async () => {
      for await (const chunk of stream) chunks.push(chunk.choices[0].delta.content);
    })();
    await caught(reading, OpenAI.APIError);
    assert.ok(chunks.some(Boolean));
  },

  async timeout() {
    const { client: by, counter } = sdk(stack.key, { timeout: 500, maxRetries: 1 });
    await caught(chat(by, { model: 'fake/silent' }), OpenAI.APIConnectionTimeoutError);
    assert.equal(counter.sent, 2);
  },
});
