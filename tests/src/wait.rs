//! Waiting for a condition, with a deadline that says what was last seen.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Looks again and again until `look` gives a value. An `Err` of `look` is what it saw instead.
pub async fn until<T, F>(what: &str, deadline: Duration, mut look: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    let mut last_seen = "nothing yet".to_owned();
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(BETWEEN_LOOKS), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last_seen = seen,
            Err(_) => last_seen = format!("{last_seen} (and then no answer)"),
        }
        if start.elapsed() >= deadline {
            return Err(Error::Deadline { what: what.to_owned(), waited: start.elapsed(), last_seen });
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let seen = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            std::future::ready(if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) })
        });
        assert_eq!(seen.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_missed_deadline_says_what_was_last_seen() {
        let error =
            until::<(), _>("the moon", Duration::from_millis(1), async || Err("only stars".into())).await.unwrap_err();
        assert!(error.to_string().contains("the moon") && error.to_string().contains("only stars"), "{error}");
    }
}
