/**
 * What a Content-Security-Policy kept from being loaded, as the browser tells
 * it: errors of loading themselves do not say so. It must not keep more than
 * the newest violation.
 */

/** The parts of a `SecurityPolicyViolationEvent` that matter here. */
export interface Violation {
  readonly effectiveDirective: string;
  readonly blockedURI: string;
}

/** Listens for violations from its making until {@link end}. */
export class PolicyWatch {
  #newest: Violation | undefined;
  readonly #ended = new AbortController();

  /** `scope` is the document or a worker's global; `seen` is called for each. */
  constructor(scope: EventTarget | undefined, seen: (violation: Violation) => void = () => {}) {
    const note = (event: Event) => {
      const violation = event as unknown as Violation & { readonly disposition: string };
      // A policy on trial only reports.
      if (violation.disposition === 'report') return;
      this.#newest = violation;
      seen(violation);
    };
    scope?.addEventListener('securitypolicyviolation', note, { signal: this.#ended.signal });
  }

  end(): void {
    this.#ended.abort();
  }

  /** `message`, and what the policy would have to allow; `otherwise` where it blocked nothing. */
  explain(message: string, otherwise?: string): string {
    const more = this.#newest ? policyWords(this.#newest) : otherwise;
    return more ? `${message}; ${more}` : message;
  }
}

/** Listens for what the page's own loading violates. */
export function watchPage(): PolicyWatch {
  return new PolicyWatch((globalThis as { document?: EventTarget }).document);
}

/** What would have to be allowed, and where. */
export function policyWords({ effectiveDirective, blockedURI }: Violation): string {
  const directive = effectiveDirective.replace(/-elem$/, '');
  return `the Content-Security-Policy of the page does not allow it: ${directive} must have ${sourceOf(blockedURI)}`;
}

/** The source expression that stands for what was blocked. */
function sourceOf(blocked: string): string {
  if (blocked === 'wasm-eval') return "'wasm-unsafe-eval'";
  if (blocked === 'blob') return 'blob:';
  try {
    return new URL(blocked).origin;
  } catch {
    return blocked;
  }
}
