/** Who has heard whose `supported_factory_protocols`: nobody stays unheard while a connection stands, and nobody talks for ever. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { nodeId, protocolId, type NodeId, type ProtocolId } from '../../blip/brands.js';
import { FACTORY_PROTOCOL_ID } from '../../blip/protocol-id.js';
import { Peers } from '../engine/peers.js';

const A = nodeId(`02${'aa'.repeat(32)}`);
const B = nodeId(`03${'bb'.repeat(32)}`);
const OURS: readonly ProtocolId[] = [FACTORY_PROTOCOL_ID];

/** A clock, and what is to be done by it. */
class Time {
  now = 0;
  private timers: { readonly at: number; readonly work: () => void }[] = [];
  readonly later = (milliseconds: number, work: () => void): void => void this.timers.push({ at: this.now + milliseconds, work });

  pass(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (;;) {
      const [next] = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== next);
      this.now = next.at;
      next.work();
    }
    this.now = end;
  }
}

let time: Time;
let said: NodeId[];
let peers: Peers;
beforeEach(() => {
  time = new Time();
  said = [];
  peers = new Peers({ announce: (peer) => void said.push(peer), later: time.later });
});

const connected = (of: Peers, peer: NodeId): void => of.greet(peer, of.visitOf(peer));

describe('a peer that has connected', () => {
  test('is told once, when it says its own in time, first or second', () => {
    connected(peers, B);
    peers.supported(B, OURS);
    peers.disconnected(B);
    expect(peers.speaksOurs(B)).toBe(false);
    peers.supported(B, OURS);
    connected(peers, B);
    time.pass(1_000_000);
    expect(said).toEqual([B, B]);
    expect(peers.speaksOurs(B)).toBe(true);
  });

  test('while lightningd was starting, of which it says nothing, is told when it speaks', () => {
    peers.supported(B, OURS);
    expect(said).toEqual([B]);
  });

  test('and has gone and come back while it was looked up is told on the connection that stands, once', () => {
    const first = peers.visitOf(B);
    peers.disconnected(B);
    const second = peers.visitOf(B);
    peers.greet(B, first);
    expect(said).toEqual([]);
    peers.greet(B, second);
    expect(said).toEqual([B]);
  });

  test('and speaks something else, is told once, too', async () => {
    connected(peers, B);
    peers.supported(B, [protocolId('ee'.repeat(32))]);
    time.pass(1_000_000);
    expect(said).toEqual([B]);
    expect(await peers.waitForOurs(B, 1_000_000)).toBe(false);
  });

  test('and says nothing is asked after 5 s, then after 30 s and 2 minutes more, and no more', () => {
    connected(peers, B);
    const times: number[] = [];
    for (let seconds = 1; seconds < 1_000; seconds += 1) {
      const before = said.length;
      time.pass(1_000);
      if (said.length > before) times.push(seconds);
    }
    expect(times).toEqual([5, 35, 155]);
  });

  test('is not asked when it has gone', () => {
    connected(peers, B);
    peers.disconnected(B);
    time.pass(1_000_000);
    expect(said).toEqual([B]);
  });
});

test('who hears a peer’s again answers: it has not heard ours, or forgotten', () => {
  connected(peers, B);
  peers.supported(B, OURS);
  peers.supported(B, OURS);
  expect(said).toEqual([B, B]);
});

describe('two of them', () => {
  /** Each one's messages to the other, and when they arrive. */
  let count: number;
  let reaches: (from: NodeId) => boolean;
  let a: Peers;
  let b: Peers;
  beforeEach(() => {
    count = 0;
    reaches = () => true;
    const sends = (from: NodeId, other: () => Peers) => (): void => {
      count += 1;
      if (reaches(from)) time.later(100, () => other().supported(from, OURS));
    };
    a = new Peers({ announce: sends(A, () => b), later: time.later });
    b = new Peers({ announce: sends(B, () => a), later: time.later });
  });
  const connect = (): void => {
    connected(a, B);
    connected(b, A);
  };

  test('find each other when the first words of one are lost', () => {
    reaches = (from) => from === A || time.now >= 5_000;
    connect();
    time.pass(4_000);
    expect(a.speaksOurs(B)).toBe(false);
    time.pass(2_000);
    expect([a.speaksOurs(B), b.speaksOurs(A)]).toEqual([true, true]);
    expect(count).toBe(4);
  });

  test('find each other when one has forgotten all while the connection stood', () => {
    connect();
    time.pass(1_000);
    a.disconnected(B);
    connected(a, B);
    time.pass(1_000);
    expect(a.speaksOurs(B)).toBe(true);
    expect(count).toBe(4);
  });

  test('come to an end when both say it twice at once', () => {
    connect();
    a.supported(B, OURS);
    a.supported(B, OURS);
    b.supported(A, OURS);
    b.supported(A, OURS);
    time.pass(1_000_000);
    expect(count).toBeLessThanOrEqual(16);
    expect([a.speaksOurs(B), b.speaksOurs(A)]).toEqual([true, true]);
  });
});
