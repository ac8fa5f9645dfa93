/** Text from a model of characters or bytes, token by token. Pure: chance is an argument. */
import type { TextDescription } from './task-data.js';

/** Bytes and characters of a model without an alphabet. */
const BYTES = 256;

/** The tokens of a task: the characters of its alphabet, or bytes. */
export class Tokens {
  readonly #characters: readonly string[] | undefined;
  readonly #ids: ReadonlyMap<string, number>;
  /** Outputs of the model at each position. */
  readonly count: number;

  constructor({ alphabet, other = false }: Pick<TextDescription, 'alphabet' | 'other'>) {
    this.#characters = alphabet === undefined ? undefined : [...alphabet];
    this.#ids = new Map(this.#characters?.map((character, id) => [character, id]));
    this.count = this.#characters ? this.#characters.length + (other ? 1 : 0) : BYTES;
  }

  /** Token ids of a text. A character that is no token is left out, unless the task has one for all others. */
  encode(text: string): number[] {
    const characters = this.#characters;
    if (!characters) return [...new TextEncoder().encode(text)];
    const other = this.count > characters.length ? [characters.length] : [];
    return [...text].flatMap((character) => this.#ids.get(character) ?? other);
  }

  /** The text of token ids. The token for all other characters has none. */
  decode(ids: readonly number[]): string {
    const characters = this.#characters;
    if (!characters) return new TextDecoder().decode(Uint8Array.from(ids));
    return ids.map((id) => characters[id] ?? '').join('');
  }

  /** True for a token that stands for a text. */
  hasText(id: number): boolean {
    return id < (this.#characters?.length ?? BYTES);
  }
}

/**
 * The model's input for the newest `context` of `ids`, and the position of the output after
 * the last one. Positions after it are filled with the token 0: no position sees a later one.
 * For a model with outputs at one position, the last, those before the first one are filled.
 */
export function contextOf(
  ids: readonly number[],
  context: number,
  positions = context,
): { readonly input: Uint32Array; readonly last: number } {
  const newest = ids.slice(-context);
  const input = new Uint32Array(context);
  input.set(newest, positions === 1 ? context - newest.length : 0);
  return { input, last: positions === 1 ? 0 : Math.max(0, newest.length - 1) };
}

/**
 * Draws a class by `chance`, a number from 0 to below 1, from probabilities raised to
 * 1 / `temperature`. A class that `isAllowed` refuses is never drawn. A temperature of 0
 * gives the most likely one.
 */
export function draw(probabilities: Float32Array, temperature: number, chance: number, isAllowed: (id: number) => boolean): number {
  // Relative to the largest, so that no power is lost to rounding.
  let most = 0;
  let best = 0;
  probabilities.forEach((value, id) => {
    if (value > most && isAllowed(id)) [most, best] = [value, id];
  });
  if (temperature <= 0 || most === 0) return best;
  const weights = Array.from(probabilities, (value, id) => (isAllowed(id) ? (value / most) ** (1 / temperature) : 0));
  let left = chance * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [id, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return id;
  }
  return best;
}
