//! The certificate that browsers and API clients see when the operator has none of his own.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};

use super::{Authority, CaError, Identity, write_private};

/// Browsers refuse server certificates that live longer than 398 days.
const DAYS: u32 = 397;
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Authority {
    /// The certificate that was issued last, when it is there in full.
    pub fn kept_web(dir: &Path) -> Option<Identity> {
        let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
        Some(Identity { ca_pem: read("ca.pem")?, cert_pem: read("web.pem")?, key_pem: read("web.key")? })
    }

    /// Issues a certificate for a server of these names and addresses, and keeps it. It opens nothing at agents: it has
    /// none of their names and is no client's.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn issue_web(&self, names: &BTreeSet<String>) -> Result<Identity, CaError> {
        let wrong = |source| CaError::Certificate { path: self.dir.clone(), source };
        let key = KeyPair::generate().map_err(wrong)?;
        let (addresses, words): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| name.parse::<IpAddr>().is_ok());
        let words: Vec<String> = words.into_iter().cloned().collect();
        let mut params = CertificateParams::new(words).map_err(wrong)?;
        let addresses = addresses.iter().filter_map(|text| text.parse().ok());
        params.subject_alt_names.extend(addresses.map(SanType::IpAddress));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ZStack management service");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let today = date_time_ymd(1970, 1, 1) + Duration::from_secs(since_1970);
        params.not_before = today - DAY;
        params.not_after = params.not_before + DAY * DAYS;
        let cert = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        let identity = Identity { ca_pem: self.ca_pem.clone(), cert_pem: cert.pem(), key_pem: key.serialize_pem() };
        write_private(&self.dir.join("web.key"), &identity.key_pem)?;
        write_private(&self.dir.join("web.pem"), &identity.cert_pem)?;
        Ok(identity)
    }
}
