//! `wschat clients`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::args::ControlArgs;
use super::failure::CommandResult;
use super::output::{json_line, local_time, print_while_open};
use crate::client::sanitize_name;
use crate::control::{Clients, ControlRequest};
use crate::server::{ClientRow, SortKey};

const LIMIT_MAX: u64 = ControlRequest::CLIENTS_MAX as u64;

#[derive(Debug, Args)]
#[command(after_help = "\
BEHIND is the number of bytes of messages that were not sent to the client yet.
STATE is swept (the client keeps up), lagging (its socket accepts no more data) or
closing. NAME is the name in the last message of the client that was sent; if none
was, the name in the last message that was rejected.

    wschat clients --sort behind --limit 10
    wschat clients --json --limit 10000 | jq -r 'select(.messages > 1000).address'")]
pub struct ClientsArgs {
    /// Sort by this column
    #[arg(long, value_enum, default_value_t)]
    sort: SortKey,
    /// Reverse the order
    #[arg(long)]
    reverse: bool,
    /// List at most this number of clients; the maximum is 10000
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=LIMIT_MAX))]
    limit: usize,
    /// Skip this number of clients
    #[arg(long, value_name = "N", default_value_t)]
    offset: usize,
    /// Print each client as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// Prints a part of the list.
pub fn run(args: &ClientsArgs) -> CommandResult {
    let &ClientsArgs { sort, reverse, limit, offset, json, .. } = args;
    let request = ControlRequest::Clients { sort, reverse, offset, limit };
    let Clients { clients, total } = args.control.ask(&request)?;
    let text = match json {
        true => clients.iter().map(json_line).collect::<Result<_, _>>()?,
        false => table(&clients),
    };
    if print_while_open(&text)? && !json && clients.len() < total {
        let end = offset.saturating_add(clients.len());
        let next = if end < total { format!("; see --offset {end}") } else { String::new() };
        eprintln!("{} of {total} clients{next}", clients.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of a client and what is known about it, sanitized for the terminal.
fn describe(client: &ClientRow) -> String {
    let mut text = sanitize_name(&client.usr);
    if let Some(sub) = &client.sub {
        text += &format!(" (sub {})", sanitize_name(sub));
    }
    if client.moderator {
        text += ", moderator";
    }
    if client.muted {
        text += ", muted";
    }
    text
}

const HEAD: [&str; 8] = ["ID", "ADDRESS", "VIA", "SINCE", "MESSAGES", "BEHIND", "STATE", "NAME"];

fn table(clients: &[ClientRow]) -> String {
    let mut rows = vec![HEAD.map(String::from)];
    rows.extend(clients.iter().map(|client| {
        [
            client.id.to_string(),
            client.address.to_string(),
            client.transport.to_string(),
            local_time(client.since),
            client.messages.to_string(),
            client.behind_bytes.to_string(),
            client.state.to_string(),
            describe(client),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let [a, b, c, d, e, f, g] = [0, 1, 2, 3, 4, 5, 6].map(|column| width(column).unwrap_or(0));
    let line = |[id, address, via, since, messages, behind, state, name]: &[String; 8]| {
        let line = format!(
            "{id:>a$}  {address:<b$}  {via:<c$}  {since:<d$}  {messages:>e$}  {behind:>f$}  \
             {state:<g$}  {name}"
        );
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
