//! `wschat clients`.

use std::process::ExitCode;

use clap::Args;

use super::args::ControlArgs;
use super::failure::{CommandResult, Failure};
use super::output::{json_line, print_while_open};
use super::table::{self, Column, number, text};
use super::units::{bytes, parse_bytes};
use crate::client::sanitize_name;
use crate::control::{Clients, ControlRequest};
use crate::server::{AddressFilter, ClientFilter, ClientRow, FeedState, SortKey};
use crate::zone::local_time;

#[derive(Debug, Args)]
#[command(after_help = "\
MESSAGES were sent to the room, REFUSED were not; RATE-LIMITED are those of the refused
ones that came too fast. RECEIVED is what the client has sent, in bytes of all frames.
BEHIND is what was not sent to the client yet. STATE is swept (the client keeps up),
lagging (its socket accepts no more data), early (it waits for its first message) or
closing. NAME is the name in the last message of the client that was sent; if none was,
the name in the last message that was refused. --json has exact numbers.

    wschat clients --sort refused --limit 10
    wschat clients --address 192.0.2.0/24 --behind 1M
    wschat clients --json --limit 1000000 | jq -r 'select(.messages > 1000).address'")]
pub struct ClientsArgs {
    /// Sort by this column
    #[arg(long, value_enum, default_value_t)]
    sort: SortKey,
    /// Reverse the order
    #[arg(long)]
    reverse: bool,
    /// Only clients with this name, one that looks like it, or exactly this sub
    #[arg(long, value_name = "NAME", value_parser = visible_name)]
    name: Option<String>,
    /// Only clients at IP, IP:PORT, IP/BITS or unix; an IPv6 address is its /64
    #[arg(long, value_name = "ADDRESS")]
    address: Option<AddressFilter>,
    /// Only clients in this state
    #[arg(long, value_enum)]
    state: Option<FeedState>,
    /// Only clients that are at least so many bytes behind (4096, 64K, 1M)
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    behind: Option<u64>,
    /// List at most this number of clients
    #[arg(long, value_name = "N", default_value_t = 100)]
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
    let Clients { clients, total } = ask(args)?;
    let text = match args.json {
        true => clients.iter().map(json_line).collect::<Result<_, _>>()?,
        false => table(&clients),
    };
    if print_while_open(&text)? && !args.json && clients.len() < total {
        let end = args.offset.saturating_add(clients.len());
        let next = if end < total { format!("; see --offset {end}") } else { String::new() };
        eprintln!("{} of {total} clients{next}", clients.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// Requests as many parts of the list as the limit needs.
fn ask(args: &ClientsArgs) -> Result<Clients, Failure> {
    let mut all = Clients { clients: Vec::new(), total: 0 };
    loop {
        let had = all.clients.len();
        let limit = (args.limit - had).min(ControlRequest::CLIENTS_MAX);
        let request = ControlRequest::Clients {
            sort: args.sort,
            reverse: args.reverse,
            offset: args.offset.saturating_add(had),
            limit,
            filter: ClientFilter {
                name: args.name.clone(),
                address: args.address,
                state: args.state,
                behind_bytes: args.behind,
            },
        };
        let Clients { clients, total } = args.control.ask(&request)?;
        let is_last = clients.len() < limit || had + clients.len() == args.limit;
        all.clients.extend(clients);
        all.total = total;
        if is_last {
            return Ok(all);
        }
    }
}

/// A name of which something is visible.
fn visible_name(name: &str) -> Result<String, String> {
    match sanitize_name(name).is_empty() {
        true => Err("nothing of the name is visible".to_owned()),
        false => Ok(name.to_owned()),
    }
}

/// The name of a client and what is known about it, sanitized for the terminal.
pub fn describe(client: &ClientRow) -> String {
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

const COLUMNS: [Column; 11] = [
    number("ID"),
    text("ADDRESS"),
    text("VIA"),
    text("SINCE"),
    number("MESSAGES"),
    number("REFUSED"),
    number("RATE-LIMITED"),
    number("RECEIVED"),
    number("BEHIND"),
    text("STATE"),
    text("NAME"),
];

fn table(clients: &[ClientRow]) -> String {
    let row = |client: &ClientRow| {
        let totals = &client.totals;
        vec![
            client.id.to_string(),
            client.address.to_string(),
            client.transport.to_string(),
            local_time(client.since),
            totals.messages.to_string(),
            totals.refused.to_string(),
            totals.rate_limited.to_string(),
            bytes(totals.received_bytes as f64),
            bytes(client.behind_bytes as f64),
            client.state.to_string(),
            describe(client),
        ]
    };
    let rows: Vec<_> = clients.iter().map(row).collect();
    table::lines(&COLUMNS, &rows).into_iter().map(|line| line + "\n").collect()
}
