import { expect, it } from 'vitest';
import { chain, summary } from '../src/api/error';
import { digest } from '../src/api/login';
import { slices, SLICE } from '../src/api/upload';
import { bytes, csvLine, date, isAddress, parseBytes, remaining } from '../src/parts/format';

it('passwords travel as the protocol says', () => {
  expect(digest('password')).toMatch(/^b109f3bbbc244eb82441917ed06d618b/);
  expect(digest('密码')).toHaveLength(128);
});

it('sizes are binary both ways', () => {
  expect(bytes(0)).toBe('0 B');
  expect(bytes(1 << 30)).toBe('1 GiB');
  expect(bytes(1_500_000_000)).toBe('1.4 GiB');
  for (const [text, size] of [
    ['20 GiB', 20 * 2 ** 30],
    ['512m', 512 * 2 ** 20],
    ['1.5T', 1.5 * 2 ** 40],
    ['7', 7],
  ] as const) {
    expect(parseBytes(text)).toBe(size);
  }
  for (const text of ['', '-1', 'many', '1 XB', '0', '99999999 PiB']) expect(parseBytes(text)).toBeUndefined();
});

it('dates of the wire are sortable to the eye', () => {
  expect(date('Nov 20, 2025 1:02:03 PM')).toBe('2025-11-20 13:02:03');
  expect(date('Apr 3, 2014 12:11:47 AM')).toBe('2014-04-03 00:11:47');
  expect(date('something else')).toBe('something else');
});

it('addresses are four numbers', () => {
  expect(['10.0.0.1', '255.255.255.0'].every(isAddress)).toBe(true);
  expect(['10.0.0', '10.0.0.256', '10.0.0.01', 'a.b.c.d', ''].some(isAddress)).toBe(false);
});

it('a spreadsheet takes text for text', () => {
  expect(csvLine(['a', 'b,c', 'd"e', '=1+1', '-x'])).toBe(`a,"b,c","d""e",'=1+1,'-x`);
});

it('slices cover the file once, and only the last is short', () => {
  const parts = slices(2 * SLICE + 5);
  expect(parts.map((part) => part.size)).toEqual([SLICE, SLICE, 5]);
  expect(parts.map((part) => part.offset)).toEqual([0, SLICE, 2 * SLICE]);
  expect(slices(SLICE)).toHaveLength(1);
});

it('errors tell their causes, the outermost first', () => {
  const error = { code: 'A', cause: { code: 'B', causes: [{ code: 'C' }, { code: 'D', details: 'd' }] } };
  expect(chain(error).map((one) => one.code)).toEqual(['A', 'B', 'C', 'D']);
  expect(summary({ code: 'A', description: 'b' })).toBe('b');
});

it('what is left of a time has its two largest units', () => {
  expect([0, -5, 59, 60, 3599, 3600, 3661, 86_400, 90_061, 2_592_000].map(remaining)).toEqual([
    '0 s', '0 s', '59 s', '1 min', '59 min 59 s', '1 h', '1 h 1 min', '1 d', '1 d 1 h', '30 d',
  ]);
});
