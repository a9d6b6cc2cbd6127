import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { bech32 } from '@scure/base';
import { writeBigSize } from '../../../blip/bigsize.js';
import { Writer } from '../../../blip/bytes.js';
import { writeTlv } from '../../../blip/tlv.js';
import { raiseBolt12Cltv } from '../bolt12.js';

/** What the offers plugin of v26.06.6 handed to `createinvoice`: one blinded path, CLTV delta 6 (the LSP's) + 10 (ours). */
const REAL =
  'lni1qqgd54x52jpxsum7tw6l7q09ur3hsq3qqc3xu3s3rg94nj40zfsy866mhu5vxne6tcej5878k2mneuvgjy8ssqc7sjqq5pn4xgmnvveezrhq8udnjdzr' +
  '5dldlfrt3lcndxxx2k6mstuhy04p2fmkpkfz5rgfxapmqd7wc3n58davg35rfu4fpw7v60rxztlfme4t0mytym9en32svugqxqsz42hqf22p425sl4hvkr04' +
  '8sumnycw09dnlqcd8aqza23rx6khsxtsqva8etj9pggx598zps8vw6cr4589xgd7cpexq230q0xjncle8qq0ytsmyrnxl6l30j63rjch6jzp22vu0wlpqgsm' +
  '5s294pqdzs7gtdffsvqfcm6ealyskfhnljgj7klmjwvj7yx7vqpjpqtw5pzxslpkl8gldht68wyvafsg4urlyh26xjwxazv4rdpy4ghddp3l577x3ax6xtsr' +
  '93surr3fatvczcss9sj7hzl64ldz0vuv63g27r3x4frqewqzyg4rmhhgrguvmvxvl6zc2qsqvgnwgcg35z6ee2h3yczraddm72xrfua9uve2rlrm9deu7xyf' +
  'zr65qpvzzq6cdfdzyqn2zewds03v49vp0susx3z03ezf64qwzwzq62gkcy3txjs06q8aq0cm8y6y8gm7m7jxhrl3x6vvv4d4hqhewgl2z5nhvrvj9gxsjd6r' +
  'kqcvfdjja43d87zvusxzmqgyeevmjdjrce9vm52hep6apprc8xqfespqyh0a805r40rrcmf28f8aurejmluny86qtnxkhltycfqkm5rtmp5gqppdpycgaavs' +
  'mv04za7ladtktvyutan3vnftge98lpau5a6gy5rwh89vrjju07mchvwvrfqsnukpjprsv0chxxxfr49gngazfukw9m7y72p7qq43qehuwwhtclyda6wvgma2' +
  'df4hhs25aycdgk75p4zl23zfnzvxsgqr92hywgjc646u3tfjug9f7wrtacpyyqdf48rlmwlaf2lh5zgvnwr6s8emza0ypw2zqw0wyfempd607wk2rgsuqqqq' +
  'qqgqqqqq5qqsqqqqqqqqqqqqqqqqqqqpw4qqqqqqpfqydvqsxe9gyr32c2skukh0e28sg77znfnhdcqlkrtmqckr9nt72gmytfacccmht2srr6zgptsrqgqq' +
  'pvppqtp9aw9l4t76y7ece4zs4u8zd2jxpjuqyg328h0wsx3cekcvel59s';

const CHARACTERS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
const bytesOf = (invoice: string): Uint8Array => Uint8Array.from(bech32.fromWords(Array.from(invoice.slice(4), (c) => CHARACTERS.indexOf(c))));
const invoiceOf = (bytes: Uint8Array): string => 'lni1' + bech32.toWords(bytes).map((word) => CHARACTERS.charAt(word)).join('');

const payInfo = (cltv: number, features = new Uint8Array(0)): Uint8Array =>
  new Writer(1_000, 'test').uint(1, 4).uint(10, 4).uint(cltv, 2).uint(0, 8).uint(5_000, 8).uint(features.length, 2).bytes(features).finish();
/** An invoice with these payinfos, an unknown odd record before and after, and an unknown even one. */
const withPaths = (...infos: readonly Uint8Array[]): string => {
  const writer = new Writer(10_000, 'test');
  writeTlv(writer, 88, Uint8Array.of(7));
  writeTlv(writer, 162, Uint8Array.from(infos.flatMap((info) => [...info])));
  writeTlv(writer, 1_000_000_001, Uint8Array.of(1, 2, 3));
  return invoiceOf(writer.finish());
};

describe('raiseBolt12Cltv', () => {
  test('changes the CLTV delta of a real invoice and nothing else', () => {
    const raised = raiseBolt12Cltv({ invstring: REAL, label: 'l' }, 42, 10) as { invstring: string; label: string };
    expect(raised.label).toBe('l');
    const [before, after] = [bytesOf(REAL), bytesOf(raised.invstring)];
    expect(after).toHaveLength(before.length);
    const changed = [...before.keys()].filter((i) => before[i] !== after[i]);
    expect(changed).toHaveLength(1);
    expect([before[changed[0]!], after[changed[0]!]]).toEqual([16, 16 + 42 + 1 + 12 - 10]);
  });

  test('of every path, whatever their features, by name or by place', () => {
    const features = Uint8Array.of(1, 2, 3);
    const expected = withPaths(payInfo(45 + 16, features), payInfo(45 + 80), payInfo(0xffff));
    const invoice = withPaths(payInfo(16, features), payInfo(80), payInfo(0xffff - 5));
    expect(raiseBolt12Cltv({ invstring: invoice }, 42, 10)).toEqual({ invstring: expected });
    expect(raiseBolt12Cltv([invoice, 'label', 'preimage'], 42, 10)).toEqual([expected, 'label', 'preimage']);
  });

  test('leaves alone what has no path, is enough already, is BOLT 11, or cannot be read', () => {
    const writer = new Writer(100, 'test');
    writeTlv(writer, 88, Uint8Array.of(7));
    const bare = invoiceOf(writer.finish());
    for (const invstring of [bare, 'lnbc1xyz', 'lni1b', REAL.slice(0, -9), withPaths(payInfo(16).subarray(0, 20)), 7, null])
      expect(raiseBolt12Cltv({ invstring }, 42, 10)).toBeUndefined();
    expect(raiseBolt12Cltv({ invstring: REAL }, 5, 18)).toBeUndefined();
    expect(raiseBolt12Cltv({}, 42, 10)).toBeUndefined();
    expect(raiseBolt12Cltv([], 42, 10)).toBeUndefined();
  });

  test('never throws', () => {
    const mangled = fc.uint8Array({ maxLength: 200 }).map((bytes) => {
      const writer = new Writer(1_000, 'test');
      writeBigSize(writer, 162n);
      writeBigSize(writer, BigInt(bytes.length)).bytes(bytes);
      return invoiceOf(writer.finish());
    });
    fc.assert(fc.property(fc.oneof(fc.string(), fc.uint8Array().map(invoiceOf), mangled), (invstring) => void raiseBolt12Cltv({ invstring }, 42, 10)));
  });
});
