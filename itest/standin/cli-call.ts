import { createConnection } from 'node:net';
import { parseJson, stringifyJson } from '../../plugin/runtime/json.js';
import { JsonScanner, ScanError } from '../../plugin/runtime/json-scanner.js';
import { flat, type Invocation, LEVELS, notification, pretty } from './cli-args.js';
import { type JsonObject, messageOf, text } from './types.js';

export const EXIT = { done: 0, refused: 1, unreachable: 2, usage: 3 } as const;

/**
 * Calls a node's RPC.
 * @param print takes a line of the answer, or of a notification on the way to it
 * @param complain takes why there is no answer
 * @returns the exit code
 */
export const call = (invocation: Invocation, print: (line: string) => void, complain: (line: string) => void): Promise<number> =>
  new Promise((resolve) => {
    const { method, params, filter, level, output } = invocation;
    const id = `cli:${method}#${process.pid}`;
    const socket = createConnection(invocation.socket);
    const scanner = new JsonScanner();
    const send = (message: JsonObject): void => {
      socket.write(`${stringifyJson({ jsonrpc: '2.0', ...message })}\n\n`);
    };
    const end = (code: number): void => {
      socket.destroy();
      resolve(code);
    };
    socket.on('error', (error) => {
      complain(`Connecting to '${invocation.socket}': ${messageOf(error)}`);
      end(EXIT.unreachable);
    });
    socket.on('close', () => {
      resolve(EXIT.unreachable);
    });
    socket.on('connect', () => {
      if (level !== undefined) send({ id: `${id}-notifications`, method: 'notifications', params: { enable: true } });
      send({ id, method, params, filter });
    });
    const answered = (message: JsonObject): void => {
      const { result, error } = message;
      if (error !== undefined) print(output === 'raw' ? stringifyJson(error) : pretty(error));
      else if (output === 'raw') print(stringifyJson(result ?? null));
      else for (const line of output === 'flat' ? flat(result ?? null) : [pretty(result ?? null)]) print(line);
      end(error === undefined ? EXIT.done : EXIT.refused);
    };
    socket.on('data', (chunk) => {
      for (const found of scanner.push(chunk)) {
        if (found instanceof ScanError) continue;
        const message = parseJson(found) as JsonObject;
        if (message['id'] === id) answered(message);
        else if (level !== undefined && typeof message['method'] === 'string' && LEVELS.indexOf(text(message['params'], 'level') ?? 'info') >= level)
          print(notification(message['method'], message['params']));
      }
    });
  });
