-- Events to be published. The first five columns are Debezium's, by its names, so that change data capture can
-- take the relay's place; README.md has the router's settings.
--
-- Migrations run as the database's owner role and the service works as another. By convention the owner is
-- called millrace_<x>_owner and the service's role millrace_<x>_app, so a grant is written to the current
-- user's name with _owner replaced by _app. (An owner without that suffix grants to itself, which changes nothing.)
create table outbox (
    id uuid not null,
    aggregatetype text not null,
    aggregateid text not null,
    type text not null,
    -- The finished envelope. Text, not json: the bytes that go to the broker are exactly these.
    payload text not null,
    topic text not null,
    -- [["name", "value"], ...]: headers without a column of their own, in order.
    headers jsonb not null,
    ce_time text not null,
    ce_actor text,
    ce_tenant text,
    ce_correlationid text,
    ce_causationid text,
    traceparent text,
    tracestate text,
    baggage text,
    -- A hash of the aggregate's id: the unit that one relay at a time may publish.
    bucket smallint not null,
    seq bigint generated always as identity,
    created_at timestamptz not null default clock_timestamp(),
    -- The relay reads a bucket in sequence and deletes by the same key; nothing else is looked up here.
    primary key (bucket, seq)
);

-- A queue table: every row dies young, so it is vacuumed by a count of dead rows, not by a share of the table.
alter table outbox set (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);

do $$
begin
    execute format(
        'grant select, insert, delete on outbox to %I', regexp_replace(current_user, '_owner$', '_app')
    );
end
$$;
