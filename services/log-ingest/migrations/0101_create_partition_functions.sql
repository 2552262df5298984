-- The only schema changes that the service can cause, as functions of the owner: make a day's partition, drop old
-- ones. The service's role itself may change no schema and delete no row.
--
-- A partition is made as a table of its own and then attached, and waits for locks at most two seconds: both
-- keep searches and inserts flowing. search_path is fixed and ends with pg_temp, so that no temporary object of
-- a caller can stand in for one of ours.

-- Makes the partitions of those days that have none, and returns how many. Days far from today are refused: the
-- service's own window is narrower, this bound only protects the catalogue.
create function request_logs_ensure_days(days date[]) returns integer
    language plpgsql
    security definer
    set search_path = pg_catalog, public, pg_temp
    set lock_timeout = '2s'
as $$
declare
    today date := (now() at time zone 'UTC')::date;
    day date;
    partition text;
    made integer := 0;
begin
    foreach day in array days loop
        partition := 'request_logs_' || to_char(day, 'YYYYMMDD');
        -- Asked of the catalogue's rows: to_regclass may answer from a cache that has not heard of another's commit.
        continue when exists (
            select from pg_class where relname = partition and relnamespace = 'public'::regnamespace);
        if day < today - 100 or day > today + 10 then
            raise exception 'no partition of request_logs for %: too far from today', day
                using errcode = 'invalid_parameter_value';
        end if;
        -- Two instances that meet the first line of a day together: one makes it, the other finds it made.
        perform pg_advisory_xact_lock(hashtext('request_logs partitions'));
        continue when exists (
            select from pg_class where relname = partition and relnamespace = 'public'::regnamespace);
        execute format('create table public.%I (like public.request_logs including all)', partition);
        execute format(
            'alter table public.request_logs attach partition public.%I for values from (%L) to (%L)',
            partition, day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00');
        made := made + 1;
    end loop;
    return made;
end
$$;

-- Drops the partitions of the days before `oldest`, and returns how many. Yesterday and later can't be dropped.
create function request_logs_drop_before(oldest date) returns integer
    language plpgsql
    security definer
    set search_path = pg_catalog, public, pg_temp
    set lock_timeout = '2s'
as $$
declare
    partition text;
    dropped integer := 0;
begin
    if oldest > (now() at time zone 'UTC')::date - 1 then
        raise exception 'request logs of % and later are kept', oldest - 1
            using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtext('request_logs partitions'));
    for partition in
        select child.relname
        from pg_inherits
        join pg_class child on child.oid = inhrelid
        where inhparent = 'public.request_logs'::regclass
          and child.relname < 'request_logs_' || to_char(oldest, 'YYYYMMDD')
        order by child.relname
    loop
        execute format('drop table public.%I', partition);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;

revoke all on function request_logs_ensure_days(date[]) from public;
revoke all on function request_logs_drop_before(date) from public;
grant execute on function request_logs_ensure_days(date[]) to millrace_logs_app;
grant execute on function request_logs_drop_before(date) to millrace_logs_app;
