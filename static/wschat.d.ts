/**
 * Types of wschat.js, for TypeScript. docs/javascript.md describes what they mean.
 *
 * SPDX-License-Identifier: AGPL-3.0-only
 */

/** A message or a command to send; other fields are passed on unchanged. */
export interface Message {
  usr: string;
  msg?: string;
  jwt?: string;
  /** Without it, a random one. */
  id?: string;
  cmd?: Record<string, unknown>;
  [field: string]: unknown;
}

/** A message as everybody gets it. */
export interface Received {
  usr: string;
  msg: string;
  tim: string;
  [field: string]: unknown;
}

/** What the server says about a message or a command. */
export interface Notice extends Received {
  usr: "wschat";
  err?: string;
  ack?: string;
  /** Seconds until it can be sent. */
  wait?: number;
  met?: number;
}

export type State = "connecting" | "open" | "waiting" | "closed";

export interface StateChange {
  state: State;
  /** In the state waiting; as in `Date.now()`. */
  retryAt?: number;
  code?: number;
  reason?: string;
}

/** Who is there and who can send. */
export interface Presence {
  listeners: number;
  locked: boolean;
  /** Seconds between two messages of one sender, or 0. */
  slow: number;
  /** Whether a token is needed to send. */
  token: boolean;
  title?: string;
  notice?: string;
}

/** The events, and their `detail`. */
export interface RoomEvents {
  message: Received;
  retract: Received & { retract: string };
  gap: Notice;
  notice: Notice;
  room: { usr: "wschat"; msg: string; room: Presence };
  state: StateChange;
}

/** Times in milliseconds. */
export interface Options {
  since?: string | null;
  delayMinMs?: number;
  delayMaxMs?: number;
  answerMs?: number;
  quietMs?: number;
  WebSocket?: new (url: string) => AnyWebSocket;
  startedAt?: number | null;
}

/** The part of a WebSocket that is used. */
export interface AnyWebSocket {
  onopen: any;
  onmessage: any;
  onclose: any;
  onerror: any;
  send(text: string): void;
  close(): void;
}

export interface SendOptions {
  signal?: AbortSignal | undefined;
}

/** Connects to a ws: or wss: URL; one that is not valid is an exception. */
export function connect(url: string | URL, options?: Options): Room;

/** A random text of 128 bits. */
export function newId(): string;

/** Why a message was not sent. */
export class NotSent extends Error {
  constructor(code: string, notice?: Notice);
  name: "NotSent";
  readonly code: string;
  readonly notice: Notice | undefined;
}

export class Room extends EventTarget {
  constructor(url: string | URL, options?: Options);
  readonly state: State;
  /** As the server has told last; null before, or if it tells nothing. */
  readonly presence: Presence | null;
  /** Rejects if `close()` comes first. */
  readonly opened: Promise<void>;
  get since(): string | null;
  /** Rejects with NotSent, or with the reason of the signal. */
  send(message: Message, options?: SendOptions): Promise<Received>;
  reconnect(): void;
  close(): void;
  handleEvent(event: { type: string }): void;

  addEventListener<Type extends keyof RoomEvents>(
    type: Type,
    listener: (event: CustomEvent<RoomEvents[Type]>) => void,
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void;
  addEventListener(...parameters: Parameters<EventTarget["addEventListener"]>): void;
  removeEventListener<Type extends keyof RoomEvents>(
    type: Type,
    listener: (event: CustomEvent<RoomEvents[Type]>) => void,
    options?: Parameters<EventTarget["removeEventListener"]>[2],
  ): void;
  removeEventListener(...parameters: Parameters<EventTarget["removeEventListener"]>): void;
}
