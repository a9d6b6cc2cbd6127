/** The state machines of coordinator and members, run against each other with real keys, fake nodes and a fair network. */
import { describe, expect, test } from '@jest/globals';
import { txid, type NodeId, type PartialSignature, type PublicNonce, type SchnorrSignature } from '../../blip/brands.js';
import type { FactoryMessage } from '../../blip/messages.js';
import { MAX_ATTEMPTS } from '../coordinator/ceremony.js';
import { branchStatus, fundingStatus, liveState, mayCarryHtlcs } from '../live/custody.js';
import { AbortCode } from '../protocol/abort-codes.js';
import { slotAmount } from '../transactions.js';
import type { Host } from './sim/host.js';
import { silent } from './sim/scenes.js';
import { World, type WorldOptions } from './sim/world.js';

const CLIENTS = [
  { capacity: 1_000_000n, stock: 500_000n },
  { capacity: 2_000_000n, stock: 0n },
  { capacity: 750_000n, stock: 330n },
];
const worldOf = (options: Partial<WorldOptions> = {}): World => new World({ clients: CLIENTS, ...options });

const created = (options: Partial<WorldOptions> = {}, prepare: (world: World) => void = () => undefined): World => {
  const world = worldOf(options);
  prepare(world);
  world.create();
  world.quiet();
  return world;
};
const phases = (world: World): string => world.hosts.map((h) => h.state?.phase ?? 'none').join(' ');
const excluded = (world: World): readonly string[] =>
  (world.coordinatorState?.excluded ?? []).map((x) => `${world.host(x.nodeId).name}: ${x.reason}`);
const reason = (host: Host): string => (host.state?.phase === 'aborted' ? host.state.reason : '');
const active = (options: Partial<WorldOptions> = {}): World => {
  const world = created(options);
  world.mine(3);
  world.quiet();
  return world;
};

/** Alters messages of one kind from one node. */
const altering =
  <T extends FactoryMessage['type']>(from: string, type: T, alter: (m: Extract<FactoryMessage, { type: T }>, to: NodeId) => FactoryMessage | undefined) =>
  (world: World): void => {
    world.tamper = (host, to, envelope) => {
      const { message } = envelope;
      if (host.name !== from || message.type !== type) return [envelope];
      const altered = alter(message as Extract<FactoryMessage, { type: T }>, to);
      return altered ? [{ ...envelope, message: altered }] : [];
    };
  };
const MEMBER_MESSAGES = ['join', 'nonces', 'partials', 'stored', 'open_ready', 'leaf_partial', 'leaf_stored', 'ready'] as const;

