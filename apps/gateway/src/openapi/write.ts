import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENDPOINTS } from '../routes';
import { openApiDocument } from './document';
import { errorsPage } from './errors-page';

/** Writes docs/errors.md anew and, where a file is named, the OpenAPI document into it. Needs nothing that runs. */
const [documentFile] = process.argv.slice(2);
const root = join(__dirname, '../../../..');
writeFileSync(join(root, 'docs', 'errors.md'), errorsPage(ENDPOINTS));
if (documentFile !== undefined)
  writeFileSync(documentFile, `${JSON.stringify(openApiDocument(ENDPOINTS), null, 2)}\n`);
