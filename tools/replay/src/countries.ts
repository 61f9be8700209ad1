/** Names that sales histories use and the list of names in English does not have. */
const OTHER_NAMES: Record<string, string> = {
  eire: 'IE',
  rsa: 'ZA',
  usa: 'US',
  uk: 'GB',
  'great britain': 'GB',
  'czech republic': 'CZ',
  korea: 'KR',
  'hong kong': 'HK',
  macau: 'MO',
  'channel islands': 'JE',
};

/** Codes that have an English name and are no country of ISO 3166-1. */
const NO_COUNTRY = /^(A[AC]|CP|CQ|DG|E[AUZ]|IC|Q[M-Z]|TA|UN|X[A-Z]|ZZ)$/;

let names: Map<string, string> | undefined;

/** The ISO 3166-1 code of a country by its English name or code, or undefined. */
export function countryCode(name: string): string | undefined {
  names ??= englishNames();
  const wanted = name.trim().toLowerCase();
  return OTHER_NAMES[wanted] ?? names.get(wanted);
}

function englishNames(): Map<string, string> {
  const english = new Intl.DisplayNames('en', { type: 'region', fallback: 'none' });
  const letters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'];
  const found = new Map<string, string>();
  for (const code of letters.flatMap((a) => letters.map((b) => `${a}${b}`))) {
    const name = english.of(code);
    const isCurrent = Intl.getCanonicalLocales(`und-${code}`)[0] === `und-${code}`; // UK, for one, becomes GB
    if (name === undefined || !isCurrent || NO_COUNTRY.test(code)) continue;
    found.set(name.toLowerCase(), code);
    found.set(code.toLowerCase(), code);
  }
  return found;
}
