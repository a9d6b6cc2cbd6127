/**
 * Hostile bytes against everything that reads what others wrote: the decoders of peers' messages, the plugin's JSON
 * scanner, a member's state machine, both sides of an active factory, and the waiting room. Raw and structure-aware (mutations of the frozen vectors), deterministic by seed.
 * Ends with code 1, and prints the input, when something throws what it must not, or takes too long.
 *
 * Arguments: --inputs N (10,000,000), --seed S (1).
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import {
  chainHash,
  DecodeError,
  decodeChannelInFactory,
  decodeFactoryMessage,
  decodeMessage,
  encodeMessage,
  msat,
  sat,
  type NodeId,
} from '../blip/index.js';
import { createSigner } from '../factory-core/musig/index.js';
import { join, memberStep } from '../factory-core/member/machine.js';
import type { MemberState } from '../factory-core/member/state.js';
import { defaultPolicy } from '../factory-core/validate.js';
import { JsonError, parseJson } from '../plugin/runtime/json.js';
import { JsonScanner, ScanError } from '../plugin/runtime/json-scanner.js';
import { decoded } from './lib/fuzz/decoded.js';
import { liveTargets } from './lib/fuzz/live.js';
import { waitingTarget } from './lib/fuzz/waiting.js';

/** xorshift128: fast, and the same everywhere. */
class Random {
  private readonly s: Uint32Array;
  constructor(seed: number) {
    this.s = Uint32Array.of(seed ^ 0x9e3779b9, 0x243f6a88, 0xb7e15162, 0x85ebca6b);
    for (let i = 0; i < 20; i += 1) this.next();
  }
  next(): number {
    const s = this.s;
    let t = s[3] ?? 0;
    const a = s[0] ?? 0;
    s[3] = s[2] ?? 0;
    s[2] = s[1] ?? 0;
    s[1] = a;
    t ^= t << 11;
    t ^= t >>> 8;
    return (s[0] = t ^ a ^ (a >>> 19)) >>> 0;
  }
  below(n: number): number {
    return this.next() % n;
  }
  bytes(n: number): Uint8Array {
    return Uint8Array.from({ length: n }, () => this.next() & 0xff);
  }
}

const vectors = (file: string): Uint8Array[] => {
  const text = readFileSync(path.join(import.meta.dirname, '../../blip/vectors', file), 'utf8');
  const { vectors: list } = JSON.parse(text) as { vectors: { bytes?: string; payload?: string }[] };
  return list.map((v) => hexToBytes(v.payload ?? v.bytes ?? ''));
};

/** What a length or a count looks like at its edges. */
const EDGES = [0, 1, 0x7f, 0x80, 0xfc, 0xfd, 0xfe, 0xff];

const concat = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((p) => [...p]));

const mutate = (random: Random, input: Uint8Array, other: Uint8Array): Uint8Array => {
  let bytes: Uint8Array = input.slice();
  for (let n = 1 + random.below(3); n > 0; n -= 1) {
    const at = bytes.length === 0 ? 0 : random.below(bytes.length);
    switch (random.below(8)) {
      case 0:
        bytes[at] = random.next() & 0xff;
        break;
      case 1:
        bytes[at] = EDGES[random.below(EDGES.length)] ?? 0;
        break;
      case 2:
        bytes = bytes.slice(0, at);
        break;
      case 3:
        bytes = concat(bytes.slice(0, at), random.bytes(1 + random.below(9)), bytes.slice(at));
        break;
      case 4:
        bytes = concat(bytes.slice(0, at), bytes.slice(Math.min(bytes.length, at + 1 + random.below(40))));
        break;
      case 5:
        bytes = concat(bytes.slice(0, at), bytes.slice(0, random.below(64)), bytes.slice(at));
        break;
      case 6:
        bytes = concat(bytes.slice(0, at), other.slice(other.length === 0 ? 0 : random.below(other.length)));
        break;
      default:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    }
  }
  return bytes;
};

interface Target {
  readonly name: string;
  readonly corpus: readonly Uint8Array[];
  /** Throws only for a finding. */
  readonly run: (bytes: Uint8Array) => void;
  /** Share of the inputs. */
  readonly weight: number;
}

const decoder =
  (decode: (hex: string) => unknown) =>
  (bytes: Uint8Array): void => {
    try {
      decode(bytesToHex(bytes));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
    }
  };

/** Whatever decodes, encodes to the same bytes, unknown odd fields aside: nobody reads two meanings into one message. */
const messageTarget = (bytes: Uint8Array): void => {
  try {
    const decoded = decodeMessage(bytesToHex(bytes));
    const again = encodeMessage(decoded);
    if (again.length > bytes.length * 2) throw new Error('encodes longer than it came');
    if (encodeMessage(decodeMessage(again)) !== again) throw new Error('does not come back');
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
  }
};

