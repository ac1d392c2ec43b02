//! `wschat clients`: who is connected.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;

use super::ask::print;
use super::{ControlArgs, Exit, Failure, Outcome};
use crate::client::sanitize_name;
use crate::control::{Clients, Listed, Request, Sort};
use crate::zone;

/// The options of `clients`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
BEHIND is how many bytes of messages a client has not been sent yet. Its state is
swept while it keeps up, lagging while its socket takes nothing, closing at its
end. NAME is that of its last message that was sent, or that was not
while none was. With --json each client is one line:

    wschat clients --sort behind --limit 10
    wschat clients --json --limit 10000 | jq -r 'select(.messages > 1000).address'")]
pub struct ClientsArgs {
    /// In which order
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// The other way round
    #[arg(long)]
    pub reverse: bool,
    /// List no more than this, at most 10000
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=Request::CLIENTS_MAX as u64))]
    pub limit: usize,
    /// Leave out so many at the beginning
    #[arg(long, value_name = "N", default_value_t)]
    pub offset: usize,
    /// Print each client as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// Prints a page of the list.
///
/// # Errors
///
/// No answer; standard output that cannot be written.
pub fn run(args: &ClientsArgs) -> Outcome {
    let &ClientsArgs { sort, reverse, limit, offset, .. } = args;
    let request = Request::Clients { sort, reverse, offset, limit };
    let page: Clients = args.control.ask(&request).map_err(|error| args.control.failure(error))?;
    let text = if args.json { json(&page.clients)? } else { table(&page.clients) };
    let end = offset.saturating_add(page.clients.len());
    if print(&text)? && !args.json && page.clients.len() < page.total {
        let next =
            if end < page.total { format!("; --offset {end} goes on") } else { String::new() };
        eprintln!("{} of {} clients{next}", page.clients.len(), page.total);
    }
    Ok(ExitCode::SUCCESS)
}

fn json(clients: &[Listed]) -> Result<String, Failure> {
    let mut text = String::new();
    for client in clients {
        text += &serde_json::to_string(client)
            .map_err(|error| Failure::new(Exit::Unavailable, "answer", error))?;
        text.push('\n');
    }
    Ok(text)
}

/// Under which name somebody speaks, and what else there is to know of it. A
/// terminal shows it, so it is made harmless.
fn who(client: &Listed) -> String {
    let mut words = sanitize_name(&client.usr);
    if let Some(sub) = &client.sub {
        words += &format!(" (sub {})", sanitize_name(sub));
    }
    if client.moderator {
        words += ", moderator";
    }
    if client.muted {
        words += ", muted";
    }
    words
}

/// A line each, in columns as wide as they have to be.
fn table(clients: &[Listed]) -> String {
    let since = |at: DateTime<Utc>| at.with_timezone(zone::here()).format("%F %T").to_string();
    let row = |c: &Listed| {
        [
            c.id.to_string(),
            c.address.clone(),
            since(c.since),
            c.messages.to_string(),
            c.behind_bytes.to_string(),
            c.state.clone(),
            who(c),
        ]
    };
    let head = ["ID", "ADDRESS", "SINCE", "MESSAGES", "BEHIND", "STATE", "NAME"];
    let head = head.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(clients.iter().map(row)).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [a, b, c, d, e, f, _] = widths;
    let mut text = String::new();
    for [id, address, since, messages, behind, state, name] in rows {
        let line = format!(
            "{id:>a$}  {address:<b$}  {since:<c$}  {messages:>d$}  {behind:>e$}  {state:<f$}  {name}"
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}
