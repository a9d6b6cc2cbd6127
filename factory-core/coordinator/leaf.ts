import type { Script } from '../../blip/brands.js';
import type { FactorySpec, Signable } from '../model.js';
import { buildLeaf } from '../transactions.js';
import { treeOf } from '../tree-of.js';
import { present } from '../protocol/present.js';

/** The transaction that turns client `member`'s slot into its channel and stock. */
export const coordinatorLeaf = (state: { readonly spec: FactorySpec }, member: number, channelScript: Script): Signable =>
  buildLeaf(state.spec, member, present(treeOf(state.spec).slots[member]), channelScript);
