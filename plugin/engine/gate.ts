/**
 * What peers may cost this node (architecture 12.13): how much they may send, how often we answer, and how much they may
 * begin. A flood beyond that ends here: nothing is decoded, written, logged or answered; it is counted.
 *
 * All peers but those we know share what strangers get, for a node id costs nothing: so no flood of strangers touches those we know. One
 * whose invitation has been taken has no more of its own than a stranger, but need not share it until its factory is there.
 */
import type { NodeId } from '../../blip/brands.js';
import type { Log } from '../runtime/definition.js';
import type { Standing } from './acquaintances.js';
import { Bucket, RecentPeers, type Rate } from './buckets.js';

interface Rates {
  readonly messages: Rate;
  /** Of the messages of type 32800 as they come. */
  readonly bytes: Rate;
  /** Answers that no factory of ours asks for: `decline`, and `abort` for what we do not know. */
  readonly answers: Rate;
  /** `supported_factory_protocols` of a party of ours: each makes us say again what is outstanding. */
  readonly announcements: Rate;
  /** Factories, closes, purchases and wishes begun: each is written, and some take an address of the wallet. */
  readonly beginnings: Rate;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const MINUTE = 1 / 60;

export interface GateRates {
  readonly known: Rates;
  readonly stranger: Rates;
  /** All of them together. */
  readonly strangers: Pick<Rates, 'messages' | 'answers' | 'beginnings'>;
}
export const GATE_RATES: GateRates = {
  // A ceremony is some ten messages, the longest of 43 kB (512 clients); a member that reconnects again and again stays far below this.
  known: {
    messages: { burst: 400, perSecond: 40 },
    bytes: { burst: 8 * MIB, perSecond: MIB },
    answers: { burst: 100, perSecond: 1 },
    announcements: { burst: 20, perSecond: 0.2 },
    beginnings: { burst: 256, perSecond: 6 * MINUTE },
  },
  stranger: {
    // With `factory-accept=any` also a ceremony, tried again a few times.
    messages: { burst: 60, perSecond: 2 },
    bytes: { burst: 512 * KIB, perSecond: 32 * KIB },
    answers: { burst: 5, perSecond: MINUTE },
    announcements: { burst: 5, perSecond: 0.1 },
    beginnings: { burst: 8, perSecond: MINUTE / 60 },
  },
  strangers: {
    messages: { burst: 500, perSecond: 20 },
    answers: { burst: 50, perSecond: 1 },
    // What is begun stays in the database, and its address in the wallet.
    beginnings: { burst: 64, perSecond: MINUTE / 60 },
  },
};

/** Peers we keep an account of. */
export const MAX_ACCOUNTS = 1_000;
/** Lines in the log about peers that send too much. */
const LINES: Rate = { burst: 5, perSecond: MINUTE };
/** Peers shown in the status. */
const MAX_SHOWN = 10;

type Counts = { -readonly [K in keyof PeerCounts]: number };
export interface PeerCounts {
  readonly received: number;
  /** Malformed, late, not for us, or refused. */
  readonly ignored: number;
  /** Beyond the limits: not even looked at. */
  readonly dropped: number;
}
export interface GateCounts extends PeerCounts {
  /** Answers we owed to nobody and did not give. */
  readonly unanswered: number;
  /** Invitations, and requests to close, to buy or to wait, that came too often. */
  readonly refused: number;
  /** Peers we keep an account of. */
  readonly accounts: number;
  /** The worst of them. */
  readonly noisy: readonly (PeerCounts & { readonly peer: NodeId })[];
}

class Account {
  readonly counts: Counts = { received: 0, ignored: 0, dropped: 0 };
  private readonly buckets: { readonly [K in keyof Rates]: Bucket };

