import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseInvocation } from '../cli-args.js';
import { call, EXIT } from '../cli-call.js';

interface Asked {
  readonly id: string;
  readonly method: string;
  readonly params: unknown;
}

describe('lightning-cli and a node', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'standin-cli-'));
  const socket = path.join(dir, 'rpc');
  let server: Server;
  let answer: (asked: Asked, reply: (message: object) => void, connection: Socket) => void;
  beforeAll(async () => {
    server = createServer((connection) => {
      let text = '';
      connection.on('data', (chunk) => {
        text += chunk.toString();
        const requests = text.split('\n\n');
        text = requests.pop() ?? '';
        for (const request of requests) answer(JSON.parse(request) as Asked, (message) => connection.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`), connection);
      });
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
  });
  afterAll(async () => {
    await new Promise((resolve) => server.close(resolve));
    rmSync(dir, { recursive: true });
  });

  const run = async (...argv: string[]): Promise<{ readonly code: number; readonly lines: readonly string[]; readonly complaints: readonly string[] }> => {
    const [lines, complaints]: [string[], string[]] = [[], []];
    const code = await call({ ...parseInvocation(argv), socket }, (line) => lines.push(line), (line) => complaints.push(line));
    return { code, lines, complaints };
  };

  test('notifications from the level asked for on, then the answer', async () => {
    const seen: Asked[] = [];
    answer = (asked, reply) => {
      seen.push(asked);
      if (asked.method === 'notifications') return;
      for (const level of ['debug', 'unusual']) reply({ method: 'message', params: { id: asked.id, level, message: level } });
      reply({ method: 'progress', params: { id: asked.id, num: 1, total: 3 } });
      reply({ id: asked.id, result: { paid: true } });
    };
    expect(await run('-R', 'xpay', 'lnbcrt1', '5')).toEqual({ code: EXIT.done, lines: ['# unusual', '# 2/3', '{"paid":true}'], complaints: [] });
    expect(seen.map(({ method, params }) => [method, params])).toEqual([['notifications', { enable: true }], ['xpay', ['lnbcrt1', 5]]]);
    expect((await run('-N', 'none', '-F', 'xpay', 'lnbcrt1')).lines).toEqual(['paid=true']);
  });

  test('a refusal, and a node that goes away', async () => {
    answer = (asked, reply, connection) => {
      if (asked.method === 'close') reply({ id: asked.id, error: { code: -1, message: 'no' } });
      if (asked.method === 'stop') connection.destroy();
    };
    expect(await run('close', 'x')).toMatchObject({ code: EXIT.refused, lines: ['{\n   "code": -1,\n   "message": "no"\n}'] });
    expect(await run('stop')).toMatchObject({ code: EXIT.unreachable, lines: [] });
  });

  test('no node', async () => {
    const nowhere = { ...parseInvocation(['getinfo']), socket: path.join(dir, 'nobody') };
    const complaints: string[] = [];
    expect(await call(nowhere, () => undefined, (line) => complaints.push(line))).toBe(EXIT.unreachable);
    expect(complaints).toEqual([expect.stringMatching(/^Connecting to '.*nobody': .*ENOENT/)]);
  });
});
