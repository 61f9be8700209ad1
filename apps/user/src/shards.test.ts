import { initialShardMap, logicalShardOf, routeShards, type Shard } from './shards';

const shard = (number: number) => ({ number }) as Shard;
const mapOf = (databases: number) =>
  new Map(initialShardMap(databases).map(({ logical, database }) => [logical, database]));

it('a key falls into the same logical shard for ever', () => {
  // Values that were written down: ids, e-mails and refresh tokens of running systems depend on them.
  expect(
    ['ada@shop.example', '01890a5d-ac96-774b-bcce-b302099a8057', 'grace@shop.example'].map(logicalShardOf),
  ).toEqual([27, 24, 1]);
});

it('logical shards are dealt out evenly', () => {
  for (const databases of [1, 2, 3, 5, 64]) {
    const { all, databaseOf } = routeShards(
      Array.from({ length: databases }, (_, n) => shard(n)),
      mapOf(databases),
    );
    const counts = all.map(
      (each) => Array.from({ length: 64 }, (_, n) => databaseOf(n)).filter((at) => at === each).length,
    );
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
  }
});

it('a database that holds shards cannot be left out; one that holds none yet may be added', () => {
  expect(() => routeShards([shard(0), shard(1)], mapOf(3))).toThrow('USER_SHARD_URLS: found 2 databases');
  expect(routeShards([0, 1, 2, 3].map(shard), mapOf(3)).all).toHaveLength(4);
});