  constructor(rates: Rates, now: number) {
    const bucket = (name: keyof Rates): Bucket => new Bucket(rates[name], now);
    this.buckets = {
      messages: bucket('messages'),
      bytes: bucket('bytes'),
      answers: bucket('answers'),
      announcements: bucket('announcements'),
      beginnings: bucket('beginnings'),
    };
  }
  take(what: keyof Rates, now: number, amount = 1): boolean {
    return this.buckets[what].take(now, amount);
  }
}

export interface GateParts {
  readonly standing: (peer: NodeId) => Standing;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  readonly log: Log;
  readonly rates?: GateRates;
}

export class Gate {
  private readonly known: RecentPeers<Account>;
  private readonly strange: RecentPeers<Account>;
  private readonly all: { readonly [K in keyof GateRates['strangers']]: Bucket };
  private readonly lines: Bucket;
  private readonly total = { received: 0, ignored: 0, dropped: 0, unanswered: 0, refused: 0 };

  constructor(private readonly parts: GateParts) {
    const { now, rates = GATE_RATES } = parts;
    this.known = new RecentPeers(MAX_ACCOUNTS, () => new Account(rates.known, now()));
    this.strange = new RecentPeers(MAX_ACCOUNTS, () => new Account(rates.stranger, now()));
    const { messages, answers, beginnings } = rates.strangers;
    this.lines = new Bucket(LINES, now());
    this.all = { messages: new Bucket(messages, now()), answers: new Bucket(answers, now()), beginnings: new Bucket(beginnings, now()) };
  }

  /** Whether a message of so many bytes is looked at. */
  admits(peer: NodeId, bytes: number): boolean {
    const account = this.account(peer);
    this.count(account, 'received');
    const now = this.parts.now();
    return (account.take('messages', now) && account.take('bytes', now, bytes)) || this.drop(peer, account);
  }
  /** Whether a message of our protocol is looked into. A stranger's announcement does not count here: there is one for each connection. */
  admitsProtocol(peer: NodeId): boolean {
    return this.parts.standing(peer) !== 'stranger' || this.all.messages.take(this.parts.now()) || this.drop(peer, this.account(peer));
  }
  /** Whether what is outstanding is said again now; if not, it must be said later: this is a peer's right, and never lost. */
  announces(peer: NodeId): boolean {
    return this.account(peer).take('announcements', this.parts.now());
  }
  /** Whether it gets an answer that nothing here waits for. */
  answers(peer: NodeId): boolean {
    if (this.takes(peer, 'answers')) return true;
    this.total.unanswered += 1;
    return false;
  }
  /** Whether it may begin one more thing. */
  begins(peer: NodeId): boolean {
    if (this.takes(peer, 'beginnings')) return true;
    this.total.refused += 1;
    return false;
  }
  ignored(peer: NodeId): void {
    this.count(this.account(peer), 'ignored');
  }

  counts(): GateCounts {
    const accounts = [...this.known.entries(), ...this.strange.entries()];
    const noise = ({ counts }: Account): number => counts.ignored + counts.dropped;
    const noisy = accounts
      .filter(([, account]) => noise(account) > 0)
      .sort(([, a], [, b]) => noise(b) - noise(a))
      .slice(0, MAX_SHOWN)
      .map(([peer, { counts }]) => ({ peer, ...counts }));
    return { ...this.total, accounts: accounts.length, noisy };
  }

  private takes(peer: NodeId, what: 'answers' | 'beginnings'): boolean {
    const now = this.parts.now();
    return this.account(peer).take(what, now) && (this.parts.standing(peer) === 'known' || this.all[what].take(now));
  }
  private account(peer: NodeId): Account {
    return (this.parts.standing(peer) === 'known' ? this.known : this.strange).of(peer);
  }
  private drop(peer: NodeId, account: Account): false {
    this.count(account, 'dropped');
    if (account.counts.dropped === 1 && this.lines.take(this.parts.now())) this.parts.log('unusual', `${peer} sends more than it may: what is too much is dropped`);
    return false;
  }
  private count(account: Account, what: keyof PeerCounts): void {
    account.counts[what] += 1;
    this.total[what] += 1;
  }
}
