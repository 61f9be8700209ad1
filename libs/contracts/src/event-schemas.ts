import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ActivityEvent, EventType, PublishableEvent } from './events';

/** The schemas and fixtures lie beside the sources: for tests and tools, a bundled service does not carry them. */
const directory = join(__dirname, '../events');

/**
 * The JSON Schema (2020-12) of a whole event of this type, with everything it refers to under `$defs`, so that it compiles
 * by itself. Throws when the type has none.
 */
export function readEventSchema(type: EventType | ActivityEvent['type']): Record<string, unknown> {
  const schema = readJson(`${type}.v1.schema.json`) as { $defs: Record<string, unknown> };
  const shared = [
    'envelope.v1.schema.json',
    ...readdirSync(join(directory, 'data')).map((name) => `data/${name}`),
  ];
  return {
    ...schema,
    $defs: { ...schema.$defs, ...Object.fromEntries(shared.map((name) => [name, readJson(name)])) },
  };
}

/** One event of every type of change with the topic and the key it is published under: what producers write and consumers must read. */
export function readEventFixtures(): PublishableEvent[] {
  return readdirSync(join(directory, 'fixtures'))
    .filter((name) => !name.startsWith('headroom.activity.'))
    .sort()
    .map((name) => readJson(`fixtures/${name}`) as PublishableEvent);
}

/** The fixture of an activity, which is no change of an aggregate. */
export function readActivityFixture(): { topic: string; key: string; event: ActivityEvent } {
  return readJson('fixtures/headroom.activity.recorded.v1.json') as ReturnType<typeof readActivityFixture>;
}

/** The fixture of one type. */
export function readEventFixture<T extends EventType>(type: T): PublishableEvent<T> {
  return readJson(`fixtures/${type}.v1.json`) as PublishableEvent<T>;
}

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(join(directory, name), 'utf8'));
}
