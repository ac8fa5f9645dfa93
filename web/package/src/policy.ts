/**
 * Violations of a Content-Security-Policy, as the browser reports them: errors of
 * loading themselves do not name the policy. It must not keep more than the newest
 * violation.
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

  /** `message` with the source that the policy would have to allow, or with `otherwise` if it blocked nothing. */
  explain(message: string, otherwise?: string): string {
    const more = this.#newest ? policyWords(this.#newest) : otherwise;
    return more ? `${message}; ${more}` : message;
  }
}

/** Listens for violations by the page's own loading. */
export function watchPage(): PolicyWatch {
  return new PolicyWatch((globalThis as { document?: EventTarget }).document);
}

/** The source that would have to be allowed, and the directive. */
export function policyWords({ effectiveDirective, blockedURI }: Violation): string {
  const directive = effectiveDirective.replace(/-elem$/, '');
  return `the Content-Security-Policy of the page does not allow it: ${directive} must have ${sourceOf(blockedURI)}`;
}

/** The source expression for a blocked address. */
function sourceOf(blocked: string): string {
  if (blocked === 'wasm-eval') return "'wasm-unsafe-eval'";
  if (blocked === 'blob') return 'blob:';
  try {
    return new URL(blocked).origin;
  } catch {
    return blocked;
  }
}
