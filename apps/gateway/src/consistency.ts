import { fault, type Position } from '@headroom/contracts';
import { createSigner } from './signing';

export interface Consistency {
  /** The value of a `Consistency-Token` header that names these positions. */
  issue(positions: readonly Position[]): string;
  /**
   * The positions of a token whose subjects are of the given kinds; none without a token. Throws
   * CONSISTENCY_TOKEN_INVALID for anything that `issue` did not make.
   */
  read(token: string | undefined, kinds: readonly SubjectKind[]): Position[];
}

/** The part of a subject before the slash: a view waits only for what it is made of. */
export type SubjectKind = 'user' | 'product' | 'stock' | 'order' | 'cart';

/**
 * Read-your-writes over HTTP: a write's answer carries the versions it made, signed; a read that brings them back is
 * answered from a view that has applied at least these.
 */
export function createConsistency(secret: string): Consistency {
  const signer = createSigner(secret, 'consistency');
  return {
    issue: (positions) =>
      signer.seal(JSON.stringify(positions.map(({ subject, version }) => [subject, String(version)]))),
    read(token, kinds) {
      if (token === undefined) return [];
      const text = signer.open(token);
      if (text === undefined) throw fault('CONSISTENCY_TOKEN_INVALID');
      return (JSON.parse(text) as Array<[string, string]>)
        .filter(([subject]) => (kinds as readonly string[]).includes(subject.split('/')[0]!))
        .map(([subject, version]) => ({ subject, version: BigInt(version) }));
    },
  };
}
