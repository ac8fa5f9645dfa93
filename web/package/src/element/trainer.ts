/**
 * The element `<fedra-trainer>`: invites, asks for consent, shows the client's state and what
 * left the device. It must not compute, nor keep anything that the client does not.
 */
import { FedraClient } from '../client.js';
import { FedraError, wordsOf } from '../errors.js';
import type { ClientEvent, ClientEventType, ErrorEvent } from '../events.js';
import type { PrivacyEvent } from '../generated/contract.js';
import type { ConnectOptions, TrainOptions } from '../options.js';
import type { Sent } from '../sent.js';
import type { Place, TrainingData, TrainingFiles, TrainingImages } from '../validate.js';
import type { Shown, Stage } from './show.js';
import { show, showSent, statusWords } from './show.js';
import type { TrainerStrings, TrainerStringsChanges } from './strings.js';
import { filled, stringsOf } from './strings.js';
import { STYLE } from './style.js';
import type { View } from './view.js';
import { viewIn, write } from './view.js';

/** Data of the element, as of `train`, or a function that gives them once they are needed. */
export type TrainerData = TrainingData | TrainingFiles | TrainingImages;
export type TrainerDataSource = TrainerData | (() => TrainerData | Promise<TrainerData>);

/** Text that the person agrees to, and its version. */
export interface TrainerConsent {
  readonly text: string;
  readonly version: string;
}

/** Options of the element's client: those of `connect`. The element brings the place and the consent. */
export type TrainerOptions = Omit<ConnectOptions, 'url' | 'task' | 'signal'>;

const EVENTS: readonly ClientEventType[] = ['status', 'progress', 'privacy', 'update', 'tab', 'error'];
/** States that a screen reader is told. */
const NEWS: readonly string[] = ['consent', 'unavailable', 'paused', 'reconnecting', 'closed'];

// On a server there are no elements, and importing this must do nothing.
const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

/** Dispatches `client`, a `CustomEvent` whose detail is the client, when one has started. */
export class FedraTrainer extends Base {
  static readonly observedAttributes = ['url', 'task', 'lang'];

  readonly #view: View;
  #data: TrainerDataSource | undefined;
  #consent: TrainerConsent | undefined;
  #strings: TrainerStringsChanges | undefined;
  /** Options of `connect`, and of `train`. */
  options: TrainerOptions = {};
  trainOptions: TrainOptions = {};

  #stage: Stage = 'invited';
  #client: FedraClient | undefined;
  #starting: AbortController | undefined;
  #answer: ((agreed: boolean) => void) | undefined;
  #isPaused = false;
  #hasData = false;
  #problem = '';
  #notice = '';
  #sent: Sent | undefined;
  #told = '';

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.#view = viewIn(root);
    const { takePart, agree, decline, consent, pause, withdraw, save, sent, status } = this.#view;
    takePart.onclick = () => {
      void this.start();
      status.focus();
    };
    agree.onclick = () => this.#decide(true);
    decline.onclick = () => this.#decide(false);
    consent.onkeydown = ({ key }) => {
      if (key === 'Escape') this.#decide(false);
    };
    pause.onclick = () => (this.#isPaused ? this.resume() : this.pause());
    withdraw.onclick = () => void this.revoke();
    save.onclick = () => this.#save();
    sent.ontoggle = () => {
      if (sent.open) void this.#readSent();
    };
  }

  /** The aggregator's address, and the task's id. */
  get url(): string {
    return this.getAttribute('url') ?? '';
  }

  set url(url: string) {
    this.setAttribute('url', url);
  }

  get task(): string {
    return this.getAttribute('task') ?? '';
  }

  set task(task: string) {
    this.setAttribute('task', task);
  }

  /** The examples to train on. Later ones replace those before. */
  get data(): TrainerDataSource | undefined {
    return this.#data;
  }