describe('creation', () => {
  test('everyone goes live, and active at min_depth', () => {
    const world = created();
    expect(phases(world)).toBe('live live live live');
    world.oracle.concluded();
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('funding'));
    world.mine(3);
    world.quiet();
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('active'));
  });

  test.each([2, 5, 9])('with %d clients', (n) => {
    const world = created({ clients: Array.from({ length: n }, (_, i) => ({ capacity: 100_000n + BigInt(i), stock: i % 2 === 0 ? 0n : 1_000n })) });
    expect(phases(world)).toBe(Array(n + 1).fill('live').join(' '));
    world.oracle.concluded();
  });

  test('a client that declines is left out, if enough are left', () => {
    const world = created({ minClients: 2 }, (w) => (w.member(1).declines = 'not today'));
    expect(phases(world)).toBe('live live none live');
    expect(excluded(world)).toEqual(['client 1: declined: not today']);
    world.oracle.concluded();
  });
  test('… and ends it, if not', () => {
    const world = created({}, (w) => (w.member(1).declines = 'not today'));
    expect(phases(world)).toBe('aborted aborted none none');
    expect(reason(world.coordinator)).toContain('declined: not today');
    world.oracle.concluded();
  });

  test.each(MEMBER_MESSAGES)('a client that vanishes before its %s is left out, and the others go on', (type) => {
    const world = created({ minClients: 2 }, silent('client 0', type));
    expect(world.coordinatorState?.phase).toBe('live');
    expect(excluded(world)).toHaveLength(1);
    expect(excluded(world)[0]).toMatch(/^client 0: /);
    expect(phases(world)).toBe('live aborted live live');
    world.oracle.concluded();
  });
  test.each(MEMBER_MESSAGES)('a client that vanishes before its %s ends it, if all are wanted', (type) => {
    const world = created({}, silent('client 2', type));
    expect(phases(world)).toBe('aborted aborted aborted aborted');
    expect(reason(world.coordinator)).toMatch(new RegExp(world.member(2).id));
    world.oracle.concluded();
  });

  // Architecture 12.14: whoever drags it out does not do so for ever.
  const NINE = { clients: Array.from({ length: 9 }, () => CLIENTS[0]!), minClients: 2 };
  test('clients that vanish one after the other, each in an attempt of its own, end it though enough would be left', () => {
    const world = created(NINE, (w) => {
      w.tamper = (host, _to, envelope) => (host.name === `client ${envelope.header.attempt}` && envelope.message.type === 'nonces' ? [] : [envelope]);
    });
    expect(world.coordinatorState).toMatchObject({ phase: 'aborted', attempt: MAX_ATTEMPTS });
    expect(excluded(world)).toHaveLength(MAX_ATTEMPTS);
    world.oracle.concluded();
  });
  test('so does one that says each time it has lost its nonces', () => {
    const world = created(NINE, (w) => {
      const lost = { type: 'abort', code: AbortCode.LostNonces, reason: 'again' } as const;
      w.tamper = (host, _to, envelope) => (host.name === 'client 0' && envelope.message.type === 'nonces' ? [{ ...envelope, message: lost }] : [envelope]);
    });
    expect(world.coordinatorState).toMatchObject({ phase: 'aborted', attempt: MAX_ATTEMPTS });
    world.oracle.concluded();
  });

  test('a wallet without coins ends it', () => {
    const world = created({ coins: [10_000n] });
    expect(phases(world)).toBe('aborted aborted aborted aborted');
    expect(reason(world.coordinator)).toBe('not enough coins');
    world.oracle.concluded();
  });

  test('a funding transaction that nobody takes ends it, and the channels go', () => {
    const world = worldOf();
    world.create();
    world.until(() => world.coordinatorState?.phase === 'arming');
    const state = world.coordinatorState;
    if (state?.phase !== 'arming') throw new Error('not arming');
    // The operator spends the coin elsewhere.
    world.chain.submit({ txid: txid('ab'.repeat(32)), what: 'elsewhere', inputs: state.reserved.coins, outputs: [], lockTime: 0 });
    world.quiet();
    expect(phases(world)).toBe('aborted aborted aborted aborted');
    expect(reason(world.coordinator)).toContain('rejected');
    expect(world.cln.channels.every((c) => [...c.open.values()].every((open) => !open))).toBe(true);
    world.oracle.concluded();
  });

  test('nothing of it stays when the operator calls it off', () => {
    for (const phase of ['inviting', 'preparing', 'signing', 'opening'] as const) {
      const world = worldOf();
      world.create();
      expect(world.until(() => world.coordinatorState?.phase === phase)).toBe(true);
      world.command(world.coordinator, { type: 'abort_requested', reason: 'changed my mind' });
      world.quiet();
      expect(world.coordinatorState?.phase).toBe('aborted');
      expect(reason(world.coordinator)).toBe('changed my mind');
      world.oracle.concluded();
    }
  });
});

