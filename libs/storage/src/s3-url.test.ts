import { readS3Url } from './s3-url';

describe('STORAGE_URL', () => {
  it('names a bucket, and perhaps a prefix, a server and a region', () => {
    expect(readS3Url('s3://shop-files')).toEqual({
      bucket: 'shop-files',
      prefix: '',
      endpoint: undefined,
      region: 'us-east-1',
    });
    expect(readS3Url('s3://shop-files/live/?endpoint=http://127.0.0.1:9000&region=eu-central-1')).toEqual({
      bucket: 'shop-files',
      prefix: 'live/',
      endpoint: 'http://127.0.0.1:9000',
      region: 'eu-central-1',
    });
  });

  it.each([
    'https://shop-files',
    's3://',
    's3://UPPER_case',
    's3://key:secret@shop-files',
    's3://shop-files:9000',
    's3://shop-files?endpoint=127.0.0.1:9000',
    's3://shop-files?endpoint=http://key:secret@host',
    's3://shop-files?regoin=eu-central-1',
    's3://shop-files/a b',
  ])('is not %s', (text) => {
    expect(readS3Url(text)).toBeUndefined();
  });
});
