-- How often aggregates that were set aside have been released: one row. A release moves rows back under their old
-- numbers, behind what a relay has read; by this count a relay knows that it must begin at the front again. The count is
-- read in the same statement as the rows, so it can't be missed.
create table outbox_release (
    releases bigint not null
);

insert into outbox_release values (0);

do $$
begin
    execute format(
        'grant select, update on outbox_release to %I', regexp_replace(current_user, '_owner$', '_app')
    );
end
$$;
