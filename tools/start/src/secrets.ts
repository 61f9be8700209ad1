import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a production system would get from its secret store; made once and kept in the data directory. */
export interface Secrets {
  postgresPassword: string;
  jwtPrivateKey: string;
  signingSecret: string;
  adminEmail: string;
  adminPassword: string;
}

/**
 * Reads the secrets of this data directory, or makes them. `adminPasswordMade` is true when a password was made just now
 * and has to be shown, this once.
 */
export function readSecrets(
  dataDirectory: string,
  env: NodeJS.ProcessEnv,
): { secrets: Secrets; adminPasswordMade: boolean } {
  const file = join(dataDirectory, 'secrets.json');
  if (existsSync(file))
    return { secrets: JSON.parse(readFileSync(file, 'utf8')) as Secrets, adminPasswordMade: false };
  const random = (bytes: number) => randomBytes(bytes).toString('base64url');
  const secrets: Secrets = {
    postgresPassword: random(24),
    jwtPrivateKey: generateKeyPairSync('ed25519')
      .privateKey.export({ type: 'pkcs8', format: 'pem' })
      .toString(),
    signingSecret: random(32),
    adminEmail: env['ADMIN_EMAIL'] || 'admin@headroom.example',
    adminPassword: env['ADMIN_PASSWORD'] || random(12),
  };
  mkdirSync(dataDirectory, { recursive: true, mode: 0o711 }); // the account that runs PostgreSQL must get through, the files are closed
  writeFileSync(file, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  writeFileSync(
    join(dataDirectory, 'admin.json'),
    `${JSON.stringify({ email: secrets.adminEmail, password: secrets.adminPassword }, null, 2)}\n`,
    { mode: 0o600 },
  );
  return { secrets, adminPasswordMade: !env['ADMIN_PASSWORD'] };
}
