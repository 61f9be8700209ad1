import { eventProblems } from '@headroom/testing';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { readActivityFixture, readEventFixture, readEventFixtures, readEventSchema } from './event-schemas';
import { activityEvent, domainEvent, TOPICS, type EventType } from './events';

/** Complete by its type: a new event type does not compile before it stands here. */
const every: Record<EventType, true> = {
  'headroom.user.registered': true,
  'headroom.user.updated': true,
  'headroom.catalog.product-created': true,
  'headroom.catalog.product-updated': true,
  'headroom.catalog.price-changed': true,
  'headroom.catalog.product-archived': true,
  'headroom.catalog.product-restored': true,
  'headroom.catalog.stock-changed': true,
  'headroom.order.placed': true,
  'headroom.order.paid': true,
  'headroom.order.payment-declined': true,
  'headroom.order.confirmed': true,
  'headroom.order.cancelled': true,
  'headroom.order.refund-requested': true,
  'headroom.order.refunded': true,
};
const types = Object.keys(every).sort() as EventType[];
const ACTIVITY = 'headroom.activity.recorded';
const allTypes = [ACTIVITY, ...types].sort() as Array<EventType | typeof ACTIVITY>;
const fixtureOf = (type: EventType | typeof ACTIVITY) =>
  type === ACTIVITY ? readActivityFixture() : readEventFixture(type);
const events = join(__dirname, '../events');

interface AsyncApi {
  asyncapi: string;
  channels: Record<
    string,
    {
      address: string;
      messages: Record<string, { $ref: string }>;
      bindings: { kafka: { partitions: number } };
    }
  >;
  operations: Record<string, { action: string; channel: { $ref: string } }>;
  components: { messages: Record<string, { name: string; payload: { schema: { $ref: string } } }> };
}
const asyncapi = parse(readFileSync(join(__dirname, '../asyncapi.yaml'), 'utf8')) as AsyncApi;

it('has one schema and one fixture for every type of event, and no other', () => {
  const named = (names: string[], end: string) =>
    names.filter((name) => name.endsWith(end)).map((name) => name.slice(0, -end.length));
  expect(named(readdirSync(events), '.v1.schema.json').sort()).toEqual([...allTypes, 'envelope'].sort());
  expect(named(readdirSync(join(events, 'fixtures')), '.v1.json').sort()).toEqual(allTypes);
});

it.each(types)('%s: the fixture is valid and is what a producer builds', (type) => {
  const fixture = readEventFixture(type);
  expect(eventProblems(fixture.event)).toEqual([]);
  const { event, key } = fixture;
  const built = domainEvent({
    id: event.id,
    type,
    subject: event.subject,
    key,
    version: event.aggregateversion,
    time: event.time,
    traceparent: event.traceparent,
    data: event.data,
  });
  expect(built).toEqual(fixture);
});

it('an activity is valid as its producer builds it, and has no version', () => {
  const fixture = readActivityFixture();
  const { id, time, traceparent, data } = fixture.event;
  expect(activityEvent({ id, time, traceparent, data })).toEqual(fixture);
  expect(eventProblems(fixture.event)).toEqual([]);
  expect(eventProblems({ ...fixture.event, aggregateversion: 1 } as typeof fixture.event)).not.toEqual([]);
});

it.each(allTypes)(
  '%s: the schema refuses an event without any one of its members, or with a wrong one',
  (type) => {
    const { event } = fixtureOf(type);
    for (const member of Object.keys(event).filter((name) => name !== 'traceparent' && name !== 'type')) {
      expect(eventProblems({ ...event, [member]: undefined })).not.toEqual([]);
      expect(eventProblems({ ...event, [member]: -1 })).not.toEqual([]);
    }
    for (const member of Object.keys(event.data)) {
      expect(
        eventProblems({ ...event, data: { ...event.data, [member]: undefined } } as typeof event),
      ).not.toEqual([]);
      expect(eventProblems({ ...event, data: { ...event.data, [member]: -1 } } as typeof event)).not.toEqual(
        [],
      );
    }
  },
);

it('publishes the schema of the data under the address that events name', () => {
  for (const type of allTypes) {
    const { $defs } = readEventSchema(type) as { $defs: { data: { $id: string } } };
    expect($defs.data.$id).toBe(fixtureOf(type).event.dataschema);
  }
});

it('describes every topic and every event in asyncapi.yaml, and none besides', () => {
  expect(asyncapi.asyncapi).toBe('3.0.0');
  expect(Object.keys(asyncapi.components.messages).sort()).toEqual(allTypes);
  for (const type of allTypes) {
    expect(asyncapi.components.messages[type]).toMatchObject({
      name: type,
      payload: { schema: { $ref: `./events/${type}.v1.schema.json` } },
    });
    const channel = asyncapi.channels[type.split('.')[1]!]!;
    expect(channel.address).toBe(fixtureOf(type).topic);
    expect(channel.messages[type]).toEqual({ $ref: `#/components/messages/${type}` });
  }
  for (const [name, channel] of Object.entries(asyncapi.channels)) {
    const topic = TOPICS[name as keyof typeof TOPICS];
    expect([channel.address, channel.bindings.kafka.partitions]).toEqual([topic.name, topic.partitions]);
    expect(Object.keys(channel.messages).filter((type) => !allTypes.some((known) => known === type))).toEqual(
      [],
    );
  }
  for (const { channel } of Object.values(asyncapi.operations))
    expect(asyncapi.channels).toHaveProperty(channel.$ref.replace('#/channels/', ''));
});

it('holds no secret in any event', () => {
  const text = readEventFixtures()
    .map((fixture) => JSON.stringify(fixture))
    .join('\n');
  const schemas = types.map((type) => JSON.stringify(readEventSchema(type))).join('\n');
  for (const word of ['passwordHash', 'password"', '"token"', 'shippingAddress']) {
    expect(text).not.toContain(word);
    expect(schemas).not.toContain(word);
  }
});
