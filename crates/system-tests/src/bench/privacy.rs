//! `cargo xtask bench privacy`: a client's masks and noise, native and in the
//! browser's WASM, the server that takes the masks off again, and beside them
//! what the same machine does at the most: a bare keystream, a plain addition.

use anyhow::{Context, Result};
use clap::Args;
use fedra_harness::status;
use serde_json::Value;

use super::limit::{Limit, shown};
use super::{Browser, last_line, program};

/// Most time that a client may take, in seconds, and the server with a tenth of the
/// clients gone.
const NATIVE_LIMIT: Limit = Limit::AtMost(0.6);
const BROWSER_LIMIT: Limit = Limit::AtMost(0.7);
const SERVER_LIMIT: Limit = Limit::AtMost(3.0);

#[derive(Args)]
pub struct Options {
    /// Parameters of the model; by default those of McMahan's CNN.
    #[arg(long, default_value_t = 1_663_370, value_parser = clap::value_parser!(u32).range(1..))]
    parameters: u32,
    /// Clients in the round.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(5..=10_000))]
    clients: u32,
    /// Leave out the browser.
    #[arg(long)]
    native_only: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let (parameters, clients) = (options.parameters.to_string(), options.clients.to_string());
    let browser = if options.native_only {
        None
    } else {
        let browser = Browser::prepare()?;
        status::step("In the browser");
        browser.measure(&["privacy", &parameters, &clients])?.pop()
    };
    status::step("Encoding and noise, native");
    let encoding = last_line(program("encode_bench").args([&parameters, &clients]))?;
    status::step("Masks, native, and the server");
    let (values, bits) = (encoding["values"].to_string(), encoding["bits"].to_string());
    let masks = last_line(program("mask_bench").args([&values, &clients, &bits]))?;

    println!();
    for line in table(options, &encoding, &masks, browser.as_ref())? {
        println!("{line}");
    }
    Ok(())
}

fn number(from: &Value, key: &str) -> Result<f64> {
    from[key].as_f64().with_context(|| format!("{key} was not measured: {from}"))
}

/// Time that a client takes, step by step.
struct Client {
    encode: f64,
    /// Keys and shares; not in what the native programs print.
    share: Option<f64>,
    mask: f64,
    pack: f64,
}

impl Client {
    fn native(encoding: &Value, masks: &Value) -> Result<Self> {
        let gigabytes = 4e-9 * number(encoding, "values")?;
        Ok(Self {
            encode: number(encoding, "encode_s")?,
            share: None,
            mask: number(masks, "client_mask_seconds")?,
            pack: gigabytes / number(masks, "pack_gb_per_second")?,
        })
    }

    fn browser(steps: &Value) -> Result<Self> {
        Ok(Self {
            encode: number(steps, "encodeSeconds")?,
            share: Some(number(steps, "shareSeconds")?),
            mask: number(steps, "maskSeconds")?,
            pack: number(steps, "packSeconds")?,
        })
    }

    fn total(&self) -> f64 {
        self.encode + self.share.unwrap_or(0.0) + self.mask + self.pack
    }
}

fn table(
    options: &Options,
    encoding: &Value,
    masks: &Value,
    browser: Option<&Value>,
) -> Result<Vec<String>> {
    let native = Client::native(encoding, masks)?;
    let best = browser.map(|browser| Client::browser(&browser["best"])).transpose()?;
    let first = browser.map(|browser| Client::browser(&browser["first"])).transpose()?;
    let mut lines = vec![
        format!(
            "Protecting an update of {} parameters ({} values of {} bits), {} clients, {} \
             neighbours each",
            options.parameters,
            encoding["values"],
            encoding["bits"],
            options.clients,
            masks["degree"],
        ),
        String::new(),
        row("seconds of a client", ["native", "browser", "first time"].map(str::to_owned)),
    ];
    let mut seconds = |name: &str, of: fn(&Client) -> Option<f64>| {
        let cell = |client: Option<&Client>| shown(client.and_then(of), 3);
        lines.push(row(name, [cell(Some(&native)), cell(best.as_ref()), cell(first.as_ref())]));
    };
    seconds("encode, noise", |client| Some(client.encode));
    seconds("keys, shares", |client| client.share);
    seconds("masks", |client| Some(client.mask));
    seconds("packing", |client| Some(client.pack));
    seconds("in all", |client| Some(client.total()));
    lines.push(verdict("native", native.total(), NATIVE_LIMIT));
    if let Some(first) = &first {
        lines.push(verdict("browser, first time", first.total(), BROWSER_LIMIT));
    }
    lines.push(String::new());
    let unmasking = number(masks, "server_unmask_seconds")?;
    lines.push(format!(
        "The server, a tenth of the clients gone: {} masks come off in {unmasking:.3} s with {} \
         threads",
        masks["server_masks"], masks["threads"],
    ));
    lines.push(verdict("unmasking", unmasking, SERVER_LIMIT));
    lines.push(String::new());
    lines.extend(throughput(&native, best.as_ref(), masks, browser, encoding)?);
    Ok(lines)
}

