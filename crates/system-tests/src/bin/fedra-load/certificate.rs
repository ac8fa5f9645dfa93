//! A certificate for a measurement on loopback. Nothing else has a reason to trust
//! it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context;
use rcgen::{CertificateParams, KeyPair, SanType};

/// Writes both, the key readable by its owner alone.
pub fn write(certificate: &Path, private_key: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate().context("cannot make a key")?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let signed = params.self_signed(&key).context("cannot make a certificate")?;
    fs::write(certificate, signed.pem())
        .with_context(|| format!("cannot write {}", certificate.display()))?;
    write_secret(private_key, &key.serialize_pem())
        .with_context(|| format!("cannot write {}", private_key.display()))
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    std::io::Write::write_all(&mut options.open(path)?, text.as_bytes())
}
