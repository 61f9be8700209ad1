-- pg-boss leaves these references without an index.
create index queue_dead_letter on jobs.queue (dead_letter);
create index subscription_queue on jobs.subscription (name);
create index job_common_dead_letter on jobs.job_common (dead_letter);

-- Jobs that were given up; they stay until requeued or discarded.
create table dead_jobs (
  -- a UUIDv7 of the time of death: newest first
  id uuid primary key,
  queue text not null,
  job_id uuid not null,
  key text,
  priority int not null,
  -- the job's envelope as it stood in the queue
  data jsonb not null,
  error text not null,
  attempts int not null,
  failed_at timestamptz not null
);

-- When each queue with a timetable has its next job.
create table job_schedules (
  queue text primary key,
  cron text not null,
  next_at timestamptz not null
);

-- Work that somebody asked for and follows: one row over all its steps.
create table tracked_jobs (
  id uuid primary key,
  type text not null,
  status text not null check (status in ('queued', 'running', 'succeeded', 'failed')),
  processed bigint not null default 0,
  total bigint,
  created bigint not null default 0,
  updated bigint not null default 0,
  unchanged bigint not null default 0,
  rejected bigint not null default 0,
  errors_kept int not null default 0,
  result_url text,
  created_at timestamptz not null,
  finished_at timestamptz,
  check ((status in ('succeeded', 'failed')) = (finished_at is not null))
) with (fillfactor = 70);
create index tracked_jobs_finished on tracked_jobs (finished_at) where finished_at is not null;

create table tracked_job_errors (
  job_id uuid not null references tracked_jobs on delete cascade,
  position int not null,
  -- from 1; 0: the job as a whole
  line bigint not null,
  code text not null,
  reason text not null,
  primary key (job_id, position)
);
