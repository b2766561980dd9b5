/** The session, shared by all tabs of the browser: logging out in one logs out in all. */
export interface Session {
  uuid: string;
  account: string;
  accountName: string;
  /** True while the account still has the password that every new cloud starts with. */
  defaultPassword?: boolean;
}

/** Account that every cloud begins with (PROTOCOL.md section 3). */
export const ADMIN = '36c27e8ff05c4780bf6d2fa65700f22e';

const KEY = 'zstack.session';
const listeners = new Set<() => void>();
let cached: { text: string | null; session: Session | null } = { text: null, session: null };
let expired = false;

export function session(): Session | null {
  const text = localStorage.getItem(KEY);
  // One object per state, so that it can be compared by identity.
  if (text !== cached.text) {
    let found: Session | null = null;
    try {
      found = text ? (JSON.parse(text) as Session) : null;
    } catch {
      localStorage.removeItem(KEY);
    }
    cached = { text, session: found };
  }
  return cached.session;
}

export function begin(next: Session): void {
  expired = false;
  localStorage.setItem(KEY, JSON.stringify(next));
  changed();
}

/** Ends the session here; `because` tells the login page why. */
export function end(because: 'logout' | 'expired'): void {
  if (session() === null) return;
  expired = because === 'expired';
  localStorage.removeItem(KEY);
  changed();
}

/** True when the last session ended by itself. */
export function hasExpired(): boolean {
  return expired;
}

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener('storage', listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener('storage', listener);
  };
}

function changed(): void {
  for (const listener of listeners) listener();
}
