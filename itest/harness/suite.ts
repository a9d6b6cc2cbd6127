import { afterAll, beforeAll, jest } from '@jest/globals';
import { Cluster, type ClusterOptions } from './cluster.js';

/** How long one test or hook may take, in milliseconds: a lightningd on a busy machine is slow. */
const PATIENCE = 240_000;

/**
 * One cluster for all tests of a file: `const cluster = clusterForSuite({ clients: 2 });`, then `cluster().lsp` in a test.
 * The file fails if at its end a node turns out to have misbehaved, whatever the tests looked at (see Cluster.stop).
 */
export const clusterForSuite = (options: ClusterOptions): (() => Cluster) => {
  let cluster: Cluster | undefined;
  jest.setTimeout(PATIENCE);
  beforeAll(async () => {
    cluster = await Cluster.start(options);
  }, PATIENCE);
  afterAll(() => cluster?.stop(), PATIENCE);
  return () => {
    if (cluster === undefined) throw new Error('the cluster is there from beforeAll on');
    return cluster;
  };
};
