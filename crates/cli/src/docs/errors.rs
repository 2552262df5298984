//! docs/errors.md: every stable code.

use millrace_common::envelope::ErrorCode;

/// The page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "# Error codes\n\n\
         Made by `make docs` from the code; don't edit.\n\n\
         Every reply carries a `code`: `ok`, or one of these.\n\
         Match on the code, show the message, never parse it.\n\
         With `Accept: application/problem+json` the same stands in RFC 9457 form, its `type` ends in the code.\n",
    );
    let chassis = [millrace_common::http::codes::ALL, millrace_common::codes::ALL].concat();
    section(&mut text, "Of the chassis", &chassis);
    section(
        &mut text,
        "Of the messaging runtime, in dead letters",
        millrace_common::messaging::codes::ALL,
    );
    section(&mut text, "Of Millrace", millrace_contracts::codes::ALL);
    text
}

fn section(text: &mut String, title: &str, codes: &[&ErrorCode]) {
    text.push_str(&format!(
        "\n## {title}\n\n| code | status | what it means | what to do |\n|---|---|---|---|\n"
    ));
    let mut codes = codes.to_vec();
    codes.sort_by_key(|code| code.code);
    for code in codes {
        text.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            code.code, code.status, code.meaning, code.action
        ));
    }
}
