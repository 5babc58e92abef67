//! TLS and SASL, against a broker that asks for them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use headwater_common::failure::Kind;
use headwater_common::log::ChangeLog;
use headwater_common::secret::Secret;
use headwater_conformance::table;
use headwater_kafka::{Mechanism, OAuth, Protocol, Security, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::pipeline::Pipeline;

const USER: &str = "worker";
const PASSWORD: &str = "correct-horse-battery";
const CLIENT_SECRET: &str = "endpoint-secret";
const PATIENCE: Duration = Duration::from_secs(120);

/// A certificate for this machine's loopback with its key, as a broker keeps it, and alone, as a client trusts it.
fn certificate(folder: &Path, name: &str) -> PathBuf {
    let (store, pem) = (folder.join(format!("{name}.p12")), folder.join(format!("{name}.pem")));
    let keytool = |arguments: &[&str]| {
        let mut command = Command::new("keytool");
        command.args(arguments).args(["-alias", name, "-storetype", "PKCS12", "-storepass", "changeit", "-keystore"]);
        let output = command.arg(&store).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let subject = format!("CN={name}");
    keytool(&["-genkeypair", "-keyalg", "EC", "-dname", &subject, "-ext", "san=ip:127.0.0.1", "-validity", "2"]);
    keytool(&["-exportcert", "-rfc", "-file", pem.to_str().unwrap()]);
    pem
}

/// A broker with a listener for TLS alone, on the port that is given, and one with SASL on its second port. Tokens are
/// not signed, which a broker takes that was told of no issuer.
fn secured(folder: &Path, tls: u16) -> Option<Broker> {
    let login = "org.apache.kafka.common.security";
    let settings = format!(
        "listeners=PLAINTEXT://127.0.0.1:{{plain}},SSL://127.0.0.1:{tls},SASL_SSL://127.0.0.1:{{port}},\
         CONTROLLER://127.0.0.1:{{control}}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password=changeit\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
         listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required \
         user_{USER}=\"{PASSWORD}\";\n\
         listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
         listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
         listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={login}.oauthbearer.OAuthBearerLoginModule required \
         unsecuredLoginStringClaim_sub=\"broker\";",
        folder.join("broker.p12").display()
    );
    let scram = |kind: &str| format!("SCRAM-SHA-{kind}=[name={USER},password={PASSWORD}]");
    Broker::start(&settings, &["--add-scram", &scram("256"), "--add-scram", &scram("512")])
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An unsigned token that says who it is for, for an hour.
fn token() -> String {
    let now = std::process::Command::new("date").arg("+%s").output().unwrap();
    let now: u64 = String::from_utf8(now.stdout).unwrap().trim().parse().unwrap();
    let claims = format!(r#"{{"sub":"{USER}","iat":{now},"exp":{}}}"#, now + 3600);
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}

/// Gives tokens to the client that knows its secret, by the client-credentials grant. Gives its URL.
async fn token_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut more) = (String::new(), [0; 4096]);
            // The body is short and comes last.
            while !request.ends_with("scope=kafka") {
                let read = stream.read(&mut more).await.unwrap();
                assert!(read > 0, "not a whole request: {request}");
                request.push_str(std::str::from_utf8(&more[..read]).unwrap());
            }
            assert!(request.contains("grant_type=client_credentials"), "{request}");
            let known = STANDARD.encode(format!("{USER}:{CLIENT_SECRET}"));
            let (status, body) =
                match request.to_lowercase().contains(&format!("authorization: basic {known}").to_lowercase()) {
                    true => ("200 OK", format!(r#"{{"access_token":"{}","expires_in":3600}}"#, token())),
                    false => ("401 Unauthorized", "{}".to_owned()),
                };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

/// A pipeline that reaches the brokers so.
fn pipeline(port: u16, security: Security) -> Pipeline {
    let mut pipeline = Pipeline::new(format!("127.0.0.1:{port}"));
    pipeline.settings = Settings { slots: 1, partitions: 1, request_timeout_ms: 5_000, security, ..pipeline.settings };
    pipeline
}

/// GIVEN brokers behind TLS, with and without SASL WHEN a worker has what they ask for THEN it writes and reads; WHEN
/// its password, token, authority or protocol is another one THEN it is not ready, and the reason names the setting and no
/// secret.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_reached_by_tls_and_sasl_and_a_refusal_names_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let authority = certificate(folder.path(), "broker").display().to_string();
    let stranger = certificate(folder.path(), "stranger").display().to_string();
    let tls = free_port();
    let Some(broker) = secured(folder.path(), tls) else { return };
    let sasl = broker.second_port;
    let token_file = folder.path().join("token").display().to_string();
    std::fs::write(&token_file, token()).unwrap();

    let ssl = Security { protocol: Protocol::Ssl, ca_file: authority.clone(), ..Security::default() };
    let by = |mechanism| Security {
        protocol: Protocol::SaslSsl,
        mechanism,
        username: USER.into(),
        password: Secret::new(PASSWORD),
        ca_file: authority.clone(),
        ..Security::default()
    };
    let tokens =
        |oauth| Security { username: String::new(), password: Secret::default(), oauth, ..by(Mechanism::OAuthBearer) };
    let from_file = OAuth { token_file: token_file.clone(), ..OAuth::default() };
    let from_endpoint = OAuth {
        token_endpoint: token_endpoint().await,
        client_id: USER.into(),
        client_secret: Secret::new(CLIENT_SECRET),
        scope: "kafka".into(),
        ..OAuth::default()
    };
    for (port, security) in [
        (tls, ssl.clone()),
        (sasl, by(Mechanism::Plain)),
        (sasl, by(Mechanism::ScramSha256)),
        (sasl, by(Mechanism::ScramSha512)),
        (sasl, tokens(from_file)),
        (sasl, tokens(from_endpoint.clone())),
    ] {
        let way = format!("{security:?}");
        let pipeline = pipeline(port, security);
        headwater_conformance::a_commit_is_visible_whole_and_in_order(&pipeline.connect().await).await;
        assert!(pipeline.health.is_ready(), "{way}: {:?}", pipeline.health.parts());
    }

    let wrong = Secret::new("wrong-and-private");
    // Beside each other: most wait for an answer that does not come.
    futures::future::join_all([
        refused(sasl, Security { password: wrong.clone(), ..by(Mechanism::Plain) }, "kafka.security.password"),
        refused(sasl, Security { password: wrong.clone(), ..by(Mechanism::ScramSha512) }, "kafka.security.password"),
        refused(sasl, Security { ca_file: stranger.clone(), ..by(Mechanism::ScramSha512) }, "kafka.security.ca_file"),
        refused(tls, Security { ca_file: stranger.clone(), ..ssl.clone() }, "kafka.security.ca_file"),
        // The system's authorities do not know it.
        refused(tls, Security { ca_file: String::new(), ..ssl.clone() }, "kafka.security.ca_file"),
        refused(tls, Security { ca_file: token_file.clone(), ..ssl.clone() }, "kafka.security.ca_file"),
        refused(sasl, tokens(OAuth { client_secret: wrong.clone(), ..from_endpoint.clone() }), "kafka.security.oauth"),
        refused(tls, Security::default(), "kafka.security.protocol"),
    ])
    .await;
}

/// A client that can't even be made says so at once; whoever waits for the brokers is told why they do not answer.
async fn refused(port: u16, security: Security, setting: &str) {
    let way = format!("{security:?}");
    let pipeline = pipeline(port, security);
    // A busy machine's first attempts may end before the brokers have refused one.
    let (kind, refused) = headwater_tests::wait::until("a refusal", PATIENCE, async || {
        let refused = match pipeline.try_connect().await {
            Ok(log) => log.open_table(&table()).await.unwrap_err(),
            Err(refused) => refused,
        };
        let told = refused.to_string();
        if told.contains(setting) { Ok((refused.kind(), told)) } else { Err(told) }
    })
    .await
    .unwrap_or_else(|error| panic!("{way}: {error}"));
    let parts = format!("{:?}", pipeline.health.parts());
    if kind != Kind::Operator {
        assert!(!pipeline.health.is_ready() && parts.contains(setting), "{way}: {parts}");
    }
    for secret in ["private", PASSWORD, CLIENT_SECRET] {
        assert!(!refused.contains(secret) && !parts.contains(secret), "{way}: {refused} {parts}");
    }
}
