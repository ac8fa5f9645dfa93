/**
 * Count of the rounds of a task that this browser has taken part in, kept in
 * localStorage, since a limit that a reload forgets would be none. It must not
 * touch storage before a client asks, nor fail where there is none.
 *
 * A round is written down before its masked update leaves: as open when keys
 * are exchanged, as taken part in when the update goes out. A page that went
 * away in between leaves it open, and the next visit counts it. So a crash can
 * waste a round, never forget one.
 *
 * Clients that are made before any of them has written the entry have a subject
 * each, and would each count from nothing. The client whose entry is there goes on;
 * the others have been replaced.
 */

interface Entry {
  readonly subject: string;
  readonly participations: number;
  /** Marks of clients with a round under way: tabs of one site share the entry. */
  readonly open: readonly string[];
}

/** Entries of a page that is refused storage. They last as long as the page. */
const MEMORY = new Map<string, Entry>();

/** One client's view of the entry of its task. */
export class Participation {
  /** 32 hexadecimal digits: names this browser to the task's ledger, and to no other task's. */
  readonly subject: string;
  readonly #key: string;
  readonly #mark = randomHex(8);
  #open = false;
  #replaced = false;
  /** The module's last count. */
  #counted: number;

  constructor(url: string, task: string) {
    this.#key = `fedra:${url}#${task}`;
    const entry = this.#read();
    this.subject = entry?.subject ?? randomHex(16);
    this.#counted = entry ? this.#closeOpen(entry) : 0;
  }

  /** The count for a module that starts now. */
  get count(): number {
    return this.#counted;
  }

  /** True once the entry was seen to be another subject's. */
  get replaced(): boolean {
    return this.#replaced;
  }

  /** Notes that the update of a round may leave from now on. */
  begin(): void {
    if (this.#open) return;
    const entry = this.#current();
    this.#open = true;
    this.#write({ ...entry, open: [...entry.open, this.#mark] });
  }

  /** Notes that the round is over and its update did not leave. */
  abandon(): void {
    if (!this.#open) return;
    const entry = this.#current();
    this.#open = false;
    this.#write({ ...entry, open: entry.open.filter((mark) => mark !== this.#mark) });
  }

  /** The module's count, told before the update of the last of these rounds leaves. */
  reached(count: number): void {
    const entry = this.#current();
    const added = count - this.#counted;
    if (added <= 0) return this.#write(entry);
    // Another tab may have taken this one's open round for a crash, and counted it.
    const already = this.#open && !entry.open.includes(this.#mark) ? 1 : 0;
    const open = entry.open.filter((mark) => mark !== this.#mark);
    this.#open = false;
    this.#counted = count;
    this.#write({ ...entry, participations: entry.participations + added - already, open });
  }

  /** The module crashed and is started again: an open round may have left. */
  crashed(): void {
    if (!this.#open) return;
    const entry = this.#current();
    this.#open = false;
    this.#counted++;
    this.#write(counted(entry, [this.#mark]));
  }

  /** Counts the rounds that earlier pages left open. Returns the count. */
  #closeOpen(entry: Entry): number {
    if (entry.open.length === 0) return entry.participations;
    const closed = counted(entry, entry.open);
    this.#write(closed);
    return closed.participations;
  }

  #current(): Entry {
    const entry = this.#read();
    // Not written yet, or cleared in the meantime: this client goes on as it was.
    if (!entry) return { subject: this.subject, participations: this.#counted, open: this.#open ? [this.#mark] : [] };
    if (entry.subject !== this.subject) this.#replaced = true;
    return entry;
  }

  #read(): Entry | undefined {
    const kept = MEMORY.get(this.#key);
    if (kept) return kept;
    try {
      return parse(localStorage.getItem(this.#key));
    } catch {
      return undefined;
    }
  }

  #write(entry: Entry): void {
    try {
      localStorage.setItem(this.#key, JSON.stringify(entry));
      MEMORY.delete(this.#key);
    } catch {
      MEMORY.set(this.#key, entry);
    }
  }
}

function counted(entry: Entry, marks: readonly string[]): Entry {
  const open = entry.open.filter((mark) => !marks.includes(mark));
  return { ...entry, participations: entry.participations + entry.open.length - open.length, open };
}

function parse(text: string | null): Entry | undefined {
  if (text === null) return undefined;
  const entry = JSON.parse(text) as Partial<Entry>;
  const { subject, participations, open } = entry;
  const whole =
    typeof subject === 'string' &&
    /^[0-9a-f]{32}$/.test(subject) &&
    Number.isSafeInteger(participations) &&
    (participations as number) >= 0 &&
    Array.isArray(open) &&
    open.every((mark) => typeof mark === 'string');
  return whole ? (entry as Entry) : undefined;
}

function randomHex(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
