//! AWS's signature (SigV4) on each attempt of a request, over exactly the bytes that go out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use headwater_common::clock::{Clock as _, SystemClock};

use super::settings::Aws;

pub(super) struct Signer {
    provider: SharedCredentialsProvider,
    aws: Aws,
}

impl Signer {
    /// Credentials come from AWS's default chain, which renews them.
    pub async fn connect(aws: &Aws) -> Result<Signer, String> {
        let region = aws_config::Region::new(aws.region.clone());
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).region(region).load().await;
        let provider = config.credentials_provider().ok_or("there are no AWS credentials in the default chain")?;
        Ok(Signer { provider, aws: aws.clone() })
    }

    /// The headers that sign a request without headers of its own but `content-type`.
    pub async fn headers(
        &self,
        method: &str,
        url: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>, String> {
        let credentials =
            self.provider.provide_credentials().await.map_err(|error| format!("AWS credentials: {error}"))?;
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        // OpenSearch Serverless asks for the checksum as a header; OpenSearch Service takes it.
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let millis = SystemClock.now().as_millis().max(0) as u64;
        let time: SystemTime = UNIX_EPOCH + Duration::from_millis(millis);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.aws.region)
            .name(self.aws.service.name())
            .time(time)
            .settings(settings)
            .build()
            .map_err(|error| format!("signing: {error}"))?;
        let request =
            SignableRequest::new(method, url, [("content-type", content_type)].into_iter(), SignableBody::Bytes(body))
                .map_err(|error| format!("signing: {error}"))?;
        let (instructions, _) =
            sign(request, &params.into()).map_err(|error| format!("signing: {error}"))?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers.iter().map(|header| (header.name(), header.value().to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use sha2::{Digest as _, Sha256};

    use super::super::settings::Service;
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// HMAC-SHA-256 by its definition, so that nothing of what is tested tests itself.
    fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut block = [0_u8; 64];
        block[..key.len()].copy_from_slice(key);
        let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<_>>();
        let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
        Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
    }

    fn signature(canonical: &str, moment: &str, region: &str, service: &str) -> String {
        let day = &moment[..8];
        let key = [day, region, service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        hex(&hmac(&key, to_sign.as_bytes()))
    }

    #[test]
    fn the_reckoning_below_gives_the_signature_that_aws_published() {
        let empty = hex(&Sha256::digest(b""));
        let canonical =
            format!("GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n{empty}");
        assert_eq!(
            signature(&canonical, "20150830T123600Z", "us-east-1", "service"),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    #[tokio::test]
    async fn a_request_is_signed_over_its_path_query_type_and_body() {
        for (service, name) in [(Service::Es, "es"), (Service::Aoss, "aoss")] {
            let credentials = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test");
            let aws = Aws { region: "eu-central-1".into(), service };
            let signer = Signer { provider: SharedCredentialsProvider::new(credentials), aws };
            let url = "https://search.example.org:8443/hw-t-000001/_bulk?require_alias=true&filter_path=errors,items.*.status";
            let body = b"{\"index\":{}}\n";
            let headers = signer.headers("POST", url, "application/x-ndjson", body).await.unwrap();
            let header = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
            let (moment, digest) = (header("x-amz-date"), hex(&Sha256::digest(body)));
            assert_eq!(header("x-amz-content-sha256"), digest);
            let canonical = format!(
                "POST\n/hw-t-000001/_bulk\nfilter_path=errors%2Citems.%2A.status&require_alias=true\n\
                 content-type:application/x-ndjson\nhost:search.example.org:8443\n\
                 x-amz-content-sha256:{digest}\nx-amz-date:{moment}\n\n\
                 content-type;host;x-amz-content-sha256;x-amz-date\n{digest}"
            );
            let wanted = signature(&canonical, &moment, "eu-central-1", name);
            let authorisation = header("authorization");
            assert!(authorisation.ends_with(&format!("Signature={wanted}")), "{authorisation}");
            assert!(!authorisation.contains(SECRET));
        }
    }
}
