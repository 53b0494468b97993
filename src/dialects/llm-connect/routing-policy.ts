/** Which model serves which type of task, by rules with a cap on cost. Pure: it knows no model and no price itself. */

export interface RoutingRule {
  /** What a request calls its work, compared as it is. */
  readonly taskType: string;
  /** The model, group or profile for it. */
  readonly model: string;
  /** The highest estimated cost per 1,000 tokens that this rule takes, itself included; no cap when left out. */
  readonly maxCostPer1k?: number | undefined;
}

export interface RoutingPolicyOptions {
  /** In order of preference; several may share a task type. */
  readonly rules: readonly RoutingRule[];
  /** The model for unknown task types and for costs above every cap. */
  readonly fallback?: string | undefined;
}

/** `invalid_policy`: the rules cannot be used. `invalid_request`: `resolve` was asked nonsense. `no_route`: no model. */
export type RoutingPolicyErrorCode = 'invalid_policy' | 'invalid_request' | 'no_route';

export class RoutingPolicyError extends Error {
  override readonly name = 'RoutingPolicyError';

  constructor(
    readonly code: RoutingPolicyErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** Immutable: it keeps a copy of its rules. */
export class RoutingPolicy {
  readonly rules: readonly RoutingRule[];
  readonly fallback: string | undefined;

  /** @throws RoutingPolicyError `invalid_policy`, with the path of the bad field. */
  constructor(options: RoutingPolicyOptions) {
    if (!Array.isArray(options?.rules)) throw invalidPolicy('rules', 'a list');
    this.rules = Object.freeze(
      options.rules.map((rule: RoutingRule, index) => checkedRule(rule, `rules.${index}`)),
    );
    this.fallback = options.fallback;
    if (this.fallback !== undefined && !isName(this.fallback))
      throw invalidPolicy('fallback', 'a non-empty string');
  }

  /**
   * The model for a task: the first rule of its type whose cap holds, else the fallback. Without an estimate of the
   * cost (in the currency of the caps, per 1,000 tokens) no cap is broken.
   *
   * @throws RoutingPolicyError `no_route` when no rule takes it and there is no fallback; `invalid_request` for an
   * empty task type or a cost that is no number from 0 up.
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
    const known = this.rules.some((rule) => rule.taskType === taskType);
    const why = known ? 'costs more than its rules allow' : 'has no rule';
    return new RoutingPolicyError(
      'no_route',
      `task type ${JSON.stringify(taskType)} ${why}, and there is no fallback`,
    );
  }
}

function checkedRule(rule: RoutingRule, path: string): RoutingRule {
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

function invalidPolicy(path: string, what: string): RoutingPolicyError {
  return new RoutingPolicyError('invalid_policy', `${path} must be ${what}`);
}
