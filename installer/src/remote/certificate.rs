//! The certificate of both doors: made when the installer starts; its key never leaves the memory.

use std::{net::IpAddr, sync::Arc};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sha2::{Digest as _, Sha256};

use crate::tool::{Error, Result};

/// What a browser or viewer is to see, and to compare with the console.
pub struct Identity {
    /// SHA-256 of the certificate, as browsers show it: pairs of hexadecimal digits with colons between.
    pub fingerprint: String,
    /// For both doors.
    pub config: Arc<ServerConfig>,
}

impl Identity {
    /// A new one, in the names of these addresses as well: some viewers refuse a certificate without the address that they
    /// were given, whoever vouches for it. Addresses that come later are not in it, as the fingerprint must stay.
    ///
    /// # Errors
    /// Of the cryptography.
    pub fn generate(addresses: &[IpAddr]) -> Result<Self> {
        let wrong = |cause: &dyn std::fmt::Display| {
            Error::Wrong(format!("no certificate can be made for the network: {cause}"))
        };
        let key = KeyPair::generate().map_err(|cause| wrong(&cause))?;
        let mut params = CertificateParams::new(vec!["zstack-installer".to_owned()]).map_err(|cause| wrong(&cause))?;
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ZStack installer");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // The clock of a machine out of its box may show anything.
        (params.not_before, params.not_after) = (date_time_ymd(1975, 1, 1), date_time_ymd(2099, 1, 1));
        let certificate = params.self_signed(&key).map_err(|cause| wrong(&cause))?;
        let digest = Sha256::digest(certificate.der());
        let fingerprint: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private)
            });
        let mut config = config.map_err(|cause| wrong(&cause))?;
        // The screen takes connections over, which HTTP/2 cannot do. VNC viewers name no protocol.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { fingerprint: fingerprint.join(":"), config: Arc::new(config) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_a_certificate_of_its_own() {
        let (one, other) = (Identity::generate(&[]).unwrap(), Identity::generate(&[]).unwrap());
        assert_eq!(one.fingerprint.len(), 95);
        assert_ne!(one.fingerprint, other.fingerprint);
    }
}
