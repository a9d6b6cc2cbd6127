import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hex, txid } from '../../../blip/brands.js';
import { mempoolOf, type Mempool } from '../mempool.js';
import { BitcoindError, connectBitcoind, type BitcoindErrorCode, type BitcoindRpc } from '../rpc.js';

interface Asked {
  readonly auth: string;
  readonly method: string;
  readonly params: readonly unknown[];
}
let server: Server;
let port = 0;
let asked: Asked[] = [];
/** What the next call is answered. */
let answer: (response: ServerResponse) => void;
const says = (body: unknown, status = 200) => (response: ServerResponse): void => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
};
const result = (value: unknown) => says({ result: value, error: null, id: 'x' });
const refusal = (code: number, message: string) => says({ result: null, error: { code, message }, id: 'x' }, 500);

beforeAll(async () => {
  server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method, params } = JSON.parse(Buffer.concat(chunks).toString()) as Pick<Asked, 'method' | 'params'>;
      asked.push({ auth: Buffer.from((request.headers.authorization ?? '').replace('Basic ', ''), 'base64').toString(), method, params });
      answer(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => new Promise((resolve) => server.close(resolve)));
beforeEach(() => {
  asked = [];
});

const rpc = (over: object = {}, timeoutMs = 5_000): BitcoindRpc => connectBitcoind({ host: '127.0.0.1', port, user: 'alice', password: 'secret:1', ...over }, 'regtest', timeoutMs);
const failure = async (call: Promise<unknown>): Promise<BitcoindErrorCode> => {
  try {
    await call;
  } catch (error) {
    if (error instanceof BitcoindError) return error.code;
    throw error;
  }
  throw new Error('it succeeded');
};

describe('a call', () => {
  test('has lightningd’s credentials', async () => {
    answer = result([1, 2]);
    expect(await rpc().call('some', ['x', 1])).toEqual([1, 2]);
    expect(asked).toEqual([{ auth: 'alice:secret:1', method: 'some', params: ['x', 1] }]);
  });

  test('or the cookie, as it is at that moment', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cookie-'));
    try {
      const cookie = connectBitcoind({ host: '127.0.0.1', port, dataDir }, 'regtest');
      answer = result(null);
      expect(await failure(cookie.call('some'))).toBe('unauthorised');
      mkdirSync(join(dataDir, 'regtest'));
      for (const text of ['__cookie__:one', '__cookie__:two']) {
        writeFileSync(join(dataDir, 'regtest/.cookie'), `${text}\n`);
        expect(await cookie.call('some')).toBeNull();
      }
      expect(asked.map(({ auth }) => auth)).toEqual(['__cookie__:one', '__cookie__:two']);
    } finally {
      rmSync(dataDir, { recursive: true });
    }
  });

  test.each([
    ['bitcoind’s own error', refusal(-25, 'no'), 'refused'],
    ['starting up', refusal(-28, 'Loading block index…'), 'unreachable'],
    ['wrong password', says('', 401), 'unauthorised'],
    ['not on the whitelist', says('', 403), 'unauthorised'],
    ['busy', says('Work queue depth exceeded', 503), 'unreachable'],
    ['no JSON', says('<html>'), 'protocol'],
    ['no object', says('[1]'), 'protocol'],
    ['an error without code', says({ error: 'what' }), 'protocol'],
    ['hanging up', (response: ServerResponse) => response.destroy(), 'unreachable'],
    ['too much of it', says(`"${'x'.repeat(1_000_001)}"`), 'protocol'],
  ] as const)('%s: %#', async (_, given, code) => {
    answer = given;
    expect(await failure(rpc().call('some'))).toBe(code);
  });

  test('ends when there is no answer, and where nobody listens', async () => {
    answer = () => undefined;
    expect(await failure(rpc({}, 50).call('some'))).toBe('unreachable');
    server.closeAllConnections();
    expect(await failure(rpc({ port: 1 }).call('some'))).toBe('unreachable');
    expect(await failure(rpc({ port: 70_000 }).call('some'))).toBe('unreachable');
  });

  test('that fails does not say the password', async () => {
    const texts: string[] = [];
    const wrong = [{ port: 1 }, { port: 70_000 }, { host: 'no such host' }, { host: 'a\nb' }, {}, { user: undefined, dataDir: '/nowhere' }];
    answer = says('', 401);
    for (const over of wrong) await rpc(over).call('some').catch((error: unknown) => texts.push(error instanceof BitcoindError ? error.message : 'something else'));
    expect(texts).toHaveLength(wrong.length);
    for (const text of texts) expect(text).not.toMatch(/secret|c2VjcmV0|something else/);
  });
});

