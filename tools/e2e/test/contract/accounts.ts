import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { recorded } from '../../src';
import { bearer, type OperationCase, type World } from './world';

const newUser = (email: string) =>
  recorded((api) =>
    api.POST('/v1/users', { body: { email, password: 'a-long-enough-password', name: 'Sam' } }),
  );
const signIn = (email: string, password: string) =>
  recorded((api) => api.POST('/v1/sessions', { body: { email, password } }));
const refresh = (refreshToken: string) =>
  recorded((api) => api.POST('/v1/sessions/refresh', { body: { refreshToken } }));
const rename = (world: World, ifMatch = '*') =>
  recorded((api) =>
    api.PATCH('/v1/me', {
      params: { header: { 'If-Match': ifMatch } },
      headers: world.asCustomer,
      body: { name: 'Sam Renamed' },
    }),
  );

/** The token of the newest reset mail to an address. */
export async function resetToken({ shop, adminToken }: World, email: string): Promise<string> {
  return eventually(async () => {
    const { body } = await shop.request<{ items: Array<{ kind: string; text: string }> }>(
      'GET',
      `/v1/admin/mails?to=${encodeURIComponent(email)}`,
      { token: adminToken },
    );
    const mail = body.items.find(({ kind }) => kind === 'password-reset');
    const token = mail?.text.split('\n').find((line) => /^[\w-]{32,}$/.test(line));
    if (token === undefined) throw new Error(`no reset mail to ${email} yet`);
    return token;
  }, 30_000);
}

export const accounts = {
  'POST /v1/users': {
    right: () => newUser(`${randomUUID()}@shop.example`),
    others: { 409: ({ customer }) => newUser(customer.email.toUpperCase()) },
  },
  'POST /v1/sessions': {
    right: ({ customer }) => signIn(customer.email, customer.password),
    others: {
      401: () => signIn(`${randomUUID()}@shop.example`, 'some-password-or-other'),
      async 403({ shop, adminToken }) {
        const { id, email, password } = await shop.customer();
        await shop.request('PATCH', `/v1/admin/users/${id}`, { token: adminToken, body: { disabled: true } });
        return signIn(email, password);
      },
    },
  },
  'DELETE /v1/sessions': {
    async right({ shop }) {
      const { token } = await shop.customer();
      return recorded((api) => api.DELETE('/v1/sessions', { headers: bearer(token) }));
    },
  },
  'DELETE /v1/sessions/current': {
    async right({ shop }) {
      const { token } = await shop.customer();
      return recorded((api) => api.DELETE('/v1/sessions/current', { headers: bearer(token) }));
    },
  },
  'POST /v1/sessions/refresh': {
    right: async ({ shop }) => refresh((await shop.customer()).refreshToken),
    others: { 401: () => refresh('A'.repeat(43)) },
  },
  'POST /v1/password-resets': {
    right: () =>
      recorded((api) => api.POST('/v1/password-resets', { body: { email: `${randomUUID()}@shop.example` } })),
  },
  'POST /v1/password-resets/confirm': {
    async right(world) {
      const { email } = await world.shop.customer();
      await world.shop.request('POST', '/v1/password-resets', { body: { email } });
      const token = await resetToken(world, email);
      return recorded((api) =>
        api.POST('/v1/password-resets/confirm', { body: { token, password: 'another-long-password' } }),
      );
    },
  },
  'GET /v1/me': {
    right: ({ asCustomer }) => recorded((api) => api.GET('/v1/me', { headers: asCustomer })),
  },
  'PATCH /v1/me': {
    right: (world) => rename(world),
    others: {
      412: (world) => rename(world, '"99999"'),
      async 428(world) {
        const { headers, ...rest } = await rename(world);
        const { 'if-match': _ifMatch, ...others } = headers;
        return { ...rest, headers: others };
      },
    },
  },
  'GET /v1/admin/users': {
    right: ({ asAdmin }) => recorded((api) => api.GET('/v1/admin/users', { headers: asAdmin })),
  },
  'GET /v1/admin/mails': {
    right: ({ asAdmin }) => recorded((api) => api.GET('/v1/admin/mails', { headers: asAdmin })),
  },
  'GET /v1/admin/users/{id}': {
    right: ({ asAdmin, customer }) =>
      recorded((api) =>
        api.GET('/v1/admin/users/{id}', { params: { path: { id: customer.id } }, headers: asAdmin }),
      ),
  },
  'PATCH /v1/admin/users/{id}': {
    right: ({ asAdmin, customer }) =>
      recorded((api) =>
        api.PATCH('/v1/admin/users/{id}', {
          params: { path: { id: customer.id } },
          headers: asAdmin,
          body: { tier: 'premium' },
        }),
      ),
  },
} satisfies Record<string, OperationCase>;
