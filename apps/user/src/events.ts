import { domainEvent, type EventType, type PublishableEvent } from '@headroom/contracts';
import { uuidv7, type Clock } from '@headroom/resilience';
import { currentTraceparent } from '@headroom/telemetry';
import type { User } from './user';

type UserEventType = Extract<EventType, `headroom.user.${string}`>;

/** The event that tells of a user's state after a change; never anything that proves a password. */
export function userEvent(type: UserEventType, user: User, clock: Clock): PublishableEvent {
  const now = clock.now();
  const { id, email, name, role, tier, disabled, createdAt, version } = user;
  return domainEvent({
    id: uuidv7(now),
    type,
    subject: `user/${id}`,
    key: id,
    version,
    time: new Date(now).toISOString(),
    traceparent: currentTraceparent(),
    data: { id, email, name, role, tier, disabled, createdAt: createdAt.toISOString() },
  });
}
