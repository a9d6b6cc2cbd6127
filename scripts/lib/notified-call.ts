/** A call to lightningd with what it tells meanwhile, as lightning-cli makes it. */
import { connect } from 'node:net';
import { RpcError } from '../../itest/harness/rpc.js';
import { JsonScanner } from '../../plugin/runtime/json-scanner.js';

interface Message {
  readonly id?: string;
  readonly method?: string;
  readonly params?: { readonly message?: string };
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

/** @param told gets every `message` notification @throws RpcError */
export const notifiedCall = (socketPath: string, method: string, params: object, told: (text: string) => void): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const scanner = new JsonScanner();
    const send = (id: string, name: string, given: object): void => {
      socket.write(JSON.stringify({ jsonrpc: '2.0', id, method: name, params: given }));
    };
    const socket = connect(socketPath, () => send('notifications', 'notifications', { enable: true }));
    const received = (message: Message): void => {
      if (message.method === 'message' && message.params?.message !== undefined) told(message.params.message);
      if (message.id === 'notifications') send('call', method, params);
      if (message.id !== 'call') return;
      socket.destroy();
      if (message.error) reject(new RpcError(method, message.error.code, message.error.message, message.error.data));
      else resolve(message.result);
    };
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`${method}: connection closed before the answer`)));
    socket.on('data', (chunk: Buffer) => {
      for (const item of scanner.push(chunk)) if (typeof item === 'string') received(JSON.parse(item) as Message);
    });
  });
