import { fault, type userV1 } from '@headroom/contracts';
import type { FieldError } from '@headroom/resilience';
import { isCommonPassword } from './common-passwords';

export const ROLES = ['customer', 'admin'] as const;
export const TIERS = ['free', 'basic', 'premium', 'enterprise'] as const;
export type Role = (typeof ROLES)[number];
export type Tier = (typeof TIERS)[number];

/** A user as it is kept, without what proves the password. */
export interface User {
  id: string;
  email: string;
  name: string;
  role: Role;
  tier: Tier;
  disabled: boolean;
  version: bigint;
  createdAt: Date;
}

export type UserChange = Partial<Pick<User, 'name' | 'role' | 'tier' | 'disabled'>>;

/** What a change means for the sessions: all end, or they go on with access tokens issued anew, or nothing. */
export type SessionEffect = 'end' | 'renew' | 'none';

/**
 * Applies a change: the next version of the user, and what becomes of the sessions. A change that changes nothing gives
 * undefined: no version, no event. A new tier waits for the next refresh by itself.
 */
export function changeUser(
  user: User,
  change: UserChange,
): { user: User; sessions: SessionEffect } | undefined {
  const next = { ...user, ...change };
  const same = (['name', 'role', 'tier', 'disabled'] as const).every(
    (member) => next[member] === user[member],
  );
  if (same) return undefined;
  return {
    user: { ...next, version: user.version + 1n },
    sessions: next.disabled && !user.disabled ? 'end' : next.role !== user.role ? 'renew' : 'none',
  };
}

/** What e-mails are compared by: an account is found whatever the case it was typed in. */
export const emailKeyOf = (email: string): string => email.toLowerCase();

/** Passwords are compared in one Unicode form, since keyboards differ in how they compose a character. */
export const normalizePassword = (password: string): string => password.normalize('NFKC');

/** The form that browsers accept for `<input type=email>` (HTML Living Standard, "valid e-mail address"). */
const EMAIL =
  /^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$/;

/** True for what can be the e-mail of an account. */
export const isEmail = (text: string): boolean => text.length <= 254 && EMAIL.test(text);

/** Throws `VALIDATION_FAILED` naming every invalid member, then `PASSWORD_TOO_COMMON`. */
export function checkRegistration(request: { email: string; password: string; name: string }): void {
  failIfAny([
    ...emailErrors(request.email),
    ...passwordErrors(request.password),
    ...nameErrors(request.name),
  ]);
  if (isCommonPassword(normalizePassword(request.password))) throw fault('PASSWORD_TOO_COMMON');
}

/** The rules of a new password: throws `VALIDATION_FAILED`, then `PASSWORD_TOO_COMMON`. */
export function checkPassword(password: string): void {
  failIfAny(passwordErrors(password));
  if (isCommonPassword(normalizePassword(password))) throw fault('PASSWORD_TOO_COMMON');
}

/** Throws `VALIDATION_FAILED` unless it is the form of an e-mail. */
export function checkEmail(email: string): void {
  failIfAny(emailErrors(email));
}

/** Throws `VALIDATION_FAILED` unless it is a name. */
export function checkName(name: string): void {
  failIfAny(nameErrors(name));
}

/** The change that an admin asks for. Throws `VALIDATION_FAILED` for a role or tier that there is not. */
export function parseAdminChange(request: userV1.UpdateUserRequest): UserChange {
  const role = ROLES.find((each) => each === request.role);
  const tier = TIERS.find((each) => each === request.tier);
  failIfAny([
    ...(request.role !== undefined && !role
      ? [{ path: 'role', message: `must be one of ${ROLES.join(', ')}` }]
      : []),
    ...(request.tier !== undefined && !tier
      ? [{ path: 'tier', message: `must be one of ${TIERS.join(', ')}` }]
      : []),
  ]);
  return {
    ...(role ? { role } : {}),
    ...(tier ? { tier } : {}),
    ...(request.disabled === undefined ? {} : { disabled: request.disabled }),
  };
}

const emailErrors = (email: string): FieldError[] =>
  isEmail(email) ? [] : [{ path: 'email', message: 'must be an e-mail address of at most 254 characters' }];

function passwordErrors(password: string): FieldError[] {
  const length = [...normalizePassword(password)].length;
  return length < 8 || length > 128 ? [{ path: 'password', message: 'must have 8 to 128 characters' }] : [];
}

function nameErrors(name: string): FieldError[] {
  const length = [...name].length;
  if (length < 1 || length > 100 || name.trim() === '')
    return [{ path: 'name', message: 'must have 1 to 100 characters' }];
  if (/\p{Cc}/u.test(name)) return [{ path: 'name', message: 'must not hold control characters' }];
  return [];
}

function failIfAny(errors: FieldError[]): void {
  if (errors.length > 0) throw fault('VALIDATION_FAILED', { errors });
}
