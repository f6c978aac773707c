//! `rdma-engine capabilities`: what a running engine can do.

use super::CliError;
use super::client_args::ClientArgs;
use super::show;
use crate::protocol::message::GetCapabilitiesResponse;

/// Show what the running engine can do, and what holds it back
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

/// Asks the engine and prints its answer.
pub fn run(args: Args) -> Result<(), CliError> {
    let reply = args.client.connect()?.capabilities()?;
    show::print(&if args.client.json {
        show::json(&reply)?
    } else {
        human(&reply)
    })
}

fn human(c: &GetCapabilitiesResponse) -> String {
    let mut rows = vec![
        (
            "version",
            format!("{}, protocol {}", c.version, c.protocol_version),
        ),
        ("transports", list(&c.transports)),
        ("device", device(c)),
        ("pool", pool(c)),
        ("largest transfer", show::bytes(c.max_transfer_size)),
        (
            "sessions",
            format!("{} of {}", c.active_sessions, c.max_sessions),
        ),
        ("authentication", list(&c.supported_auth)),
    ];
    let steps = c.steps_down.iter().enumerate();
    rows.extend(steps.map(|(i, step)| (if i == 0 { "steps down" } else { "" }, step.clone())));
    if c.steps_down.is_empty() {
        rows.push(("steps down", "none".to_owned()));
    }
    show::table(&rows)
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn device(c: &GetCapabilitiesResponse) -> String {
    let verbs = if c.real_rdma { "RDMA" } else { "no RDMA" };
    if c.port_gid.is_empty() {
        return format!("{} ({verbs})", c.device_name);
    }
    format!(
        "{} ({verbs}), vendor {:#06x}, GID {}, LID {}",
        c.device_name, c.vendor_id, c.port_gid, c.port_lid
    )
}

fn pool(c: &GetCapabilitiesResponse) -> String {
    format!(
        "{} on pages of {}, {}",
        show::bytes(c.pool_bytes),
        show::bytes(c.pool_page_size),
        if c.pool_registered {
            "registered"
        } else {
            "not registered"
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_told_in_a_few_lines() {
        let capabilities = GetCapabilitiesResponse {
            device_name: "none".into(),
            max_transfer_size: 64 << 20,
            max_sessions: 1000,
            active_sessions: 3,
            supported_auth: vec!["peercred".into(), "token".into()],
            version: "0.1.0".into(),
            transports: vec!["local".into()],
            pool_bytes: 1 << 30,
            pool_page_size: 4096,
            protocol_version: 1,
            steps_down: vec![
                "ordinary pages: sysctl vm.nr_hugepages=512".into(),
                "two".into(),
            ],
            ..GetCapabilitiesResponse::default()
        };
        let expected = "\
version           0.1.0, protocol 1
transports        local
device            none (no RDMA)
pool              1 GiB on pages of 4 KiB, not registered
largest transfer  64 MiB
sessions          3 of 1000
authentication    peercred, token
steps down        ordinary pages: sysctl vm.nr_hugepages=512
                  two
";
        assert_eq!(human(&capabilities), expected);
    }
}