describe('members who do not play by the rules', () => {
  const guilty = (world: World, index: number, why: RegExp): void => {
    expect(excluded(world)).toHaveLength(1);
    expect(excluded(world)[0]).toMatch(why);
    expect(world.member(index).state?.phase).not.toBe('live');
    expect(world.members.filter((_, i) => i !== index).map((m) => m.state?.phase)).toEqual(['live', 'live']);
    world.oracle.concluded();
  };
  const flip = <T extends string>(hex: T): T => (hex.slice(0, -1) + (hex.endsWith('0') ? '1' : '0')) as T;

  test('a bad partial signature: its sender, and nobody else', () => {
    guilty(
      created({ minClients: 2, dishonest: ['client 1'] }, altering('client 1', 'partials', (m) => ({ ...m, partials: m.partials.map((p, i) => (i === 1 ? flip(p) : p)) }))),
      1,
      /^client 1: sent a bad partial signature for [0-9a-f]{64}$/,
    );
  });
  test('a partial signature that is no number', () => {
    const bad = 'ff'.repeat(32) as PartialSignature;
    guilty(created({ minClients: 2, dishonest: ['client 1'] }, altering('client 1', 'partials', (m) => ({ ...m, partials: m.partials.map(() => bad) }))), 1, /client 1: sent a bad partial/);
  });
  test('a nonce that is no point', () => {
    const bad = `02${'00'.repeat(32)}02${'00'.repeat(32)}` as PublicNonce;
    guilty(created({ minClients: 2, dishonest: ['client 2'] }, altering('client 2', 'nonces', (m) => ({ ...m, nonces: [...m.nonces.slice(1), bad] }))), 2, /client 2: sent an invalid nonce/);
  });
  test('too few nonces, too many partial signatures', () => {
    guilty(created({ minClients: 2, dishonest: ['client 0'] }, altering('client 0', 'nonces', (m) => ({ ...m, nonces: m.nonces.slice(1) }))), 0, /sent 1 nonces, expected 2/);
    guilty(
      created({ minClients: 2, dishonest: ['client 0'] }, altering('client 0', 'partials', (m) => ({ ...m, partials: [...m.partials, ...m.partials] }))),
      0,
      /sent 4 partial signatures, expected 2/,
    );
  });
  test('a bad partial signature, or nonce, for its leaf', () => {
    guilty(created({ minClients: 2, dishonest: ['client 0'] }, altering('client 0', 'leaf_partial', (m) => ({ ...m, partial: flip(m.partial) }))), 0, /bad partial signature for its leaf/);
    const bad = `02${'00'.repeat(32)}02${'00'.repeat(32)}` as PublicNonce;
    guilty(created({ minClients: 2, dishonest: ['client 0'] }, altering('client 0', 'leaf_partial', (m) => ({ ...m, nonce: bad }))), 0, /invalid nonce or partial signature for its leaf/);
  });
  test('another’s key, or the coordinator’s, negated too', () => {
    const negated = (key: string): string => (key.startsWith('02') ? '03' : '02') + key.slice(2);
    for (const stolen of [0, 1]) {
      guilty(
        created({ minClients: 2, dishonest: ['client 2'] }, (w) => {
          const key = w.hosts[stolen]!.identity.key;
          altering('client 2', 'join', (m) => ({ ...m, key: (stolen === 0 ? key : negated(key)) as typeof key }))(w);
        }),
        2,
        /client 2: join.key: is /,
      );
    }
  });
  test('aborts at every step', () => {
    for (const type of MEMBER_MESSAGES) {
      guilty(created({ minClients: 2, dishonest: ['client 1'] }, (w) => {
        let done = false;
        w.tamper = (host, _to, envelope) => {
          if (host.name !== 'client 1' || envelope.message.type !== type || done) return [envelope];
          done = true;
          return [{ ...envelope, message: { type: 'abort', code: 1, reason: 'x'.repeat(600) } }];
        };
      }), 1, /^client 1: aborted: x{512}$/);
    }
  });
});

describe('coordinators who do not play by the rules', () => {
  const refusedBy = (world: World, index: number, why: RegExp): void => {
    expect(world.member(index).state?.phase).toBe('aborted');
    expect(reason(world.member(index))).toMatch(why);
  };
  test('a final signature that does not verify', () => {
    const bad = 'ab'.repeat(64) as SchnorrSignature;
    refusedBy(created({ dishonest: ['coordinator'] }, altering('coordinator', 'signatures', (m) => ({ ...m, signatures: [bad, ...m.signatures.slice(1)] }))), 0, /signatures: number 0 does not verify/);
    refusedBy(created({ dishonest: ['coordinator'] }, altering('coordinator', 'leaf_signature', (m) => ({ ...m, signature: bad }))), 0, /leaf_signature: does not verify/);
  });
  test('a channel with another script than the leaf’s', () => {
    const scripts = new Map<NodeId, string>();
    const world = created({ dishonest: ['coordinator'] }, altering('coordinator', 'leaf', (m, to) => {
      scripts.set(to, m.channelScript);
      return { ...m, channelScript: `0020${'ab'.repeat(32)}` as typeof m.channelScript };
    }));
    expect(world.members.every((m) => m.state?.phase === 'aborted')).toBe(true);
  });
  test('terms the member’s operator does not take', () => {
    const world = created({ minClients: 2 }, (w) => {
      const host = w.member(0);
      host.policy = { ...host.policy, terms: { ...host.policy.terms, minDepth: { min: 6, max: 100 } } };
    });
    expect(phases(world)).toBe('live none live live');
    expect(excluded(world)[0]).toMatch(/client 0: declined: minDepth/);
  });
});

