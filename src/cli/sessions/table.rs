//! Sessions as a table for a person.

use std::fmt::Write as _;

use super::Sort;
use crate::cli::show;
use crate::telemetry::{Doing, SessionEntry, SessionList};

/// Puts those first that have most.
pub(super) fn sort(sessions: &mut [SessionEntry], by: Sort) {
    sessions.sort_by(|a, b| match by {
        Sort::Bytes => b.bytes.cmp(&a.bytes),
        Sort::Age => b.age_seconds.total_cmp(&a.age_seconds),
        Sort::Rate => b.rate_bytes_per_second.total_cmp(&a.rate_bytes_per_second),
    });
}

/// As many sessions as fit into `lines`, each cut to `columns`.
pub(super) fn table(list: &SessionList, lines: usize, columns: usize) -> String {
    let sessions = &list.sessions;
    let bytes: u64 = sessions
        .iter()
        .map(|s| s.bytes)
        .fold(0, u64::saturating_add);
    let mut text = String::new();
    let head = format!(
        "{} of {} open, {} held",
        sessions.len(),
        list.limit,
        show::bytes(bytes)
    );
    line(&mut text, &head, columns);
    let row = |cells: [&str; 10]| {
        let [
            session,
            client,
            volume,
            needle,
            bytes,
            age,
            rate,
            state,
            left,
            transport,
        ] = cells;
        format!(
            "{session:<16} {client:<20} {volume:>10} {needle:>16} {bytes:>10} {age:>9} {rate:>12} \
             {state:<7} {left:>9} {transport}"
        )
    };
    let titles = [
        "SESSION", "CLIENT", "VOLUME", "NEEDLE", "BYTES", "AGE", "RATE", "STATE", "LEFT", "VIA",
    ];
    line(&mut text, &row(titles), columns);
    // The head, the titles, the line that counts the rest, and the one the cursor is on.
    let room = lines.saturating_sub(4);
    for session in sessions.iter().take(room) {
        let rate = show::bytes(session.rate_bytes_per_second as u64);
        let cells = row([
            &session.session,
            &session.client,
            &session.volume.to_string(),
            &session.needle,
            &show::bytes(session.bytes),
            &seconds(session.age_seconds),
            &format!("{rate}/s"),
            match session.state {
                Doing::Reading => "reading",
                Doing::Held => "held",
            },
            &seconds(session.seconds_left),
            session.transport.as_deref().unwrap_or("-"),
        ]);
        line(&mut text, &cells, columns);
    }
    if sessions.len() > room {
        line(
            &mut text,
            &format!("and {} more", sessions.len() - room),
            columns,
        );
    }
    text
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Adds a line. What a daemon says of its clients may be anything, and only printable characters
/// go to the terminal.
fn line(text: &mut String, line: &str, columns: usize) {
    let printable = |c: char| match c {
        ' '..='~' => c,
        _ => '?',
    };
    let cut: String = line.chars().take(columns).map(printable).collect();
    // Writing to a String can not fail.
    let _ = writeln!(text, "{}", cut.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(session: &str, bytes: u64, age: f64, rate: f64) -> SessionEntry {
        SessionEntry {
            session: session.to_owned(),
            client: "sidecar".to_owned(),
            volume: 3,
            needle: "1637".to_owned(),
            bytes,
            age_seconds: age,
            rate_bytes_per_second: rate,
            state: Doing::Held,
            seconds_left: 297.5,
            transport: Some("local".to_owned()),
        }
    }

    fn list(sessions: Vec<SessionEntry>) -> SessionList {
        SessionList {
            limit: 1000,
            sessions,
        }
    }

    #[test]
    fn sessions_stand_under_each_other_with_units() {
        let sessions = vec![entry("7-000000ab", 1 << 20, 2.5, (1u64 << 30) as f64)];
        let expected = "\
1 of 1000 open, 1 MiB held
SESSION          CLIENT                   VOLUME           NEEDLE      BYTES       AGE         RATE STATE        LEFT VIA
7-000000ab       sidecar                       3             1637      1 MiB     2.5 s      1 GiB/s held      5.0 min local
";
        assert_eq!(table(&list(sessions), usize::MAX, usize::MAX), expected);
    }

    #[test]
    fn those_that_have_most_come_first() {
        let mut sessions = vec![
            entry("a", 1, 3.0, 2.0),
            entry("b", 3, 2.0, 1.0),
            entry("c", 2, 1.0, 3.0),
        ];
        for (by, first) in [(Sort::Bytes, "b"), (Sort::Age, "a"), (Sort::Rate, "c")] {
            sort(&mut sessions, by);
            assert_eq!(sessions[0].session, first, "{by:?}");
        }
    }

    #[test]
    fn a_table_fits_the_terminal_and_says_what_it_leaves_out() {
        let sessions = (0..100).map(|i| entry("s", i, 1.0, 1.0)).collect();
        let table = table(&list(sessions), 24, 40);
        assert_eq!(table.lines().count(), 23);
        assert!(table.lines().all(|line| line.len() <= 40));
        assert!(table.ends_with("and 80 more\n"), "{table}");
    }

    #[test]
    fn nothing_a_terminal_would_obey_is_shown() {
        let mut odd = entry("s\r", 1, 1.0, 1.0);
        odd.client = "\x1b]0;owned\x07\u{202e}\n".to_owned();
        odd.transport = Some("\x1b[2J".to_owned());
        let table = table(&list(vec![odd]), 24, 200);
        assert_eq!(table.lines().count(), 3);
        assert!(
            table.chars().all(|c| c == '\n' || (' '..='~').contains(&c)),
            "{table:?}"
        );
    }
}
