-- What is to be done and when. A row is changed by operators (under its version) and by whoever dispatches.
--
-- Grants go to the role named like the current user with _owner replaced by _app; see the outbox's first migration.
create table scheduled_task (
    id text primary key,
    -- Who owns it: a task declared in code can't be changed through the API, only paused, triggered and backfilled.
    origin text not null check (origin in ('code', 'operator')),
    version bigint not null,
    spec jsonb not null,
    paused_at timestamptz,
    pause_note text,
    paused_by text,
    -- The first instant that has no occurrence yet; null when there is none any more, or while paused.
    next_at timestamptz,
    -- When somebody must look at the task: an instant, the next attempt of an occurrence, or the end of one's time.
    look_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
);

create index scheduled_task_look_at on scheduled_task (look_at) where look_at is not null;

-- Every firing rewrites the row; room in the page keeps most of that within it.
alter table scheduled_task set (fillfactor = 70);

do $$
begin
    execute format(
        'grant select, insert, update, delete on scheduled_task to %I', regexp_replace(current_user, '_owner$', '_app')
    );
end
$$;
