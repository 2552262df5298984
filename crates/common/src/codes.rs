//! The codes of the endpoints that this crate adds to the admin port.

use millrace_envelope::error_codes;

error_codes! {
    UNKNOWN_CONSUMER_GROUP = "consumers.unknown_group", 404, "This service has no consumer of that group.", "Take a group that `GET /actuator/consumers` lists.";
}
