import { countRows, sql, type ListTotal, type Queryable, type Tx } from '@headroom/postgres';
import type { MailText } from './mail-texts';
import type { User } from './user';

/** A user with the hash that its password is checked against. */
export interface StoredUser extends User {
  passwordHash: string;
}

/** Who an e-mail is reserved for; `confirmed` once the user is known to exist. */
export interface Reservation {
  emailKey: string;
  userId: string;
  reservedAt: Date;
  confirmed: boolean;
}

/** A session, locked by the transaction that reads it. */
export interface Session {
  id: string;
  userId: string;
  sid: string;
  endedAt: Date | null;
  expiresAt: Date;
  reusedToken: Buffer | null;
}

/** A refresh token as it is kept, and whether its successor (if there is one) has been used. */
export interface StoredRefreshToken {
  expiresAt: Date;
  rotatedAt: Date | null;
  successorUsed: boolean;
}

/** A revocation with its place in its database and when it was made, in milliseconds of the database's clock. */
export interface RevocationRow {
  id: bigint;
  sid: string;
  revokedAtMs: number;
}

/** What a failed sign-in is counted by: hash of what, how many are let through, in which window. */
export interface FailureCounter {
  key: Buffer;
  limit: number;
  windowMs: number;
  /** Hash of the account whose new password forgets the counter. */
  account?: Buffer;
}

/** The token of a reset mail, as it is kept. */
export interface PasswordReset {
  userId: string;
  tokenHash: Buffer;
  requestedAt: Date;
  expiresAt: Date;
}

/** A mail that was kept instead of being sent. */
export interface KeptMail extends MailText {
  id: string;
  to: string;
  createdAt: Date;
}

// Shard map (first database only)

/** Logical shard to place in USER_SHARD_URLS; empty in a fresh system. */
export async function readShardMap(db: Queryable): Promise<Map<number, number>> {
  const rows = await db.rows<{ logical: number; database: number }>(
    sql('user.shard-map.read')`select logical, database from shard_map`,
  );
  return new Map(rows.map((row) => [row.logical, row.database]));
}

/** Adds what the map lacks; replicas that start together agree on whatever came first. */
export async function seedShardMap(
  db: Queryable,
  map: ReadonlyArray<{ logical: number; database: number }>,
): Promise<void> {
  await db.execute(sql('user.shard-map.seed')`
    insert into shard_map (logical, database)
    select * from unnest(${map.map((each) => each.logical)}::smallint[], ${map.map((each) => each.database)}::smallint[])
    on conflict (logical) do nothing`);
}

// E-mail reservations (shard of the e-mail)

const reservationColumns = sql.part`email_key as "emailKey", user_id as "userId", reserved_at as "reservedAt", confirmed`;

/** False when the e-mail is reserved already, for whomever. */
export async function reserveEmail(
  db: Queryable,
  { emailKey, logical, userId, now }: { emailKey: string; logical: number; userId: string; now: Date },
): Promise<boolean> {
  const inserted = await db.execute(sql('user.email.reserve')`
    insert into email_reservations (email_key, logical, user_id, reserved_at)
    values (${emailKey}, ${logical}, ${userId}, ${now})
    on conflict (email_key) do nothing`);
  return inserted === 1;
}

/** By primary key. */
export function findReservation(db: Queryable, emailKey: string): Promise<Reservation | undefined> {
  return db.row(sql('user.email.find')`
    select ${reservationColumns} from email_reservations where email_key = ${emailKey}`);
}

/** The reservations of those of the keys that have one (primary key), in no order. */
export function findReservations(db: Queryable, emailKeys: readonly string[]): Promise<Reservation[]> {
  return db.rows(sql('user.email.find-many')`
    select ${reservationColumns} from email_reservations where email_key = any(${emailKeys})`);
}

/** Marks the reservation as its user's for good. */
export async function confirmReservation(db: Queryable, emailKey: string, userId: string): Promise<void> {
  await db.execute(sql('user.email.confirm')`
    update email_reservations set confirmed = true
    where email_key = ${emailKey} and user_id = ${userId} and not confirmed`);
}

