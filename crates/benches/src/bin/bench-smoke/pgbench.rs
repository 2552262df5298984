//! pgbench writing what the order service writes: its very statement, with the values of a real order.
//!
//! The statement's text is taken from the service's source, so it can't drift. The values are those of one order that was
//! placed over HTTP while Kafka stood still, so that its outbox rows could be read; only what must be unique (key,
//! lock, order id) is drawn anew, and ids grow with time as the service's do. The rows go into a second database
//! of the same migrations on the same server, where no relay takes them away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_common::outbox::{self, outbox_insert};
use millrace_common::{coordination, scheduler};
use millrace_testkit::{TestDatabase, postgres};
use sqlx::migrate::Migrator;
use sqlx::{FromRow, PgPool};
use tokio::process::Command;

use crate::bench::{Bench, sku};

/// Clients at once, on both sides.
pub(crate) const CLIENTS: usize = 32;
const THREADS: &str = "2";
const INTAKE: &str = include_str!("../../../../../services/order/src/store/intake.rs");
static ORDER: Migrator = sqlx::migrate!("../../services/order/migrations");

/// What each parameter of the statement is for pgbench, from `$1` on. `:name` is a variable: one of [`Sample`]'s, or
/// one that [`script`] sets. Thirty-two decimal digits are a UUID too.
const PARAMETERS: [&str; 18] = [
    "(:lock)::bigint",
    "(:caller)::text",
    "('bench-of-the-intake' || (:low)::text)",
    "(:fingerprint)::bytea",
    "(:reply_status)::smallint",
    "(:reply)::text",
    "(:placed_at)::timestamptz",
    "(:ttl)::float8",
    "((:high)::text || (:low)::text)::uuid",
    "(:customer)::text",
    "null::text",
    "'placed'::text",
    "(:currency)::text",
    "(:total)::bigint",
    "(:skus)::text[]",
    "(:quantities)::int[]",
    "(:prices)::bigint[]",
    "(:records)::text",
];

/// One real order as it lies in the tables, each value as a text.
#[derive(Debug, FromRow)]
struct Sample {
    caller: String,
    fingerprint: String,
    reply_status: String,
    reply: String,
    placed_at: String,
    ttl: String,
    customer: String,
    currency: String,
    total: String,
    skus: String,
    quantities: String,
    prices: String,
    records: String,
}

const SAMPLE: &str = "
    select i.caller, i.fingerprint::text, i.status::text as reply_status, i.body as reply, o.placed_at::text,
           extract(epoch from i.expires_at - i.created_at)::text as ttl, o.customer_id as customer, o.currency,
           o.total_minor::text as total,
           (select array_agg(sku order by position)::text from order_lines where order_id = o.id) as skus,
           (select array_agg(quantity order by position)::text from order_lines where order_id = o.id) as quantities,
           (select array_agg(unit_price_minor order by position)::text from order_lines where order_id = o.id) as prices,
           (select json_agg(r order by r.seq)::text from outbox r where aggregatetype <> 'task') as records
    from orders o, idempotency i
    where o.id = $1 and i.body like '%' || o.id || '%'";

/// A database to write into, and what to write.
pub(crate) struct Pgbench {
    database: TestDatabase,
    owner: PgPool,
    script: tempfile::NamedTempFile,
    sample: Sample,
    written: i64,
}

impl Pgbench {
    /// Takes the sample. The order service must run, its outbox empty, and nothing else use Kafka.
    pub(crate) async fn prepare(bench: &mut Bench) -> Result<Self> {
        let stack = bench.system.stack();
        let migrators =
            [&outbox::MIGRATIONS, &coordination::MIGRATIONS, &scheduler::MIGRATIONS, &ORDER];
        let database = stack.database("order", &migrators).await;
        let owner = database.owner_pool();
        require_durable(&owner).await?;
        require_durable(&bench.order).await?;
        let mut script_file = tempfile::NamedTempFile::new().context("making a script file")?;
        let script = script()?;
        std::io::Write::write_all(&mut script_file, script.as_bytes())
            .context("writing the script")?;
        let sample = sample(bench).await?;
        Ok(Self { database, owner, script: script_file, sample, written: 0 })
    }

    /// Transactions a second, without the time to connect.
    pub(crate) async fn run(&mut self, span: Duration) -> Result<f64> {
        let output = self.command(span)?.output().await.context("running pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let told = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "pgbench failed ({}):\n{told}", output.status);
        let number = |label: &str| -> Option<f64> {
            let rest = text.lines().find_map(|line| line.trim().strip_prefix(label))?;
            rest.split_whitespace().next()?.parse().ok()
        };
        let tps = number("tps = ").with_context(|| told.clone())?;
        self.check_rows(
            number("number of transactions actually processed: ").with_context(|| told.clone())?,
        )
        .await?;
        Ok(tps)
    }

    /// pgbench must have written as much as the service writes; then the queue table is emptied, as a relay would.
    async fn check_rows(&mut self, transactions: f64) -> Result<()> {
        let (orders, lines, keys, records): (i64, i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from orders), (select count(*) from order_lines),
                    (select count(*) from idempotency), (select count(*) from outbox)",
        )
        .fetch_one(&self.owner)
        .await
        .context("counting pgbench's rows")?;
        let new = orders - self.written;
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let counted = new as f64;
        ensure!(
            (counted - transactions).abs() < 0.5
                && (lines, keys, records) == (orders, orders, 2 * new),
            "pgbench tells {transactions} transactions; rows: {new} new orders, {lines} lines, {keys} keys of \
             {orders}, {records} records"
        );
        self.written = orders;
        sqlx::query("truncate outbox").execute(&self.owner).await.context("emptying the outbox")?;
        Ok(())
    }

