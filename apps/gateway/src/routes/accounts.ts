import { fault, type userV1 } from '@headroom/contracts';
import { isUuidv7 } from '@headroom/resilience';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { afterLast, LIST_QUERY, listOf, walkedList } from '../cursors';
import type { Deps } from '../deps';
import { endpoint } from '../endpoint';
import { bringCart } from '../guest-cart';
import { expectedVersion, versionEtag } from '../http-cache';
import {
  AdminUser,
  adminUserJson,
  Mail,
  mailJson,
  sessionJson,
  SessionTokens,
  User,
  userJson,
} from '../schemas';
import { FIELDS_QUERY } from '../sparse-fields';

const Name = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '\\S',
  errorText: 'more than blanks',
  examples: ['Ada Lovelace'],
});
const Email = Type.String({
  minLength: 3,
  maxLength: 254,
  pattern: '^[^\\s@\\p{C}]+@[^\\s@\\p{C}]+\\.[^\\s@\\p{C}]+$',
  errorText: 'an e-mail address',
  examples: ['ada@example.com'],
});
const Password = Type.String({ minLength: 8, maxLength: 128, examples: ['correct horse battery staple'] });
const strict = { additionalProperties: false };

/** Registration, sessions, the own profile and the users as an admin sees them. */
export const accountEndpoints = [
  endpoint({
    method: 'POST',
    path: '/v1/users',
    tag: 'Accounts',
    summary: 'Register',
    description:
      'Addresses are compared without case. Passwords have 8 to 128 characters of any kind; the commonest are refused.',
    access: 'open',
    cache: 'none',
    body: Type.Object(
      {
        email: Email,
        password: Password,
        name: Name,
      },
      strict,
    ),
    reply: { status: 201, schema: User, description: 'The new user' },
    faults: ['EMAIL_TAKEN', 'PASSWORD_TOO_COMMON', 'DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, body, reply }) {
      const user = await deps.user.register(body);
      return writtenUser(deps, reply, user, userJson);
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/sessions',
    tag: 'Accounts',
    summary: 'Sign in',
    description:
      'An unknown address is answered as a wrong password is, in the same time. With `cartToken` the cart of the guest is moved into the own cart, once: sums, at most 9,999 units each; lines of another currency stay.',
    access: 'open',
    cache: 'none',
    body: Type.Object(
      {
        email: Type.String({ minLength: 1, maxLength: 254, examples: ['ada@example.com'] }),
        password: Type.String({ minLength: 1, maxLength: 128, examples: ['correct horse battery staple'] }),
        cartToken: Type.Optional(
          Type.String({
            minLength: 1,
            maxLength: 512,
            description: 'From the Cart-Token header; an unknown one counts as none',
            examples: ['Zm9yIHRoZSBjYXJ0IG9mIGEgZ3Vlc3Q'],
          }),
        ),
      },
      strict,
    ),
    reply: { status: 201, schema: SessionTokens, description: 'A new session' },
    faults: ['CREDENTIALS_INVALID', 'USER_DISABLED', 'SIGN_IN_THROTTLED', 'DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, body, request }) {
      const { cartToken, ...credentials } = body;
      const session = await deps.user.signIn({ ...credentials, clientAddress: clientAddress(request) });
      if (cartToken !== undefined) await bringCart(deps, { cartToken, accessToken: session.accessToken });
      return sessionJson(session);
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/sessions/refresh',
    tag: 'Accounts',
    summary: 'Trade a refresh token for a new pair',
    description:
      'For 10 s the old token returns the same successor. Any other second use ends the session, since one of two users of the token is not its owner.',
    access: 'open',
    cache: 'none',
    body: Type.Object(
      {
        refreshToken: Type.String({
          minLength: 1,
          maxLength: 512,
          examples: ['4Yk0n3Jm2Qx8w1v7s5d9f6g2h4j8k0l3'],
        }),
      },
      strict,
    ),
    reply: { status: 200, schema: SessionTokens, description: 'The rotated pair' },
    faults: ['REFRESH_INVALID', 'REFRESH_REUSED', 'REFRESH_REVOKED', 'DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, body }) {
      return sessionJson(await deps.user.refresh(body));
    },
  }),

  endpoint({
    method: 'DELETE',
    path: '/v1/sessions/current',
    tag: 'Accounts',
    summary: 'Sign out here',
    access: 'user',
    cache: 'none',
    reply: { status: 204, description: 'The session has ended' },
    async handle({ deps }) {
      await deps.user.signOut({ everywhere: false });
    },
  }),

  endpoint({
    method: 'DELETE',
    path: '/v1/sessions',
    tag: 'Accounts',
    summary: 'Sign out everywhere',
    access: 'user',
    cache: 'none',
    reply: { status: 204, description: 'All sessions of the user have ended' },
    async handle({ deps }) {
      await deps.user.signOut({ everywhere: true });
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/password-resets',
    tag: 'Accounts',
    summary: 'Ask for a mail that lets one set a new password',
    description: 'Answered alike, and in like time, whether or not there is such an account.',
    access: 'open',
    cache: 'none',
    unseen: true,
    body: Type.Object({ email: Email }, strict),
    reply: { status: 202, description: 'If there is such an account, its mail is on the way' },
    faults: ['DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, body }) {
      await deps.passwordResets.requestPasswordReset({ email: body.email });
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/password-resets/confirm',
    tag: 'Accounts',
    summary: 'Set a new password with the token of the mail',
    description: 'The token works once. Every session of the user ends.',
    access: 'open',
    cache: 'none',
    unseen: true,
    body: Type.Object(
      {
        token: Type.String({
          minLength: 1,
          maxLength: 512,
          examples: ['4Yk0n3Jm2Qx8w1v7s5d9f6g2h4j8k0l3'],
        }),
        password: Password,
      },
      strict,
    ),
    reply: { status: 204, description: 'The password is set' },
    faults: ['RESET_TOKEN_INVALID', 'PASSWORD_TOO_COMMON', 'DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, body }) {
      await deps.passwordResets.confirmPasswordReset(body);
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/me',
    tag: 'Accounts',
    summary: 'The own profile',
    access: 'user',
    cache: 'private',
    query: FIELDS_QUERY,
    reply: { status: 200, schema: User, description: 'The caller' },
    async handle({ deps, reply }) {
      const user = await deps.user.getMe({});
      reply.header('etag', versionEtag(user.version));
      return userJson(user);
    },
  }),

  endpoint({
    method: 'PATCH',
    path: '/v1/me',
    tag: 'Accounts',
    summary: 'Change the own profile',
    access: 'user',
    cache: 'none',
    ifMatch: 'required',
    body: Type.Object({ name: Name }, strict),
    reply: { status: 200, schema: User, description: 'The caller as changed' },
    async handle({ deps, body, request, reply }) {
      const header = request.headers['if-match'];
      if (header === undefined)
        throw fault('IF_MATCH_REQUIRED', { detail: 'send the ETag of GET /v1/me as If-Match' });
      const ifVersion = await expectedVersion(header, async () => (await deps.user.getMe({})).version);
      const user = await deps.user.updateMe({ name: body.name, ifVersion });
      return writtenUser(deps, reply, user, userJson);
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/users',
    tag: 'Admin: users',
    summary: 'List users, newest first, or find one by e-mail',
    access: 'admin',
    cache: 'none',
    query: {
      ...LIST_QUERY,
      ...FIELDS_QUERY,
      email: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 254,
          description: 'Only the user with this address, compared without case',
          examples: ['ada@example.com'],
        }),
      ),
    },
    reply: { status: 200, schema: listOf(AdminUser), description: 'Users' },
    async handle({ deps, query }) {
      const list = deps.cursors.read(query, ['/v1/admin/users']);
      if (query.email === undefined) {
        const { limit, includeTotal } = list;
        return walkedList(
          list,
          (afterId) => deps.userAdmin.listUsers({ limit, afterId, includeTotal }),
          ({ users, more }) => afterLast(users, more),
          ({ users }) => users.map(adminUserJson),
        );
      }
      const { user } = await deps.user.findUserByEmail({ email: query.email });
      const first = list.after === '' && list.page <= 1;
      return {
        items: user && first ? [adminUserJson(user)] : [],
        page: list.info('', { total: user ? 1n : 0n }),
      };
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/mails',
    tag: 'Admin: users',
    summary: 'The mails that were kept instead of being sent, newest first',
    description: 'The newest 1,000, of a system that runs with `MAIL_INBOX=1`; of any other: none.',
    access: 'admin',
    cache: 'none',
    query: {
      ...LIST_QUERY,
      ...FIELDS_QUERY,
      to: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 254,
          description: 'Only those to this address',
          examples: ['ada@example.com'],
        }),
      ),
    },
    reply: { status: 200, schema: listOf(Mail), description: 'Mails' },
    async handle({ deps, query }) {
      const list = deps.cursors.read(query, ['/v1/admin/mails']);
      const { limit, includeTotal } = list;
      return walkedList(
        list,
        (afterId) => deps.userAdmin.listMails({ to: query.to ?? '', limit, afterId, includeTotal }),
        ({ mails, more }) => afterLast(mails, more),
        ({ mails }) => mails.map(mailJson),
      );
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/users/:id',
    tag: 'Admin: users',
    summary: 'One user',
    access: 'admin',
    cache: 'none',
    query: FIELDS_QUERY,
    reply: { status: 200, schema: AdminUser, description: 'The user' },
    async handle({ deps, params, reply }) {
      const user = await deps.user.getUser({ userId: pathId(params.id) });
      reply.header('etag', versionEtag(user.version));
      return adminUserJson(user);
    },
  }),

  endpoint({
    method: 'PATCH',
    path: '/v1/admin/users/:id',
    tag: 'Admin: users',
    summary: "Change a user's tier or role, or disable the account",
    description:
      "A change of role and disabling end the user's access tokens within 5 s; a tier holds from the next refresh.",
    access: 'admin',
    cache: 'none',
    body: Type.Object(
      {
        tier: Type.Optional(Type.Enum(['free', 'basic', 'premium', 'enterprise'], { examples: ['premium'] })),
        role: Type.Optional(Type.Enum(['customer', 'admin'], { examples: ['customer'] })),
        disabled: Type.Optional(Type.Boolean({ examples: [false] })),
      },
      { ...strict, minProperties: 1 },
    ),
    reply: { status: 200, schema: AdminUser, description: 'The user as changed' },
    async handle({ deps, params, body, reply }) {
      const user = await deps.user.updateUser({ userId: pathId(params.id), ...body });
      return writtenUser(deps, reply, user, adminUserJson);
    },
  }),
];

/** The id in a path. A malformed one names nothing: NOT_FOUND. */
export function pathId(text: string): string {
  if (!isUuidv7(text)) throw fault('NOT_FOUND');
  return text;
}

/** The address a request came from, in one spelling whether or not the socket speaks IPv6. */
const clientAddress = (request: FastifyRequest) => request.ip.replace(/^::ffff:(?=\d+\.)/, '');

function writtenUser<T>(
  deps: Deps,
  reply: FastifyReply,
  user: userV1.User,
  json: (user: userV1.User) => T,
): T {
  reply.header('etag', versionEtag(user.version));
  reply.header(
    'consistency-token',
    deps.consistency.issue([{ subject: `user/${user.id}`, version: user.version }]),
  );
  return json(user);
}
