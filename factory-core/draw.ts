/** A factory's tree for people to read: as text with lines, and as a Mermaid flowchart. */
import type { Sat } from '../blip/brands.js';
import type { FactoryPlan } from './model.js';
import { isSlot, shapeNodes, type Range, type ShapeNode } from './shape.js';
import { leafVsize, splitVsize } from './sizes.js';
import { fundingAmount, rosterEntry, slotAmount } from './tree.js';

/** What is drawn: the funding output, a split, or a client's slot with its leaf. */
export type DrawnNode =
  | { readonly kind: 'funding' }
  | { readonly kind: 'split'; readonly level: number; readonly from: number; readonly to: number }
  | { readonly kind: 'slot'; readonly member: number };

/** Something to say besides about a node (a txid, an alias, "confirmed"), or nothing. */
export type Annotate = (node: DrawnNode) => string | undefined;

interface Drawing {
  readonly node: DrawnNode;
  readonly label: string;
  readonly children: readonly Drawing[];
}

const grouped = (amount: Sat): string => amount.toString().replace(/\B(?=(?:\d{3})+$)/g, ',');
/** Clients are counted from 0, as in the roster. */
const clients = ({ from, to }: Range): string => `clients ${from} to ${to - 1}`;

const labelled = (node: DrawnNode, text: string, annotate: Annotate): string => {
  const note = annotate(node);
  return note === undefined ? text : `${text} (${note})`;
};

const drawing = (plan: FactoryPlan, annotate: Annotate): Drawing => {
  const nodes = shapeNodes(plan.roster.length, plan.fanouts);
  const splits = new Map(nodes.map((split) => [`${split.from}-${split.to}`, split]));

  const slot = (member: number): Drawing => {
    const node = { kind: 'slot', member } as const;
    const { capacity, stock } = rosterEntry(plan, member);
    const holds = stock > 0n ? `channel ${grouped(capacity)} sat, stock ${grouped(stock)} sat` : `channel ${grouped(capacity)} sat`;
    const text = `client ${member}: slot ${grouped(slotAmount(plan, member))} sat, leaf ${leafVsize(stock > 0n)} vB: ${holds}`;
    return { node, label: labelled(node, text, annotate), children: [] };
  };
  const split = ({ level, from, to, children }: ShapeNode): Drawing => {
    const node = { kind: 'split', level, from, to } as const;
    const text = `split of ${clients(node)}, ${splitVsize(children.length)} vB`;
    return { node, label: labelled(node, text, annotate), children: children.flatMap(below) };
  };
  const below = (range: Range): readonly Drawing[] => {
    if (isSlot(range)) return [slot(range.from)];
    const found = splits.get(`${range.from}-${range.to}`);
    return found ? [split(found)] : [];
  };

  const funding = { kind: 'funding' } as const;
  const label = labelled(funding, `funding ${grouped(fundingAmount(plan))} sat`, annotate);
  return { node: funding, label, children: below({ from: 0, to: plan.roster.length }) };
};

const nothing: Annotate = () => undefined;

/** One line per node, each below its parent. @throws ShapeError when the plan's fan-outs do not fit its roster. */
export const drawText = (plan: FactoryPlan, annotate: Annotate = nothing): string => {
  const lines = ({ label, children }: Drawing): readonly string[] => [
    label,
    ...children.flatMap((child, index) => {
      const last = index === children.length - 1;
      return lines(child).map((line, depth) => (depth > 0 ? (last ? '   ' : '│  ') : last ? '└─ ' : '├─ ') + line);
    }),
  ];
  return lines(drawing(plan, annotate)).join('\n');
};

const idOf = (node: DrawnNode): string => {
  switch (node.kind) {
    case 'funding':
      return 'funding';
    case 'split':
      return `split_${node.from}_${node.to}`;
    case 'slot':
      return `client_${node.member}`;
  }
};

/** A Mermaid flowchart. @throws ShapeError when the plan's fan-outs do not fit its roster. */
export const drawMermaid = (plan: FactoryPlan, annotate: Annotate = nothing): string => {
  const lines = ({ node, label, children }: Drawing): readonly string[] => [
    // Quotation marks and angle brackets would end the label, or be taken for HTML.
    `  ${idOf(node)}["${label.replace(/["<>&]/g, (c) => `#${c.charCodeAt(0)};`)}"]`,
    ...children.flatMap((child) => [...lines(child), `  ${idOf(node)} --> ${idOf(child.node)}`]),
  ];
  return ['flowchart TD', ...lines(drawing(plan, annotate))].join('\n');
};