/** Passes an unconfirmed reservation on; false when somebody else was first. The former holder must have been fenced. */
export async function takeOverReservation(
  db: Queryable,
  reservation: Reservation,
  to: { userId: string; now: Date },
): Promise<boolean> {
  const updated = await db.execute(sql('user.email.take-over')`
    update email_reservations set user_id = ${to.userId}, reserved_at = ${to.now}
    where email_key = ${reservation.emailKey} and user_id = ${reservation.userId} and not confirmed`);
  return updated === 1;
}

/** Gives an unconfirmed reservation up. The holder must have been fenced, or be the caller, who will not insert any more. */
export async function releaseReservation(db: Queryable, emailKey: string, userId: string): Promise<void> {
  await db.execute(sql('user.email.release')`
    delete from email_reservations where email_key = ${emailKey} and user_id = ${userId} and not confirmed`);
}

/** Unconfirmed reservations made before `before`, oldest first (index email_reservations_pending). */
export function staleReservations(db: Queryable, before: Date, limit: number): Promise<Reservation[]> {
  return db.rows(sql('user.email.stale')`
    select ${reservationColumns} from email_reservations
    where not confirmed and reserved_at < ${before} order by reserved_at limit ${limit}`);
}

// Users (shard of the user)

const userColumns = sql.part`id, email, name, role, tier, disabled, version, created_at as "createdAt"`;

/**
 * Inserts a user unless its id has been fenced: then false. The lock makes this and `fenceUser` of one id exclude each other,
 * and it comes before the statement that looks, so that one sees what the other has committed.
 */
export async function insertUser(tx: Tx, user: StoredUser, logical: number): Promise<boolean> {
  await lockUserId(tx, user.id);
  const inserted = await tx.execute(sql('user.insert')`
    insert into users (id, logical, email, name, role, tier, disabled, password_hash, version, created_at)
    select ${user.id}::uuid, ${logical}::smallint, ${user.email}, ${user.name}, ${user.role}, ${user.tier},
           ${user.disabled}::boolean, ${user.passwordHash}, ${user.version}::bigint, ${user.createdAt}::timestamptz
    where not exists (select 1 from user_tombstones where user_id = ${user.id}::uuid)`);
  return inserted === 1;
}

/** Makes sure that no user of this id will ever be inserted; false when there is one already. */
export async function fenceUser(tx: Tx, userId: string): Promise<boolean> {
  await lockUserId(tx, userId);
  const exists = await tx.row(sql('user.exists')`select 1 from users where id = ${userId}`);
  if (exists) return false;
  await tx.execute(sql('user.fence')`
    insert into user_tombstones (user_id) values (${userId}) on conflict (user_id) do nothing`);
  return true;
}

async function lockUserId(tx: Tx, userId: string): Promise<void> {
  await tx.rows(sql('user.lock-id')`select pg_advisory_xact_lock(hashtextextended(${userId}, 0))`);
}

/** By primary key. */
export function findUser(db: Queryable, userId: string): Promise<StoredUser | undefined> {
  return db.row(sql('user.find')`
    select ${userColumns}, password_hash as "passwordHash" from users where id = ${userId}`);
}

/** Users newest first (primary key: ids carry their time); `afterId` is the last one of the page before. */
export function listUsers(
  db: Queryable,
  { limit, afterId }: { limit: number; afterId: string | undefined },
): Promise<User[]> {
  return db.rows(sql('user.list')`
    select ${userColumns} from users where ${afterId === undefined ? sql.part`true` : sql.part`id < ${afterId}`}
    order by id desc limit ${limit}`);
}

export const countUsers = (db: Queryable): Promise<ListTotal> => countRows(db, 'user.list', sql.part`users`);

