//! Remarks of a command on its own work, on standard error: the results of a
//! command go to standard output.

use std::time::Duration;

use bytesize::ByteSize;

/// Announces a step.
pub fn step(text: &str) {
    eprintln!("\n==> {text}");
}

/// A remark within a step.
pub fn note(text: &str) {
    eprintln!("    {text}");
}

/// Bytes in decimal units, as the limits are stated.
pub fn bytes(count: u64) -> String {
    format!("{:.2}", ByteSize(count).display().si())
}

/// Minutes and seconds.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {:02} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{bytes, duration};

    #[test]
    fn durations_are_minutes_and_seconds() {
        assert_eq!(duration(Duration::from_millis(59_900)), "59 s");
        assert_eq!(duration(Duration::from_secs(60)), "1 min 00 s");
        assert_eq!(duration(Duration::from_secs(3_723)), "62 min 03 s");
    }

    #[test]
    fn bytes_are_decimal() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(600_000), "600.00 kB");
        assert_eq!(bytes(3_000_000), "3.00 MB");
        assert_eq!(bytes(12_345_678_901), "12.35 GB");
    }
}
