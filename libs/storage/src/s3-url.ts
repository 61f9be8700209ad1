/** Where files are kept, as STORAGE_URL says. */
export interface S3Location {
  bucket: string;
  /** Before every name; empty, or ending in `/`. */
  prefix: string;
  /** Of a server that is not Amazon's; its buckets are then part of the path. */
  endpoint: string | undefined;
  region: string;
}

/**
 * Reads `s3://bucket/prefix?endpoint=http://host:port&region=eu-central-1`; the path and both parameters may be left out (region:
 * us-east-1). Returns undefined for anything else.
 */
export function readS3Url(text: string): S3Location | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const { hostname: bucket, searchParams } = url;
  const path = url.pathname.replace(/^\/+|\/+$/g, '');
  const endpoint = searchParams.get('endpoint') ?? undefined;
  const known = [...searchParams.keys()].every((name) => name === 'endpoint' || name === 'region');
  const reachable =
    endpoint === undefined ||
    (URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol) && !new URL(endpoint).username);
  if (url.protocol !== 's3:' || !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) return undefined;
  if (url.username || url.password || url.port || url.hash || !known || !reachable) return undefined;
  if (!/^[A-Za-z0-9._/-]{0,200}$/.test(path)) return undefined;
  const prefix = path === '' ? '' : `${path}/`;
  return { bucket, prefix, endpoint, region: searchParams.get('region') ?? 'us-east-1' };
}
