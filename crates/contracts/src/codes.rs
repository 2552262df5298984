//! Millrace's own error codes; the chassis has its general ones. docs/errors.md lists both.

use millrace_envelope::error_codes;

error_codes! {
    ORDER_NOT_FOUND = "order.not_found", 404,
        "There is no such order of this caller.",
        "Check the id; another caller's order answers the same.";
    ORDER_UNKNOWN_SKU = "order.unknown_sku", 422,
        "A line names a product that isn't sold.",
        "Look the product up first; a new one takes a moment to become known.";
    ORDER_MIXED_CURRENCIES = "order.mixed_currencies", 422,
        "The lines' products have prices in different currencies.",
        "Place one order a currency.";
    ORDER_TOTAL_TOO_LARGE = "order.total_too_large", 422,
        "The order's total is beyond what can be charged.",
        "Split the order.";
    ORDER_NOT_CANCELLABLE = "order.not_cancellable", 409,
        "The order is in a state that can't be cancelled.",
        "Read the order's status; a confirmed order is returned, not cancelled.";
    IDEMPOTENCY_KEY_MISSING = "idempotency.key_missing", 400,
        "The request needs an Idempotency-Key header.",
        "Send a key of your own, the same one when you repeat the request.";
    IDEMPOTENCY_KEY_MALFORMED = "idempotency.key_malformed", 400,
        "The Idempotency-Key header is not a quoted string or token of 1 to 128 visible ASCII characters.",
        "Send for example a UUID.";
    IDEMPOTENCY_KEY_REUSED = "idempotency.key_reused", 422,
        "This Idempotency-Key came before with another request.",
        "Use a new key for a new request.";
    IDEMPOTENCY_IN_FLIGHT = "idempotency.in_flight", 409,
        "A request with this Idempotency-Key is being worked on.",
        "Repeat it after the time in Retry-After; it then gets the first answer.";
    PAYMENT_BAD_SIGNATURE = "payment.bad_signature", 401,
        "The callback's signature is missing or wrong.",
        "Sign timestamp, a dot and the body with the shared secret.";
    PAYMENT_OUTSIDE_WINDOW = "payment.outside_window", 401,
        "The callback's timestamp is too far from now.",
        "Send callbacks at once, and check the clock.";
    PAYMENT_UNKNOWN_ORDER = "payment.unknown_order", 404,
        "The callback names an order that doesn't exist.",
        "Check the order id.";
    PRODUCT_NOT_FOUND = "product.not_found", 404,
        "There is no such product.",
        "Check the SKU.";
    PRODUCT_VERSION_CONFLICT = "product.version_conflict", 409,
        "The product was changed by somebody else.",
        "Read it again and repeat the change on the new version.";
    STOCK_NOT_ENOUGH_FREE = "stock.not_enough_free", 409,
        "Fewer pieces are free than would be taken off.",
        "Read the stock level and take off at most the free pieces.";
    STOCK_LIMIT_EXCEEDED = "stock.limit_exceeded", 422,
        "The adjustment would lift the stock beyond what can be counted.",
        "Check the quantity.";
    SEARCH_BAD_CURSOR = "search.bad_cursor", 400,
        "The cursor was not given out for this search, or was altered.",
        "Start from the first page with the same filters.";
    GATEWAY_UNKNOWN_ROUTE = "gateway.unknown_route", 404,
        "The gateway has no such route.",
        "See the API description.";
    GATEWAY_SLOW_REQUEST = "gateway.slow_request", 408,
        "The request's body did not arrive within the deadline.",
        "Send the body at once.";
    GATEWAY_UPSTREAM_UNAVAILABLE = "gateway.upstream_unavailable", 503,
        "The service behind this route can't be reached.",
        "Repeat after the time in Retry-After.";
    GATEWAY_CIRCUIT_OPEN = "gateway.circuit_open", 503,
        "The service behind this route keeps failing and is given a rest.",
        "Repeat after the time in Retry-After.";
    GATEWAY_UPSTREAM_TIMEOUT = "gateway.upstream_timeout", 504,
        "The service behind this route did not answer within the deadline.",
        "Repeat with the same Idempotency-Key.";
    EVENT_UNDECODABLE = "event.undecodable", 422,
        "A record's bytes are not an envelope of a known form.",
        "Look at the dead letter; its producer is wrong.";
    EVENT_NOT_APPLICABLE = "event.not_applicable", 422,
        "An event can't be applied to what this service knows.",
        "Look at the dead letter and at the order's timeline.";
    STORE_UNAVAILABLE = "store.unavailable", 503,
        "The database can't be reached or is too busy.",
        "Repeat after the time in Retry-After.";
    STORE_FAILED = "store.failed", 500,
        "The database refused a statement.",
        "Report it with the trace id.";
}
