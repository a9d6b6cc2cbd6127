import { describe, expect, test } from '@jest/globals';
import { drawMermaid, drawText, type DrawnNode } from '../draw.js';
import { sat } from '../../blip/brands.js';
import { planFor } from './support/factory.js';

const clients = [
  { capacity: 1_000_000n, stock: 500_000n },
  { capacity: 2_000_000n, stock: 0n },
  { capacity: 30_000n, stock: 330n },
];
const plan = planFor({ clients, fanouts: [2, 2] });
const note = (node: DrawnNode): string | undefined =>
  node.kind === 'slot' && node.member === 1 ? 'alias "b" <online> & well' : node.kind === 'split' && node.level === 1 ? 'confirmed' : undefined;

describe('a drawing', () => {
  test('as text has a line per node, below its parent', () => {
    expect(drawText(plan)).toBe(
      [
        'funding 3,533,114 sat',
        '└─ split of clients 0 to 2, 167 vB',
        '   ├─ split of clients 0 to 1, 167 vB',
        '   │  ├─ client 0: slot 1,500,574 sat, leaf 167 vB: channel 1,000,000 sat, stock 500,000 sat',
        '   │  └─ client 1: slot 2,000,488 sat, leaf 124 vB: channel 2,000,000 sat',
        '   └─ client 2: slot 30,904 sat, leaf 167 vB: channel 30,000 sat, stock 330 sat',
      ].join('\n'),
    );
  });

  test('says what the caller adds', () => {
    const lines = drawText(plan, note).split('\n');
    expect(lines[2]).toBe('   ├─ split of clients 0 to 1, 167 vB (confirmed)');
    expect(lines[4]).toMatch(/ \(alias "b" <online> & well\)$/);
  });

  test('as Mermaid has a node and an arrow for each, labels kept from breaking it', () => {
    const lines = drawMermaid(plan, note).split('\n');
    expect(lines[0]).toBe('flowchart TD');
    expect(lines).toContain('  funding["funding 3,533,114 sat"]');
    expect(lines).toContain('  funding --> split_0_3');
    expect(lines).toContain('  split_0_3 --> split_0_2');
    expect(lines).toContain('  split_0_2["split of clients 0 to 1, 167 vB (confirmed)"]');
    expect(lines).toContain('  split_0_2 --> client_1');
    expect(lines).toContain('  split_0_3 --> client_2');
    expect(lines.find((line) => line.startsWith('  client_1['))).toMatch(/\(alias #34;b#34; #60;online#62; #38; well\)"\]$/);
    expect(lines).toHaveLength(1 + 6 + 5);
  });

  test('of a roster that grew has the new amounts', () => {
    const larger = { ...plan, roster: plan.roster.map((entry) => ({ ...entry, capacity: sat(1_234_567_890n) })) };
    expect(drawText(larger)).toContain('channel 1,234,567,890 sat');
  });
});
