//! The log on standard error: lines for people, or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `RUST_LOG` is not a filter.
    #[error(
        "environment variable RUST_LOG: {0}; allowed: a level (error, warn, info, debug, trace) or \
         directives such as info,rdma_engine=debug"
    )]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// It is set up already.
    #[error("setting up the log: {0}")]
    Init(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging in `format`: what `RUST_LOG` says, else info, or with `debug` also the engine's
/// debug lines.
pub fn init(debug: bool, format: LogFormat) -> Result<(), LogError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(std::env::var("RUST_LOG").ok().as_deref(), debug)?)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log
            .with_ansi(std::io::stderr().is_terminal())
            .finish()
            .try_init()?,
        // The event's fields beside its time, level and target; those of its span in "span".
        LogFormat::Json => log
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .finish()
            .try_init()?,
    }
    Ok(())
}

fn filter(rust_log: Option<&str>, debug: bool) -> Result<EnvFilter, LogError> {
    let directives = match rust_log {
        Some(text) if !text.is_empty() => text,
        _ if debug => "info,rdma_engine=debug",
        _ => "info",
    };
    Ok(EnvFilter::builder().parse(directives)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_beats_the_debug_flag_which_beats_the_default() {
        let text = |rust_log, debug| filter(rust_log, debug).unwrap().to_string();
        assert_eq!(text(None, false), "info");
        assert_eq!(text(Some(""), false), "info");
        assert_eq!(text(None, true), "rdma_engine=debug,info");
        assert_eq!(text(Some("warn"), true), "warn");
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_what_is_allowed() {
        let error = filter(Some("rdma_engine=loud"), false).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("environment variable RUST_LOG: "),
            "{text}"
        );
        assert!(text.contains("allowed: a level"), "{text}");
    }
}
