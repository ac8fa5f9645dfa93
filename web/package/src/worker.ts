/** The worker of a browser: `fedra/worker`. */
import type { ToWorker } from './messages.js';
import { RESIDUALS } from './residual-store.js';
import { crashed, receive, serve } from './serve.js';

declare const self: DedicatedWorkerGlobalScope;

serve({ post: (message, transfer) => self.postMessage(message, transfer), scope: self, residuals: RESIDUALS });
self.onmessage = ({ data }: MessageEvent<ToWorker>) => void receive(data);
self.onunhandledrejection = (event) => crashed(event.reason);
