import { readEventSchema, type ActivityEvent, type EventType } from '@headroom/contracts';
import Ajv2020, { type ValidateFunction } from 'ajv/dist/2020';
import addFormats from 'ajv-formats';

const ajv = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true });
addFormats(ajv);
const compiled = new Map<string, ValidateFunction>();

/**
 * What is wrong with an event by the published schema of its type, as `path message` lines; empty for a valid one. For tests of
 * producers. Throws when its type has no schema.
 */
export function eventProblems(event: { type: string }): string[] {
  const validate =
    compiled.get(event.type) ?? ajv.compile(readEventSchema(event.type as EventType | ActivityEvent['type']));
  compiled.set(event.type, validate);
  if (validate(event)) return [];
  return (validate.errors ?? []).map((error) => `${error.instancePath || '/'} ${error.message}`);
}
