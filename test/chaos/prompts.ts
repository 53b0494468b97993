import type { Random } from './random.js';

/**
 * Questions to which the demo model knows the answer, each another one, so that a reply tells whose it is. Its stories
 * are long enough to be hit in the middle.
 */

const COUNTRIES =
  'Peru Ecuador Bolivia Chile Argentina Brazil Colombia Venezuela Uruguay Paraguay Mexico Cuba Canada France Spain ' +
  'Portugal Italy Germany Austria Switzerland Belgium Poland Sweden Norway Finland Denmark Greece Hungary Ireland ' +
  'Iceland Russia Turkey Egypt Kenya Morocco Japan China India Thailand Vietnam Australia';

const STORIES = [
  ...['a lighthouse', 'a cat', 'a robot', 'a river', 'a baker', 'the moon'],
  ...['a tree', 'a penguin', 'a clockmaker', 'a mountain', 'a computer'],
];

const FACTS = [
  'Count from 1 to 50',
  'Count from 1 to 20',
  'Count down from 10',
  'Name a famous Peruvian dish',
  'How is ceviche made?',
  'Name a famous Italian dish',
  'Name a famous Mexican dish',
  'Name the planets',
  'Name the continents',
  'Name the days of the week',
  'Name the months',
  'Name the colours of the rainbow',
  'Say the alphabet',
  'Why is the sky blue?',
  'Why is the sea salty?',
  'What is a rainbow?',
  'What is LMServ?',
  'Who are you?',
  'What is streaming?',
  'What is a language model?',
  'Tell me a joke',
  'Write a haiku',
  'Send me three emoji',
  'Say hello in Japanese',
];

const DIGITS = [1, 2, 3, 4, 5, 6, 7, 8, 9];

const SYLLABLES = 'ba do fi ga ho ju ka lo mi nu po ra se ta vo zi'.split(' ');

/** Names that are told to the model, which greets by them. */
const NAMES = 48;

/** All questions, in an order of the run's own. Those about names are invented by it. */
export function catalogue(random: Random): string[] {
  const capitals = COUNTRIES.split(' ').map((country) => `What is the capital of ${country}?`);
  const stories = STORIES.map((subject) => `Tell me a story about ${subject}`);
  const sums = DIGITS.flatMap((a) => [3, 7].map((b) => `What is ${a} + ${b}?`));
  const products = DIGITS.slice(1, 7).flatMap((a) => [4, 6].map((b) => `What is ${a} times ${b}?`));
  const names = Array.from({ length: NAMES }, () => `My name is ${inventName(random)}`);
  return random.shuffled([
    ...new Set([...capitals, ...stories, ...stories.map(shortOf), ...sums, ...products, ...FACTS, ...names]),
  ]);
}

/** The same story by another question: its reply is not told apart from the other's, but it makes long ones likelier. */
function shortOf(question: string): string {
  return question.replace('a story', 'a short story');
}

function inventName(random: Random): string {
  const name = Array.from({ length: random.int(2, 3) }, () => random.pick(SYLLABLES)).join('');
  return name.charAt(0).toUpperCase() + name.slice(1);
}
