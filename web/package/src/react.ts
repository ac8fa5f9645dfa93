/** Hook `useFedra` for React: a client for as long as a component is there. It must not ask anything of the person. */
import { useEffect, useRef, useState } from 'react';
import { FedraClient } from './client.js';
import { FedraError, wordsOf } from './errors.js';
import type { ClientEvent, ClientEventOf, ClientEventType } from './events.js';
import type { ConnectOptions, TrainOptions } from './options.js';
import type { TrainingData, TrainingFiles, TrainingImages } from './validate.js';

/** Options of {@link useFedra}: those of `connect`, and the data. */
export interface UseFedraOptions extends Omit<ConnectOptions, 'signal'> {
  /** The examples. They are given to the client whenever this is another object. */
  readonly data?: TrainingData | TrainingFiles | TrainingImages | undefined;
  /** Options of `train`. */
  readonly train?: TrainOptions;
  /** Default true. With false there is no client. */
  readonly enabled?: boolean;
}

/** The newest event of each kind. */
export type LatestEvents = { readonly [Type in ClientEventType]?: ClientEventOf<Type> };

/** The client, and what it has told. */
export interface UseFedra extends LatestEvents {
  /** Undefined until it has started. */
  readonly client: FedraClient | undefined;
  /** The error that `connect` or `train` rejected with. */
  readonly failure: FedraError | undefined;
}

const EVENTS: readonly ClientEventType[] = [
  'status',
  'backend',
  'task',
  'privacy',
  'round',
  'progress',
  'evaluation',
  'update',
  'model',
  'traffic',
  'tab',
  'error',
];

const NOTHING: UseFedra = { client: undefined, failure: undefined };

/**
 * Connects a client while the component is mounted, and closes it afterwards. Another `url` or
 * `task` is another client; the other options are taken as they are when it connects. Of
 * several tabs one takes part, unless `tabs` says otherwise.
 */
export function useFedra({ data, train, enabled = true, ...options }: UseFedraOptions): UseFedra {
  const [state, setState] = useState(NOTHING);
  const given = useRef({ options, train });
  given.current = { options, train };
  const url = String(options.url);
  const { task } = options;

  // Another place is another client; its other options are those of the moment.
  useEffect(() => {
    if (!enabled) return undefined;
    const left = new AbortController();
    const set = (change: Partial<UseFedra>) => left.signal.aborted || setState((before) => ({ ...before, ...change }));
    FedraClient.connect({ tabs: 'one', ...given.current.options, signal: left.signal }).then(
      (client) => {
        for (const type of EVENTS) {
          client.addEventListener(type, ({ detail }: CustomEvent<ClientEvent>) => set({ [detail.type]: detail }));
        }
        const told = EVENTS.flatMap((type) => client.latest(type) ?? []);
        set({ client, ...Object.fromEntries(told.map((event) => [event.type, event])) });
      },
      (error) => set({ failure: failureOf(error) }),
    );
    return () => {
      left.abort();
      setState(NOTHING);
    };
  }, [url, task, enabled]);

  const { client } = state;
  useEffect(() => {
    if (!client || !data) return undefined;
    const replaced = new AbortController();
    client.train(data, { timeout: Infinity, ...given.current.train, signal: replaced.signal }).catch((error) => {
      const failure = failureOf(error);
      if (failure.code !== 'aborted' && failure.code !== 'closed') setState((before) => ({ ...before, failure }));
    });
    return () => replaced.abort();
  }, [client, data]);

  return state;
}

function failureOf(error: unknown): FedraError {
  return error instanceof FedraError ? error : new FedraError('worker-failed', wordsOf(error), { cause: error });
}
