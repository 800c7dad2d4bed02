//! What must hold of `[tls]`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::Given;
use crate::config::problem::{Fault, Problem};
use crate::config::settings::Config;
use crate::server::tls::{self, Part};

/// Everything that stops a start.
pub(super) fn problems(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let section = &config.tls;
    let is_set = |part: Part| match part {
        Part::Certificate => section.cert_file.is_some(),
        Part::Key => section.key_file.is_some(),
        Part::ClientAuthorities => section.client_ca_file.is_some(),
    };
    let parts = [Part::Certificate, Part::Key, Part::ClientAuthorities];
    let Some(because) = parts.into_iter().find(|part| is_set(*part)) else { return Vec::new() };
    let missing = [Part::Certificate, Part::Key].into_iter().filter(|part| !is_set(*part));
    let missing = missing.filter(|part| !given.is_faulty(part.key())).map(|part| {
        let fault = format!("is missing, although {} is set: TLS needs a certificate and its key", because.key());
        Fault::new(fault, "set it, or remove the section").at("configuration", part.key())
    });
    let mut problems: Vec<Problem> = missing.collect();
    if let Some(Err(error)) = section.settings().map(|settings| tls::check(&settings)) {
        let fix = match error.part {
            Part::Certificate => {
                "name the PEM file of the certificate, followed by those of the authorities in between"
            }
            Part::Key => "name the PEM file of the private key that belongs to the certificate",
            Part::ClientAuthorities => "name a PEM file with the certificates of the authorities",
        };
        let key = error.part.key();
        problems.push(Fault::new(error.fault, fix).at(given.source(key), key));
    }
    problems
}

/// Everything that works but should be looked at: key, fault, fix.
pub(super) fn warnings(config: &Config) -> Vec<(&'static str, &'static str, &'static str)> {
    /// The permission of others to read.
    const OTHERS_READ: u32 = 0o004;
    let Some(settings) = config.tls.settings() else { return Vec::new() };
    let mut warnings = Vec::new();
    if let Some(fault) = tls::check(&settings).ok().and_then(tls::Validity::fault) {
        warnings.push((Part::Certificate.key(), fault, "put a new one in its place, which needs no restart"));
    }
    let is_open = fs::metadata(&settings.key_file).is_ok_and(|about| about.permissions().mode() & OTHERS_READ != 0);
    if is_open {
        let fault = "names a file that everybody on this machine can read";
        warnings.push((Part::Key.key(), fault, "take that right away: chmod o-r"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use crate::config::{Input, Loaded, Problems, load};

    /// A directory with files that goes with the test.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("trunkline-tls-checks-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Files(path)
        }

        /// A certificate of that year, and its key, under that name.
        fn pair(&self, name: &str, year: i32) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(year, 1, 1);
            params.not_after = date_time_ymd(year + 1, 1, 1);
            self.put(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
            self.put(&format!("{name}.key"), &key.serialize_pem());
        }

        fn put(&self, name: &str, text: &str) {
            use std::os::unix::fs::PermissionsExt as _;
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }

        fn load(&self, keys: &[(&str, &str)]) -> Result<Loaded, Problems> {
            let line =
                |(key, file): &(&str, &str)| format!("tls.{key} = '{}'\n", self.0.join(Path::new(file)).display());
            let toml: String = keys.iter().map(line).collect();
            load(&Input { file: Some(("settings.toml".to_owned(), toml)), ..Input::default() })
        }

        fn bad(&self, keys: &[(&str, &str)]) -> Vec<String> {
            self.load(keys).expect_err("mistakes").0.iter().map(ToString::to_string).collect()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_mistake_is_told_at_the_start() {
        let files = Files::new("mistakes");
        files.pair("a", 2020);
        files.pair("b", 2020);
        files.put("empty", "");
        files.put("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);
        let cases: [Case; 8] = [
            (&[("cert_file", "a.pem")], &["configuration: tls.key_file is missing, although tls.cert_file is set"]),
            (&[("key_file", "a.key")], &["configuration: tls.cert_file is missing, although tls.key_file is set"]),
            (
                &[("client_ca_file", "a.pem")],
                &["configuration: tls.cert_file is missing", "configuration: tls.key_file is missing"],
            ),
            (&[("cert_file", "none"), ("key_file", "a.key")], &["settings.toml line 1: tls.cert_file cannot be read"]),
            (
                &[("cert_file", "a.pem"), ("key_file", "b.key")],
                &["settings.toml line 2: tls.key_file holds another key"],
            ),
            (
                &[("cert_file", "a.pem"), ("key_file", "a.pem")],
                &["settings.toml line 2: tls.key_file holds no private key"],
            ),
            (
                &[("cert_file", "broken.pem"), ("key_file", "a.key")],
                &["settings.toml line 1: tls.cert_file holds something that is no certificate"],
            ),
            (
                &[("cert_file", "a.pem"), ("key_file", "a.key"), ("client_ca_file", "empty")],
                &["settings.toml line 3: tls.client_ca_file holds no certificate"],
            ),
        ];
        for (keys, expected) in cases {
            let problems = files.bad(keys);
            assert_eq!(problems.len(), expected.len(), "{problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.starts_with(expected), "{problem} is not {expected}");
            }
        }
    }

    #[test]
    fn a_certificate_out_of_its_time_is_warned_of() {
        use std::os::unix::fs::PermissionsExt as _;
        let files = Files::new("times");
        for (year, expected) in [(2020, Some("has expired")), (2999, Some("is not valid yet"))] {
            files.pair("a", year);
            let loaded = files.load(&[("cert_file", "a.pem"), ("key_file", "a.key")]).unwrap();
            let told = loaded.warnings.iter().map(|warning| warning.fault.as_str()).next();
            assert_eq!(told, expected);
        }
        let key = files.0.join("a.key");
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let loaded = files.load(&[("cert_file", "a.pem"), ("key_file", "a.key")]).unwrap();
        assert!(loaded.warnings.iter().any(|warning| warning.key == "tls.key_file"), "{:?}", loaded.warnings);
    }
}
