//! The little arithmetic that RSA keys of OpenSSH's format need: they leave out two exponents.

/// Returns `number mod (modulus - 1)`, big-endian without leading zeros; `None` if that modulus is
/// 0. Done once a key, before anybody can ask for signatures: the time that it takes tells nothing.
pub(crate) fn reduce(number: &[u8], modulus: &[u8]) -> Option<Vec<u8>> {
    let modulus = minus_one(modulus)?;
    let mut rest = vec![0; modulus.len() + 1];
    for byte in number {
        for bit in (0..8).rev() {
            double_and_add(&mut rest, byte >> bit & 1);
            if is_at_least(&rest, &modulus) {
                subtract(&mut rest, &modulus);
            }
        }
    }
    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
    rest.drain(..zeros);
    Some(rest)
}

fn minus_one(number: &[u8]) -> Option<Vec<u8>> {
    let mut number = number.to_vec();
    for byte in number.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            return number.iter().any(|byte| *byte != 0).then_some(number);
        }
    }
    None
}

fn double_and_add(number: &mut [u8], bit: u8) {
    let mut carry = bit;
    for byte in number.iter_mut().rev() {
        let next = *byte >> 7;
        *byte = *byte << 1 | carry;
        carry = next;
    }
}

/// `number` is one byte longer.
fn is_at_least(number: &[u8], other: &[u8]) -> bool {
    number[0] > 0 || &number[1..] >= other
}

fn subtract(number: &mut [u8], other: &[u8]) {
    let mut borrow = false;
    let others = other.iter().rev().copied().chain(std::iter::repeat(0));
    for (byte, other) in number.iter_mut().rev().zip(others) {
        let (less, first) = byte.overflowing_sub(other);
        let (less, second) = less.overflowing_sub(u8::from(borrow));
        *byte = less;
        borrow = first || second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders() {
        let check = |number: u64, modulus: u64| {
            let expected = number % (modulus - 1);
            let found = reduce(&number.to_be_bytes(), &modulus.to_be_bytes()).unwrap();
            let found = found
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
            assert_eq!(found, expected, "{number} mod ({modulus} - 1)");
        };
        let numbers = [0, 1, 2, 255, 256, 65_537, 0x0123_4567_89ab_cdef, u64::MAX];
        for number in numbers {
            for modulus in numbers.into_iter().filter(|modulus| *modulus > 1) {
                check(number, modulus);
            }
        }
        assert_eq!(reduce(b"\x05", b"\x01"), None);
        assert_eq!(reduce(b"\x05", b""), None);
    }
}
