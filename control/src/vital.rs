//! What control cannot do without: when one of these tasks ends, the process does, and its supervisor starts it anew.
//!
//! Calls go on in the relay meanwhile. A control that answers HTTP and not NG, or keeps no trips, would only look
//! alive. Used by the binary, on the runtime.

use std::future::Future;

use tokio::task::JoinSet;

/// Tasks that end only by failing.
#[derive(Debug, Default)]
pub struct Vital(JoinSet<Ended>);

/// A vital task ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It came back.
    #[error("{0} has ended by itself")]
    Returned(&'static str),
    /// It panicked; the panic's message is on stderr.
    #[error("{0} failed: {1}")]
    Failed(&'static str, tokio::task::JoinError),
    /// There is nothing to wait for.
    #[error("no vital task runs")]
    None,
}

impl Vital {
    /// Runs a task that is vital.
    pub fn run(&mut self, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task);
        self.0.spawn(async move {
            match task.await {
                Ok(()) => Ended::Returned(what),
                Err(error) => Ended::Failed(what, error),
            }
        });
    }

    /// Waits for the first task that ends, and logs it.
    pub async fn ended(&mut self) -> Ended {
        let ended = self.0.join_next().await.and_then(Result::ok).unwrap_or(Ended::None);
        tracing::error!("{ended}; control stops, calls go on in the relay");
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_task_that_ends_is_named() {
        let mut vital = Vital::default();
        vital.run("the one that stays", std::future::pending());
        vital.run("NG", async {});
        assert_eq!(vital.ended().await.to_string(), "NG has ended by itself");
        vital.run("the link", async { panic!("a test's panic") });
        assert!(vital.ended().await.to_string().starts_with("the link failed: "));
    }
}
