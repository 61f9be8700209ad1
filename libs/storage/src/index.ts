export { MOST_PUT_BYTES, PART_BYTES, type BlobInfo, type BlobStore, type UploadedPart } from './blob-store';
export * from './config';
export * from './migrations';
export * from './open-blob-store';
export * from './upload-handlers';
export * from './uploads';
