//! TLS as Sotto uses it: 1.3 only, hybrid key exchange preferred, any certificate, but a real proof of its key.
//!
//! Which key is the right one is not decided here: the server's first frame is its key chain, and nothing is sent
//! before that chain has been found to lead from the pin to the key that this handshake proved. Public for programs that
//! speak the protocol themselves: the load generator, and tests.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
    version::TLS13,
};

/// The protocol's name in ALPN.
pub const ALPN: &[u8] = b"sotto/1";

/// Takes any certificate, and verifies that the peer holds its key. Names and dates in it mean nothing: pins do.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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

/// The configuration of every connection. Each makes a full handshake, so that each proves the key.
pub fn config() -> Result<Arc<ClientConfig>, Error> {
    // With `prefer-post-quantum` this provider puts X25519MLKEM768 first.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The DER SubjectPublicKeyInfo of a certificate.
pub fn spki(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    Ok(ParsedCertificate::try_from(certificate)?.subject_public_key_info().as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustls::{
        ClientConnection, NamedGroup, ServerConfig, ServerConnection,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    };

    use super::*;

    #[test]
    fn the_hybrid_group_comes_first() {
        let config = config().unwrap();
        let first = config.crypto_provider().kx_groups.first().unwrap().name();
        assert_eq!(first, NamedGroup::X25519MLKEM768);
    }

    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shows {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }

    fn certified() -> (rcgen::KeyPair, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["elsewhere".to_owned()]).unwrap().self_signed(&key);
        (key, certificate.unwrap().der().clone())
    }

    /// A handshake with a server that shows this certificate and signs with this key.
    fn handshake(
        certificate: CertificateDer<'static>,
        key: &rcgen::KeyPair,
    ) -> Result<ClientConnection, Error> {
        let key = aws_lc_rs::sign::any_supported_type(&key.serialize_der().try_into().unwrap())?;
        let shows = Shows(Arc::new(CertifiedKey::new(vec![certificate], key)));
        let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shows));
        server.alpn_protocols = vec![ALPN.to_vec()];
        let mut server = ServerConnection::new(Arc::new(server))?;
        let mut client = ClientConnection::new(config()?, "somewhere".try_into().unwrap())?;
        while client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(client)
    }

    #[test]
    fn any_certificate_will_do_for_whoever_has_its_key_and_none_for_others() {
        let (key, certificate) = certified();
        let client = handshake(certificate.clone(), &key).unwrap();
        assert_eq!(client.alpn_protocol(), Some(ALPN));
        let shown = client.peer_certificates().unwrap().first().unwrap();
        assert_eq!(spki(shown).unwrap(), rcgen::PublicKeyData::subject_public_key_info(&key));

        let (other_key, _) = certified();
        let error = handshake(certificate, &other_key).unwrap_err();
        assert!(matches!(error, Error::InvalidCertificate(_)), "{error:?}");
    }
}
