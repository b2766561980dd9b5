import { sha512 } from '@noble/hashes/sha2';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils';
import { call } from './client';
import { begin, end, session } from './session';

/** The password that every new cloud starts with (PLAT-LOGIN-001). */
const DEFAULT_PASSWORD = 'password';

/** What travels instead of a password: the browser's own digests exist on encrypted pages only. */
export function digest(password: string): string {
  return bytesToHex(sha512(utf8ToBytes(password)));
}

export async function logIn(accountName: string, password: string): Promise<void> {
  const answer = await call('LogInByAccount', { accountName, password: digest(password) });
  const { uuid, accountUuid } = answer.inventory ?? {};
  if (!uuid || !accountUuid) throw new Error('the answer to the login has no session');
  begin({ uuid, account: accountUuid, accountName, defaultPassword: password === DEFAULT_PASSWORD });
}

/** Ends the session on the service too; when that cannot be reached the session ends there by itself. */
export async function logOut(): Promise<void> {
  const uuid = session()?.uuid;
  if (!uuid) return;
  try {
    await call('LogOut', { sessionUuid: uuid });
  } catch {
    // Logged out here in any case.
  }
  end('logout');
}

/** Changes the own password; the old one is checked first. */
export async function changePassword(old: string, next: string): Promise<void> {
  const current = session();
  if (!current) return;
  // The service takes a change from whoever has the session, so the one who sits here must prove himself.
  const proof = await call('LogInByAccount', { accountName: current.accountName, password: digest(old) });
  await call('UpdateAccount', { uuid: current.account, password: digest(next) }, { subject: current.accountName });
  if (proof.inventory?.uuid) await call('LogOut', { sessionUuid: proof.inventory.uuid });
  const now = session();
  if (now) begin({ ...now, defaultPassword: false });
}

