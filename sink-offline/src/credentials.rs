//! Credentials from the chain that every AWS client of this project uses: environment, profile, web identity (IRSA),
//! container (ECS, EKS Pod Identity), instance.
//!
//! Promises that the chain is asked once until its credentials are about to expire, however many requests are made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use headwater_common::clock::{Clock, SystemClock, Timestamp};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::{Mutex, OnceCell};

/// Credentials are asked for anew this long before they expire.
const EARLY: Duration = Duration::from_secs(300);

pub(crate) struct AwsChain {
    chain: OnceCell<SharedCredentialsProvider>,
    held: Mutex<Option<Held>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Held {
    credential: Arc<AwsCredential>,
    /// None for those that never expire.
    expires: Option<Timestamp>,
}

impl Default for AwsChain {
    fn default() -> Self {
        AwsChain { chain: OnceCell::new(), held: Mutex::default(), clock: Arc::new(SystemClock) }
    }
}

impl fmt::Debug for AwsChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsChain")
    }
}

#[async_trait]
impl CredentialProvider for AwsChain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        let lasts = |held: &&Held, ahead: Duration| held.expires.is_none_or(|expires| now.plus(ahead) < expires);
        if let Some(fresh) = held.as_ref().filter(|held| lasts(held, EARLY)) {
            return Ok(fresh.credential.clone());
        }
        match self.ask().await {
            Ok(new) => Ok(held.insert(new).credential.clone()),
            Err(error) => match held.as_ref().filter(|held| lasts(held, Duration::ZERO)) {
                // What is held still serves; the next request asks again.
                Some(old) => Ok(old.credential.clone()),
                None => Err(error),
            },
        }
    }
}

impl AwsChain {
    async fn ask(&self) -> object_store::Result<Held> {
        let chain = async { SharedCredentialsProvider::new(DefaultCredentialsChain::builder().build().await) };
        let chain = self.chain.get_or_init(|| chain).await;
        let found = chain.provide_credentials().await.map_err(|error| object_store::Error::Unauthenticated {
            path: "AWS's credential chain (environment, profile, web identity, container, instance)".into(),
            source: Box::new(error),
        })?;
        let credential = AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        };
        let since_epoch = |expiry: std::time::SystemTime| expiry.duration_since(std::time::UNIX_EPOCH).ok();
        let millis = found.expiry().and_then(since_epoch).and_then(|span| i64::try_from(span.as_millis()).ok());
        Ok(Held { credential: Arc::new(credential), expires: millis.map(Timestamp::from_millis) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future::ProvideCredentials as Answer;
    use headwater_common::clock::ManualClock;

    use super::*;

    /// Gives credentials that last an hour, a new one each time it is asked, until it is told to fail.
    #[derive(Clone, Debug)]
    struct Hourly {
        clock: Arc<ManualClock>,
        asked: Arc<AtomicU64>,
        fails: Arc<std::sync::atomic::AtomicBool>,
    }

    impl ProvideCredentials for Hourly {
        fn provide_credentials<'a>(&'a self) -> Answer<'a>
        where
            Self: 'a,
        {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            if self.fails.load(Ordering::SeqCst) {
                return Answer::ready(Err(CredentialsError::not_loaded("nobody is at home")));
            }
            let expiry = Duration::from_millis(self.clock.now().as_millis() as u64 + 3_600_000);
            let expiry = std::time::UNIX_EPOCH + expiry;
            Answer::ready(Ok(Credentials::new(format!("key-{asked}"), "secret", None, Some(expiry), "test")))
        }
    }

    #[tokio::test]
    async fn the_chain_is_asked_once_until_its_credentials_are_about_to_expire() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
        let hourly = Hourly { clock: clock.clone(), asked: Arc::default(), fails: Arc::default() };
        let shared = SharedCredentialsProvider::new(hourly.clone());
        let chain = AwsChain { chain: OnceCell::new_with(Some(shared)), held: Mutex::default(), clock: clock.clone() };
        let key = async || chain.get_credential().await.map(|credential| credential.key_id.clone());
        for _ in 0..3 {
            assert_eq!(key().await.unwrap(), "key-0");
        }
        clock.advance(Duration::from_secs(3_600 - 200));
        assert_eq!(key().await.unwrap(), "key-1");
        // The chain fails: what is held serves as long as it lasts, and then the error says what to look at.
        hourly.fails.store(true, Ordering::SeqCst);
        clock.advance(Duration::from_secs(3_600 - 200));
        assert_eq!(key().await.unwrap(), "key-1");
        clock.advance(Duration::from_secs(300));
        let error = key().await.unwrap_err();
        assert!(matches!(error, object_store::Error::Unauthenticated { .. }), "{error}");
        assert!(error.to_string().contains("credential chain"), "{error}");
    }
}