/// Rates beside their limits.
fn throughput(
    native: &Client,
    best: Option<&Client>,
    masks: &Value,
    browser: Option<&Value>,
    encoding: &Value,
) -> Result<Vec<String>> {
    let (values, degree) = (number(encoding, "values")?, number(masks, "degree")?);
    // The keystream's bytes for a word, as the protocol has it.
    let width = match number(encoding, "bits")? {
        bits if bits <= 8.0 => 1.0,
        bits if bits <= 16.0 => 2.0,
        _ => 4.0,
    };
    let mask_rate = |seconds: f64| 1e-9 * (degree + 1.0) * width * values / seconds;
    let encode_rate = |seconds: f64| 1e-6 * values / seconds;
    let of_browser = |key: &str| browser.and_then(|browser| browser[key].as_f64());
    let line = |name: &str, native: Option<f64>, browser: Option<f64>| {
        row(name, [shown(native, 2), shown(browser, 2), String::new()])
    };
    let server = |key: &str| number(masks, key).map(Some);
    Ok(vec![
        row("GB a second", ["native", "browser", ""].map(str::to_owned)),
        line(
            "a client's masks",
            Some(mask_rate(native.mask)),
            best.map(|best| mask_rate(best.mask)),
        ),
        line("the server's unmasking", server("server_unmask_gb_per_second")?, None),
        line(
            "limit: ChaCha20 alone",
            server("chacha20_gb_per_second")?,
            of_browser("chacha20GbPerSecond"),
        ),
        line("adding a packed update", server("server_add_packed_gb_per_second")?, None),
        line(
            "limit: adding integers",
            server("plain_add_gb_per_second")?,
            of_browser("plainAddGbPerSecond"),
        ),
        row("10^6 values a second", ["native", "browser", ""].map(str::to_owned)),
        line(
            "encode, noise",
            Some(encode_rate(native.encode)),
            best.map(|best| encode_rate(best.encode)),
        ),
        line("noise alone", Some(1e-6 * number(encoding, "noise_draws_per_s")?), None),
    ])
}

fn row(name: &str, cells: [String; 3]) -> String {
    let [native, best, first] = cells;
    format!("{name:<24}{native:>10}{best:>10}{first:>12}").trim_end().to_owned()
}

fn verdict(what: &str, seconds: f64, limit: Limit) -> String {
    format!("  {what}: {seconds:.3} s, wanted {}", limit.beside(Some(seconds)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(browser: Option<&Value>) -> Vec<String> {
        let options = Options { parameters: 1000, clients: 100, native_only: browser.is_none() };
        let encoding = json!({
            "values": 1024, "bits": 16, "encode_s": 0.2, "noise_draws_per_s": 5e6,
        });
        let masks = json!({
            "degree": 22, "threads": 2, "client_mask_seconds": 0.1, "pack_gb_per_second": 4.0,
            "server_unmask_seconds": 3.5, "server_masks": 288,
            "server_unmask_gb_per_second": 1.0, "server_add_packed_gb_per_second": 2.0,
            "chacha20_gb_per_second": 1.5, "plain_add_gb_per_second": 9.0,
        });
        table(&options, &encoding, &masks, browser).unwrap()
    }

    #[test]
    fn without_a_browser_its_column_is_empty() {
        let lines = lines(None);
        assert!(lines.contains(&row("in all", ["0.300", "-", "-"].map(str::to_owned))));
        assert!(!lines.iter().any(|line| line.contains("first time:")), "{lines:?}");
    }

    #[test]
    fn a_step_of_the_browser_counts_for_its_total_and_its_limit() {
        let steps = |encode: f64| {
            json!({
                "encodeSeconds": encode, "shareSeconds": 0.5, "maskSeconds": 0.25,
                "packSeconds": 0.125,
            })
        };
        let browser = json!({
            "first": steps(2.5), "best": steps(1.0), "chacha20GbPerSecond": 0.5,
            "plainAddGbPerSecond": 3.0,
        });
        let lines = lines(Some(&browser));
        assert!(lines.contains(&row("in all", ["0.300", "1.875", "3.375"].map(str::to_owned))));
        let says = |text: &str| lines.iter().any(|line| line.contains(text));
        assert!(says("native: 0.300 s, wanted <= 0.6 met"), "{lines:?}");
        assert!(says("browser, first time: 3.375 s, wanted <= 0.7 MISSED"), "{lines:?}");
        assert!(says("unmasking: 3.500 s, wanted <= 3 MISSED"), "{lines:?}");
    }

    #[test]
    fn what_a_program_did_not_print_is_an_error() {
        assert!(Client::native(&json!({"values": 8}), &json!({})).is_err());
    }
}
