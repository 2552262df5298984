-- What handlers of a drill have done. `position` is drawn while the lane's row is locked, so that within one lane it is
-- the order of the commits.
create table effects (
    position bigint generated always as identity primary key,
    id uuid not null,
    member text not null,
    topic text not null,
    partition int not null,
    key text not null,
    epoch bigint,
    emitted uuid,
    at timestamptz not null default clock_timestamp()
);

create table lanes (
    lane text primary key,
    effects bigint not null
);

do $$
declare
    app text := regexp_replace(current_user, '_owner$', '_app');
begin
    execute format('grant select, insert on effects to %I', app);
    execute format('grant select, insert, update on lanes to %I', app);
end
$$;