/** Admins who may sign in, up to `limit`, in the order of their ids (index users_admins). */
export function listAdmins(db: Queryable, limit: number): Promise<User[]> {
  return db.rows(sql('user.list-admins')`
    select ${userColumns} from users where role = 'admin' and not disabled order by id limit ${limit}`);
}

/** Which of these ids are users' (primary key). */
export async function existingUsers(db: Queryable, userIds: readonly string[]): Promise<string[]> {
  const rows = await db.rows<{ id: string }>(sql('user.existing')`
    select id from users where id = any(${userIds}::uuid[])`);
  return rows.map(({ id }) => id);
}

/** By primary key, locked against changes of the user until the transaction ends; sign-ins do not exclude each other. */
export function findUserForSession(tx: Tx, userId: string): Promise<StoredUser | undefined> {
  return tx.row(sql('user.find-for-session')`
    select ${userColumns}, password_hash as "passwordHash" from users where id = ${userId} for share`);
}

/** By primary key, locked: versions and events of a user are written in one order. */
export function findUserForUpdate(tx: Tx, userId: string): Promise<StoredUser | undefined> {
  return tx.row(sql('user.find-for-update')`
    select ${userColumns}, password_hash as "passwordHash" from users where id = ${userId} for update`);
}

/** Writes a user's next state; the caller holds its lock. */
export async function updateUser(tx: Tx, user: StoredUser): Promise<void> {
  await tx.execute(sql('user.update')`
    update users set name = ${user.name}, role = ${user.role}, tier = ${user.tier}, disabled = ${user.disabled},
      password_hash = ${user.passwordHash}, version = ${user.version}
    where id = ${user.id}`);
}

// Sessions (shard of the user)

/** Starts a session with its first refresh token. */
export async function insertSession(
  tx: Tx,
  session: { id: string; userId: string; sid: string; now: Date; expiresAt: Date; tokenHash: Buffer },
): Promise<void> {
  await tx.execute(sql('user.session.insert')`
    with session as (
      insert into sessions (id, user_id, sid, created_at, issued_at, expires_at)
      values (${session.id}, ${session.userId}, ${session.sid}, ${session.now}, ${session.now}, ${session.expiresAt})
      returning id, expires_at
    )
    insert into refresh_tokens (hash, session_id, expires_at)
    select ${session.tokenHash}, id, expires_at from session`);
}

/** The session that a refresh token belongs to, locked: refreshes of one session happen one after another. */
export function lockSessionOfToken(tx: Tx, tokenHash: Buffer): Promise<Session | undefined> {
  return tx.row(sql('user.session.lock')`
    select s.id, s.user_id as "userId", s.sid, s.ended_at as "endedAt", s.expires_at as "expiresAt",
      s.reused_token as "reusedToken"
    from refresh_tokens t join sessions s on s.id = t.session_id
    where t.hash = ${tokenHash} for update of s`);
}

/** A refresh token and the use of its successor; to be read once the session is locked, so that both are as last written. */
export function findRefreshToken(
  tx: Tx,
  tokenHash: Buffer,
  successorHash: Buffer,
): Promise<StoredRefreshToken | undefined> {
  return tx.row(sql('user.token.find')`
    select t.expires_at as "expiresAt", t.rotated_at as "rotatedAt", n.rotated_at is not null as "successorUsed"
    from refresh_tokens t left join refresh_tokens n on n.hash = ${successorHash}
    where t.hash = ${tokenHash}`);
}

/** Marks a refresh token as used and adds its successor. */
export async function rotateRefreshToken(
  tx: Tx,
  rotation: { sessionId: string; tokenHash: Buffer; successorHash: Buffer; now: Date; expiresAt: Date },
): Promise<void> {
  await tx.execute(sql('user.token.rotate')`
    with used as (update refresh_tokens set rotated_at = ${rotation.now} where hash = ${rotation.tokenHash})
    insert into refresh_tokens (hash, session_id, expires_at)
    values (${rotation.successorHash}, ${rotation.sessionId}, ${rotation.expiresAt})`);
}

