//! How the brokers are reached: TLS and SASL.

use headwater_common::secret::Secret;
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;
use serde::{Deserialize, Serialize};

/// Transport and authentication. What belongs to another choice must be left empty, so that nothing is set in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`. Default `plaintext`.
    pub protocol: Protocol,
    /// With SASL: `plain`, `scram_sha_256`, `scram_sha_512` or `oauthbearer`. Default `scram_sha_512`.
    pub mechanism: Mechanism,
    /// The user, for `plain` and `scram_…`. Default empty.
    pub username: String,
    /// The user's password. Default empty.
    pub password: Secret,
    /// A PEM file of the certificate authorities to trust. Default empty: the system's.
    pub ca_file: String,
    /// A PEM file of this client's certificate, where brokers ask for one. Default empty.
    pub certificate_file: String,
    /// A PEM file of the key of that certificate. Default empty.
    pub key_file: String,
    /// The password of that key. Default empty.
    pub key_password: Secret,
    /// Where tokens come from, for `oauthbearer`.
    pub oauth: OAuth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    #[serde(rename = "plain")]
    Plain,
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    #[default]
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
    #[serde(rename = "oauthbearer")]
    OAuthBearer,
}

/// Bearer tokens (JWT): from a file that something else keeps fresh, such as a projected service account token, or from
/// an endpoint by the client-credentials grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth {
    /// A file that holds the token, read anew for each refresh. Default empty.
    pub token_file: String,
    /// The token endpoint's URL. Default empty.
    pub token_endpoint: String,
    /// The client's id at the endpoint. Default empty.
    pub client_id: String,
    /// The client's secret at the endpoint. Default empty.
    pub client_secret: Secret,
    /// Scopes to ask for, separated by spaces. Default empty.
    pub scope: String,
}

const PEM: &[u8] = b"-----BEGIN ";

