-- Pieces of each product. A row is made together with its product.
--
-- `loaded` is written by adjustments alone; holding, releasing and selling only move pieces between the other three.
-- The constraint stock_balances therefore refuses any statement that would invent or lose a piece.
create table stock (
    sku         text collate "C" not null,
    loaded      bigint not null,
    free        bigint not null,
    held        bigint not null,
    sold        bigint not null,
    row_version bigint not null,
    constraint stock_pk primary key (sku),
    constraint stock_product_fk foreign key (sku) references products (sku),
    constraint stock_free_not_negative check (free >= 0),
    constraint stock_held_not_negative check (held >= 0),
    constraint stock_sold_not_negative check (sold >= 0),
    constraint stock_balances check (loaded = free + held + sold)
)
-- A hot SKU is updated with every batch: room in the page lets the update stay off the index.
with (fillfactor = 50);

do $$
declare
    app text := regexp_replace(current_user, '_owner$', '_app');
begin
    execute format('grant select, insert, update on stock to %I', app);
end
$$;
