-- Messages already handled, per consumer group. The unique insert is the gate.
create table inbox (
    message_id uuid not null,
    consumer_group text not null,
    handled_at timestamptz not null default now(),
    primary key (message_id, consumer_group)
);

-- Rows arrive in the order of time and leave in it, so a block range index finds the old ones at a hundredth of
-- a tree's cost for each insert.
create index inbox_handled_at on inbox using brin (handled_at) with (pages_per_range = 16, autosummarize = on);

do $$
begin
    execute format(
        'grant select, insert, delete on inbox to %I', regexp_replace(current_user, '_owner$', '_app')
    );
end
$$;
