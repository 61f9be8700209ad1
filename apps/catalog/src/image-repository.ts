import { sql, type Queryable, type Tx } from '@headroom/postgres';

/** The number of a picture that is accepted now. */
export async function nextImageOrder(tx: Tx): Promise<bigint> {
  const row = await tx.row<{ image_order: bigint }>(
    sql('image.nextOrder')`select nextval('image_order') as image_order`,
  );
  return row!.image_order;
}

/**
 * Notes that a product, which the caller has locked, has the picture of this number; false when it has a later one. Index: primary
 * key.
 */
export async function advanceImage(tx: Tx, productId: string, order: bigint): Promise<boolean> {
  const advanced = await tx.execute(sql('image.advance')`
    insert into published_images (product_id, image_order) values (${productId}, ${order})
    on conflict (product_id) do update set image_order = excluded.image_order
      where published_images.image_order < excluded.image_order`);
  return advanced > 0;
}

/**
 * Notes a set before its files are written, or that a known one is about to be used: from now on it counts as unused anew. False
 * while its files are being removed. Index: primary key.
 */
export async function saveImageSet(
  db: Queryable,
  { hash, url, nowMs }: { hash: string; url: string; nowMs: number },
): Promise<boolean> {
  const saved = await db.execute(sql('image.saveSet')`
    insert into image_sets (hash, url, unused_since, created_at)
    values (${hash}, ${url}, ${new Date(nowMs)}, ${new Date(nowMs)})
    on conflict (hash) do update set unused_since = excluded.unused_since where not image_sets.removing`);
  return saved > 0;
}

/** Notes, in the transaction that makes a product name it, that a set is used; false when it is gone or going. Index: primary key. */
export async function useImageSet(tx: Tx, hash: string): Promise<boolean> {
  const used = await tx.execute(sql('image.useSet')`
    update image_sets set unused_since = null where hash = ${hash} and not removing`);
  return used > 0;
}

/** A condition on image_sets `s`. Index: products_own_image. */
const isNamed = sql.part`exists (select from products p where p.image_url = s.url and p.image_url like '/images/%')`;

/**
 * Brings up to date whether products name the `limit` sets behind `afterHash`; returns the last of their hashes, or undefined after
 * the last set. Index: primary key.
 */
export async function markUnused(
  db: Queryable,
  { afterHash, limit, nowMs }: { afterHash: string; limit: number; nowMs: number },
): Promise<string | undefined> {
  const row = await db.row<{ last: string | null }>(sql('image.markUnused')`
    with looked as (
      select s.hash, s.unused_since, ${isNamed} as named from image_sets s
      where s.hash > ${afterHash} and not s.removing order by s.hash limit ${limit}
    ), marked as (
      update image_sets s set unused_since = case when l.named then null else ${new Date(nowMs)}::timestamptz end
      from looked l where s.hash = l.hash and not s.removing and l.named = (l.unused_since is not null)
    )
    select max(hash) as last from looked`);
  return row?.last ?? undefined;
}

/** Takes sets for removal that were unused since before `before`, and those whose removal did not end. Index: image_sets_unused. */
export async function takeUnused(
  db: Queryable,
  { before, limit }: { before: Date; limit: number },
): Promise<string[]> {
  const rows = await db.rows<{ hash: string }>(sql('image.takeUnused')`
    update image_sets s set removing = true where s.hash in (
      select s.hash from image_sets s where s.unused_since < ${before} and not ${isNamed}
      order by s.unused_since limit ${limit} for update skip locked)
    returning s.hash`);
  return rows.map(({ hash }) => hash);
}

/** Forgets a set whose files are gone. Index: primary key. */
export async function forgetImageSet(db: Queryable, hash: string): Promise<void> {
  await db.execute(sql('image.forgetSet')`delete from image_sets where hash = ${hash} and removing`);
}