/** Notes that an access token was issued for the session, which lives on until `expiresAt`. */
export async function touchSession(tx: Tx, sessionId: string, now: Date, expiresAt: Date): Promise<void> {
  await tx.execute(sql('user.session.touch')`
    update sessions set issued_at = ${now}, expires_at = greatest(expires_at, ${expiresAt}) where id = ${sessionId}`);
}

/** Which of a user's sessions: one by the `sid` of its access tokens, one by its own id, or all. */
export type SessionChoice = { sid: string } | { sessionId: string } | 'all';

/** What the changes of several sessions have in common. */
interface SessionsChange {
  userId: string;
  which: SessionChoice;
  now: Date;
  /** Access tokens issued before are dead already: nobody has to be told of them. */
  aliveSince: Date;
}

function chosen({ userId, which }: Pick<SessionsChange, 'userId' | 'which'>) {
  return sql.and([
    sql.part`user_id = ${userId}`,
    sql.part`ended_at is null`,
    ...(which === 'all'
      ? []
      : ['sid' in which ? sql.part`sid = ${which.sid}` : sql.part`id = ${which.sessionId}`]),
  ]);
}

/**
 * Ends sessions and revokes their access tokens; the number ended (0: none was open). Remembers the token whose repeated use
 * was the reason, if it was one. Rows are locked in order of their ids, so that two of these never deadlock.
 */
export function endSessions(
  db: Queryable,
  change: SessionsChange & { reusedToken?: Buffer },
): Promise<number> {
  return db
    .row<{ count: number }>(
      sql('user.session.end')`
    with chosen as (select id from sessions where ${chosen(change)} order by id for update),
    ended as (
      update sessions set ended_at = ${change.now}, reused_token = ${change.reusedToken ?? null}
      where id in (select id from chosen)
      returning sid, issued_at
    ), revoked as (
      insert into revocations (sid) select sid from ended where issued_at > ${change.aliveSince}
    )
    select count(*)::int as count from ended`,
    )
    .then((row) => row?.count ?? 0);
}

/** Revokes the access tokens of sessions that go on: the next ones carry another `sid`. */
export async function renewSessions(tx: Tx, change: SessionsChange): Promise<void> {
  await tx.execute(sql('user.session.renew')`
    with chosen as (select id, sid, issued_at from sessions where ${chosen(change)} order by id for update),
    renewed as (update sessions set sid = gen_random_uuid() where id in (select id from chosen))
    insert into revocations (sid) select sid from chosen where issued_at > ${change.aliveSince}`);
}

/** Whether the access tokens that carry this `sid` still count (unique index on sid). */
export async function isSessionActive(
  db: Queryable,
  session: { userId: string; sid: string; now: Date },
): Promise<boolean> {
  const row = await db.row(sql('user.session.check')`
    select 1 from sessions s join users u on u.id = s.user_id
    where s.sid = ${session.sid} and s.user_id = ${session.userId} and s.ended_at is null and s.expires_at > ${session.now}
      and not u.disabled`);
  return row !== undefined;
}

// Revocations (every shard)

/**
 * Revocations made after `sinceMs`, or in the last `windowMs` where that is undefined, oldest first, and the database's clock
 * before they were read (index revocations_time).
 */
export async function revocationsSince(
  db: Queryable,
  since: { sinceMs: number } | { windowMs: number },
): Promise<{ nowMs: number; rows: RevocationRow[] }> {
  const from =
    'sinceMs' in since
      ? sql.part`to_timestamp(${since.sinceMs}::float8 / 1000)`
      : sql.part`now() - make_interval(secs => ${since.windowMs / 1_000}::float8)`;
  const found = await db.rows<{ now_ms: number; id: bigint | null; sid: string; revoked_at_ms: number }>(
    sql('user.revocation.since')`
    select extract(epoch from now())::float8 * 1000 as now_ms, r.id, r.sid,
      extract(epoch from r.revoked_at)::float8 * 1000 as revoked_at_ms
    from (select 1) as always left join revocations r on r.revoked_at > ${from}
    order by r.revoked_at, r.id`,
  );
  return {
    nowMs: found[0]!.now_ms,
    rows: found.flatMap(({ id, sid, revoked_at_ms: revokedAtMs }) =>
      id === null ? [] : [{ id, sid, revokedAtMs }],
    ),
  };
}

