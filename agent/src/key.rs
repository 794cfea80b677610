//! Private keys: how they are read, what they are called, what they sign.

use std::fmt;

use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RsaEncoding, RsaKeyPair,
};

use crate::KeyError;
use crate::openssh;
use crate::pem::Pem;
use crate::wire::Writer;

/// What a request for an RSA signature says of the digest.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// A private key that can sign.
pub struct PrivateKey {
    pair: Pair,
    public: Vec<u8>,
    comment: String,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.comment)
    }
}

/// The key as such.
pub(crate) enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(Curve, EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// The curves that ECDSA keys may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

impl Curve {
    pub(crate) const ALL: [Self; 2] = [Self::P256, Self::P384];

    pub(crate) fn key_type(self) -> &'static [u8] {
        match self {
            Self::P256 => b"ecdsa-sha2-nistp256",
            Self::P384 => b"ecdsa-sha2-nistp384",
        }
    }

    pub(crate) fn name(self) -> &'static [u8] {
        match self {
            Self::P256 => b"nistp256",
            Self::P384 => b"nistp384",
        }
    }

    /// Length of its numbers.
    pub(crate) fn n_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    pub(crate) fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }

    /// Its object identifier, encoded.
    fn identifier(self) -> &'static [u8] {
        match self {
            Self::P256 => b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
            Self::P384 => b"\x06\x05\x2b\x81\x04\x00\x22",
        }
    }
}

impl PrivateKey {
    /// Reads a private key file: OpenSSH's format, PKCS #8, PKCS #1 or SEC 1. `comment` is what
    /// the key is called if it has no name of its own.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn parse(content: &[u8], comment: &str) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(content).map_err(|_binary| KeyError::Format)?;
        let Pem { label, content } = Pem::parse(text)?;
        let mut name = comment.to_owned();
        let pair = match label {
            "OPENSSH PRIVATE KEY" => {
                let (pair, own) = openssh::parse(&content)?;
                if !own.is_empty() {
                    name = own;
                }
                pair
            }
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&content)
                .map(Pair::Rsa)
                .map_err(|_rejected| KeyError::Kind)?,
            "EC PRIVATE KEY" => Curve::ALL
                .into_iter()
                .find_map(|curve| ecdsa(curve, &in_pkcs8(curve, &content)))
                .ok_or(KeyError::Kind)?,
            "PRIVATE KEY" => pkcs8(&content).ok_or(KeyError::Kind)?,
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Passphrase),
            label if label.ends_with("PRIVATE KEY") => return Err(KeyError::Kind),
            _ => return Err(KeyError::Format),
        };
        Ok(Self {
            public: pair.public(),
            pair,
            comment: name,
        })
    }

    /// The public key as SSH encodes it.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    /// What it is called.
    pub(crate) fn comment(&self) -> &str {
        &self.comment
    }

    /// Signs data; returns the signature as SSH encodes it. `None` if it is asked for a digest
    /// that nobody should trust any more.
    pub(crate) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let mut signature = Writer::default();
        match &self.pair {
            Pair::Ed25519(pair) => {
                signature.string(b"ssh-ed25519");
                signature.string(pair.sign(data).as_ref());
            }
            Pair::Ecdsa(curve, pair) => {
                let both = pair.sign(&SystemRandom::new(), data).ok()?;
                let (r, s) = both.as_ref().split_at_checked(curve.n_bytes())?;
                let mut numbers = Writer::default();
                numbers.integer(r).integer(s);
                signature.string(curve.key_type()).string(&numbers.0);
            }
            Pair::Rsa(pair) => {
                let (name, padding): (&[u8], &dyn RsaEncoding) = if flags & RSA_SHA2_512 != 0 {
                    (b"rsa-sha2-512", &RSA_PKCS1_SHA512)
                } else if flags & RSA_SHA2_256 != 0 {
                    (b"rsa-sha2-256", &RSA_PKCS1_SHA256)
                } else {
                    return None; // SHA-1
                };
                let mut bytes = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &SystemRandom::new(), data, &mut bytes)
                    .ok()?;
                signature.string(name).string(&bytes);
            }
        }
        Some(signature.0)
    }
}

impl Pair {
    fn public(&self) -> Vec<u8> {
        let mut public = Writer::default();
        match self {
            Self::Ed25519(pair) => {
                public.string(b"ssh-ed25519");
                public.string(pair.public_key().as_ref());
            }
            Self::Ecdsa(curve, pair) => {
                public.string(curve.key_type()).string(curve.name());
                public.string(pair.public_key().as_ref());
            }
            Self::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                public.string(b"ssh-rsa").integer(&e).integer(&n);
            }
        }
        public.0
    }
}

fn pkcs8(content: &[u8]) -> Option<Pair> {
    let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(content).ok();
    let rsa = || RsaKeyPair::from_pkcs8(content).ok();
    ed25519()
        .map(Pair::Ed25519)
        .or_else(|| rsa().map(Pair::Rsa))
        .or_else(|| {
            let mut curves = Curve::ALL.into_iter();
            curves.find_map(|curve| ecdsa(curve, content))
        })
}

fn ecdsa(curve: Curve, pkcs8: &[u8]) -> Option<Pair> {
    let pair = EcdsaKeyPair::from_pkcs8(curve.signing(), pkcs8, &SystemRandom::new());
    pair.ok().map(|pair| Pair::Ecdsa(curve, pair))
}

/// Wraps a key in SEC 1's format in that of PKCS #8, which says which curve it is on.
fn in_pkcs8(curve: Curve, sec1: &[u8]) -> Vec<u8> {
    const VERSION: &[u8] = b"\x02\x01\x00";
    const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
    const SEQUENCE: u8 = 0x30;
    const OCTETS: u8 = 0x04;
    let algorithm = der(SEQUENCE, &[EC_PUBLIC_KEY, curve.identifier()].concat());
    der(
        SEQUENCE,
        &[VERSION, &algorithm, &der(OCTETS, sec1)].concat(),
    )
}

/// One value in DER. Keys are shorter than 64 KiB.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let mut out = vec![tag];
    match content.len() {
        0..=0x7f => out.push(low),
        0x80..=0xff => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}
