import { readS3Url } from './s3-url';

/** Where a service keeps files: the variable to spread into its configuration. Unset: in its own database. */
export const STORAGE_CONFIG = {
  STORAGE_URL: {
    expected: 'a URL such as s3://bucket/prefix?endpoint=https://host:port&region=eu-central-1',
    secret: true,
    fallback: undefined as string | undefined,
    parse: (text: string): string | undefined => (readS3Url(text) ? text : undefined),
  },
};
