import type { Backend, BackendStatus, Capability, ModelFacts } from '../../../src/contract.js';
import { NO_CAP } from '../../../src/generate/generate.js';
import { modelDetails } from '../../../src/generate/model-details.js';

const listed = (
  facts: ModelFacts | undefined,
  cap = NO_CAP,
  status: Partial<BackendStatus> = { ready: true },
) => {
  const backend = { name: 'b', status: () => ({ ready: false, starting: false, ...status }) } as Backend;
  if (facts) backend.facts = () => facts;
  return { model: 'm', backend, maxTokens: { default: 8, cap } };
};

const able = (capabilities: Capability[], contextLength?: number): ModelFacts => ({
  capabilities,
  contextLength,
  sizeBytes: 7,
});

test('a model has what its backend knows, and no more output than context', () => {
  expect(modelDetails([listed(able(['chat', 'tools'], 512), 4_096)], false)).toEqual({
    ...{ state: 'loaded', capabilities: ['chat', 'tools'], contextLength: 512, maxOutputTokens: 512 },
    sizeBytes: 7,
  });
});

test('a backend that knows nothing is taken to chat and complete, and a cap that is none is not told', () => {
  expect(modelDetails([listed(undefined)], false)).toEqual({
    ...{ state: 'loaded', capabilities: ['chat', 'completion'] },
    ...{ contextLength: undefined, maxOutputTokens: undefined },
  });
});

test('a group has its members, and claims only what all of them can do', () => {
  const members = [listed(able(['chat', 'tools'], 512), 256), listed(able(['chat', 'images'], 4_096))];
  expect(modelDetails(members, true)).toEqual({
    ...{ state: 'loaded', capabilities: ['chat'], contextLength: 512, maxOutputTokens: 256 },
    members: ['m', 'm'],
  });
});

test.each<[string, Partial<BackendStatus>[]]>([
  ['loaded', [{}, { ready: true }]],
  ['loading', [{}, { starting: true }]],
  ['failed', [{}, {}]],
])('one is %s if its backends are %j', (state, statuses) => {
  const members = statuses.map((status) => listed(undefined, NO_CAP, status));
  expect(modelDetails(members, true).state).toBe(state);
});