    fn command(&self, span: Duration) -> Result<Command> {
        let mut command = Command::new(postgres::programs()?.join("pgbench"));
        let TestDatabase { host, port, app, name, .. } = &self.database;
        let (port, clients, seconds) =
            (port.to_string(), CLIENTS.to_string(), span.as_secs().to_string());
        command.args(["--no-vacuum", "--protocol=prepared", "--jobs", THREADS]);
        command.args(["--host", host, "--port", &port, "--username", &app.user]);
        command.args(["--client", &clients, "--time", &seconds, "--file"]).arg(self.script.path());
        for (name, value) in self.sample.variables() {
            command.arg(format!("--define={name}={value}"));
        }
        command.arg(name).env("PGPASSWORD", &app.password).kill_on_drop(true);
        Ok(command)
    }
}

impl Sample {
    fn variables(&self) -> [(&'static str, &str); 14] {
        [
            ("caller", &self.caller),
            ("fingerprint", &self.fingerprint),
            ("reply_status", &self.reply_status),
            ("reply", &self.reply),
            ("placed_at", &self.placed_at),
            ("ttl", &self.ttl),
            ("customer", &self.customer),
            ("currency", &self.currency),
            ("total", &self.total),
            ("skus", &self.skus),
            ("quantities", &self.quantities),
            ("prices", &self.prices),
            ("records", &self.records),
            ("placed_before", "0"),
        ]
    }
}

async fn sample(bench: &mut Bench) -> Result<Sample> {
    bench.relay_idle().await?;
    let kafka = bench.system.stack().kafka();
    kafka.pause();
    let taken = async {
        let order = bench.buyers(1).await?[0].place(&sku(0)).await?;
        sqlx::query_as(SAMPLE).bind(order).fetch_one(&bench.order).await.context("reading an order")
    }
    .await;
    kafka.resume();
    bench.note_accepted(1);
    taken
}

/// The disk must take part on both sides, or the ratio says nothing about production.
async fn require_durable(database: &PgPool) -> Result<()> {
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(database)
            .await
            .context("asking for a setting")?;
        ensure!(value == "on", "{setting} is {value}");
    }
    Ok(())
}

fn script() -> Result<String> {
    let mut statement = statement(INTAKE)?;
    // From the last on, because $1 is the beginning of $18.
    for (number, parameter) in (1..).zip(PARAMETERS).collect::<Vec<_>>().into_iter().rev() {
        ensure!(statement.contains(&format!("${number}")), "the statement has no ${number}");
        statement = statement.replace(&format!("${number}"), parameter);
    }
    ensure!(!statement.contains('$'), "the statement has more parameters than PARAMETERS");
    Ok(format!(
        "\\set placed_before :placed_before + 1\n\
         \\set high 1000000000000000 + :placed_before\n\
         \\set low random(1000000000000000, 9999999999999999)\n\
         \\set lock random(1, 9000000000000000000)\n\
         {statement};\n"
    ))
}

/// The text of the constant `PLACE`: two literals with the outbox's fragment between them.
fn statement(source: &str) -> Result<String> {
    let (_, rest) = source.split_once("const PLACE: &str = concat!(").context("PLACE is gone")?;
    let (constant, _) = rest.split_once("\n);").context("PLACE has no end")?;
    let pieces: Vec<&str> = constant.split('"').skip(1).step_by(2).collect();
    let [before, rows, after] = pieces[..] else {
        anyhow::bail!("PLACE is no longer text, outbox_insert!, text");
    };
    Ok(format!("{before}{}{after}", outbox_insert!("@rows@").replace("@rows@", rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_the_service_s_statement_with_every_parameter_filled_in() {
        let script = script().unwrap();
        for part in ["insert into idempotency", "insert into orders", "insert into outbox"] {
            assert!(script.contains(part), "{part}");
        }
        assert!(script.contains("else '[]' end)::text::json"), "{script}");
        assert!(script.contains("then (:records)::text else"), "{script}");
        assert!(!script.contains('$') && !script.contains('"'), "{script}");
    }

    #[test]
    fn another_form_of_the_source_is_refused() {
        assert!(statement("").is_err());
        assert!(statement("const PLACE: &str = concat!(\n\"one\"\n);").is_err());
    }
}
