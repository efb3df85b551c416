// The Vercel AI SDK with its OpenAI provider; openai(model) speaks the Responses API.

import assert from 'node:assert/strict';

import { createOpenAI } from '@ai-sdk/openai';
import {
  APICallError,
  Output,
  RetryError,
  embedMany,
  generateImage,
  generateText,
  isStepCount,
  streamText,
  tool,
} from 'ai';
import { z } from 'zod';

import { Counter, all, caught, run, stack } from './outcomes.mjs';

function provider(key = stack.key) {
  const counter = new Counter();
  const openai = createOpenAI({ apiKey: key, baseURL: stack.base_url, fetch: counter.fetch });
  return { openai, counter };
}

const { openai } = provider();
const byDefault = openai(stack.model);
const byChat = openai.chat(stack.model);
const prompt = 'Hello out there';
const tools = {
  weather: tool({
    description: 'Tells the weather in a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sunny in ${city}`,
  }),
};
const stopWhen = isStepCount(3);

async function answers(model) {
  const { text, usage, finishReason } = await generateText({ model, prompt });
  assert.equal(text, prompt);
  assert.equal(finishReason, 'stop');
  assert.deepEqual([usage.inputTokens, usage.outputTokens], [10, 5]);
}

async function streams(model) {
  const result = streamText({ model, prompt, onError: () => undefined });
  const pieces = await all(result.textStream);
  assert.ok(pieces.length > 1);
  assert.equal(pieces.join(''), prompt);
  assert.equal((await result.usage).outputTokens, 5);
}

async function callsTools(model) {
  const result = await generateText({ model, prompt: 'Weather?', tools, stopWhen });
  assert.equal(result.steps.length, 2);
  assert.deepEqual(result.steps[0].toolCalls[0].input, { city: 'Paris' });
  assert.match(result.text, /^The tool says .*sunny in Paris/);
}

await run({
  chat: () => answers(byChat),
  'chat-stream': () => streams(byChat),
  'chat-tools': () => callsTools(byChat),

  async embeddings() {
    const model = openai.embedding(stack.embedding_model);
    const { embeddings } = await embedMany({ model, values: ['one', 'two', 'one'] });
    assert.deepEqual(embeddings[0], embeddings[2]);
    assert.notDeepEqual(embeddings[0], embeddings[1]);
  },

  async images() {
    const model = openai.image(stack.image_model);
    const { image } = await generateImage({ model, prompt: 'a cat', size: '1024x1024' });
    assert.equal(image.mediaType, 'image/png');
  },

  responses: () => answers(byDefault),
  'responses-stream': () => streams(byDefault),
  'responses-tools': () => callsTools(byDefault),

  async 'responses-tools-stream'() {
    const result = streamText({ model: byDefault, prompt: 'Weather?', tools, stopWhen });
    assert.match(await result.text, /^The tool says .*sunny in Paris/);
    assert.equal((await result.steps).length, 2);
  },

  async 'responses-json'() {
    const schema = z.object({ name: z.string(), districts: z.number() });
    const output = Output.object({ schema });
    const result = await generateText({ model: byDefault, prompt: 'Which city?', output });
    assert.deepEqual(result.output, { name: 'Paris', districts: 7 });
  },

  async 'error-401'() {
    const { openai: stranger, counter } = provider('sk-tg-nonsense');
    const error = await caught(generateText({ model: stranger(stack.model), prompt }), APICallError);
    assert.equal(error.statusCode, 401);
    assert.equal(counter.sent, 1);
  },

  async 'error-502'() {
    const { openai: fresh, counter } = provider();
    await caught(generateText({ model: fresh('fake/broken'), prompt }), RetryError);
    assert.deepEqual(counter.statuses, [502, 502, 502]);
  },
});
