-- The trail: one row a step that somebody took, kept for good.
--
-- The id is the envelope's, so a record that is delivered twice is one row. Times are the envelope's, to the
-- millisecond. `action` is compared byte by byte (collation "C"), because a search by prefix is a range there.
create table audit_records (
    id          uuid primary key,
    actor       text not null,
    action      text collate "C" not null,
    resource    text not null,
    outcome     text not null constraint audit_records_outcome check (outcome in ('done', 'refused')),
    service     text not null,
    trace_id    text,
    occurred_at timestamptz not null,
    detail      jsonb not null,
    recorded_at timestamptz not null default now()
);

-- A search is one or more equalities, then newest first. Each filter has an index that ends in the order of
-- the pages, so the rows of a page are read and no others.
create index audit_records_by_time on audit_records (occurred_at, id);
create index audit_records_by_actor on audit_records (actor, occurred_at, id);
create index audit_records_by_action on audit_records (action, occurred_at, id);
create index audit_records_by_resource on audit_records (resource, occurred_at, id);
create index audit_records_by_outcome on audit_records (outcome, occurred_at, id);
create index audit_records_by_service on audit_records (service, occurred_at, id);
create index audit_records_by_trace on audit_records (trace_id, occurred_at, id) where trace_id is not null;

-- Append-only by two locks. The service's role has no right to change a row, and nobody else (the owner, a
-- superuser at a prompt) changes one by mistake: the trigger refuses, also under session_replication_role. What
-- remains is a deliberate act of whoever may alter the schema.
create function audit_records_refuse_change() returns trigger
    language plpgsql
as $$
begin
    raise exception 'audit records are append-only, % is refused', lower(tg_op)
        using errcode = 'insufficient_privilege';
end
$$;

create trigger audit_records_append_only
    before update or delete or truncate on audit_records
    for each statement execute function audit_records_refuse_change();

alter table audit_records enable always trigger audit_records_append_only;

grant select, insert on audit_records to millrace_audit_app;