// Sign-in throttle (shard of the counter's key)

/** Milliseconds until the counter lets another try through; 0 when it does now. */
export async function throttledForMs(db: Queryable, counter: FailureCounter, now: Date): Promise<number> {
  const row = await db.row<{ ends_at: Date }>(sql('user.throttle.read')`
    select window_ends_at as ends_at from sign_in_failures
    where key = ${counter.key} and count >= ${counter.limit} and window_ends_at > ${now}`);
  return row ? row.ends_at.getTime() - now.getTime() : 0;
}

/**
 * Counts a failure, the first of a window or one more; false when the window was full before. One statement, so that of any
 * number of tries at once exactly `limit` are counted.
 */
export async function countFailure(db: Queryable, counter: FailureCounter, now: Date): Promise<boolean> {
  const endsAt = new Date(now.getTime() + counter.windowMs);
  const counted = await db.execute(sql('user.throttle.count')`
    insert into sign_in_failures as f (key, count, window_ends_at, account)
    values (${counter.key}, 1, ${endsAt}, ${counter.account ?? null})
    on conflict (key) do update set
      count = case when f.window_ends_at <= ${now} then 1 else f.count + 1 end,
      window_ends_at = case when f.window_ends_at <= ${now} then ${endsAt} else f.window_ends_at end
    where f.window_ends_at <= ${now} or f.count < ${counter.limit}`);
  return counted === 1;
}

/** Forgets the wrong passwords of one account, from wherever they came (index sign_in_failures_account). */
export async function forgetFailures(db: Queryable, account: Buffer): Promise<void> {
  await db.execute(sql('user.throttle.forget')`delete from sign_in_failures where account = ${account}`);
}

// Password resets (shard of the user)

/**
 * Makes this the one token of its user, unless a request made later, or this one before, has put its own there (primary key).
 * True when the token is the one that works: not when it was replaced or used.
 */
export async function putReset(tx: Tx, reset: PasswordReset): Promise<boolean> {
  await tx.execute(sql('user.reset.put')`
    insert into password_resets as r (user_id, token_hash, requested_at, expires_at)
    values (${reset.userId}, ${reset.tokenHash}, ${reset.requestedAt}, ${reset.expiresAt})
    on conflict (user_id) do update set token_hash = excluded.token_hash, requested_at = excluded.requested_at,
      expires_at = excluded.expires_at, used_at = null
    where r.requested_at < excluded.requested_at`);
  const current = await tx.row(sql('user.reset.check')`
    select 1 from password_resets
    where user_id = ${reset.userId} and token_hash = ${reset.tokenHash} and used_at is null`);
  return current !== undefined;
}

/** Whose password the token may set at `now`; undefined for one that is unknown, used or expired (unique index on the hash). */
export async function findReset(db: Queryable, tokenHash: Buffer, now: Date): Promise<string | undefined> {
  const row = await db.row<{ user_id: string }>(sql('user.reset.find')`
    select user_id from password_resets
    where token_hash = ${tokenHash} and used_at is null and expires_at > ${now}`);
  return row?.user_id;
}

/** Uses the token up; false when it no longer works, so that of any number of uses at once one succeeds. */
export async function useReset(tx: Tx, tokenHash: Buffer, now: Date): Promise<boolean> {
  const used = await tx.execute(sql('user.reset.use')`
    update password_resets set used_at = ${now}
    where token_hash = ${tokenHash} and used_at is null and expires_at > ${now}`);
  return used === 1;
}

// Mails (first database only)

/** How many kept mails are shown, the newest. */
const KEPT_MAILS = 1_000;

