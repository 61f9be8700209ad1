/**
 * A verifier that takes any token for that of the user it names, an admin where it begins with `admin`: for servers whose tests
 * are about something else.
 */
export async function trustTokens(token: string) {
  return {
    userId: token,
    sessionId: 'session',
    role: token.startsWith('admin') ? ('admin' as const) : ('customer' as const),
    tier: 'free',
    issuedAtSeconds: 0,
    expiresAtSeconds: 0,
  };
}