describe('restarts', () => {
  test('a client that lost its nonces: the same clients again, a new attempt', () => {
    for (const sent of ['nonces', 'partials', 'stored'] as const) {
      const world = worldOf();
      world.create();
      expect(world.until(() => world.sent.some((s) => s.from === 'client 1' && s.envelope.message.type === sent))).toBe(true);
      world.crash(world.member(1));
      world.quiet();
      expect(phases(world)).toBe('live live live live');
      world.oracle.concluded();
    }
  });
  test('a client that restarts while its channel is opened', () => {
    for (const step of ['stored', 'expecting', 'signed', 'complete', 'auditing'] as const) {
      const world = worldOf();
      world.create();
      const at = (): boolean => {
        const state = world.memberState(world.member(1));
        return state?.phase === 'opening' && state.leaf.step === step;
      };
      expect(world.until(at)).toBe(true);
      world.crash(world.member(1));
      world.quiet();
      expect(phases(world)).toMatch(/^(live live live live|aborted aborted aborted aborted)$/);
      world.oracle.concluded();
    }
  });
  test('the coordinator: given up before arming, finished from there on', () => {
    for (const phase of ['inviting', 'preparing', 'signing', 'opening'] as const) {
      const world = worldOf();
      world.create();
      expect(world.until(() => world.coordinatorState?.phase === phase)).toBe(true);
      world.crash(world.coordinator);
      world.quiet();
      expect(reason(world.coordinator)).toMatch(/restarted/);
      world.oracle.concluded();
    }
    const world = worldOf();
    world.create();
    expect(world.until(() => world.coordinatorState?.phase === 'arming')).toBe(true);
    world.crash(world.coordinator);
    world.quiet();
    expect(phases(world)).toBe('live live live live');
    world.oracle.concluded();
  });
  test('every connection breaks at every message', () => {
    for (let cut = 1; cut < 60; cut += 7) {
      const world = worldOf();
      world.create();
      world.until(() => world.sent.length >= cut);
      for (const m of world.members) world.disconnect(m);
      world.quiet();
      expect(phases(world)).toMatch(/^(live live live live|aborted aborted aborted aborted|aborted none none none)$/);
      world.oracle.concluded();
    }
  });
  test('the funding transaction confirms before the coordinator knows it was sent', () => {
    const world = worldOf();
    world.create();
    expect(world.until(() => world.chain.pendingTxs().length > 0)).toBe(true);
    world.crash(world.coordinator);
    world.mine(4);
    world.restart(world.coordinator);
    while (world.isBehind(world.coordinator)) world.follow(world.coordinator);
    world.quiet();
    expect(world.hosts.map((h) => h.live && liveState(h.live, false))).toEqual(Array(4).fill('active'));
  });
});

