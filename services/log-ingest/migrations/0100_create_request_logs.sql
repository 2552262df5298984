-- Request logs, one partition a day of the line's own time.
--
-- The primary key holds the time because a partitioned table's must; a line that is delivered twice has the
-- same id and the same time, so it is still one row. It also is the order of the pages.
create table request_logs (
    id          uuid not null,
    occurred_at timestamptz not null,
    service     text not null,
    level       text not null constraint request_logs_level check (level in ('INFO', 'WARN', 'ERROR')),
    method      text not null,
    route       text not null,
    status      integer not null,
    latency_us  bigint not null,
    trace_id    text,
    caller      text,
    primary key (occurred_at, id)
) partition by range (occurred_at);

create index request_logs_by_service on request_logs (service, occurred_at, id);
create index request_logs_by_level on request_logs (level, occurred_at, id);
create index request_logs_by_status on request_logs (status, occurred_at, id);
create index request_logs_by_trace on request_logs (trace_id, occurred_at, id) where trace_id is not null;

grant select, insert on request_logs to millrace_logs_app;
