import { appNames, buildApps } from './index';

/** Bundles the apps named, or all. */
const names = process.argv.slice(2).map((name) => name.replace(/^@headroom\//, ''));
const known = appNames(process.cwd());
const unknown = names.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`there is no app ${unknown.join(', ')}; there are ${known.join(', ')}`);
  process.exit(64);
}
void buildApps(process.cwd(), names.length > 0 ? names : known);
