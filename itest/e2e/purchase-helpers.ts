/** What suites about purchases have in common. */
import type { LightningNode } from '../harness/lightningd.js';

/** What the LSP asks for a channel of so many satoshis, in millisatoshis: base and ppm as they are by default. */
export const priceOf = (amount: number): number => 1_000 + amount;

/** How many fees of purchases the client has paid. */
export const feesPaid = async (client: LightningNode): Promise<number> => {
  const { payments } = (await client.call('listsendpays')) as { readonly payments: readonly { readonly status: string; readonly label?: string }[] };
  return payments.filter((p) => p.status === 'complete' && p.label?.includes('fee of a purchase') === true).length;
};
