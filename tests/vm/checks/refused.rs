//! What can not be had is refused, or done without, and said; and a pool on huge pages.

use std::fs::{Permissions, set_permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::client::Client;
use crate::daemon::{Engine, Flags, PROGRAM, Target, refused};
use crate::devices::DEVICE;
use crate::pair::Pair;
use crate::report::{Place, Report, Result};

/// A user without capabilities.
const NOBODY: u32 = 65_534;
/// KiB such a user may lock: less than any pool.
const MEMLOCK_KIB: u32 = 1024;

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    // Nobody listens there: what is refused is refused before.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let daemons = || {
        [
            ("engine", Flags::engine(nobody)),
            ("target", Flags::target()),
        ]
    };
    report.check("too little memory may be locked: no start, and why", || {
        for (name, flags) in daemons() {
            let wanted = ["MEMORY_REGISTRATION_FAILED", DEVICE, "ulimit -l"];
            expect_refusal(place, name, limited(place, &flags)?, &wanted)?;
        }
        Ok(format!("engine and target, {MEMLOCK_KIB} KiB allowed"))
    });
    report.check(
        "too little memory may be locked: without a device it goes",
        || without_fixed_buffers(place),
    );
    report.check(
        "a device that is not there: no start, and what there is",
        || {
            for (name, flags) in daemons() {
                let mut command = Command::new(PROGRAM);
                command.args(flags.and("device", "mlx5_9").words());
                expect_refusal(place, name, command, &["mlx5_9", DEVICE])?;
            }
            Ok("engine and target".to_owned())
        },
    );
    report.check("a target without a device is read over TCP", || {
        one_sided(place, ("device", "none"), "auto")
    });
    report.check("verbs only, of a target without a device: refused", || {
        one_sided(place, ("device", "none"), "verbs")
    });
    report.check(
        "verbs only, of a target that only does TCP: refused",
        || one_sided(place, ("transport", "tcp"), "verbs"),
    );
    report.check("a pool on huge pages is registered and read into", || {
        let pair = Pair::start(
            place,
            |flags| flags.and("hugepages", "require"),
            |flags| flags,
        )?;
        let told = pair.engine.capabilities()?;
        if told.pool_page_size != 2 << 20 || !told.pool_registered || !told.real_rdma {
            return Err(format!("{told:?}").into());
        }
        let small = place.files.iter().filter(|f| f.data().len() < 5 << 20);
        let reads: Vec<_> = small.map(|f| f.whole()).collect();
        let tally = Client::open(&pair.engine.socket)?.each(&reads);
        tally.all_right("verbs")?;
        pair.stop()?;
        Ok(tally.to_string())
    });
    Ok(())
}

/// The daemon as a user who may lock little memory.
fn limited(place: &Place<'_>, flags: &Flags) -> Result<Command> {
    set_permissions(&place.dir, Permissions::from_mode(0o777))?;
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -l {MEMLOCK_KIB} && exec \"$0\" \"$@\""))
        .arg(PROGRAM)
        .args(flags.words())
        .uid(NOBODY)
        .gid(NOBODY);
    Ok(command)
}

fn expect_refusal(place: &Place<'_>, name: &str, command: Command, wanted: &[&str]) -> Result<()> {
    let log = place.dir.join(name).with_extension("log");
    let (status, said) = refused(command, &log)?;
    if status.success() || !wanted.iter().all(|word| said.contains(word)) {
        return Err(format!("the {name} ended with {status} and said {said:?}").into());
    }
    Ok(())
}

fn without_fixed_buffers(place: &Place<'_>) -> Result<String> {
    let target = Target::start(&place.dir, "target", &Flags::target())?;
    let flags = Flags::engine(target.address).and("device", "none");
    let engine = Engine::run(limited(place, &flags)?, &place.dir, "limited")?;
    let told = engine.capabilities()?;
    let steps = engine
        .metrics()?
        .sum("rdma_step_down", |l| l.contains("fixed_buffers"));
    if told.pool_registered || told.real_rdma || steps != 1.0 {
        return Err(format!("{told:?}").into());
    }
    let reads = place.files.random(1 << 20)?.pieces(64 << 10);
    let tally = Client::open(&engine.socket)?.each(&reads);
    tally.all_right("tcp")?;
    Pair { engine, target }.stop()?;
    Ok(format!("{tally}; said so: {}", told.steps_down.join("; ")))
}

/// An engine with a device, and a target that can not be READ from.
fn one_sided(place: &Place<'_>, target: (&'static str, &str), transport: &str) -> Result<String> {
    let target = Target::start(
        &place.dir,
        "target",
        &Flags::target().and(target.0, target.1),
    )?;
    let flags = Flags::engine(target.address).and("transport", transport);
    let engine = Engine::start(&place.dir, "engine", &flags)?;
    engine.await_metrics("the peer is connected", |m| {
        crate::daemon::peers(m, "tcp") == 1.0
    })?;
    let reads = place.files.random(1 << 20)?.pieces(64 << 10);
    let tally = Client::open(&engine.socket)?.each(&reads);
    let told = engine.capabilities()?;
    if told.real_rdma || told.device_name != DEVICE {
        return Err(format!("{told:?}").into());
    }
    if transport == "auto" {
        tally.all_right("tcp")?;
    } else {
        tally.clean(&["RDMA_OPERATION_FAILED"])?;
        if tally.right > 0
            || !tally
                .message("RDMA_OPERATION_FAILED")
                .contains("RDMA device")
        {
            return Err(tally.to_string().into());
        }
    }
    Pair { engine, target }.stop()?;
    Ok(tally.to_string())
}
