//! Finds out whether a server that may be asked without TLS speaks it, and remembers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::endpoint::{Endpoint, Schemes};
use crate::error::RegistryError;
use crate::redirect::{Obstacle, Reply};
use crate::retry::Failure;
use crate::transport::FaultKind;

/// An answer that satisfies; else no answer at all (inner), or one that does not satisfy (outer).
pub(crate) type Conversation = Result<Result<Reply, Obstacle>, Failure>;

/// Which servers speak TLS, as learned in this process.
#[derive(Debug, Default)]
pub(crate) struct SchemeMemory {
    speaks_tls: Mutex<BTreeMap<String, bool>>,
}

impl SchemeMemory {
    /// Asks `endpoint` with the scheme that fits: `converse(true)` asks over https.
    ///
    /// Where both are allowed and nothing is known, https comes first. Only a server that shows no
    /// sign of TLS is asked over http: one with a certificate that is not believed does speak TLS.
    pub(crate) fn ask(
        &self,
        endpoint: &Endpoint,
        subject: &str,
        converse: impl Fn(bool) -> Conversation,
    ) -> Result<Reply, Failure> {
        let told = |obstacle: Obstacle| obstacle.into_failure(subject);
        let known = match endpoint.schemes {
            Schemes::Tls => Some(true),
            Schemes::Plain => Some(false),
            Schemes::TlsThenPlain => self.known(&endpoint.authority),
        };
        if let Some(is_tls) = known {
            return converse(is_tls)?.map_err(told);
        }
        let obstacle = match converse(true) {
            Ok(Err(obstacle)) if may_be_plain(endpoint, &obstacle) => obstacle,
            Ok(Err(obstacle)) => return Err(told(obstacle)),
            answered => {
                self.remember(&endpoint.authority, true);
                return answered?.map_err(told);
            }
        };
        match converse(false) {
            // Where nobody listens there is nothing to be learned.
            Ok(Err(plain)) if is_absent(&plain) => Err(told(obstacle)),
            Ok(Err(plain)) => Err(told(plain)),
            // The server does speak TLS; the first try only had bad luck.
            Err(failure) if wants_tls(&failure) => Err(told(obstacle)),
            answered => {
                self.remember(&endpoint.authority, false);
                answered?.map_err(told)
            }
        }
    }

    /// Returns whether `endpoint` speaks TLS, as far as is known.
    pub(crate) fn speaks_tls(&self, endpoint: &Endpoint) -> bool {
        match endpoint.schemes {
            Schemes::Tls => true,
            Schemes::Plain => false,
            Schemes::TlsThenPlain => self.known(&endpoint.authority).unwrap_or(true),
        }
    }

    fn known(&self, authority: &str) -> Option<bool> {
        let speaks_tls = self.speaks_tls.lock();
        let speaks_tls = speaks_tls.unwrap_or_else(PoisonError::into_inner);
        speaks_tls.get(authority).copied()
    }

    fn remember(&self, authority: &str, is_tls: bool) {
        let speaks_tls = self.speaks_tls.lock();
        let mut speaks_tls = speaks_tls.unwrap_or_else(PoisonError::into_inner);
        speaks_tls.insert(authority.to_owned(), is_tls);
    }
}

/// True if the failed https request leaves open that the server speaks plain http.
fn may_be_plain(endpoint: &Endpoint, obstacle: &Obstacle) -> bool {
    let Obstacle::Fault(origin, fault) = obstacle else {
        return false;
    };
    let failed_at = origin.show();
    let is_home =
        failed_at.strip_prefix("https://") == Some(endpoint.authority.trim_end_matches(":443"));
    is_home
        && match fault.kind {
            FaultKind::NotTls | FaultKind::Passing => true,
            // Nobody at 443; there may be somebody at 80.
            FaultKind::Absent => endpoint.has_usual_port(),
            FaultKind::Lasting => false,
        }
}

fn is_absent(obstacle: &Obstacle) -> bool {
    matches!(obstacle, Obstacle::Fault(_, fault) if fault.kind == FaultKind::Absent)
}

/// True for what servers with TLS answer to plain http.
fn wants_tls(failure: &Failure) -> bool {
    matches!(failure, Failure::Final(RegistryError::Status { status: 400, answer })
        if answer.message.contains("HTTPS"))
}
