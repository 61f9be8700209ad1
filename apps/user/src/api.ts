import { userAdminV1, userV1 } from '@headroom/contracts';
import { implement } from '@headroom/rpc';
import type { AccessTokens } from './access-tokens';
import type { Accounts } from './accounts';
import type { PasswordResets } from './resets';
import type { RevocationFeed } from './revocations';
import type { Sessions, SessionTokens } from './sessions';
import { checkName, parseAdminChange, type User } from './user';

/** The gRPC service of the users. */
export function userApi(deps: {
  accounts: Accounts;
  sessions: Sessions;
  accessTokens: Pick<AccessTokens, 'jwks'>;
  revocations: Pick<RevocationFeed, 'watch'>;
}) {
  const { accounts, sessions, accessTokens, revocations } = deps;
  return implement('headroom.user.v1.UserService', userV1.UserServiceService, {
    register: async (request, call) => userReply(await accounts.register(request, call.signal)),

    signIn: async (request, call) => tokensReply(await sessions.signIn(request, call.signal)),

    refresh: async ({ refreshToken }) => tokensReply(await sessions.refresh(refreshToken)),

    async signOut({ everywhere }, call) {
      const { userId, sessionId } = await call.principal();
      await sessions.signOut(userId, everywhere ? 'all' : { sid: sessionId });
      return {};
    },

    async getMe(_request, call) {
      const { userId } = await call.principal();
      return userReply(await accounts.get(userId));
    },

    async updateMe({ name, ifVersion }, call) {
      const { userId } = await call.principal();
      checkName(name);
      return userReply(await accounts.change(userId, { name }, ifVersion));
    },

    async findUserByEmail({ email }, call) {
      await call.admin();
      const user = await accounts.findByEmail(email);
      return user ? { user: userReply(user) } : {};
    },

    async getUser({ userId }, call) {
      await call.admin();
      return userReply(await accounts.get(userId));
    },

    async updateUser(request, call) {
      await call.admin();
      return userReply(await accounts.change(request.userId, parseAdminChange(request)));
    },

    getJwks: async () => ({ jwksJson: JSON.stringify(accessTokens.jwks()) }),

    watchRevocations: (_request, call) => revocations.watch(call.signal),

    checkSession: async ({ sessionId, userId }) => ({ active: await sessions.isActive(userId, sessionId) }),
  });
}

/** The gRPC service of forgotten passwords. */
export function passwordResetApi(resets: Pick<PasswordResets, 'request' | 'confirm'>) {
  return implement('headroom.user.v1.PasswordResetService', userAdminV1.PasswordResetServiceService, {
    async requestPasswordReset({ email }) {
      await resets.request(email);
      return {};
    },

    async confirmPasswordReset(request, call) {
      await resets.confirm(request, call.signal);
      return {};
    },
  });
}

/** A user as the contract has it: nothing that proves a password. */
export function userReply({ id, email, name, role, tier, disabled, createdAt, version }: User): userV1.User {
  return { id, email, name, role, tier, disabled, createdAt: createdAt.toISOString(), version };
}

const tokensReply = (tokens: SessionTokens): userV1.SessionTokens => ({
  ...tokens,
  user: userReply(tokens.user),
});
