/**
 * Runs `count` tasks, at most `max` of them at a time. After the first failure no other is begun.
 *
 * @param onFailure called at once with the first failure, so that it can end the tasks that run.
 * @throws the first failure, once all that were begun have ended.
 */
export async function runInTurn(
  count: number,
  max: number,
  run: (index: number) => Promise<void>,
  onFailure: (reason: unknown) => void,
): Promise<void> {
  let failure: { readonly reason: unknown } | undefined;
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < count && !failure) {
      try {
        await run(next++);
      } catch (reason) {
        if (!failure) onFailure(reason);
        failure ??= { reason };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, max) }, work));
  if (failure) throw failure.reason;
}
