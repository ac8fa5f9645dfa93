// Helpers of the tests of consent, tabs, rests and the log.

/** Terms of a private task. */
export const terms = {
  type: 'privacy',
  policy: 'distributed',
  secureAggregation: true,
  noiseMultiplier: 1,
  clippingNorm: 0.5,
  minimumSurvivors: 80,
  colluders: 4,
  delta: 1e-5,
  budgetEpsilon: 8,
  roundEpsilon: 0.9,
  spentEpsilon: 0,
  nextEpsilon: 0.9,
  participations: 0,
  maxParticipations: 10,
  taskSpentEpsilon: 2,
  examplePrivacy: null,
};

/** Waits until a condition holds, for 10 seconds at most. */
export async function until(condition) {
  const end = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
