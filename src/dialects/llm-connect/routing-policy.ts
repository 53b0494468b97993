/** Chooses a model for a type of task, by rules with a cap on cost. Pure: it has no models and no prices. */

import { UserError } from '../../errors.js';

export interface RoutingRule {
  /** The request's task type, compared exactly. */
  readonly taskType: string;
  /** The model, group or profile that serves it. */
  readonly model: string;
  /** Max estimated cost per 1,000 tokens (inclusive) for which the rule applies. Default: no cap. */
  readonly maxCostPer1k?: number | undefined;
}

export interface RoutingPolicyOptions {
  /** Rules in order of preference; several may have the same task type. */
  readonly rules: readonly RoutingRule[];
  /** The model for task types without a rule and for costs above all caps. */
  readonly fallback?: string | undefined;
}

/** `invalid_policy`: the rules are invalid. `invalid_request`: an argument of `resolve` is. `no_route`: no rule applies. */
export type RoutingPolicyErrorCode = 'invalid_policy' | 'invalid_request' | 'no_route';

export class RoutingPolicyError extends UserError {
  constructor(
    readonly code: RoutingPolicyErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** An immutable policy, with its own copy of the rules. */
export class RoutingPolicy {
  readonly rules: readonly RoutingRule[];
  readonly fallback: string | undefined;

  /** @throws RoutingPolicyError `invalid_policy`, with the path of the bad field. */
  constructor(options: RoutingPolicyOptions) {
    if (!Array.isArray(options?.rules)) throw invalidPolicy('rules', 'a list');
    this.rules = Object.freeze(
      options.rules.map((rule: RoutingRule, index) => parseRule(rule, `rules.${index}`)),
    );
    this.fallback = options.fallback;
    if (this.fallback !== undefined && !isName(this.fallback))
      throw invalidPolicy('fallback', 'a non-empty string');
  }

  /**
   * Returns the model of the first rule for the task type whose cap is not exceeded, otherwise the fallback. Without an
   * estimated cost (per 1,000 tokens, in the currency of the caps), caps are ignored.
   *
   * @throws RoutingPolicyError `no_route` when no rule applies and there is no fallback; `invalid_request` for an empty
   *   task type or a cost that is not a finite number of 0 or more.
   */
  resolve(taskType: string, estimatedCostPer1k?: number): string {
    if (!isName(taskType))
      throw new RoutingPolicyError('invalid_request', 'taskType must be a non-empty string');
    if (estimatedCostPer1k !== undefined && !isCost(estimatedCostPer1k)) {
      throw new RoutingPolicyError(
        'invalid_request',
        'estimatedCostPer1k must be a finite number, 0 or more',
      );
    }
    const rule = this.rules.find(
      (each) => each.taskType === taskType && isWithinCap(each, estimatedCostPer1k),
    );
    const model = rule?.model ?? this.fallback;
    if (model === undefined) throw this.#noRoute(taskType);
    return model;
  }

  #noRoute(taskType: string): RoutingPolicyError {
    const hasRule = this.rules.some((rule) => rule.taskType === taskType);
    const why = hasRule ? 'costs more than its rules allow' : 'has no rule';
    return new RoutingPolicyError(
      'no_route',
      `task type ${JSON.stringify(taskType)} ${why}, and there is no fallback`,
    );
  }
}

function parseRule(rule: RoutingRule, path: string): RoutingRule {
  if (typeof rule !== 'object' || rule === null) throw invalidPolicy(path, 'an object');
  const { taskType, model, maxCostPer1k } = rule;
  if (!isName(taskType)) throw invalidPolicy(`${path}.taskType`, 'a non-empty string');
  if (!isName(model)) throw invalidPolicy(`${path}.model`, 'a non-empty string');
  if (maxCostPer1k !== undefined && !isCost(maxCostPer1k)) {
    throw invalidPolicy(`${path}.maxCostPer1k`, 'a finite number, 0 or more');
  }
  return Object.freeze({ taskType, model, ...(maxCostPer1k === undefined ? {} : { maxCostPer1k }) });
}

function isWithinCap(rule: RoutingRule, cost: number | undefined): boolean {
  return rule.maxCostPer1k === undefined || cost === undefined || cost <= rule.maxCostPer1k;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '';
}

function isCost(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function invalidPolicy(path: string, expected: string): RoutingPolicyError {
  return new RoutingPolicyError('invalid_policy', `${path} must be ${expected}`);
}