const scannerTarget = (bytes: Uint8Array): void => {
  const scanner = new JsonScanner({ maxBytes: 4_096 });
  const half = bytes.length >> 1;
  for (const chunk of [bytes.subarray(0, half), bytes.subarray(half)]) {
    for (const item of scanner.push(Buffer.from(chunk))) {
      if (item instanceof ScanError) continue;
      try {
        parseJson(item);
      } catch (error) {
        if (!(error instanceof JsonError)) throw error;
      }
    }
  }
};

const REGTEST = chainHash('06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f');
const COORDINATOR = `02${'11'.repeat(32)}` as NodeId;

/** A member that has joined: no message of its coordinator, however strange, throws or makes it sign. */
const memberTarget = (messages: readonly Uint8Array[]): ((bytes: Uint8Array) => void) => {
  const invite = messages.map((m) => decodeMessage(bytesToHex(m))).find(({ message }) => message.type === 'invite');
  if (invite?.message.type !== 'invite') throw new Error('no invitation among the vectors');
  const random = new Random(7);
  const signer = createSigner(random.bytes(32), (n) => random.bytes(n));
  const first: MemberState = join({
    instanceId: invite.header.instanceId,
    coordinator: COORDINATOR,
    attempt: 1,
    invite: invite.message,
    key: signer.publicKey,
    payoutScript: `5120${'22'.repeat(32)}` as Parameters<typeof join>[0]['payoutScript'],
    height: 800_000,
  }).state;
  const policy = defaultPolicy(invite.message.chainHash);
  const bounds = { ...policy, capacity: { min: sat(1n), max: policy.capacity.max } };
  return (bytes) => {
    const envelope = decoded(bytes);
    if (!envelope) return;
    const { message, header } = envelope;
    const next = memberStep(first, { type: 'message', from: COORDINATOR, attempt: header.attempt, message }, { signer, height: 800_000, bounds, maxPurchaseFee: msat(0n), random: (n) => random.bytes(n) });
    if (next.signOnce) throw new Error('signed');
  };
};

const targets = (): Target[] => {
  const messages = vectors('messages.json');
  const refused = vectors('invalid-messages.json');
  const envelopes = [...vectors('envelope.json'), ...vectors('invalid-envelope.json')];
  const json = [
    '{"jsonrpc":"2.0","id":"a\\u00e9#1","method":"custommsg","params":{"peer_id":"02ab","payload":"8020"}}\n\n',
    '[1,-2.5e3,true,null,"\\"x\\\\",{"a":[{}]}]{"b":184467440737095516159}',
  ].map((text) => new TextEncoder().encode(text));
  const random = new Random(11);
  const active = liveTargets(
    (n) => random.bytes(n),
    (n) => random.below(n),
  );
  const waiting = waitingTarget(
    REGTEST,
    (n) => random.bytes(n),
    (n) => random.below(n),
  );
  const known = [...active.corpus, ...active.corpus, ...messages];
  return [
    { name: 'protocol messages', corpus: [...messages, ...refused], run: messageTarget, weight: 40 },
    { name: 'bLIP-56 envelope', corpus: envelopes, run: decoder(decodeFactoryMessage), weight: 20 },
    { name: 'channel_in_factory', corpus: vectors('channel-in-factory.json'), run: decoder((h) => decodeChannelInFactory(h)), weight: 10 },
    { name: 'plugin stdio', corpus: json, run: scannerTarget, weight: 20 },
    { name: 'member machine', corpus: messages, run: memberTarget(messages), weight: 10 },
    { name: 'member of an active factory', corpus: known, run: active.member, weight: 5 },
    { name: 'coordinator of an active factory', corpus: known, run: active.coordinator, weight: 5 },
    { name: 'waiting room', corpus: waiting.corpus, run: waiting.run, weight: 5 },
  ];
};

const argument = (name: string, otherwise: number): number => {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
};

/** No single input may hold a peer's message queue longer than this, in milliseconds (a collection of garbage included). */
const SLOW_MS = 2_000;

const main = (): void => {
  const inputs = argument('--inputs', 10_000_000);
  const seed = argument('--seed', 1);
  const random = new Random(seed);
  const all = targets();
  const total = all.reduce((sum, t) => sum + t.weight, 0);
  const started = Date.now();
  for (const target of all) {
    const count = Math.floor((inputs * target.weight) / total);
    const pick = (): Uint8Array => target.corpus[random.below(target.corpus.length)] ?? new Uint8Array();
    for (let i = 0; i < count; i += 1) {
      const bytes = i % 10 === 0 ? random.bytes(random.below(120)) : mutate(random, pick(), pick());
      const before = i % 1_000 === 0 ? Date.now() : 0;
      try {
        target.run(bytes);
        if (before > 0 && Date.now() - before > SLOW_MS) throw new Error(`took ${Date.now() - before} ms`);
      } catch (error) {
        console.log(`${target.name}: input ${i} of seed ${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
        console.log(bytesToHex(bytes));
        process.exit(1);
      }
    }
    console.log(`${target.name}: ${count} inputs, no finding`);
  }
  const megabytes = Math.round(process.memoryUsage().rss / 1e6);
  console.log(`${inputs} inputs in ${Math.round((Date.now() - started) / 1000)} s, ${megabytes} MB resident`);
};

main();
