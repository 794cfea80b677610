//! Private keys in OpenSSH's own format (`PROTOCOL.key` in its sources).

use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};

use crate::KeyError;
use crate::bignum;
use crate::key::{Curve, Pair};
use crate::wire::Reader;

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Reads the one key of a file; returns it with its comment.
pub(crate) fn parse(content: &[u8]) -> Result<(Pair, String), KeyError> {
    let rest = content.strip_prefix(MAGIC).ok_or(KeyError::Format)?;
    let mut outer = Reader(rest);
    let cipher = outer.string().ok_or(KeyError::Damaged)?;
    if cipher != b"none" {
        return Err(KeyError::Passphrase);
    }
    let private = (|| {
        outer.string()?; // key derivation
        outer.string()?; // and its options
        let n_keys = outer.number()?;
        outer.string()?; // the public key
        outer.string().filter(|_| n_keys == 1)
    })();
    let mut inner = Reader(private.ok_or(KeyError::Damaged)?);
    let checks = (inner.number(), inner.number());
    if checks.0.is_none() || checks.0 != checks.1 {
        return Err(KeyError::Damaged);
    }
    let kind = inner.string().ok_or(KeyError::Damaged)?;
    let pair = match kind {
        b"ssh-ed25519" => ed25519(&mut inner)?,
        b"ssh-rsa" => rsa(&mut inner)?,
        _ => {
            let curve = Curve::ALL
                .into_iter()
                .find(|curve| curve.key_type() == kind);
            ecdsa(&mut inner, curve.ok_or(KeyError::Kind)?)?
        }
    };
    let comment = inner.string().unwrap_or_default();
    Ok((pair, String::from_utf8_lossy(comment).into_owned()))
}

fn ed25519(fields: &mut Reader<'_>) -> Result<Pair, KeyError> {
    let public = fields.string().ok_or(KeyError::Damaged)?;
    let private = fields.string().ok_or(KeyError::Damaged)?;
    let (seed, _public) = private.split_at_checked(32).ok_or(KeyError::Damaged)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public)
        .map(Pair::Ed25519)
        .map_err(|_rejected| KeyError::Damaged)
}

fn ecdsa(fields: &mut Reader<'_>, curve: Curve) -> Result<Pair, KeyError> {
    let _name = fields.string().ok_or(KeyError::Damaged)?;
    let public = fields.string().ok_or(KeyError::Damaged)?;
    let private = fields.integer().ok_or(KeyError::Damaged)?;
    let n_zeros = curve
        .n_bytes()
        .checked_sub(private.len())
        .ok_or(KeyError::Damaged)?;
    let mut padded = vec![0; n_zeros];
    padded.extend_from_slice(private);
    let random = SystemRandom::new();
    EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), &padded, public, &random)
        .map(|pair| Pair::Ecdsa(curve, pair))
        .map_err(|_rejected| KeyError::Damaged)
}

fn rsa(fields: &mut Reader<'_>) -> Result<Pair, KeyError> {
    let mut next = || fields.integer().ok_or(KeyError::Damaged);
    let (n, e, d) = (next()?, next()?, next()?);
    let (q_inverse, p, q) = (next()?, next()?, next()?);
    let d_p = bignum::reduce(d, p).ok_or(KeyError::Damaged)?;
    let d_q = bignum::reduce(d, q).ok_or(KeyError::Damaged)?;
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: &d_p,
        dQ: &d_q,
        qInv: q_inverse,
    };
    RsaKeyPair::from_components(&components)
        .map(Pair::Rsa)
        .map_err(|_rejected| KeyError::Kind)
}