describe('the mempool', () => {
  const PARENT = txid('aa'.repeat(32));
  const CHILD = txid('bb'.repeat(32));
  const mempool = (): Mempool => mempoolOf(rpc());

  test('its minimum', async () => {
    answer = result({ mempoolminfee: 0.00012345, incrementalrelayfee: 0.000001 });
    expect(await mempool().minimum()).toEqual({ floor: 12_345, incremental: 100 });
  });
  test('an entry, or none', async () => {
    answer = result({ vsize: 253, fees: { base: 0.00000506, descendant: 0.0001 }, spentby: [CHILD] });
    expect(await mempool().entry(PARENT)).toEqual({ vsize: 253, fee: 506n, descendantFees: 10_000n, spentBy: [CHILD] });
    answer = refusal(-5, 'Transaction not in mempool');
    expect(await mempool().entry(PARENT)).toBeUndefined();
    answer = refusal(-1, 'what');
    expect(await failure(mempool().entry(PARENT))).toBe('refused');
  });
  test('who spends an output', async () => {
    answer = result([{ txid: PARENT, vout: 2, spendingtxid: CHILD }]);
    expect(await mempool().spender({ txid: PARENT, vout: 2 })).toBe(CHILD);
    expect(asked).toMatchObject([{ method: 'gettxspendingprevout', params: [[{ txid: PARENT, vout: 2 }]] }]);
    answer = result([{ txid: PARENT, vout: 2 }]);
    expect(await mempool().spender({ txid: PARENT, vout: 2 })).toBeUndefined();
  });
  test('a package: taken, refused as a whole or in part', async () => {
    answer = result({ package_msg: 'success', 'tx-results': {} });
    expect(await mempool().submitPackage([hex('00'), hex('01')])).toEqual({ kind: 'accepted' });
    expect(asked).toMatchObject([{ method: 'submitpackage', params: [['00', '01']] }]);
    answer = result({ package_msg: 'transaction failed', 'tx-results': { a: { txid: 'a', error: 'mempool min fee not met' }, b: { txid: 'b', error: 'bad-txns-inputs-missingorspent' } } });
    expect(await mempool().submitPackage([])).toEqual({ kind: 'refused', reason: 'transaction failed: mempool min fee not met: bad-txns-inputs-missingorspent' });
    answer = refusal(-25, 'package topology disallowed');
    expect(await mempool().submitPackage([])).toEqual({ kind: 'refused', reason: 'submitpackage: package topology disallowed' });
    answer = refusal(-32601, 'Method not found');
    expect(await failure(mempool().submitPackage([]))).toBe('refused');
  });
  test('is probed with all that is asked of it, and changes nothing', async () => {
    const given: Record<string, ReturnType<typeof says>> = {
      getmempoolinfo: result({ mempoolminfee: 0.00001, incrementalrelayfee: 0.00001 }),
      getmempoolentry: refusal(-5, 'Transaction not in mempool'),
      gettxspendingprevout: result([{ txid: PARENT, vout: 0 }]),
      submitpackage: refusal(-8, 'Array must contain between 2 and 25 transactions.'),
    };
    answer = (response) => given[asked.at(-1)!.method]!(response);
    await mempool().probe();
    expect(asked.map(({ method }) => method)).toEqual(Object.keys(given));
    expect(asked.at(-1)!.params).toEqual([[]]);
    for (const method of Object.keys(given)) {
      answer = (response) => (asked.at(-1)!.method === method ? says('', 403) : given[asked.at(-1)!.method]!)(response);
      expect(await failure(mempool().probe())).toBe('unauthorised');
    }
  });
  test.each([{}, null, [], { mempoolminfee: -1, incrementalrelayfee: 0 }, { mempoolminfee: '1', incrementalrelayfee: 0 }])('an answer that is not as documented: %j', async (given) => {
    answer = result(given);
    expect(await failure(mempool().minimum())).toBe('protocol');
    expect(await failure(mempool().entry(PARENT))).toBe('protocol');
    expect(await failure(mempool().spender({ txid: PARENT, vout: 0 }))).toBe('protocol');
    expect(await failure(mempool().submitPackage([]))).toBe('protocol');
  });
});
