//! Shader text from templates.
//!
//! Only integers and text of this crate are put into a template; a float enters as the
//! integer of its bits.

/// `template` with each `$NAME`, in capitals, replaced by its value. A value is not searched
/// again.
pub(crate) fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        let name = &rest[at + 1..];
        let end = name.find(|c: char| !c.is_ascii_uppercase());
        let (name, behind) = name.split_at(end.unwrap_or(name.len()));
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => text.push_str(value),
            // The shader does not compile then, and a test names it.
            None => text.push_str(&rest[at..=at + name.len()]),
        }
        rest = behind;
    }
    text.push_str(rest);
    text
}

/// A template with named values: `wgsl!("a[$I]", I = 3)`.
macro_rules! wgsl {
    ($template:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::text::fill($template, &[$((stringify!($name), $value.to_string())),*])
    };
}
pub(crate) use wgsl;

/// `part` for each number below `count`, one after the other.
pub(crate) fn each(count: u32, part: impl FnMut(u32) -> String) -> String {
    (0..count).map(part).collect()
}

/// A float as WGSL: the bits of a positive or negative finite number.
pub(crate) fn float(value: f32) -> String {
    format!("bitcast<f32>({}u)", value.to_bits())
}

/// Component of a vector by number, 0 to 3.
pub(crate) fn lane(index: u32) -> char {
    ['x', 'y', 'z', 'w'][index as usize % 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_whole_and_values_are_left_alone() {
        assert_eq!(wgsl!("$A + $AB * x$", A = 1, AB = "$A"), "1 + $A * x$");
        assert_eq!(wgsl!("$Au+$MISSING", A = 3), "3u+$MISSING");
        assert_eq!(each(3, |i| format!("{i};")), "0;1;2;");
        assert_eq!(float(1.0), "bitcast<f32>(1065353216u)");
    }
}
