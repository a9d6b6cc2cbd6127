/**
 * Which story shows which part of a factory's life, and where the effects of the outbox are to be seen. A new operation is a part of a
 * story: it gets its name (`Operation`), its row here, and its effects theirs; the suites that kill, and that do everything twice, go by
 * these tables.
 */
import type { DurableEffect } from '../../factory-core/protocol/effects.js';
import { abandonedPurchase, purchase } from './life-purchases.js';
import { rotation } from './life-rotation.js';
import type { Operation, Story } from './life.js';

const createdAndClosed: Story = async (life) => life.close(await life.whole());

/** Another purchase can be made after what may have happened to the one before. */
const boughtTwice: Story = async (life) => {
  const factory = await life.whole();
  await purchase(life, factory);
  await purchase(life, factory);
  await life.close(factory);
};

const boughtInTheEnd: Story = async (life) => {
  const factory = await life.whole();
  await abandonedPurchase(life, factory);
  await life.close(factory);
};

const rotated: Story = async (life) => life.close(await rotation(life, await life.whole()));

const abandoned: Story = (life) => life.abandon();

/** With a purchase, which goes to the chain, too. */
const left =
  (byLsp: boolean): Story =>
  async (life) => {
    const factory = await life.whole();
    await purchase(life, factory);
    await life.exit(factory, byLsp ? life.cluster.lsp : life.client);
  };

export const STORIES: Readonly<Record<Operation, Story>> = {
  creation: createdAndClosed,
  'clean-up': abandoned,
  purchase: boughtTwice,
  'purchase given up': boughtInTheEnd,
  'next factory': rotated,
  rotation: rotated,
  close: createdAndClosed,
  'exit of the client': left(false),
  'exit by the LSP': left(true),
};

/** Which of the operations show this effect. */
export const WHERE: Readonly<Record<DurableEffect['kind'], readonly Operation[]>> = {
  select_coins: ['creation'],
  prepare_funding: ['creation'],
  open_start: ['creation', 'purchase'],
  open_complete: ['creation', 'purchase'],
  audit: ['creation', 'purchase'],
  arm: ['creation', 'purchase'],
  send_funding: ['creation'],
  release_funding: ['clean-up'],
  discard_channels: ['clean-up'],
  pay_fee: ['purchase'],
  drop_purchase: ['purchase given up'],
  retire_channel: ['close', 'rotation'],
  await_next: ['rotation'],
  move_balance: ['rotation'],
  settle_balance: ['rotation'],
  await_owed: ['rotation'],
  pay_owed: ['rotation'],
};
