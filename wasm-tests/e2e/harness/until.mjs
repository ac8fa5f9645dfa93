// Waiting for something to become true, with a deadline and a reason.

const PAUSE_MS = 50;

/**
 * The first truthy answer of `probe`. Fails after `seconds` with `what`, and with
 * `state()` if given.
 */
export async function until(what, probe, { seconds = 60, state } = {}) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > deadline) {
      const told = state ? `\n${JSON.stringify(await state(), null, 1)}` : '';
      throw new Error(`not within ${seconds} s: ${what}${told}`);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}
