/** One SQL statement: a name for metrics and traces, text with `$n` places, and the values for them. */
export interface Statement {
  name: string;
  text: string;
  values: unknown[];
}

/** A piece of SQL without a name, made by `sql.part`, to be put into statements or other parts. */
export class SqlPart {
  constructor(
    readonly strings: readonly string[],
    readonly values: readonly unknown[],
  ) {}
}

/**
 * A named statement: sql('order.find')`select ... where id = ${id}`. Every `${value}` becomes a parameter; only a part made by
 * `sql.part` or `sql.identifier` is put in as text. The name ends the text as a comment, so that pg_stat_statements shows it.
 */
export function sql(name: string): (strings: TemplateStringsArray, ...values: unknown[]) => Statement {
  return (strings, ...values) => {
    const out = { text: '', values: [] as unknown[] };
    append(out, strings, values);
    return { name, text: `${out.text.trim()} /* ${name} */`, values: out.values };
  };
}

sql.part = (strings: TemplateStringsArray, ...values: unknown[]): SqlPart => new SqlPart(strings, values);

/** A quoted identifier; for schema and table names that the program itself chose. */
sql.identifier = (name: string): SqlPart => new SqlPart([`"${name.replaceAll('"', '""')}"`], []);

sql.empty = new SqlPart([''], []);

/** Parts joined by ` and `; `true` when there are none. */
sql.and = (parts: readonly SqlPart[]): SqlPart =>
  parts.length === 0 ? new SqlPart(['true'], []) : joined(parts, ' and ');

/** Parts joined by `, `. */
sql.list = (parts: readonly SqlPart[]): SqlPart => joined(parts, ', ');

function joined(parts: readonly SqlPart[], separator: string): SqlPart {
  return new SqlPart(['', ...parts.slice(1).map(() => separator), ''], parts);
}

function append(
  out: { text: string; values: unknown[] },
  strings: readonly string[],
  values: readonly unknown[],
): void {
  strings.forEach((part, index) => {
    out.text += part;
    if (index >= values.length) return;
    const value = values[index];
    if (value instanceof SqlPart) append(out, value.strings, value.values);
    else {
      out.values.push(value);
      out.text += `$${out.values.length}`;
    }
  });
}
