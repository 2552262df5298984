-- What the expiry of orders that inventory never answered looks for; small, because an order stays placed for moments.
create index orders_placed on orders (placed_at) where status = 'placed';