impl Security {
    fn sasl(&self) -> bool {
        matches!(self.protocol, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }

    fn tls(&self) -> bool {
        matches!(self.protocol, Protocol::Ssl | Protocol::SaslSsl)
    }

    /// Where tokens come from, if they are what authenticates.
    pub(crate) fn tokens(&self) -> Option<&OAuth> {
        (self.sasl() && self.mechanism == Mechanism::OAuthBearer).then_some(&self.oauth)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let in_vain = |name: &str, set: bool| match set {
            true => Err(format!("{name}: has no effect with protocol {}", self.protocol.name())),
            false => Ok(()),
        };
        if !self.tls() {
            in_vain("ca_file", !self.ca_file.is_empty())?;
            in_vain("certificate_file", !self.certificate_file.is_empty())?;
            in_vain("key_file", !self.key_file.is_empty())?;
            in_vain("key_password", !self.key_password.is_empty())?;
        }
        if self.certificate_file.is_empty() != self.key_file.is_empty() {
            return Err("key_file: a client certificate needs certificate_file and key_file".into());
        }
        if !self.sasl() {
            in_vain("username", !self.username.is_empty())?;
            in_vain("password", !self.password.is_empty())?;
            return in_vain("oauth", self.oauth != OAuth::default());
        }
        if let Some(oauth) = self.tokens() {
            in_vain("username", !self.username.is_empty())?;
            return oauth.check().map_err(|reason| format!("oauth.{reason}"));
        }
        if self.username.is_empty() || self.password.is_empty() {
            return Err(format!("username: {} needs username and password", self.mechanism.name()));
        }
        in_vain("oauth", self.oauth != OAuth::default())
    }

    /// What the client is told by the name of a file is there, and is PEM: the client itself names none of our settings.
    pub(crate) fn check_files(&self) -> Result<(), String> {
        let files =
            [("ca_file", &self.ca_file), ("certificate_file", &self.certificate_file), ("key_file", &self.key_file)];
        for (name, path) in files.into_iter().filter(|(_, path)| !path.is_empty()) {
            let text = std::fs::read(path).map_err(|error| format!("{name}: {path}: {error}"))?;
            if !text.windows(PEM.len()).any(|part| part == PEM) {
                return Err(format!("{name}: {path} is no PEM file"));
            }
        }
        Ok(())
    }

    /// What went wrong by a broker's account, and the settings to look at.
    pub(crate) fn suspects(&self, code: Code) -> String {
        match code {
            Code::SSL => "the brokers' certificates are not trusted, or they do not trust this client's: see \
                          kafka.security.ca_file, certificate_file"
                .to_owned(),
            Code::Authentication if self.tokens().is_some() => {
                "the brokers do not admit this client: see kafka.security.oauth".to_owned()
            }
            Code::Authentication => "the brokers do not admit this client: see kafka.security.username, \
                                     kafka.security.password, kafka.security.mechanism"
                .to_owned(),
            _ => format!("no broker answers (kafka.security.protocol is {})", self.protocol.name()),
        }
    }

    pub(crate) fn apply(&self, config: &mut ClientConfig) {
        config.set("security.protocol", self.protocol.name());
        let mut text = |name: &str, value: &str| {
            if !value.is_empty() {
                config.set(name, value);
            }
        };
        text("ssl.ca.location", &self.ca_file);
        text("ssl.certificate.location", &self.certificate_file);
        text("ssl.key.location", &self.key_file);
        text("ssl.key.password", self.key_password.expose());
        if self.sasl() {
            text("sasl.mechanism", self.mechanism.name());
            text("sasl.username", &self.username);
            text("sasl.password", self.password.expose());
        }
    }
}

impl OAuth {
    fn check(&self) -> Result<(), String> {
        match (self.token_file.is_empty(), self.token_endpoint.is_empty()) {
            (true, true) => Err("token_file: name a file or a token_endpoint that gives tokens".into()),
            (false, false) => Err("token_file: either a file or a token_endpoint gives tokens, not both".into()),
            (true, false) if self.client_id.is_empty() || self.client_secret.is_empty() => {
                Err("client_id: a token_endpoint needs client_id and client_secret".into())
            }
            _ => Ok(()),
        }
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Plaintext => "plaintext",
            Protocol::Ssl => "ssl",
            Protocol::SaslPlaintext => "sasl_plaintext",
            Protocol::SaslSsl => "sasl_ssl",
        }
    }
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_set_in_vain_is_refused_by_name() {
        let refused = |security: Security| security.check().unwrap_err();
        let sasl = || Security { protocol: Protocol::SaslSsl, ..Security::default() };
        assert!(refused(sasl()).starts_with("username"));
        assert!(refused(Security { password: Secret::new("x"), ..Security::default() }).starts_with("password"));
        assert!(refused(Security { ca_file: "ca".into(), ..Security::default() }).starts_with("ca_file"));
        assert!(refused(Security { key_file: "k".into(), ..sasl() }).starts_with("key_file"));
        let tokens = || Security { mechanism: Mechanism::OAuthBearer, ..sasl() };
        assert!(refused(tokens()).starts_with("oauth.token_file"));
        let oauth = OAuth { token_endpoint: "https://t".into(), ..OAuth::default() };
        assert!(refused(Security { oauth, ..tokens() }).starts_with("oauth.client_id"));
    }

    #[test]
    fn a_file_that_is_not_there_or_no_pem_is_refused_by_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca").display().to_string();
        let security = Security { protocol: Protocol::Ssl, ca_file: path.clone(), ..Security::default() };
        assert!(security.check_files().unwrap_err().starts_with(&format!("ca_file: {path}: ")));
        std::fs::write(&path, "a token").unwrap();
        assert_eq!(security.check_files().unwrap_err(), format!("ca_file: {path} is no PEM file"));
        std::fs::write(&path, "# the authority\n-----BEGIN CERTIFICATE-----\n").unwrap();
        security.check_files().unwrap();
    }
}
