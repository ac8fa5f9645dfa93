// The part of the package ws that is used, for Node.js before 22.
declare module 'ws' {
  export class WebSocket extends EventTarget {
    constructor(url: string);
    on(event: 'error', listener: (error: Error) => void): this;
  }
}
