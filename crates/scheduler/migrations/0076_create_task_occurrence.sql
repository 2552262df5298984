-- One instant of one task, from when it is due until it has ended, and afterwards as history. The key is what makes
-- an occurrence one, whoever dispatches. No reference to the task: history outlives it.
create table task_occurrence (
    task text not null,
    instant timestamptz not null,
    state text not null check (state in (
        'waiting', 'dispatched', 'running', 'done', 'failed', 'skipped', 'missed', 'cancelled', 'terminated', 'timed_out'
    )),
    kind text not null check (kind in ('scheduled', 'manual', 'backfill')),
    -- Its own rule where that differs from the task's.
    overlap text,
    -- When it is to begin, or its next attempt.
    fire_at timestamptz not null,
    -- The attempt that was dispatched last; 0 before the first. Waiting with an attempt means: tried, failed, to be tried again.
    attempt integer not null default 0,
    -- The proof of whoever works on it: raised by every worker that takes it, checked by every write.
    run bigint not null default 0,
    -- Until when the attempt may write.
    until timestamptz,
    -- Somebody asked it to end.
    cancelling boolean not null default false,
    dispatched_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    worker text,
    reason text,
    trace_id text,
    -- The fencing token that it was dispatched under; null without a lease.
    fence bigint,
    -- A row of state missed stands for all instants up to this one.
    missed_until timestamptz,
    missed_count integer,
    primary key (task, instant)
);

-- What the dispatcher reads of a task: those that wait for their beginning, and those that hold a place.
create index task_occurrence_waiting on task_occurrence (task, fire_at, instant)
    where state = 'waiting' and attempt = 0;
create index task_occurrence_held on task_occurrence (task)
    where ended_at is null and (state <> 'waiting' or attempt > 0);

-- History of one outcome, and the retention.
create index task_occurrence_outcome on task_occurrence (task, state, instant) where ended_at is not null;
create index task_occurrence_ended_at on task_occurrence (ended_at) where ended_at is not null;

do $$
begin
    execute format(
        'grant select, insert, update, delete on task_occurrence to %I', regexp_replace(current_user, '_owner$', '_app')
    );
end
$$;
