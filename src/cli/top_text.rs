//! The picture of `wschat top`.

use indicatif::HumanCount;

use super::clients::describe;
use super::table::{self, Column, cut, number, text as text_column};
use super::units::{bytes, rate};
use crate::control::{Status, Top};
use crate::room::TrafficRates;
use crate::server::TopKey;

/// The columns of the figures that both tables have, in the order of the keys.
const FIGURES: [Column; 4] =
    [number("MSG/S"), number("REFUSED/S"), number("IN/S"), number("BEHIND")];
const KEYS: &str = "m messages  r refused  b bytes  l lag  q quit";

/// The whole picture.
pub fn text(status: &Status, top: &Top, sort: TopKey) -> String {
    let Tables { addresses, clients } = Tables::new(top);
    let mut lines = vec![head(status, sort), String::new()];
    lines.extend(table::lines(&addresses.0, &addresses.1));
    lines.push(String::new());
    lines.extend(table::lines(&clients.0, &clients.1));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The picture on a terminal of this size, without the rows that do not fit.
pub fn picture(
    status: &Status,
    top: &Top,
    sort: TopKey,
    columns: usize,
    rows: usize,
) -> Vec<String> {
    let Tables { mut addresses, mut clients } = Tables::new(top);
    // The head, two heads of tables, two empty lines and the keys.
    let left = rows.saturating_sub(6);
    let half = (left / 2).max(left.saturating_sub(clients.1.len()));
    addresses.1.truncate(half);
    clients.1.truncate(left - addresses.1.len());
    let (a, b) = (addresses.0.len(), clients.0.len());
    debug_assert!(a > FIGURES.len() && b > FIGURES.len());
    let mut lines = vec![cut(&head(status, sort), columns), String::new()];
    lines.extend(table::lines_within(columns, 1 + sort as usize, &addresses.0, &addresses.1));
    lines.push(String::new());
    lines.extend(table::lines_within(columns, 2 + sort as usize, &clients.0, &clients.1));
    lines.truncate(rows.saturating_sub(1));
    lines.push(cut(KEYS, columns));
    lines
}

/// The figures of the room in one line.
fn head(status: &Status, sort: TopKey) -> String {
    let sorted = match sort {
        TopKey::Messages => "messages",
        TopKey::Refused => "refused messages",
        TopKey::Received => "received bytes",
        TopKey::Behind => "lag",
    };
    let [listeners, lagging] =
        [status.listeners, status.lagging].map(|count| HumanCount(count as u64));
    let messages = rate(status.rates.messages_per_sec);
    let sent = bytes(status.rates.bytes_sent_per_sec);
    format!(
        "Top by {sorted}; listeners: {listeners}, lagging: {lagging}, {messages} messages/s, \
         {sent}/s sent"
    )
}

/// The columns of a table and its rows.
type Table = (Vec<Column>, Vec<Vec<String>>);

struct Tables {
    addresses: Table,
    clients: Table,
}

impl Tables {
    fn new(top: &Top) -> Self {
        let mut addresses = (vec![text_column("ADDRESS")], Vec::new());
        addresses.0.extend(FIGURES);
        addresses.0.extend([
            number("REFUSED"),
            number("CONN-REFUSED/S"),
            number("CONN-REFUSED"),
            number("CLIENTS"),
            number("LAGGING"),
        ]);
        for row in &top.addresses {
            let mut cells = vec![row.address.clone()];
            cells.extend(figures(&row.sum.rates, row.sum.behind_bytes));
            cells.extend([
                row.sum.totals.refused.to_string(),
                rate(row.sum.refused_connections_per_sec),
                row.sum.refused_connections.to_string(),
                row.sum.clients.to_string(),
                row.sum.lagging.to_string(),
            ]);
            addresses.1.push(cells);
        }
        let mut clients = (vec![number("ID"), text_column("ADDRESS")], Vec::new());
        clients.0.extend(FIGURES);
        clients.0.extend([number("REFUSED"), text_column("STATE"), text_column("NAME")]);
        for client in &top.clients {
            let mut cells = vec![client.id.to_string(), client.address.to_string()];
            cells.extend(figures(&client.rates, client.behind_bytes));
            cells.extend([
                client.totals.refused.to_string(),
                client.state.to_string(),
                describe(client),
            ]);
            clients.1.push(cells);
        }
        Self { addresses, clients }
    }
}

/// The cells of [`FIGURES`].
fn figures(rates: &TrafficRates, behind_bytes: u64) -> [String; 4] {
    [
        rate(rates.messages_per_sec),
        rate(rates.refused_per_sec),
        bytes(rates.received_bytes_per_sec),
        bytes(behind_bytes as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status_text::tests::status;
    use crate::server::{AddressRow, AddressSum, ClientRow};

    fn top() -> Top {
        let row = |address: &str, messages, clients| AddressRow {
            address: address.into(),
            sum: AddressSum {
                clients,
                rates: TrafficRates { messages_per_sec: messages, ..TrafficRates::default() },
                ..AddressSum::default()
            },
        };
        let client: ClientRow = serde_json::from_str(
            r#"{"id":7,"address":"192.0.2.7:4711","usr":"e\u001b[2Jve\u202e","sub":null,"moderator":false,"muted":true,"since":"2023-11-14T22:13:27Z","messages":2,"refused":3,"rate_limited":1,"received_bytes":500,"messages_per_sec":40.5,"refused_per_sec":2.5,"received_bytes_per_sec":2048.0,"behind_bytes":1048576,"state":"lagging","transport":"ws"}"#,
        )
        .unwrap();
        Top {
            addresses: vec![row("192.0.2.7", 40.5, 1), row("2001:db8::/64", 0.0, 12)],
            clients: vec![client],
        }
    }

    #[test]
    fn the_whole_picture() {
        let want = "\
Top by refused messages; listeners: 412, lagging: 3, 0.3 messages/s, 1.4 MiB/s sent

ADDRESS        MSG/S  REFUSED/S  IN/S  BEHIND  REFUSED  CONN-REFUSED/S  CONN-REFUSED  CLIENTS  LAGGING
192.0.2.7         41          0   0 B     0 B        0               0             0        1        0
2001:db8::/64      0          0   0 B     0 B        0               0             0       12        0

ID  ADDRESS         MSG/S  REFUSED/S     IN/S   BEHIND  REFUSED  STATE    NAME
 7  192.0.2.7:4711     41        2.5  2.0 KiB  1.0 MiB        3  lagging  e␛[2Jve�, muted
";
        assert_eq!(text(&status(), &top(), TopKey::Refused), want);
    }

    #[test]
    fn a_picture_fits_every_terminal() {
        let mut top = top();
        top.addresses = vec![top.addresses[0].clone(); 40];
        top.clients = vec![top.clients[0].clone(); 40];
        for sort in [TopKey::Messages, TopKey::Refused, TopKey::Received, TopKey::Behind] {
            for columns in [0, 1, 7, 20, 40, 79, 80, 130] {
                for rows in (0..9).chain([24]) {
                    let lines = picture(&status(), &top, sort, columns, rows);
                    assert!(lines.len() <= rows.max(1), "{columns} {rows}");
                    assert!(lines.iter().all(|line| line.chars().count() <= columns));
                }
            }
            let lines = picture(&status(), &top, sort, 30, 24);
            let key = ["MSG/S", "REFUSED/S", "IN/S", "BEHIND"][sort as usize];
            assert_eq!(lines.len(), 24);
            assert_eq!(lines.iter().filter(|line| line.contains(key)).count(), 2, "{lines:?}");
        }
        top.clients.truncate(2);
        let lines = picture(&status(), &top, TopKey::Messages, 130, 24);
        assert_eq!(lines.iter().filter(|line| line.starts_with("192.0.2.7")).count(), 16);
    }
}
