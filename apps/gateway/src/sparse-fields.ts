import { Type, type TSchema } from 'typebox';
import { invalid } from './validation';

/** The query parameter of every read whose answer is a thing with an id, or a list of such. */
export const FIELDS_QUERY = {
  fields: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 1_000,
      description: 'Only these members, separated by commas, inner ones with a dot; `id` always comes',
      examples: ['name,price.amountMinor'],
    }),
  ),
};

interface Shape {
  properties?: Record<string, Shape>;
  items?: Shape;
}

/** The members that a client may select, as a tree. */
type Selection = Map<string, Selection | 'all'>;

/** Reads `fields` for an item of the given schema. Throws VALIDATION_FAILED that names what is not a member. */
export function readFields(text: string, item: TSchema): Selection {
  const selection: Selection = new Map([['id', 'all']]);
  for (const path of text.split(',')) {
    let shape: Shape | undefined = item as Shape;
    let into = selection;
    const steps = path.split('.');
    for (const [index, step] of steps.entries()) {
      const members: Record<string, Shape> | undefined = shape?.items?.properties ?? shape?.properties;
      if (!members || !Object.hasOwn(members, step))
        throw invalid(
          'fields',
          `names ${JSON.stringify(path)}, which is no member; there are ${Object.keys(
            (item as Shape).properties ?? {},
          ).join(', ')}`,
        );
      shape = members[step];
      if (index === steps.length - 1) into.set(step, 'all');
      else {
        const inner = into.get(step);
        if (inner === 'all') break; // the whole member is selected already
        const next: Selection = inner ?? new Map();
        into.set(step, next);
        into = next;
      }
    }
  }
  return selection;
}

/** The selected members of a value; arrays element by element. */
export function select(value: unknown, selection: Selection): unknown {
  if (Array.isArray(value)) return value.map((each) => select(each, selection));
  if (typeof value !== 'object' || value === null) return value;
  const source = value as Record<string, unknown>;
  const chosen: Record<string, unknown> = {};
  for (const [name, inner] of selection)
    if (Object.hasOwn(source, name))
      chosen[name] = inner === 'all' ? source[name] : select(source[name], inner);
  return chosen;
}