  set data(data: TrainerDataSource | undefined) {
    this.#data = data;
    if (this.#client) void this.#train(this.#client);
  }

  /** The text that the person agrees to. Without one it is the element's own invitation. */
  get consent(): TrainerConsent {
    return this.#consent ?? { text: this.#texts.invitation, version: '1' };
  }

  set consent(consent: TrainerConsent | undefined) {
    this.#consent = consent;
    this.#show();
  }

  /** Texts in place of the element's. */
  get strings(): TrainerStringsChanges | undefined {
    return this.#strings;
  }

  set strings(strings: TrainerStringsChanges | undefined) {
    this.#strings = strings;
    this.#showAll();
  }

  /** The client, once the person takes part. */
  get client(): FedraClient | undefined {
    return this.#client;
  }

  connectedCallback(): void {
    this.#showAll();
    // The page may set properties first.
    queueMicrotask(() => void this.#comeBack());
  }

  disconnectedCallback(): void {
    // An element that is moved goes on.
    queueMicrotask(() => this.isConnected || void this.stop());
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (!this.isConnected || before === after) return;
    if (name !== 'lang' && this.#stage !== 'invited') void this.stop().then(() => this.#comeBack());
    else this.#showAll();
  }

  /** Starts the client. The person is asked before it takes part, unless they have agreed at an earlier visit. */
  async start(): Promise<void> {
    if (this.#stage !== 'invited') return;
    const starting = (this.#starting = new AbortController());
    this.#set({ stage: 'starting', problem: '', notice: '' });
    const { privacy, ...options } = this.options;
    const consent = { ...this.consent, ask: (terms: PrivacyEvent) => this.#ask(terms) };
    try {
      const place = { url: this.url, task: this.task, signal: starting.signal };
      const client = await FedraClient.connect({ tabs: 'one', ...options, ...place, privacy: { ...privacy, consent } });
      this.#client = client;
      for (const type of EVENTS) client.addEventListener(type, ({ detail }: CustomEvent<ClientEvent>) => this.#hear(client, detail));
      this.#begin(client);
      this.dispatchEvent(new CustomEvent('client', { detail: client }));
      await this.#train(client);
    } catch (error) {
      if (!starting.signal.aborted) this.#end({ problem: filled(this.#texts.failed, { message: wordsOf(error) }) });
    }
  }

  /** Ends the client. The consent stays. */
  async stop(): Promise<void> {
    const client = this.#client;
    this.#starting?.abort();
    this.#end({});
    await client?.close();
  }

  pause(): void {
    this.#client?.pause();
    this.#isPaused = this.#client !== undefined;
    this.#show();
  }

  resume(): void {
    this.#client?.resume();
    this.#isPaused = false;
    this.#show();
  }

  /** Withdraws the consent: every tab ends its part, and the next start asks again. */
  async revoke(): Promise<void> {
    const had = this.#hasFocus;
    try {
      await FedraClient.revoke(this.#place);
    } catch (error) {
      this.#set({ problem: filled(this.#texts.failed, { message: wordsOf(error) }) });
    }
    if (had) this.#view.takePart.focus();
  }

  get #place(): Place {
    return { url: this.url, task: this.task };
  }

  get #language(): string {
    return this.closest<HTMLElement>('[lang]')?.lang || navigator.language;
  }

  get #texts(): TrainerStrings {
    return stringsOf(this.#language, this.#strings);
  }

  get #hasFocus(): boolean {
    return this.shadowRoot?.activeElement !== null;
  }

  /** Goes on where the person has agreed to the same text before. */
  async #comeBack(): Promise<void> {
    if (!this.isConnected || this.#stage !== 'invited' || !this.url || !this.task) return;
    void this.#readSent();
    const kept = await FedraClient.consent(this.#place).catch(() => null);
    const { text, version } = this.consent;
    if (kept?.text === text && kept.version === version && this.isConnected) await this.start();
  }

  async #train(client: FedraClient): Promise<void> {
    if (!this.#data) return;
    try {
      const data = typeof this.#data === 'function' ? await this.#data() : this.#data;
      this.#set({ hasData: true });
      await client.train(data, { timeout: Infinity, ...this.trainOptions });
    } catch (error) {
      const isOver = error instanceof FedraError && (error.code === 'aborted' || error.code === 'closed');
      if (!isOver && client === this.#client) this.#set({ problem: filled(this.#texts.failed, { message: wordsOf(error) }) });
    }
  }

  /** Asks the person. A question that is put again takes the place of the one before. */
  #ask(_terms: PrivacyEvent): Promise<boolean> {
    this.#answer?.(false);
    const focuses = this.#hasFocus;
    this.#set({ stage: 'asking' });
    // Not on an answer: a second press of the key that started must not agree.
    if (focuses) this.#view.consent.focus();
    return new Promise((resolve) => (this.#answer = resolve));
  }

  #decide(agreed: boolean): void {
    const answer = this.#answer;
    this.#answer = undefined;
    if (this.#stage === 'asking') this.#set({ stage: 'running' });
    if (agreed) this.#view.pause.focus();
    answer?.(agreed);
  }

  #hear(client: FedraClient, event: ClientEvent): void {
    if (client !== this.#client) return;
    if (event.type === 'error') this.#hearError(event);
    this.#begin(client);
    // A log that is not open is read when it is opened.
    if ((event.type === 'update' || event.type === 'status') && this.#view.sent.open) void this.#readSent();
    this.#show();
  }

  /** Shows the client as running, once there is no question to be put first. */
  #begin(client: FedraClient): void {
    const state = client.latest('status')?.state ?? 'connecting';
    const isOpen = state === 'connecting' || state === 'consent' || (state === 'idle' && !client.latest('privacy'));
    const follows = client.latest('tab')?.leads === false;
    if (this.#stage === 'starting' && client === this.#client && (follows || !isOpen)) this.#set({ stage: 'running' });
  }

  #hearError({ code, message, fatal }: ErrorEvent): void {
    const texts = this.#texts;
    if (code === 'privacy-declined') this.#end({ notice: texts.declined });
    else if (code === 'consent-revoked') this.#end({ notice: texts.revoked });
    else if (code === 'task-finished') this.#notice = texts.finished;
    else if (code === 'privacy-exhausted') this.#notice = texts.used;
    else if (fatal) this.#end({ problem: filled(texts.failed, { message }) });
    else if (code === 'bad-dataset') this.#problem = filled(texts.failed, { message });
  }

  /** Goes back to the invitation. */
  #end({ problem = '', notice = '' }: { readonly problem?: string; readonly notice?: string }): void {
    const had = this.#hasFocus;
    this.#client = undefined;
    this.#answer = undefined;
    this.#isPaused = false;
    this.#set({ stage: 'invited', hasData: false, problem, notice });
    if (had) this.#view.takePart.focus();
    void this.#readSent();
  }

  async #readSent(): Promise<void> {
    if (!this.url || !this.task) return;
    const place = this.#place;
    const sent = await FedraClient.sent(place).catch(() => undefined);
    if (place.url !== this.url || place.task !== this.task) return;
    this.#sent = sent;
    this.#showSent();
  }

  #save(): void {
    const file = new Blob([JSON.stringify({ ...this.#place, ...this.#sent }, null, 2)], { type: 'application/json' });
    const link = document.createElement('a');
    link.href = URL.createObjectURL(file);
    link.download = `fedra-${this.task}.json`;
    link.click();
    // Once the browser has begun to save.
    setTimeout(() => URL.revokeObjectURL(link.href));
  }

  #set(state: { stage?: Stage; hasData?: boolean; problem?: string; notice?: string }): void {
    if (state.stage !== undefined) this.#stage = state.stage;
    if (state.hasData !== undefined) this.#hasData = state.hasData;
    if (state.problem !== undefined) this.#problem = state.problem;
    if (state.notice !== undefined) this.#notice = state.notice;
    this.#show();
  }

  #showAll(): void {
    this.#show();
    this.#showSent();
  }

  #showSent(): void {
    if (this.isConnected) showSent(this.#view, this.#sent, this.#texts, this.#language);
  }

  #show(): void {
    if (!this.isConnected) return;
    const client = this.#client;
    const shown: Shown = {
      stage: this.#stage,
      consent: this.consent,
      status: client?.latest('status'),
      progress: client?.latest('progress'),
      privacy: client?.latest('privacy'),
      leads: client?.latest('tab')?.leads ?? true,
      isPaused: this.#isPaused,
      hasData: this.#hasData,
      problem: this.#problem,
      notice: this.#notice,
    };
    const texts = this.#texts;
    show(this.#view, shown, texts, this.#language);
    this.#tell(shown, texts);
  }

  /** Tells a screen reader what is worth it: not each step of each round. */
  #tell(shown: Shown, texts: TrainerStrings): void {
    const { stage, status, notice } = shown;
    const rests = stage === 'running' && status !== undefined && NEWS.includes(status.state);
    const trains = stage === 'running' && status?.state === 'training';
    if (notice || stage === 'starting' || stage === 'asking' || rests) this.#told = statusWords(shown, texts);
    else if (trains) this.#told = texts.states.training;
    write(this.#view.news, this.#told);
  }
}
