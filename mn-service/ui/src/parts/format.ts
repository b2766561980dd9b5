/** Texts for values, and back. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `1073741824` as `1 GiB`. */
export function bytes(value: number): string {
  let amount = Math.abs(value);
  let unit = 0;
  while (amount >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const rounded = Math.round(amount * 100) / 100;
  return `${value < 0 ? '-' : ''}${rounded} ${UNITS[unit]}`;
}

/** `20 GiB`, `20G` or `512m` as bytes, all of them binary; nothing when it is no size. */
export function parseBytes(text: string): number | undefined {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?\s*$/i.exec(text);
  if (!found) return undefined;
  const power = ['', 'k', 'm', 'g', 't', 'p'].indexOf((found[2] ?? '').toLowerCase());
  const value = Math.round(Number(found[1]) * 1024 ** power);
  return Number.isSafeInteger(value) && value > 0 ? value : undefined;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Nov 20, 2025 1:02:03 PM` as `2025-11-20 13:02:03`. It names no zone: it is the management node's. */
export function date(text: string): string {
  const found = /^(\w{3}) (\d+), (\d{4}) (\d+):(\d\d):(\d\d)\s([AP]M)$/.exec(text);
  const month = found ? MONTHS.indexOf(found[1] ?? '') + 1 : 0;
  if (!found || month === 0) return text;
  const hour = (Number(found[4]) % 12) + (found[7] === 'PM' ? 12 : 0);
  const two = (part: string | number | undefined) => String(part).padStart(2, '0');
  return `${found[3]}-${two(month)}-${two(found[2])} ${two(hour)}:${found[5]}:${found[6]}`;
}

/** Seconds that are left, in the two largest units: `1 h 59 min`. */
export function remaining(seconds: number): string {
  const units = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ] as const;
  let left = Math.max(0, Math.floor(seconds));
  const first = Math.max(0, units.findIndex(([, size]) => left >= size));
  const parts = units.slice(left === 0 ? -1 : first).slice(0, 2).map(([unit, size]) => {
    const count = Math.floor(left / size);
    left -= count * size;
    return { count, text: `${count} ${unit}` };
  });
  return parts.filter(({ count }, index) => index === 0 || count > 0).map(({ text }) => text).join(' ');
}

/** Milliseconds since 1970 as `2025-11-20 13:02:03`, in the browser's zone. */
export function moment(milliseconds: number): string {
  const local = new Date(milliseconds - new Date(milliseconds).getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19).replace('T', ' ');
}

/** An IPv4 address in four decimal numbers. */
export function isAddress(text: string): boolean {
  const parts = text.split('.');
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** One line of a CSV file. Spreadsheets run what begins like a formula, so that is made text. */
export function csvLine(values: readonly string[]): string {
  return values
    .map((value) => (/^[=+\-@\t\r]/.test(value) ? `'${value}` : value))
    .map((value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value))
    .join(',');
}
