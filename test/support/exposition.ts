/** Reads Prometheus' text format 0.0.4 and accepts nothing that is not of its form or would be refused when it is stored. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: Sample[];
}

const HELP = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/;
const TYPE = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary)$/;
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
const SAMPLE = new RegExp(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (\\S+)$`);
const NUMBER = /^(?:[+-]Inf|NaN|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'] };

export class Metrics {
  readonly #families: ReadonlyMap<string, Family>;

  constructor(readonly families: readonly Family[]) {
    this.#families = new Map(families.map((family) => [family.name, family]));
  }

  get names(): string[] {
    return [...this.#families.keys()];
  }

  family(name: string): Family {
    const found = this.#families.get(name) ?? this.#families.get(name.replace(/_(bucket|sum|count)$/, ''));
    if (!found) throw new Error(`there is no metric ${name}`);
    return found;
  }

  /** The value of the one series that has these labels, among others; undefined when there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const wanted = Object.entries(labels);
    const found = this.family(name).samples.filter(
      (sample) => sample.name === name && wanted.every(([label, value]) => sample.labels[label] === value),
    );
    if (found.length > 1) throw new Error(`${name} ${JSON.stringify(labels)} is more than one series`);
    return found[0]?.value;
  }
}

/** @throws Error that says which line is wrong and why. */
export function parseExposition(text: string): Metrics {
  if (!text.endsWith('\n')) throw new Error('the last line is not ended');
  const families: Family[] = [];
  const seen = new Set<string>();
  let help: readonly [string, string] | undefined;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const described = HELP.exec(line);
    const typed = TYPE.exec(line);
    if (described) help = [described[1]!, described[2]!];
    else if (typed) {
      if (help?.[0] !== typed[1]) fail(line, 'a type without its help');
      if (families.some(({ name }) => name === typed[1])) fail(line, 'described twice');
      families.push({ name: typed[1]!, help: help![1], type: typed[2]!, samples: [] });
    } else addSample(line, families.at(-1), seen);
  }
  for (const family of families) if (family.type === 'histogram') checkHistogram(family);
  return new Metrics(families);
}

function addSample(line: string, family: Family | undefined, seen: Set<string>): void {
  const [, name, labelText = '', number] = SAMPLE.exec(line) ?? fail(line, 'no sample');
  if (!family) return fail(line, 'a sample without its type');
  const names = (SUFFIXES[family.type] ?? ['']).map((suffix) => family.name + suffix);
  if (!names.includes(name!)) fail(line, `not of ${family.name}`);
  if (!NUMBER.test(number!)) fail(line, 'no number');
  const pairs = [...labelText.matchAll(/([^=,]+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, value]) => [
    label!,
    value!,
  ]);
  const series = `${name}${JSON.stringify(pairs.sort())}`;
  if (seen.has(series)) fail(line, 'twice the same series');
  seen.add(series);
  const labels = Object.fromEntries(pairs) as Record<string, string>;
  if (Object.keys(labels).length < pairs.length) fail(line, 'twice the same label');
  const value = Number(number!.replace('Inf', 'Infinity'));
  if (family.type === 'counter' && !(value >= 0)) fail(line, 'a counter below 0');
  family.samples.push({ name: name!, labels, value });
}

/** Each series of a histogram has ascending bounds, counts that never fall, and as many in all as in its last bucket. */
function checkHistogram({ name, samples }: Family): void {
  for (const [series, all] of bySeries(samples)) {
    const buckets = all.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => Number(labels.le!.replace('+Inf', 'Infinity')));
    const counts = buckets.map(({ value }) => value);
    const total = all.find((sample) => sample.name === `${name}_count`)?.value;
    if (!isAscending(bounds) || bounds.at(-1) !== Infinity) fail(name + series, 'bad bounds');
    if (counts.some((count, i) => count < (counts[i - 1] ?? 0))) fail(name + series, 'a falling count');
    if (counts.at(-1) !== total) fail(name + series, 'the count is not that of the last bucket');
    if (!all.some((sample) => sample.name === `${name}_sum`)) fail(name + series, 'no sum');
  }
}

/** The samples of each combination of labels but the bound. */
function bySeries(samples: readonly Sample[]): ReadonlyMap<string, Sample[]> {
  const found = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _, ...labels } = sample.labels;
    const series = JSON.stringify(labels);
    found.set(series, [...(found.get(series) ?? []), sample]);
  }
  return found;
}

function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((number, i) => i === 0 || number > numbers[i - 1]!);
}

function fail(line: string, why: string): never {
  throw new Error(`${why}: ${line}`);
}
