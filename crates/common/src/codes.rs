//! The codes of the endpoints that this crate adds: consumers on the admin port, schedules beside a service's own.

use millrace_envelope::error_codes;

error_codes! {
    UNKNOWN_CONSUMER_GROUP = "consumers.unknown_group", 404, "This service has no consumer of that group.", "Take a group that `GET /actuator/consumers` lists.";
    SCHEDULE_NOT_FOUND = "schedule.not_found", 404, "This service has no such task.", "Take one that `GET /schedules` lists.";
    SCHEDULE_VERSION_CONFLICT = "schedule.version_conflict", 409, "The task was made, changed or removed by somebody else; `data.version` is the one it has, null when it is gone.", "Read it again and repeat the change on that version.";
    SCHEDULE_DECLARED_IN_CODE = "schedule.declared_in_code", 409, "The task is part of a release, which alone changes and removes it.", "Pause it, or change the release.";
    SCHEDULE_PAUSED = "schedule.paused", 409, "Nothing of the task begins while it is paused.", "Read the note, resume it, and ask again.";
    SCHEDULE_BAD_EXPRESSION = "schedule.bad_expression", 422, "The cron expression can't be read, or no day fits it.", "Correct it; a dry run tells its next instants.";
    SCHEDULE_UNKNOWN_ZONE = "schedule.unknown_zone", 422, "The IANA database has no such time zone.", "Send a name such as `Europe/Berlin`.";
    SCHEDULE_BAD_INTERVAL = "schedule.bad_interval", 422, "The interval is too short or too long.", "Send 1 second to 366 days.";
    SCHEDULE_BAD_PAYLOAD = "schedule.bad_payload", 422, "The payload is larger than a message may carry, or has a NUL character.", "Keep it elsewhere, and send where it is.";
    SCHEDULE_INVALID = "schedule.invalid", 422, "The task makes no sense as it is; `data.fields` names each problem.", "Correct the fields named.";
    SCHEDULE_BAD_RANGE = "schedule.bad_range", 422, "The range ends before it begins, or in the future.", "Backfill the past; the future comes by itself.";
    SCHEDULE_TOO_MANY_OCCURRENCES = "schedule.too_many_occurrences", 422, "The range has more occurrences than `max` allows; none was made.", "Ask for a shorter range, or for more with `max`, up to 10,000 at once.";
    SCHEDULE_UNREADABLE = "schedule.unreadable", 500, "The task was stored by a release that writes what this one can't read.", "Finish the rollout, or put the task again.";
}
