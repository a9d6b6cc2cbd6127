/** Whose invitations this node takes, and on what terms (option `factory-accept`). */
import type { NodeId } from '../../blip/brands.js';
import type { Invite } from '../../blip/messages.js';
import { AbortCode } from '../../factory-core/protocol/abort-codes.js';
import { validateTerms, type TermsPolicy } from '../../factory-core/validate.js';

export type Accept = { readonly kind: 'none' } | { readonly kind: 'any' } | { readonly kind: 'nodes'; readonly nodes: ReadonlySet<NodeId> };

export const isNamed = (accept: Accept, node: NodeId): boolean => accept.kind === 'any' || (accept.kind === 'nodes' && accept.nodes.has(node));

export interface Refusal {
  readonly code: number;
  readonly reason: string;
}

/** Factories one coordinator may be creating with us at a time. */
const MAX_PENDING = 4;

export interface InviteContext {
  readonly accept: Accept;
  readonly policy: TermsPolicy;
  /** The operator has not allowed the main network (option `factory-mainnet`). */
  readonly forbiddenNetwork: boolean;
  /** Ceremonies of this coordinator that are under way here. */
  readonly pending: number;
}

/** Why not; undefined: yes. */
export const refusal = (from: NodeId, invite: Invite, context: InviteContext): Refusal | undefined => {
  const { accept, policy, forbiddenNetwork, pending } = context;
  if (!isNamed(accept, from)) {
    return { code: AbortCode.NotAccepted, reason: 'this node does not take invitations from you (its option factory-accept)' };
  }
  if (forbiddenNetwork) return { code: AbortCode.NotAccepted, reason: 'this node’s operator has not allowed factories on the main network' };
  if (pending >= MAX_PENDING) return { code: AbortCode.Busy, reason: `${pending} factories are being created with you already` };
  const problem = validateTerms(invite, policy);
  return problem && { code: AbortCode.Invalid, reason: `${problem.field}: ${problem.reason}` };
};
