//! What xtask says about its own work, on standard error: results of a
//! command go to standard output.

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
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_decimal() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(600_000), "600.00 kB");
        assert_eq!(bytes(3_000_000), "3.00 MB");
        assert_eq!(bytes(12_345_678_901), "12.35 GB");
    }
}
