//! Shader text from templates.
//!
//! Only integers and text of this crate are put into a template; a float enters as the
//! integer of its bits.

/// Replacement of a name in a template.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Number(u32),
    Text(&'a str),
}

/// A type whose values replace names.
pub(crate) trait Part {
    /// The replacement.
    fn value(&self) -> Value<'_>;
}

impl Part for u32 {
    fn value(&self) -> Value<'_> {
        Value::Number(*self)
    }
}

impl Part for &str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Part for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl<T: Part> Part for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

/// `template` with each `$NAME`, in capitals, replaced by its value; `names`, with a space
/// behind each, are those of `values`. A value is not searched again.
///
/// The macro [`wgsl`] expands to a call of this function alone, because formatting at every
/// call would be half of the crate's WebAssembly.
pub(crate) fn fill(template: &str, names: &str, values: &[Value<'_>]) -> String {
    let mut text = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        let name = &rest[at + 1..];
        let end = name.find(|c: char| !c.is_ascii_uppercase());
        let (name, behind) = name.split_at(end.unwrap_or(name.len()));
        let known = names.split(' ').zip(values).find(|(known, _)| *known == name);
        match known.map(|(_, value)| *value) {
            Some(Value::Text(value)) => text.push_str(value),
            Some(Value::Number(value)) => text.push_str(&value.to_string()),
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
        $crate::text::fill(
            $template,
            concat!($(stringify!($name), " "),*),
            &[$($crate::text::Part::value(&$value)),*],
        )
    };
}
pub(crate) use wgsl;

/// `part` for each number below `count`, one after the other.
pub(crate) fn each(count: u32, part: impl FnMut(u32) -> String) -> String {
    joined(count, "", part)
}

/// `part` for each number below `count`, with `separator` between them.
pub(crate) fn joined(count: u32, separator: &str, mut part: impl FnMut(u32) -> String) -> String {
    join(count, separator, &mut part)
}

/// [`joined`] without a type of its own for each `part`: one function for all of them.
fn join(count: u32, separator: &str, part: &mut dyn FnMut(u32) -> String) -> String {
    let mut text = String::new();
    for number in 0..count {
        if number > 0 {
            text += separator;
        }
        text += &part(number);
    }
    text
}

/// A float as WGSL: the bits of a positive or negative finite number.
pub(crate) fn float(value: f32) -> String {
    wgsl!("bitcast<f32>($Bu)", B = value.to_bits())
}

/// Component of a vector by number, 0 to 3.
pub(crate) fn lane(index: u32) -> &'static str {
    ["x", "y", "z", "w"][index as usize % 4]
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
