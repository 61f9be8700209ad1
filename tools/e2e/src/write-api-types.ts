import { writeFileSync } from 'node:fs';
import { API_TYPES, apiDocument, generateApiTypes } from './api-types';

/** Writes the types of the public API anew: `npx tsx tools/e2e/src/write-api-types.ts` after a change of a route. */
void apiDocument()
  .then(generateApiTypes)
  .then((types) => writeFileSync(API_TYPES, types));
