/** Jest's global tear-down. */
export default async function globalTeardown(): Promise<void> {
  await globalThis.headroomSystem?.remove();
}
