import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Report } from '../benchmark.js';

/** Keeps a report as `NAME.json`, and as `NAME.svg` where it has a chart. @returns the paths. */
export async function writeReport(folder: string, name: string, report: Report): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const json = path.join(folder, `${name}.json`);
  const svg = path.join(folder, `${name}.svg`);
  await writeFile(json, `${JSON.stringify(report.figures, null, 1)}\n`);
  if (report.chart === undefined) return [json];
  await writeFile(svg, report.chart);
  return [json, svg];
}
