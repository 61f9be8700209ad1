import { createHash } from 'node:crypto';

const STYLE = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
summary code { font-weight: 600; }
.method { display: inline-block; min-width: 4.5rem; font: 600 .8rem/1 ui-monospace, monospace; }
.quiet { opacity: .7; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-top: 1px solid var(--line); }
pre { overflow: auto; padding: .75rem; border: 1px solid var(--line); border-radius: 6px; font-size: .8rem; }
input { font: inherit; width: 100%; padding: .4rem; box-sizing: border-box; }
`;

/** Text is set as text everywhere: nothing of the document is ever read as markup. */
const SCRIPT = `
const make = (name, text, ...children) => {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};
const marked = (name, className, text) => Object.assign(make(name, text), { className });
const json = (value) => make('pre', JSON.stringify(value, null, 2));
const typeOf = (schema = {}) =>
  schema.$ref ? schema.$ref.split('/').pop() : (schema.enum || []).join(' | ') || [schema.type || 'any'].flat().join(' | ');
const table = (heads, rows) =>
  make('table', '', make('tr', '', ...heads.map((head) => make('th', head))),
    ...rows.map((row) => make('tr', '', ...row.map((cell) => make('td', cell)))));

const operation = (api, path, method, op) => {
  const found = (item) => (item.$ref ? item.$ref.split('/').slice(1).reduce((at, step) => at[step], api) : item);
  const box = make('details', '',
    make('summary', '', marked('span', 'method', method.toUpperCase()), make('code', path), marked('span', 'quiet', '  ' + op.summary)));
  box.dataset.text = [method, path, op.summary, op.description].join(' ').toLowerCase();
  if (op.description) box.append(make('p', op.description));
  const access = op.security.length === 0 ? 'Anyone may call this.' : op.security.length > 1 ? 'Sign-in is optional.' : 'Needs an access token.';
  box.append(marked('p', 'quiet', access));
  const parameters = op.parameters.map(found);
  box.append(make('h4', 'Parameters'), table(['Name', 'In', 'Type', 'Meaning'],
    parameters.map((each) => [each.name + (each.required ? ' *' : ''), each.in, typeOf(each.schema), each.description || ''])));
  const body = op.requestBody && op.requestBody.content['application/json'];
  if (body) box.append(make('h4', 'Body'), json(body.example));
  box.append(make('h4', 'Answers'));
  for (const [status, answer] of Object.entries(op.responses)) {
    const content = Object.values(answer.content || {})[0];
    const inner = make('details', '', make('summary', status + '  ' + answer.description.split('\\n')[0]));
    if (answer.description.includes('\\n')) inner.append(make('p', answer.description));
    if (content) inner.append(json(content.example ?? Object.values(content.examples || {}).map((each) => each.value)));
    box.append(inner);
  }
  return box;
};

fetch('/openapi.json').then((answer) => answer.json()).then((api) => {
  const main = document.querySelector('main');
  main.replaceChildren(make('h1', api.info.title), ...api.info.description.split('\\n\\n').map((line) => make('p', line)));
  const search = Object.assign(make('input'), { type: 'search', placeholder: 'Find a route' });
  search.setAttribute('aria-label', 'Find a route');
  search.oninput = () => {
    for (const box of main.querySelectorAll('[data-text]')) box.hidden = !box.dataset.text.includes(search.value.toLowerCase());
  };
  main.append(search);
  for (const { name } of api.tags) {
    main.append(make('h2', name));
    for (const [path, item] of Object.entries(api.paths))
      for (const [method, op] of Object.entries(item))
        if (op.tags[0] === name) main.append(operation(api, path, method, op));
  }
}).catch((error) => { document.querySelector('main').textContent = 'The document could not be read: ' + error; });
`;

const digest = (source: string) => `'sha256-${createHash('sha256').update(source).digest('base64')}'`;

/** A page that shows /openapi.json to people, with nothing from elsewhere, and the policy that allows just its own parts. */
export function docsPage(): { html: string; contentSecurityPolicy: string } {
  return {
    html: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Headroom API</title>
<style>${STYLE}</style>
</head>
<body>
<main>Reading <a href="/openapi.json">the document</a> ...</main>
<script>${SCRIPT}</script>
</body>
</html>
`,
    contentSecurityPolicy: [
      "default-src 'none'",
      `script-src ${digest(SCRIPT)}`,
      `style-src ${digest(STYLE)}`,
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join('; '),
  };
}