export async function keepMail(tx: Tx, mail: KeptMail): Promise<void> {
  await tx.execute(sql('user.mail.keep')`
    insert into mails (id, recipient, subject, body, kind, created_at)
    values (${mail.id}, ${mail.to}, ${mail.subject}, ${mail.text}, ${mail.kind}, ${mail.createdAt})`);
}

const keptMails = (to: string) => sql.part`(
  select id, recipient, subject, body, kind, created_at from mails order by id desc limit ${KEPT_MAILS}
) as newest where ${to === '' ? sql.part`true` : sql.part`lower(recipient) = lower(${to})`}`;

/** Kept mails, all or of one recipient in whatever case, newest first; of the newest 1,000 (primary key), which are read. */
export function listMails(
  db: Queryable,
  { to, limit, afterId }: { to: string; limit: number; afterId: string | undefined },
): Promise<KeptMail[]> {
  return db.rows(sql('user.mail.list')`
    select id, recipient as "to", subject, body as text, kind, created_at as "createdAt"
    from ${keptMails(to)} and ${afterId === undefined ? sql.part`true` : sql.part`id < ${afterId}`}
    order by id desc limit ${limit}`);
}

export const countMails = (db: Queryable, to: string): Promise<ListTotal> =>
  countRows(db, 'user.mail', keptMails(to));

/** Remembers that an event has had its mail; false when it had before. */
export async function markMailed(tx: Tx, eventId: string, now: Date): Promise<boolean> {
  const marked = await tx.execute(sql('user.mail.mark-event')`
    insert into mailed_events (event_id, handled_at) values (${eventId}, ${now})
    on conflict (event_id) do nothing`);
  return marked === 1;
}

/** Deletes mails that are no longer shown, and up to `limit` marks of events; the number of marks. */
export async function trimMails(
  db: Queryable,
  { markedBefore, limit }: { markedBefore: Date; limit: number },
): Promise<number> {
  await db.execute(sql('user.retention.mails')`
    delete from mails where id <= (select id from mails order by id desc offset ${KEPT_MAILS} limit 1)`);
  return db.execute(sql('user.retention.mailed-events')`
    delete from mailed_events where event_id in (
      select event_id from mailed_events where handled_at < ${markedBefore}
      order by handled_at limit ${limit} for update skip locked)`);
}

// Retention (every shard)

/** Deletes up to `limit` rows of each kind that nothing will ask for again; the largest number deleted of one kind. */
export async function deleteExpired(
  db: Queryable,
  cutoff: { expiredBefore: Date; failuresBefore: Date; revocationsOlderThanMs: number; limit: number },
): Promise<number> {
  const { limit } = cutoff;
  const deleted = [
    await db.execute(sql('user.retention.tokens')`
      delete from refresh_tokens where hash in (
        select hash from refresh_tokens where expires_at < ${cutoff.expiredBefore}
        order by expires_at limit ${limit} for update skip locked)`),
    await db.execute(sql('user.retention.sessions')`
      delete from sessions where id in (
        select id from sessions where expires_at < ${cutoff.expiredBefore}
        order by expires_at limit ${limit} for update skip locked)`),
    await db.execute(sql('user.retention.resets')`
      delete from password_resets where user_id in (
        select user_id from password_resets where expires_at < ${cutoff.expiredBefore}
        order by expires_at limit ${limit} for update skip locked)`),
    await db.execute(sql('user.retention.failures')`
      delete from sign_in_failures where key in (
        select key from sign_in_failures where window_ends_at < ${cutoff.failuresBefore}
        order by window_ends_at limit ${limit} for update skip locked)`),
    await db.execute(sql('user.retention.revocations')`
      delete from revocations where id in (
        select id from revocations where revoked_at < now() - make_interval(secs => ${cutoff.revocationsOlderThanMs / 1_000}::float8)
        order by revoked_at limit ${limit} for update skip locked)`),
  ];
  return Math.max(...deleted);
}
