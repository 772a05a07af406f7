//! What a worker writes to its standard error: the last of it for people, and the reports by which the
//! runtime of Rust or C++ says why it is about to abort.

/// Bytes that are kept.
const TAIL_MAX: usize = 8 << 10;
/// No report is longer.
const LINE_MAX: usize = 256;

/// Why a process says that it aborts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// An allocation failed.
    Memory,
    /// A thread ran out of stack.
    Stack,
}

/// Takes a stream in pieces. Reports are looked for in all of it, since a backtrace of any length may
/// follow them.
#[derive(Default)]
pub(super) struct Output {
    tail: Vec<u8>,
    /// The line that has not ended yet, or its beginning.
    line: Vec<u8>,
    report: Option<Report>,
}

impl Output {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_MAX));
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let last = lines.next_back().unwrap_or_default();
        for line in lines {
            self.extend_line(line);
            self.end_line();
        }
        self.extend_line(last);
    }

    /// The last report, once the stream has ended.
    pub(super) fn report(&mut self) -> Option<Report> {
        self.end_line();
        self.report
    }

    /// The last lines.
    pub(super) fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).trim_end().to_string()
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        let room = LINE_MAX - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        self.report = str::from_utf8(&self.line).ok().and_then(report).or(self.report);
        self.line.clear();
    }
}

fn report(line: &str) -> Option<Report> {
    let number =
        line.strip_prefix("memory allocation of ").and_then(|l| l.strip_suffix(" bytes failed"));
    if number.is_some_and(|n| n.parse::<u64>().is_ok())
        || line == "terminate called after throwing an instance of 'std::bad_alloc'"
    {
        return Some(Report::Memory);
    }
    (line.starts_with("thread ") && line.ends_with("has overflowed its stack"))
        .then_some(Report::Stack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(text: &str) -> Option<Report> {
        let mut output = Output::default();
        output.push(text.as_bytes());
        output.report()
    }

    #[test]
    fn the_reports_of_rust_and_cpp_are_known_and_nothing_like_them() {
        let overflow = "\nthread 'main' (12) has overflowed its stack\nfatal runtime error: x\n";
        for (text, expected) in [
            (
                "log\nmemory allocation of 4096 bytes failed\nstack backtrace:\n",
                Some(Report::Memory),
            ),
            ("memory allocation of 4096 bytes failed", Some(Report::Memory)),
            (
                "terminate called after throwing an instance of 'std::bad_alloc'\n",
                Some(Report::Memory),
            ),
            (overflow, Some(Report::Stack)),
            ("memory allocation of x bytes failed\n", None),
            ("[warn] memory allocation of 4096 bytes failed\n", None),
            ("caught std::bad_alloc\n", None),
            ("", None),
        ] {
            assert_eq!(reported(text), expected, "{text}");
        }
    }

    #[test]
    fn a_report_is_found_however_it_is_cut_and_whatever_follows() {
        let text = "a\nmemory allocation of 4096 bytes failed\nb";
        for cut in 0..text.len() {
            let mut output = Output::default();
            output.push(&text.as_bytes()[..cut]);
            output.push(&text.as_bytes()[cut..]);
            output.push(&vec![b'x'; 100_000]);
            assert_eq!(output.report(), Some(Report::Memory), "cut at {cut}");
            assert_eq!(output.tail().len(), TAIL_MAX);
        }
    }
}
