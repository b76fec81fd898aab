//! TLS as the protocol asks for it: 1.3 only, a real proof of the server's key, and the key found in its chain.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use sotto_proto::KeyChain;

/// Names and dates in a certificate mean nothing to Sotto; that the peer holds its key is verified.
#[derive(Debug)]
struct KeyHolder(Arc<CryptoProvider>);

impl ServerCertVerifier for KeyHolder {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The configuration of all connections. Nothing is resumed: a login's cost is that of a client that comes anew.
pub(crate) fn config() -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KeyHolder(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"sotto/1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The chain leads to the key of this session, and the address's fingerprint stands in it.
pub(crate) fn check(
    chain: &KeyChain,
    session: &ClientConnection,
    fingerprint: Option<[u8; 32]>,
) -> anyhow::Result<()> {
    let certificate =
        session.peer_certificates().and_then(<[_]>::first).context("the server has no certificate")?;
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    chain.verify(spki.as_ref())?;
    if let Some(wanted) = fingerprint {
        ensure!(
            chain.position(&wanted).is_some(),
            "the server's chain does not hold the address's fingerprint"
        );
    }
    Ok(())
}
