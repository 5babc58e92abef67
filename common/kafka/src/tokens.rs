//! Bearer tokens for the brokers, from a file or from a token endpoint.

use std::error::Error;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use headwater_common::clock::Timestamp;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::security::OAuth;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Default, Deserialize)]
struct Claims {
    exp: Option<f64>,
    sub: Option<String>,
}

/// A fresh token. Blocks for as long as the endpoint takes, at most ten seconds.
pub(crate) fn fetch(from: &OAuth, now: Timestamp) -> Result<OAuthToken, Box<dyn Error>> {
    if !from.token_file.is_empty() {
        let text =
            std::fs::read_to_string(&from.token_file).map_err(|error| format!("{}: {error}", from.token_file))?;
        return Ok(token(text.trim().to_owned(), None, "", now));
    }
    let answer = ask(from.clone())?;
    Ok(token(answer.access_token, answer.expires_in, &from.client_id, now))
}

/// The token says when it ends; a token that does not (an opaque one) is taken to last as long as the endpoint said, or
/// five minutes.
fn token(token: String, expires_in: Option<u64>, client: &str, now: Timestamp) -> OAuthToken {
    let claims = claims(&token).unwrap_or_default();
    let until = now.plus(Duration::from_secs(expires_in.unwrap_or(300))).as_millis();
    OAuthToken {
        principal_name: claims.sub.unwrap_or_else(|| client.to_owned()),
        lifetime_ms: claims.exp.map_or(until, |exp| (exp * 1000.0) as i64),
        token,
    }
}

fn claims(token: &str) -> Option<Claims> {
    let body = BASE64URL.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&body).ok()
}

/// On a thread and a runtime of its own: the client asks from inside of its callbacks, on threads of the caller's
/// runtime, which must not wait for itself.
fn ask(from: OAuth) -> Result<Answer, Box<dyn Error>> {
    let request = move || -> Result<Answer, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(async move {
            let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|e| e.to_string())?;
            let mut form = vec![("grant_type", "client_credentials")];
            if !from.scope.is_empty() {
                form.push(("scope", &from.scope));
            }
            let request = client.post(&from.token_endpoint);
            let request = request.basic_auth(&from.client_id, Some(from.client_secret.expose())).form(&form);
            let answer = request.send().await.map_err(|e| e.without_url().to_string())?;
            let status = answer.status();
            if !status.is_success() {
                return Err(format!("{} answered {status}", from.token_endpoint));
            }
            let body = answer.bytes().await.map_err(|e| e.without_url().to_string())?;
            // An error of the parser would show what is around it.
            serde_json::from_slice(&body).map_err(|_| format!("{} gave no token", from.token_endpoint))
        })
    };
    let thread = std::thread::Builder::new().name("kafka-token".into()).spawn(request)?;
    let answer = thread.join().map_err(|_| "the request for a token broke off")?;
    Ok(answer?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_as_long_as_it_says() {
        let now = Timestamp::from_millis(1_000);
        let jwt = format!("h.{}.s", BASE64URL.encode(r#"{"sub":"worker","exp":90}"#));
        let read = token(jwt, Some(5), "client", now);
        assert_eq!((read.principal_name.as_str(), read.lifetime_ms), ("worker", 90_000));
        let opaque = token("opaque".into(), Some(5), "client", now);
        assert_eq!((opaque.principal_name.as_str(), opaque.lifetime_ms), ("client", 6_000));
    }

    #[test]
    fn a_token_is_read_from_its_file_and_the_file_is_named_when_it_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let from = OAuth { token_file: path.display().to_string(), ..OAuth::default() };
        assert!(fetch(&from, Timestamp::EPOCH).err().unwrap().to_string().contains("token"));
        std::fs::write(&path, "opaque\n").unwrap();
        assert_eq!(fetch(&from, Timestamp::EPOCH).unwrap().token, "opaque");
    }
}
