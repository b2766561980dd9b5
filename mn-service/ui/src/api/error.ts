/** What the service says about a failure (PROTOCOL.md section 6.4). */
export interface ErrorCode {
  code?: string;
  description?: string;
  details?: string;
  elaboration?: string;
  cause?: ErrorCode;
  causes?: ErrorCode[];
}

/** Where a failure came from: the API itself, a malformed request, or the way to the service. */
export type Origin = 'api' | 'request' | 'network';

/** A call that failed. */
export class CallError extends Error {
  constructor(
    readonly origin: Origin,
    readonly error: ErrorCode,
    /** The call, for example `StartVmInstance`. */
    readonly api?: string,
    /** Uuid of the job; logs and audits name it. */
    readonly job?: string,
  ) {
    super(summary(error));
    this.name = 'CallError';
  }
}

/** The session is over: the code, and the words that every client looks for. */
export function isExpired(error: ErrorCode): boolean {
  return error.code === 'ID.1001' || (error.details ?? '').includes('Session expired');
}

/** The most telling single line. */
export function summary(error: ErrorCode): string {
  return error.details || error.elaboration || error.description || error.code || 'unknown error';
}

/** The error and what led to it, the outermost first. */
export function chain(error: ErrorCode): ErrorCode[] {
  const inner = [...(error.cause ? [error.cause] : []), ...(error.causes ?? [])];
  return [error, ...inner.flatMap(chain)];
}

/** Turns whatever was thrown into a failure that can be shown. */
export function asCallError(thrown: unknown): CallError {
  if (thrown instanceof CallError) return thrown;
  const details = thrown instanceof Error ? thrown.message : String(thrown);
  return new CallError('network', { description: 'the web interface failed', details });
}
