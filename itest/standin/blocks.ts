import type { Bitcoind, Block } from './bitcoind.js';
import type { Node } from './node.js';
import { messageOf } from './types.js';

/** Who wants to know of blocks. Called in the order of registration, before plugins hear of the block. */
export interface ChainListener {
  blockConnected(block: Block): void;
  /** The block at this height is no longer in the chain; called from the highest down. */
  blockDisconnected(height: number): void;
}

/** How many blocks back the chain may be reorganised. */
const REMEMBERED = 1000;

/** Follows bitcoind's best chain, one block at a time, and remembers in the database how far it came. */
export class Blocks {
  /** Hashes of the last blocks; the last one is the tip we have processed. */
  private readonly chain: string[];
  private tip: number;
  private timer: NodeJS.Timeout | undefined;
  private busy: Promise<void> = Promise.resolve();
  private readonly listeners: ChainListener[] = [];
  private readonly waiting = new Set<() => void>();

  constructor(
    private readonly node: Node,
    private readonly bitcoind: Bitcoind,
  ) {
    this.tip = Number(node.store.get('tip_height') ?? -1);
    this.chain = JSON.parse(node.store.get('tip_hashes') ?? '[]') as string[];
  }

  get height(): number {
    return this.tip;
  }

  listen(listener: ChainListener): void {
    this.listeners.push(listener);
  }

  /**
   * Catches up. A new node begins some blocks back (`--rescan`); one that was there before tells its plugins of as many
   * blocks again, as lightningd does.
   */
  async start(): Promise<void> {
    const rescan = this.node.options.int('rescan');
    if (this.tip < 0) this.restart((rescan < 0 ? -rescan : Math.max(0, (await this.bitcoind.height()) - rescan)) - 1);
    const known = this.chain.slice(-Math.max(rescan, 0)).map((hash, index, { length }) => ({ hash, height: this.tip - length + 1 + index }));
    for (const block of known) this.node.plugins.notify('block_added', { ...block });
    await this.follow();
  }

  /** Looks for new blocks from now on. */
  poll(milliseconds: number): void {
    const again = (): void => {
      this.busy = this.follow()
        .catch((error: unknown) => {
          this.node.log.unusual(`cannot follow the chain: ${messageOf(error)}`);
        })
        .finally(() => {
          if (!this.node.stopped) this.timer = setTimeout(again, milliseconds);
        });
    };
    again();
  }

  async stop(): Promise<void> {
    clearTimeout(this.timer);
    await this.busy;
    clearTimeout(this.timer);
  }

  /** Resolves when this height is reached. */
  async waitFor(height: number): Promise<void> {
    while (this.tip < height)
      await new Promise<void>((resolve) => {
        this.waiting.add(resolve);
      });
  }

  private async follow(): Promise<void> {
    const best = await this.bitcoind.bestHash();
    if (best === this.chain.at(-1)) return;
    for (;;) {
      const height = await this.bitcoind.height();
      while (this.tip > height || (this.tip >= 0 && this.chain.length > 0 && (await this.bitcoind.hashAt(this.tip)) !== this.chain.at(-1))) this.disconnect();
      if (this.tip >= height) return;
      const block = await this.bitcoind.block(await this.bitcoind.hashAt(this.tip + 1));
      if (this.chain.length > 0 && block.previousblockhash !== this.chain.at(-1)) continue;
      if (this.node.stopped) return;
      this.connect(block);
    }
  }

  private connect(block: Block): void {
    this.node.store.atomically(() => {
      this.tip = block.height;
      this.chain.push(block.hash);
      if (this.chain.length > REMEMBERED) this.chain.shift();
      this.save();
      for (const listener of this.listeners) listener.blockConnected(block);
    });
    this.node.log.debug(`Adding block ${block.height}: ${block.hash}`);
    this.node.plugins.notify('block_added', { hash: block.hash, height: block.height });
    for (const wake of this.waiting) wake();
    this.waiting.clear();
  }

  private disconnect(): void {
    this.node.store.atomically(() => {
      const hash = this.chain.pop();
      if (hash === undefined) {
        this.restart(this.tip - 1);
        return;
      }
      for (const listener of this.listeners) listener.blockDisconnected(this.tip);
      this.tip -= 1;
      this.save();
    });
  }

  private restart(tip: number): void {
    this.chain.length = 0;
    this.tip = tip;
    this.save();
  }

  private save(): void {
    this.node.store.set('tip_height', this.tip);
    this.node.store.set('tip_hashes', JSON.stringify(this.chain));
  }
}
