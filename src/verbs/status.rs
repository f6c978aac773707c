//! How a work request ended.

use std::fmt;

use ibverbs_sys::ibv_wc_status as wc;

macro_rules! statuses {
    ($($variant:ident, $code:ident, $label:literal, $text:literal;)*) => {
        /// The status of a work completion, as `ibv_poll_cq` gives it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum WcStatus {
            $(#[doc = concat!("`", stringify!($code), "`: ", $text, ".")] $variant,)*
            /// The device did not take the work request; the vendor error is the errno.
            PostRefused,
            /// A status younger than this table.
            Unknown(u32),
        }

        impl WcStatus {
            /// Every status (the last one for all that are unknown), for closed label sets.
            pub const ALL: &[WcStatus] = &[
                $(WcStatus::$variant,)* WcStatus::PostRefused, WcStatus::Unknown(u32::MAX),
            ];

            /// The status with this number.
            pub const fn from_raw(status: u32) -> Self {
                match status {
                    $(wc::$code => Self::$variant,)*
                    other => Self::Unknown(other),
                }
            }

            /// A label for metrics, snake_case.
            pub const fn as_str(self) -> &'static str {
                self.row().0
            }

            /// The name verbs give it.
            pub const fn verbs_name(self) -> &'static str {
                self.row().1
            }

            /// Its place in [`Self::ALL`]. Verbs number theirs from 0 without a gap.
            pub const fn index(self) -> usize {
                match self {
                    $(Self::$variant => wc::$code as usize,)*
                    Self::PostRefused => Self::ALL.len() - 2,
                    Self::Unknown(_) => Self::ALL.len() - 1,
                }
            }

            const fn row(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    $(Self::$variant => ($label, stringify!($code), $text),)*
                    Self::PostRefused => (
                        "post_refused", "ibv_post_send", "the device did not take the work request",
                    ),
                    Self::Unknown(_) => ("unknown", "unknown status", "a status nobody knows"),
                }
            }
        }
    };
}

statuses! {
    Success, IBV_WC_SUCCESS, "success", "success";
    LocLenErr, IBV_WC_LOC_LEN_ERR, "local_length", "local length error";
    LocQpOpErr, IBV_WC_LOC_QP_OP_ERR, "local_qp_operation", "local queue pair operation error";
    LocEecOpErr, IBV_WC_LOC_EEC_OP_ERR, "local_eec_operation", "local EE context operation error";
    LocProtErr, IBV_WC_LOC_PROT_ERR, "local_protection", "local protection error";
    WrFlushErr, IBV_WC_WR_FLUSH_ERR, "flushed", "flushed, the queue pair had failed or was closed";
    MwBindErr, IBV_WC_MW_BIND_ERR, "memory_window_bind", "memory window bind error";
    BadRespErr, IBV_WC_BAD_RESP_ERR, "bad_response", "bad response";
    LocAccessErr, IBV_WC_LOC_ACCESS_ERR, "local_access", "local access error";
    RemInvReqErr, IBV_WC_REM_INV_REQ_ERR, "remote_invalid_request", "remote invalid request error";
    RemAccessErr, IBV_WC_REM_ACCESS_ERR, "remote_access", "remote access error";
    RemOpErr, IBV_WC_REM_OP_ERR, "remote_operation", "remote operation error";
    RetryExcErr, IBV_WC_RETRY_EXC_ERR, "retries_exceeded", "the peer does not answer";
    RnrRetryExcErr, IBV_WC_RNR_RETRY_EXC_ERR, "rnr_retries_exceeded", "the peer is never ready";
    LocRddViolErr, IBV_WC_LOC_RDD_VIOL_ERR, "local_rdd_violation", "local RDD violation error";
    RemInvRdReqErr, IBV_WC_REM_INV_RD_REQ_ERR, "remote_invalid_rd_request", "remote invalid RD request";
    RemAbortErr, IBV_WC_REM_ABORT_ERR, "remote_aborted", "remote aborted";
    InvEecnErr, IBV_WC_INV_EECN_ERR, "invalid_eec_number", "invalid EE context number";
    InvEecStateErr, IBV_WC_INV_EEC_STATE_ERR, "invalid_eec_state", "invalid EE context state";
    FatalErr, IBV_WC_FATAL_ERR, "fatal", "fatal error of the queue pair or the device";
    RespTimeoutErr, IBV_WC_RESP_TIMEOUT_ERR, "response_timeout", "response timeout";
    GeneralErr, IBV_WC_GENERAL_ERR, "general", "general error";
    TmErr, IBV_WC_TM_ERR, "tag_matching", "tag matching error";
    TmRndvIncomplete, IBV_WC_TM_RNDV_INCOMPLETE, "tag_matching_incomplete", "tag matching rendezvous incomplete";
}

impl fmt::Display for WcStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name, text) = self.row();
        match self {
            Self::Unknown(number) => write!(f, "{text} (ibv_wc_status {number})"),
            _ => write!(f, "{text} ({name})"),
        }
    }
}

/// Why a READ did not land, in the device's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}, vendor error {vendor_error:#x}")]
pub struct ReadFailure {
    /// The completion's status.
    pub status: WcStatus,
    /// What the vendor's documentation explains.
    pub vendor_error: u32,
}

impl ReadFailure {
    /// Whether the memory that was asked for was wrong, or the way it was asked for, and neither
    /// the peer, its host nor the network. What is wrong on this side is not: the local memory is
    /// never a client's choice.
    pub const fn is_of_the_request(&self) -> bool {
        matches!(self.status, WcStatus::RemAccessErr | WcStatus::RemInvReqErr)
    }

    /// Flushed: nothing was wrong with the read itself.
    pub(super) const FLUSHED: Self = Self {
        status: WcStatus::WrFlushErr,
        vendor_error: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_verbs_define_has_a_name_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for (place, status) in WcStatus::ALL.iter().enumerate() {
            assert!(seen.insert(status.as_str()), "{} twice", status.as_str());
            assert_eq!(status.index(), place);
        }
        for raw in 0..=wc::IBV_WC_TM_RNDV_INCOMPLETE {
            let status = WcStatus::from_raw(raw);
            assert!(!matches!(status, WcStatus::Unknown(_)), "{raw}");
            assert_eq!(status.index(), raw as usize);
        }
        assert_eq!(WcStatus::from_raw(99), WcStatus::Unknown(99));
        assert_eq!(WcStatus::Unknown(99).index(), WcStatus::ALL.len() - 1);
    }

    #[test]
    fn only_what_the_peer_refuses_is_the_requests_own_fault() {
        let of_the_request: Vec<_> = WcStatus::ALL
            .iter()
            .filter(|&&status| {
                let vendor_error = 0;
                let failure = ReadFailure {
                    status,
                    vendor_error,
                };
                failure.is_of_the_request()
            })
            .collect();
        assert_eq!(
            of_the_request,
            [&WcStatus::RemInvReqErr, &WcStatus::RemAccessErr]
        );
    }

    #[test]
    fn a_failure_says_what_happened_in_words_and_in_verbs_terms() {
        let failure = ReadFailure {
            status: WcStatus::from_raw(10),
            vendor_error: 0x88,
        };
        assert_eq!(
            failure.to_string(),
            "remote access error (IBV_WC_REM_ACCESS_ERR), vendor error 0x88"
        );
        let unknown = WcStatus::Unknown(77).to_string();
        assert!(unknown.contains("ibv_wc_status 77"), "{unknown}");
    }
}
