-- The highest fencing token that each lease's sink has seen, and who brought it. One row a lease.
--
-- Grants go to the role named like the current user with _owner replaced by _app; see the outbox's first migration.
create table lease_fence (
    name text primary key,
    fence bigint not null,
    holder text not null,
    updated_at timestamptz not null default now()
);

-- Redis may lose its counters; this sequence doesn't. A token is incarnation x 2^32 + counter and has to fit a
-- bigint, hence the maximum.
create sequence lease_incarnation as bigint minvalue 1 maxvalue 2147483647 no cycle;

do $$
declare
    app text := regexp_replace(current_user, '_owner$', '_app');
begin
    execute format('grant select, insert, update on lease_fence to %I', app);
    execute format('grant usage, update on sequence lease_incarnation to %I', app);
end
$$;