describe('cooperative close', () => {
  const BALANCES = [123_456_789n, 0n, 1n] as const;
  const withBalances = (world: World): World => {
    world.members.forEach((m, i) => (world.channelOf(m)!.balance = BALANCES[i]!));
    return world;
  };
  const close = (world: World): void => {
    world.command(world.coordinator, { type: 'close_requested', feerate: 3_000 });
    world.quiet();
  };
  const ended = (world: World): void => {
    world.mine(3);
    world.quiet();
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('closed'));
    const spender = world.chain.spenderOf(world.coordinator.live!.spec.funding)!;
    const paid = (host: Host): bigint | undefined => spender.outputs.find((o) => o.script === host.identity.payoutScript)?.amount;
    // Up to the next satoshi, up to dust, nothing for nothing; the LSP the rest.
    expect(world.members.map(paid)).toEqual([123_457n, undefined, 330n]);
    const total = world.coordinator.live!.spec.fundingAmount;
    const vsize = 68 + 43 + 31 + 43; // P2WPKH, P2TR and the LSP's P2TR
    expect(paid(world.coordinator)).toBe(total - 123_457n - 330n - BigInt(Math.ceil((vsize * 3_000) / 1_000)));
    expect(world.cln.channels.every((c) => [...c.open.values()].every((open) => !open))).toBe(true);
    world.oracle.concluded();
  };

  test('to the satoshi', () => {
    const world = withBalances(active());
    close(world);
    ended(world);
  });
  test('HTLCs are waited for', () => {
    const world = withBalances(active());
    const channel = world.channelOf(world.member(1))!;
    world.htlcsSettle = false;
    channel.htlc = { from: world.coordinator.id, amount: 5_000n };
    world.command(world.coordinator, { type: 'close_requested', feerate: 3_000 });
    world.settle();
    expect(world.coordinatorState).toMatchObject({ closing: { progress: { step: 'draining' } } });
    channel.htlc = undefined;
    world.settle();
    ended(world);
  });
  test('an HTLC that stays: the close is given up, and tried again later', () => {
    const world = withBalances(active());
    const channel = world.channelOf(world.member(1))!;
    world.htlcsSettle = false;
    channel.htlc = { from: world.coordinator.id, amount: 5_000n };
    close(world);
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('active'));
    expect(world.coordinatorState).toMatchObject({ closeFailure: expect.stringContaining('draining') });
    channel.htlc = undefined;
    close(world);
    ended(world);
  });
  test.each(['close_ready', 'close_nonce', 'close_partial'] as const)('a member that goes silent before %s: again, later', (type) => {
    const world = withBalances(active());
    silent('client 2', type)(world);
    close(world);
    expect(world.chain.pendingTxs()).toEqual([]);
    world.tamper = undefined;
    close(world);
    ended(world);
  });
  test.each(['close_nonce', 'close_partial', 'close_ready'] as const)('every node restarts after its first %s', (type) => {
    const world = withBalances(active());
    world.command(world.coordinator, { type: 'close_requested', feerate: 3_000 });
    const seen = (): boolean => world.sent.some((s) => s.envelope.message.type === type);
    expect(world.until(seen)).toBe(true);
    for (const h of world.hosts) world.crash(h);
    world.quiet();
    if (world.chain.pendingTxs().length === 0) close(world);
    ended(world);
  });
  test('an agreed close is not begun anew once somebody has left: by command, or by a restart', () => {
    const world = withBalances(active());
    silent('client 2', 'close_partial')(world);
    close(world);
    expect(world.coordinator.live!.close).toBeDefined();
    world.command(world.member(0), { type: 'exit_requested', members: [0] });
    world.quiet();
    world.mine(3);
    world.quiet();
    expect(fundingStatus(world.coordinator.live!)).toMatchObject({ kind: 'spent', by: 'tree', depth: 3 });
    // Payments pass again by now.
    world.channelOf(world.member(2))!.htlc = { from: world.coordinator.id, amount: 5_000n };
    world.command(world.coordinator, { type: 'close_requested', feerate: 3_000 });
    expect(world.coordinatorState).not.toHaveProperty('closing');
    world.crash(world.coordinator);
    world.restart(world.coordinator);
    expect(world.coordinatorState).not.toHaveProperty('closing');
    world.settleHtlc(world.channelOf(world.member(2))!);
  });
  test('a bad partial signature names its sender, and the same transaction is signed again', () => {
    const world = withBalances(active({ dishonest: ['client 1'] }));
    altering('client 1', 'close_partial', (m) => ({ ...m, partial: 'ab'.repeat(32) as PartialSignature }))(world);
    close(world);
    expect(world.coordinatorState).toMatchObject({ closeFailure: `${world.member(1).id}: sent a bad partial signature` });
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('closing'));
    world.tamper = undefined;
    close(world);
    ended(world);
  });
  test('a member refuses less than it has, and a second close', () => {
    const world = withBalances(active({ dishonest: ['coordinator'] }));
    altering('coordinator', 'close_proposal', (m) => ({ ...m, outputs: m.outputs.map((o) => ({ ...o, amount: (o.amount - 1n) as typeof o.amount })) }))(world);
    close(world);
    expect(world.coordinatorState).toMatchObject({ closeFailure: expect.stringMatching(/close_proposal.outputs/) });
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('active'));

    const second = withBalances(active({ dishonest: ['coordinator'] }));
    silent('client 2', 'close_partial')(second);
    close(second);
    altering('coordinator', 'close_proposal', (m) => ({ ...m, outputs: m.outputs.slice(0, 2) }))(second);
    close(second);
    expect(second.coordinatorState).toMatchObject({ closeFailure: expect.stringMatching(/another close has been signed/) });
  });
  test('a member whose balance does not fit the coordinator’s', () => {
    const world = withBalances(active({ dishonest: ['client 0'] }));
    altering('client 0', 'close_ready', (m) => ({ ...m, balance: (m.balance + 1n) as typeof m.balance }))(world);
    close(world);
    expect(world.coordinatorState).toMatchObject({ closeFailure: expect.stringContaining('says its balance is 123456790') });
  });
});

