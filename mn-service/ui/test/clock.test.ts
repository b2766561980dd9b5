import { beforeEach, expect, it } from 'vitest';
import { note, skew } from '../src/api/clock';

const NOW = Date.parse('2026-01-02T03:04:05Z');
const at = (milliseconds: number) => new Date(NOW + milliseconds).toUTCString();

beforeEach(() => note(at(0), NOW, NOW + 10));

it('says nothing about clocks that agree, or about slow answers', () => {
  note(at(0), NOW - 90_000, NOW + 90_000);
  expect(skew()).toBe(0);
  note(at(30_000), NOW, NOW + 10);
  expect(skew()).toBe(0);
});

it('knows how far the service is ahead or behind', () => {
  note(at(3_600_000), NOW, NOW + 10);
  expect(skew()).toBeGreaterThan(3590);
  note(at(-600_000), NOW, NOW + 10);
  expect(skew()).toBeLessThan(-590);
});

it('does not believe an answer without a date', () => {
  note(at(3_600_000), NOW, NOW + 10);
  const before = skew();
  note(null, NOW, NOW);
  note('yesterday', NOW, NOW);
  expect(skew()).toBe(before);
});
