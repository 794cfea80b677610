//! Names and numbers of signals, for `STOPSIGNAL`.

const NAMES: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Reports whether docker takes `text` for a signal: a number other than 0, or a name with or
/// without `SIG`, in any case.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |digits: &str, greatest: u32| {
        !digits.starts_with(['0', '+'])
            && digits.parse::<u32>().is_ok_and(|offset| offset <= greatest)
    };
    if let Some(digits) = name.strip_prefix("RTMIN+") {
        return offset(digits, 15);
    }
    if let Some(digits) = name.strip_prefix("RTMAX-") {
        return offset(digits, 14);
    }
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_told_from_other_words() {
        for good in [
            "SIGTERM",
            "term",
            "sigUsr1",
            "9",
            "99",
            "RTMIN",
            "SIGRTMIN+3",
            "rtmax-14",
        ] {
            assert!(is_signal(good), "{good}");
        }
        for bad in [
            "",
            "0",
            "nope",
            "SIG",
            "SIGSIGTERM",
            "RTMIN+16",
            "RTMAX-15",
            "RTMIN+03",
        ] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
