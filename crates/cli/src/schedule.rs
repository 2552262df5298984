//! `millrace schedule`: a service's tasks, asked of and changed by its API, as whoever the token speaks for.

mod api;
mod form;
mod text;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use api::Api;
use form::TaskArguments;

/// Where the service is, and as whom.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The request port of any instance of the service, e.g. `http://localhost:8081`.
    #[arg(long, global = true)]
    url: Option<reqwest::Url>,
    /// A token with the role `admin`; it shows in the list of processes, so prefer --token-file.
    #[arg(long, global = true, conflicts_with = "token_file")]
    token: Option<String>,
    /// A file that holds the token.
    #[arg(long, global = true)]
    token_file: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Shows every task, a line each.
    List,
    /// Shows one task.
    Show(Named),
    /// Makes a task, or with --expected-version gives one another form.
    Put(Put),
    /// Removes a task and ends what is open of it.
    Remove(Remove),
    /// Lets nothing new begin.
    Pause(Pause),
    /// Lets a task go on from now.
    Resume(Named),
    /// Makes an occurrence that is due now; each call makes one.
    Trigger(Named),
    /// Makes the occurrences of a range of the past that never happened.
    Backfill(Backfill),
    /// Shows a task's next instants.
    Next(Next),
    /// Shows what a task did, the last occurrence first.
    History(History),
    /// Checks a task that is kept nowhere, and shows its next instants.
    DryRun(DryRun),
}

#[derive(Args)]
struct Named {
    /// The task.
    id: String,
}

#[derive(Args)]
struct Put {
    /// The task.
    id: String,
    /// The version that you have seen; without it the task must not exist yet.
    #[arg(long)]
    expected_version: Option<i64>,
    #[command(flatten)]
    task: TaskArguments,
}

#[derive(Args)]
struct Remove {
    /// The task.
    id: String,
    /// The version that you have seen.
    #[arg(long)]
    expected_version: i64,
}

#[derive(Args)]
struct Pause {
    /// The task.
    id: String,
    /// Why, for whoever wonders later.
    #[arg(long)]
    note: String,
}

#[derive(Args)]
struct Backfill {
    /// The task.
    id: String,
    /// The first instant that counts, e.g. `2026-01-31T00:00:00Z`.
    #[arg(long)]
    from: String,
    /// The last instant that counts, not in the future.
    #[arg(long)]
    to: String,
    /// How many occurrences you expect at most; a range with more is refused whole.
    #[arg(long)]
    max: u32,
    /// What they do while another is open.
    #[arg(long, default_value = "buffer_all", value_parser = form::overlaps())]
    overlap: String,
}

#[derive(Args)]
struct Next {
    /// The task.
    id: String,
    /// How many.
    #[arg(long, default_value_t = 10)]
    count: u16,
}

#[derive(Args)]
struct History {
    /// The task.
    id: String,
    /// How many.
    #[arg(long, default_value_t = 10)]
    limit: u16,
    /// Only those in this state.
    #[arg(long, value_parser = form::states())]
    state: Option<String>,
    /// Where the page before said that the next one begins.
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Args)]
struct DryRun {
    /// How many instants.
    #[arg(long, default_value_t = 10)]
    count: u16,
    #[command(flatten)]
    task: TaskArguments,
}

/// Carries out the command.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { url, token, token_file, verb } = arguments;
    let url = url.context("--url is needed: the request port of any instance of the service")?;
    let api = Api::new(url, token_of(token, token_file)?);
    match verb {
        Verb::List => list(&api).await?,
        Verb::Show(Named { id }) => print!("{}", text::task(&api.get(&[&id], &[]).await?)),
        Verb::Put(Put { id, expected_version, task }) => {
            let version = expected_version.map(|version| version.to_string());
            let query: Vec<(&str, &str)> =
                version.iter().map(|version| ("expected_version", version.as_str())).collect();
            print!("{}", text::task(&api.put(&id, &query, &task.form()?).await?));
        }
        Verb::Remove(Remove { id, expected_version }) => {
            api.delete(&id, &[("expected_version", &expected_version.to_string())]).await?;
            println!("{id} is removed; its history stays");
        }
        Verb::Pause(Pause { id, note }) => {
            let task = api.post(&[&id, "pause"], &[], Some(&json!({ "note": note }))).await?;
            print!("{}", text::task(&task));
        }
        Verb::Resume(Named { id }) => {
            print!("{}", text::task(&api.post(&[&id, "resume"], &[], None).await?));
        }
        Verb::Trigger(Named { id }) => {
            let triggered = api.post(&[&id, "trigger"], &[], None).await?;
            println!("{}", text::triggered(&id, &triggered));
        }
        Verb::Backfill(Backfill { id, from, to, max, overlap }) => {
            let body = json!({ "from": from, "to": to, "max": max, "overlap": overlap });
            let made = api.post(&[&id, "backfill"], &[], Some(&body)).await?;
            println!("{}", text::backfilled(&id, &made));
        }
        Verb::Next(Next { id, count }) => {
            let forecast = api.get(&[&id, "next"], &[("count", &count.to_string())]).await?;
            print!("{}", text::forecast(&forecast));
        }
        Verb::History(history) => print!("{}", text::history(&occurrences(&api, &history).await?)),
        Verb::DryRun(DryRun { count, task }) => {
            let form = serde_json::to_value(task.form()?)?;
            let count = count.to_string();
            let forecast = api.post(&["dry-run"], &[("count", &count)], Some(&form)).await?;
            print!("{}", text::forecast(&forecast));
        }
    }
    Ok(())
}

fn token_of(token: Option<String>, file: Option<PathBuf>) -> anyhow::Result<String> {
    match (token, file) {
        (Some(token), _) => Ok(token),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("could not read {}", file.display()))?;
            Ok(text.trim().to_owned())
        }
        (None, None) => anyhow::bail!("--token or --token-file is needed"),
    }
}

/// All pages, printed as they come.
async fn list(api: &Api) -> anyhow::Result<()> {
    let (mut count, mut cursor) = (0, None::<String>);
    loop {
        let mut query = vec![("limit", "200")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page: text::TaskPage = api.get(&[], &query).await?;
        count += page.tasks.len();
        for task in &page.tasks {
            println!("{}", text::task_line(task));
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    println!("{count} tasks");
    Ok(())
}

async fn occurrences(api: &Api, history: &History) -> anyhow::Result<text::HistoryPage> {
    let limit = history.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(history.state.as_deref().map(|state| ("state", state)));
    query.extend(history.cursor.as_deref().map(|cursor| ("cursor", cursor)));
    api.get(&[&history.id, "history"], &query).await
}
