//! Which part of a file a request wants: ranges and entity tags (RFC 9110, sections 13 and 14).
//!
//! Pure. Of a request for several ranges the whole is sent, as section 14.2 allows.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, Method, header};

/// What is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// 200, with all of it.
    Whole,
    /// 206, with these bytes: at least one.
    Part(Range<u64>),
    /// 304: the client has it.
    NotModified,
    /// 416: it does not reach that far.
    OutOfReach,
}

/// What a request with these headers wants of `length` bytes whose strong entity tag is `tag`, in its quotes.
pub(super) fn wanted(method: &Method, headers: &HeaderMap, tag: Option<&str>, length: u64) -> Wanted {
    // Section 13.2.2: this comes before the range.
    if lines(headers, &header::IF_NONE_MATCH).any(|line| matches(line, tag)) {
        return Wanted::NotModified;
    }
    // Section 14.2: there are ranges of GET alone.
    let mut ranges = lines(headers, &header::RANGE);
    let (Some(asked), None, true) = (ranges.next(), ranges.next(), method == Method::GET) else {
        return Wanted::Whole;
    };
    // Section 13.1.5: the part is of use beside what the client has only while that is the same.
    if headers.contains_key(header::IF_RANGE) {
        let same = |line: &str| tag == Some(line.trim());
        if !lines(headers, &header::IF_RANGE).all(same) {
            return Wanted::Whole;
        }
    }
    range(asked, length)
}

fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    // What is no text is no tag and no range either.
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default())
}

/// Section 13.1.2: whether a list of entity tags names this one; a weak one does too.
fn matches(list: &str, tag: Option<&str>) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|one| one == "*" || (tag.is_some() && Some(one.trim_start_matches("W/")) == tag))
}

/// Section 14.1.1: `bytes=0-499`, `bytes=500-`, `bytes=-500`. What is not understood is passed over.
fn range(asked: &str, length: u64) -> Wanted {
    let Some((unit, set)) = asked.split_once('=') else { return Wanted::Whole };
    let mut specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let (Some(spec), None, true) = (specs.next(), specs.next(), unit.trim().eq_ignore_ascii_case("bytes"))
    else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::Whole };
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
        _ => return Wanted::Whole,
    };
    if part.start < part.end { Wanted::Part(part) } else { Wanted::OutOfReach }
}

/// Digits; more than fit are far beyond any file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"0123\"";

    fn asks(method: &Method, headers: &[(&'static str, &str)], length: u64) -> Wanted {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        wanted(method, &headers.collect(), Some(TAG), length)
    }

    #[test]
    fn one_range_is_cut_to_the_file_and_what_is_none_is_passed_over() {
        for (asked, want) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=0-499", Wanted::Part(0..500)),
            ("Bytes = 500-999", Wanted::Part(500..1000)),
            ("bytes=999-99999999999999999999", Wanted::Part(999..1000)),
            ("bytes=500-", Wanted::Part(500..1000)),
            ("bytes=-1", Wanted::Part(999..1000)),
            ("bytes=-5000", Wanted::Part(0..1000)),
            ("bytes=0-99,", Wanted::Part(0..100)),
            ("bytes=1000-", Wanted::OutOfReach),
            ("bytes=99999999999999999999-", Wanted::OutOfReach),
            ("bytes=-0", Wanted::OutOfReach),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("seconds=0-1", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=1", Wanted::Whole),
            ("bytes", Wanted::Whole),
        ] {
            assert_eq!(asks(&Method::GET, &[("range", asked)], 1000), want, "{asked}");
            assert_eq!(asks(&Method::HEAD, &[("range", asked)], 1000), Wanted::Whole, "{asked}");
        }
        for asked in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(asks(&Method::GET, &[("range", asked)], 0), Wanted::OutOfReach);
        }
    }

    #[test]
    fn a_range_of_another_version_is_not_taken_and_what_is_there_is_not_sent() {
        let part = |more: (&'static str, &str)| asks(&Method::GET, &[("range", "bytes=0-1"), more], 9);
        assert_eq!(part(("if-range", TAG)), Wanted::Part(0..2));
        for other in ["\"9\"", "W/\"0123\"", "Sun, 22 Nov 2026 16:00:00 GMT"] {
            assert_eq!(part(("if-range", other)), Wanted::Whole, "{other}");
        }
        for same in [TAG, "W/\"0123\"", "\"9\", \"0123\"", "*"] {
            assert_eq!(part(("if-none-match", same)), Wanted::NotModified, "{same}");
            assert_eq!(asks(&Method::HEAD, &[("if-none-match", same)], 9), Wanted::NotModified);
        }
        assert_eq!(part(("if-none-match", "\"9\"")), Wanted::Part(0..2));
    }
}