describe('ways out', () => {
  const mineAll = (world: World, blocks = 8): void => {
    for (let i = 0; i < blocks; i += 1) {
      world.mine(1);
      world.quiet();
    }
  };
  test('one member leaves; the others’ channels go on', () => {
    const world = active({ clients: Array.from({ length: 5 }, () => CLIENTS[0]!), fanouts: [2, 2, 2] });
    world.command(world.member(4), { type: 'exit_requested', members: [4] });
    mineAll(world);
    const live = world.member(4).live!;
    expect(branchStatus(live, live.branches[0]!).kind).toBe('channel_closed');
    const other = world.member(0).live!;
    expect(branchStatus(other, other.branches[0]!).kind).toMatch(/virtual|publishing/);
    expect(mayCarryHtlcs(other, other.branches[0]!, false)).toBe(true);
    expect(mayCarryHtlcs(live, live.branches[0]!, false)).toBe(false);
    // From where its branch stands, another one can follow.
    world.command(world.member(0), { type: 'exit_requested', members: [0] });
    mineAll(world);
    const after = world.member(0).live!;
    expect(branchStatus(after, after.branches[0]!).kind).toBe('channel_closed');
  });
  test('the exit survives a reorganisation and a restart at every height', () => {
    const world = active();
    world.command(world.member(1), { type: 'exit_requested', members: [1] });
    for (let i = 0; i < 6; i += 1) {
      world.mine(1);
      world.quiet();
      world.chain.disconnect(1, i % 2 === 0);
      world.crash(world.member(1));
      world.mine(2);
      world.quiet();
    }
    const live = world.member(1).live!;
    expect(branchStatus(live, live.branches[0]!).kind).toBe('channel_closed');
  });
  const toExpiry = (world: World): void => {
    const { expiryHeight } = world.coordinator.live!.spec;
    while (world.chain.height < expiryHeight) world.chain.mine();
  };
  test('the coordinator is gone: at expiry everyone is paid its slot', () => {
    const world = active();
    world.crash(world.coordinator);
    toExpiry(world);
    for (const m of world.members) while (world.isBehind(m)) world.follow(m);
    world.mine(4);
    for (const m of world.members) while (world.isBehind(m)) world.follow(m);
    const spender = world.chain.spenderOf(world.member(0).live!.spec.funding)!;
    expect(world.members.map((m) => spender.outputs.find((o) => o.script === m.identity.payoutScript)?.amount)).toEqual(
      world.members.map((m, i) => slotAmount(m.live!.spec, i)),
    );
    expect(world.members.map((m) => liveState(m.live!, false))).toEqual(Array(3).fill('distributed'));
    world.quiet();
    world.oracle.concluded();
  });
  test('the coordinator is there: the root is published before expiry, and ends the distribution', () => {
    const world = active();
    const { expiryHeight } = world.coordinator.live!.spec;
    while (world.chain.height < expiryHeight - 144) world.chain.mine();
    world.quiet();
    world.mine(1);
    world.quiet();
    expect(world.hosts.map((h) => liveState(h.live!, false))).toEqual(Array(4).fill('exiting'));
    expect(world.chain.spenderOf(world.coordinator.live!.spec.funding)!.what).toMatch(/^split/);
  });
  test('the funding transaction is reorganised away: no HTLCs until it is deep again', () => {
    const world = active();
    const may = (): boolean => world.hosts.every((h) => mayCarryHtlcs(h.live!, h.live!.branches[0]!, false));
    expect(may()).toBe(true);
    world.chain.disconnect(3, false);
    world.chain.mine(true);
    world.settle();
    expect(world.hosts.some((h) => mayCarryHtlcs(h.live!, h.live!.branches[0]!, false))).toBe(false);
    world.mine(4);
    world.settle();
    expect(may()).toBe(true);
  });
  test('a funding transaction that never comes: the member gives up after 2,016 blocks, and its channel goes', () => {
    const world = worldOf();
    world.create();
    world.until(() => world.coordinatorState?.phase === 'arming');
    world.crash(world.coordinator);
    for (let i = 0; i < 2_020; i += 1) world.chain.mine();
    for (const m of world.members) while (world.isBehind(m)) world.follow(m);
    expect(world.members.map(reason)).toEqual(Array(3).fill('the funding transaction never appeared'));
    for (const m of world.members) for (const job of m.startable()) world.finish(m, job);
    expect(world.members.flatMap((m) => world.cln.at(m.id))).toEqual([]);
  });
});
