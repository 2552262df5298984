-- The read view: what a customer is told about an order. Readers name its columns, so a list that doesn't ask for
-- the lines doesn't pay for them.
create view status_view as
select o.id as order_id,
       o.customer_id,
       o.tenant,
       o.status,
       o.reason,
       o.currency,
       o.total_minor,
       o.placed_at,
       o.pay_until,
       o.payment_id,
       o.version,
       o.updated_at,
       (select jsonb_agg(
                   jsonb_build_object(
                       'sku', l.sku, 'quantity', l.quantity, 'unit_price_minor', l.unit_price_minor)
                   order by l.position)
        from order_lines l
        where l.order_id = o.id) as lines
from orders o;

grant select on status_view to millrace_order_app;
