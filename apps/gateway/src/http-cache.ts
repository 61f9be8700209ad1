import { fault } from '@headroom/contracts';
import { createHash } from 'node:crypto';

/**
 * How long an answer may be kept, and by whom.
 * `catalog`: by anyone for seconds, unless the request was personal or asked for freshness; `static`: by anyone for
 * minutes; `immutable`: by anyone for a year, without asking again; `private`: by the caller, who asks again each time;
 * `none`: by nobody.
 */
export type CachePolicy = 'catalog' | 'static' | 'immutable' | 'private' | 'none';

const PERSONAL = 'private, no-cache';

/** The caching headers of a successful answer to a request with these headers. */
export function cacheHeaders(
  policy: CachePolicy,
  request: { authorization?: string | undefined; 'consistency-token'?: string | string[] | undefined },
): { 'cache-control': string; vary?: string } {
  switch (policy) {
    case 'catalog': {
      const shared = request.authorization === undefined && request['consistency-token'] === undefined;
      return {
        // 2 s at a browser and 5 s at an edge; the answer may be up to 30 s older while the edge fetches a new one.
        'cache-control': shared ? 'public, max-age=2, s-maxage=5, stale-while-revalidate=30' : PERSONAL,
        vary: 'Authorization, Consistency-Token',
      };
    }
    case 'static':
      return { 'cache-control': 'public, max-age=300, s-maxage=300, stale-while-revalidate=3600' };
    case 'immutable':
      return { 'cache-control': 'public, max-age=31536000, immutable' };
    case 'private':
      // Two people at one browser may read versions of the same number: the answer to one is none for the other.
      return { 'cache-control': PERSONAL, vary: 'Authorization, Cart-Token' };
    case 'none':
      return { 'cache-control': 'no-store' };
  }
}

/** A strong ETag: equal exactly when the bytes are. */
export const etagOf = (payload: string | Buffer): string =>
  `"${createHash('sha256').update(payload).digest('base64url').slice(0, 27)}"`;

/** The ETag of a thing that counts its versions. */
export const versionEtag = (version: bigint): string => `"${version}"`;

/** True when `If-None-Match` names `etag` (weak comparison, RFC 9110 section 13.1.2): the answer is 304. */
export function noneMatch(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  const bare = (tag: string) => tag.replace(/^W\//, '');
  return (header.match(/(W\/)?"[^"]*"/g) ?? []).some((tag) => bare(tag) === bare(etag));
}

/**
 * The version that `If-Match` asks for, undefined when any will do. Of several the current one is chosen; without a match
 * the answer is VERSION_MISMATCH. Weak and foreign tags never match (RFC 9110 section 13.1.1).
 */
export async function expectedVersion(
  header: string | undefined,
  current: () => Promise<bigint>,
): Promise<bigint | undefined> {
  if (header === undefined || header.trim() === '*') return undefined;
  const versions = [...header.matchAll(/(?:^|,)\s*"(\d{1,18})"\s*(?=,|$)/g)].map((match) =>
    BigInt(match[1]!),
  );
  if (versions.length === 1) return versions[0];
  const now = versions.length === 0 ? undefined : await current();
  const found = versions.find((version) => version === now);
  if (found === undefined) throw fault('VERSION_MISMATCH');
  return found;
}
