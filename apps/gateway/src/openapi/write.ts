import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENDPOINTS } from '../routes';
import { openApiDocument } from './document';
import { errorsPage } from './errors-page';

/** Writes the OpenAPI document into the file that is named, else docs/errors.md anew. Needs nothing that runs. */
const [documentFile] = process.argv.slice(2);
if (documentFile === undefined)
  writeFileSync(join(__dirname, '../../../../docs/errors.md'), errorsPage(ENDPOINTS));
else writeFileSync(documentFile, `${JSON.stringify(openApiDocument(ENDPOINTS), null, 2)}\n`);
