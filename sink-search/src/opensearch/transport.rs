//! HTTP to the cluster: authentication, time-outs, and the next address when one does not answer.
//!
//! An error here means that the outcome is not known: the request may have taken effect.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Client, Method};

use super::settings::Settings;
use super::sign::Signer;
use headwater_common::secret::Secret;

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";
/// Bytes of an answer at most, unless the caller allows other.
pub(super) const MAX_REPLY: usize = 64 << 20;

pub(super) struct Transport {
    client: Client,
    /// Without a slash at the end.
    hosts: Vec<String>,
    current: AtomicUsize,
    login: Login,
}

enum Login {
    Nobody,
    Basic { username: String, password: Secret },
    Aws(Signer),
}

#[derive(Clone)]
pub(super) struct Request<'a> {
    pub method: Method,
    /// With its leading slash and query.
    pub path: &'a str,
    pub content_type: &'static str,
    pub body: Bytes,
    pub max_reply: usize,
}

impl<'a> Request<'a> {
    pub fn new(method: Method, path: &'a str) -> Request<'a> {
        Request { method, path, content_type: JSON, body: Bytes::new(), max_reply: MAX_REPLY }
    }

    pub fn json(method: Method, path: &'a str, body: &serde_json::Value) -> Request<'a> {
        Request { body: body.to_string().into(), ..Request::new(method, path) }
    }
}

pub(super) struct Reply {
    pub status: u16,
    pub body: Bytes,
}

#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing, or not everything, came back.
    Unanswered(String),
    /// The answer has more bytes than were allowed.
    TooLarge,
    /// There is no TLS with this server before an operator mends something.
    Distrusted { reason: String, remedy: &'static str },
}

impl Transport {
    pub async fn connect(settings: &Settings) -> Result<Transport, String> {
        let millis = Duration::from_millis;
        let mut builder = Client::builder()
            .connect_timeout(millis(settings.connect_timeout_ms))
            .timeout(millis(settings.request_timeout_ms))
            .pool_max_idle_per_host(settings.max_concurrency + 4);
        if let Some(file) = &settings.ca_file {
            let pem = std::fs::read(file).map_err(|error| format!("ca_file {file}: {error}"))?;
            let authorities =
                Certificate::from_pem_bundle(&pem).map_err(|error| format!("ca_file {file}: {}", told(&error)))?;
            if authorities.is_empty() {
                return Err(format!("ca_file {file} holds no certificate: it is a PEM file"));
            }
            for authority in authorities {
                builder = builder.add_root_certificate(authority);
            }
        }
        let login = match &settings.aws {
            Some(aws) => Login::Aws(Signer::connect(aws).await?),
            None if settings.username.is_empty() => Login::Nobody,
            None => Login::Basic { username: settings.username.clone(), password: settings.password.clone() },
        };
        Ok(Transport {
            client: builder.build().map_err(|error| told(&error))?,
            hosts: settings.urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
            current: AtomicUsize::new(0),
            login,
        })
    }

    /// For messages: the address that is used now.
    pub fn place(&self) -> &str {
        &self.hosts[self.current.load(Ordering::Relaxed) % self.hosts.len()]
    }

    pub async fn send(&self, request: Request<'_>) -> Result<Reply, Trouble> {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = None;
        for turn in 0..self.hosts.len() {
            let host = first + turn;
            match self.attempt(&self.hosts[host % self.hosts.len()], &request).await {
                Err((trouble, refused)) => {
                    self.current.store(host + 1, Ordering::Relaxed);
                    // What was sent may have taken effect: whoever asked decides whether to send it again.
                    if !refused {
                        return Err(trouble);
                    }
                    last = Some(trouble);
                }
                Ok(reply) => return Ok(reply),
            }
        }
        Err(last.unwrap_or_else(|| Trouble::Unanswered("no address".to_owned())))
    }

    /// The error comes with whether the connection was not even made.
    async fn attempt(&self, host: &str, request: &Request<'_>) -> Result<Reply, (Trouble, bool)> {
        let unanswered = |error: reqwest::Error| {
            let refused = error.is_connect();
            (distrusted(&error).unwrap_or_else(|| Trouble::Unanswered(told(&error))), refused)
        };
        let url = format!("{host}{}", request.path);
        let mut building =
            self.client.request(request.method.clone(), &url).header("content-type", request.content_type);
        match &self.login {
            Login::Nobody => {}
            Login::Basic { username, password } => building = building.basic_auth(username, Some(password.expose())),
            Login::Aws(signer) => {
                let signed = signer.headers(request.method.as_str(), &url, request.content_type, &request.body).await;
                for (name, value) in signed.map_err(|reason| (Trouble::Unanswered(reason), false))? {
                    building = building.header(name, value);
                }
            }
        }
        let mut response = building.body(request.body.clone()).send().await.map_err(unanswered)?;
        let status = response.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(unanswered)? {
            if body.len() + part.len() > request.max_reply {
                return Err((Trouble::TooLarge, false));
            }
            body.extend_from_slice(&part);
        }
        Ok(Reply { status, body: body.freeze() })
    }
}

/// Why there is no TLS, where that is the cause.
fn distrusted(error: &reqwest::Error) -> Option<Trouble> {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(tls) = tls_error(cause) {
            return distrust(tls);
        }
        next = cause.source();
    }
    None
}

/// An I/O error does not give what it carries as its source.
fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let carried = || cause.downcast_ref::<std::io::Error>()?.get_ref();
    cause.downcast_ref().or_else(|| tls_error(carried()?))
}

fn distrust(error: &rustls::Error) -> Option<Trouble> {
    use rustls::CertificateError::*;
    let remedy = match error {
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "give opensearch.urls a name that the certificate has"
        }
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) => "renew the server's certificate, or mend the clock",
        rustls::Error::InvalidCertificate(_) => {
            "set opensearch.ca_file to a PEM file with the authority that signed the server's certificate"
        }
        rustls::Error::InvalidMessage(_) => "it speaks no TLS: write http:// in opensearch.urls, or give its TLS port",
        _ => return None,
    };
    Some(Trouble::Distrusted { reason: format!("there is no TLS with it ({error})"), remedy })
}

/// The error and its causes, without the address, which the place names already.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within the time-out".to_owned();
    }
    let mut text = if error.is_connect() { "no connection".to_owned() } else { "no whole answer".to_owned() };
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, Error};

    use super::*;

    #[test]
    fn why_a_certificate_is_refused_decides_what_an_operator_is_told() {
        let told = |error| match distrust(&error) {
            Some(Trouble::Distrusted { remedy, .. }) => remedy,
            _ => "",
        };
        let refused = |certificate| told(Error::InvalidCertificate(certificate));
        assert!(refused(CertificateError::UnknownIssuer).contains("opensearch.ca_file"));
        assert!(refused(CertificateError::BadSignature).contains("opensearch.ca_file"));
        assert!(refused(CertificateError::NotValidForName).contains("opensearch.urls"));
        assert!(refused(CertificateError::Expired).contains("renew"));
        assert_eq!(told(Error::HandshakeNotComplete), "", "what may pass is tried again");
    }
}
