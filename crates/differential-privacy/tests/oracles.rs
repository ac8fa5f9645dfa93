//! Every known answer: Python's dp-accounting and the published discrete
//! accountant, as tables.

use differential_privacy::{
    Delta, DistributedGaussian, DistributedGaussianSettings, Epsilon, NoiseMultiplier, Rho,
    SamplingRate,
    accounting::{
        LossDistribution, Participation, RdpCurve,
        discrete::{cost, distance_from_gaussian, rounded_squared_norm},
    },
};

/// The rows of a table by column, without its comments.
fn table(csv: &str) -> Vec<Vec<(String, String)>> {
    let mut lines = csv.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let names: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let rows: Vec<_> = lines
        .map(|line| {
            let values: Vec<&str> = line.split(',').collect();
            assert_eq!(values.len(), names.len(), "{line}");
            names.iter().zip(values).map(|(n, v)| (n.to_string(), v.to_string())).collect()
        })
        .collect();
    assert!(!rows.is_empty());
    rows
}

/// A cell: a number, a fraction a/b, or a power a^b.
fn cell(row: &[(String, String)], name: &str) -> f64 {
    let text = &row.iter().find(|(n, _)| n == name).expect("a column of this name").1;
    let number = |text: &str| text.parse::<f64>().expect("a number");
    if let Some((a, b)) = text.split_once('/') {
        number(a) / number(b)
    } else if let Some((a, b)) = text.split_once('^') {
        number(a).powf(number(b))
    } else {
        number(text)
    }
}

fn whole(row: &[(String, String)], name: &str) -> u32 {
    let value = cell(row, name);
    assert_eq!(value, value.trunc(), "{name} is a count");
    value as u32
}

fn noise(value: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(value).expect("positive")
}

fn delta(row: &[(String, String)]) -> Delta {
    Delta::new(cell(row, "delta")).expect("a delta")
}

fn rate(value: f64) -> SamplingRate {
    SamplingRate::new(value).expect("a rate")
}

fn assert_close(found: f64, expected: f64, share: f64, what: &impl std::fmt::Debug) {
    let off = found / expected - 1.0;
    assert!(off.abs() <= share, "{found} instead of {expected} ({off:+.1e}): {what:?}");
}

/// ε by Rényi divergences alone, as the tables have it: the least over real orders of
/// αρ + ln(1 - 1/α) - ln(δα) / (α - 1) (Canonne, Kamath and Steinke 2020, Corollary 13).
fn by_renyi(rho: Rho, delta: Delta) -> f64 {
    (-6000..6000)
        .map(|i| 1.0 + (f64::from(i) * 2e-3).exp())
        .map(|order| {
            let divergence = order * rho.value();
            divergence + (-1.0 / order).ln_1p() - (delta.value() * order).ln() / (order - 1.0)
        })
        .fold(f64::INFINITY, f64::min)
}

/// Bound from above: never below the truth, and higher by 1e-7 of it at most, and η.
#[test]
fn exact_gaussian() {
    for row in table(include_str!("data/gaussian_exact.csv")) {
        let (mu, delta, exact) = (cell(&row, "mu"), delta(&row), cell(&row, "epsilon"));
        let cost = Rho::new(0.5 * mu * mu).expect("a cost");
        let epsilon = cost.epsilon(delta).value();
        assert!(epsilon >= exact, "{epsilon}: {row:?}");
        // η, and the last digits of a small μ.
        assert!(epsilon <= exact * (1.0 + 1e-7) + 1e-9, "{epsilon}: {row:?}");
        let back = cost.delta(Epsilon::new(exact).expect("an epsilon"));
        assert!(back >= delta.value() * (1.0 - 1e-12), "{back}: {row:?}");
    }
}

/// The loss distribution of Python's dp-accounting is an upper bound, too, to four
/// digits.
#[test]
fn unsampled_gaussian_beside_the_loss_distribution() {
    let mut rows = 0;
    for row in table(include_str!("data/dp_poisson_gaussian.csv")) {
        if cell(&row, "q") == 1.0 {
            let cost = Rho::of_gaussian(noise(cell(&row, "sigma"))).times(whole(&row, "T"));
            assert_close(cost.epsilon(delta(&row)).value(), cell(&row, "pld"), 1e-4, &row);
            rows += 1;
        }
    }
    assert_eq!(rows, 3);
}

#[test]
fn poisson_sampled_gaussian() {
    for row in table(include_str!("data/dp_poisson_gaussian.csv")) {
        let (q, z) = (rate(cell(&row, "q")), noise(cell(&row, "sigma")));
        let epsilon = RdpCurve::poisson_gaussian(q, z).times(whole(&row, "T")).epsilon(delta(&row));
        assert_close(epsilon.value(), cell(&row, "rdp_int"), 1e-3, &row);
        assert!(epsilon.value() >= cell(&row, "pld"), "{row:?}");
    }
}

/// Both are upper bounds of the same truth; ours has the coarser grid.
#[test]
fn poisson_sampled_gaussian_by_loss_distribution() {
    for row in table(include_str!("data/dp_poisson_gaussian.csv")) {
        let (q, z) = (rate(cell(&row, "q")), noise(cell(&row, "sigma")));
        let losses = LossDistribution::poisson_gaussian(q, z).times(whole(&row, "T"));
        let epsilon = losses.epsilon(delta(&row)).value();
        let (pld, rdp) = (cell(&row, "pld"), cell(&row, "rdp"));
        assert!(epsilon > pld * (1.0 - 2e-3), "{epsilon}: {row:?}");
        assert!(epsilon < pld * 1.01 && epsilon < rdp, "{epsilon}: {row:?}");
    }
}

#[test]
fn one_poisson_step_at_single_orders() {
    let curve = RdpCurve::poisson_gaussian(rate(0.01), noise(1.0));
    for row in table(include_str!("data/dp_rdp_per_step.csv")) {
        let found = curve.at(whole(&row, "alpha")).expect("an order of the curve");
        assert_close(found, cell(&row, "rdp"), 1e-9, &row);
    }
}

#[test]
fn sampling_without_replacement() {
    for row in table(include_str!("data/dp_without_replacement.csv")) {
        let q = rate(cell(&row, "m") / cell(&row, "N"));
        let step = RdpCurve::gaussian_without_replacement(q, noise(cell(&row, "sigma_lib")));
        let epsilon = step.times(whole(&row, "T")).epsilon_between_orders(delta(&row));
        assert_close(epsilon.value(), cell(&row, "eps"), 1e-3, &row);
    }
}

#[test]
fn tree_aggregation() {
    for row in table(include_str!("data/dp_tree_aggregation.csv")) {
        let tree = Participation::once(whole(&row, "steps"));
        let cost = tree.tree_cost(noise(cell(&row, "sigma")));
        assert_close(by_renyi(cost, delta(&row)), cell(&row, "eps"), 1e-3, &row);
        let exact = cost.epsilon(delta(&row)).value();
        assert!(exact < cell(&row, "eps") && exact > 0.9 * cell(&row, "eps"), "{exact}: {row:?}");
    }
}

#[test]
fn no_amplification() {
    let delta = Delta::new(1e-6).expect("a delta");
    for row in table(include_str!("data/dp_no_amplification.csv")) {
        let (k, z) = (whole(&row, "k"), noise(cell(&row, "z")));
        let cost = Rho::of_gaussian(z).times(k);
        assert_close(cost.epsilon(delta).value(), cell(&row, "eps_exact_gaussian"), 1e-6, &row);
        assert_close(by_renyi(cost, delta), cell(&row, "eps_zcdp_via_rdp"), 1e-3, &row);
    }
}

#[test]
fn distributed_discrete_gaussian() {
    let delta = Delta::new(1e-5).expect("a delta");
    for row in table(include_str!("data/ddg_accountant.csv")) {
        let (n, d, gamma) = (whole(&row, "n"), whole(&row, "d"), cell(&row, "gamma"));
        let scale = cell(&row, "sigma_local") / gamma;
        let bound = rounded_squared_norm(1.0 / gamma, d as usize);
        assert_close(bound.sqrt() * gamma, cell(&row, "delta2"), 1e-9, &row);
        let tau = distance_from_gaussian(scale, n);
        assert!((tau - cell(&row, "tau")).abs() <= 1e-6 * cell(&row, "tau"), "{tau}: {row:?}");
        let rho = cost(bound, scale, n, d as usize);
        if scale < 4.0 {
            // The table has a price for shares that add up to no Gaussian; here is none.
            assert_eq!(rho.value(), f64::INFINITY, "{row:?}");
            continue;
        }
        let curve = match cell(&row, "q") {
            1.0 => RdpCurve::of(rho),
            q => RdpCurve::poisson(rate(q), rho),
        };
        let epsilon = curve.times(whole(&row, "T")).epsilon(delta).value();
        assert_close(epsilon, cell(&row, "eps"), 1e-3, &row);
        if cell(&row, "q") == 1.0 {
            let exact = rho.times(whole(&row, "T")).epsilon(delta).value();
            assert!(exact < epsilon && exact > 0.88 * epsilon, "{exact} {epsilon}: {row:?}");
        }
    }
}

#[test]
fn derived_parameters() {
    for row in table(include_str!("data/ddg_parameters.csv")) {
        let n = whole(&row, "n");
        let mechanism = DistributedGaussian::derive(&DistributedGaussianSettings {
            parameters: whole(&row, "D") as usize,
            clients: n,
            survivors: n,
            noise_multiplier: noise(cell(&row, "z")),
            clip_indicator: false,
        })
        .expect("settings of the table");
        assert_close(mechanism.gamma(), cell(&row, "gamma_over_C"), 2e-3, &row);
        let sensitivity = (mechanism.squared_norm_bound() as f64).sqrt() * mechanism.gamma();
        assert_close(sensitivity, cell(&row, "delta2_over_C"), 1e-4, &row);
        // The table's s is z C / (√n gamma), in whole numbers: without the factor
        // by which rounding widens the sensitivity.
        let scale = mechanism.scale().to_f64() / sensitivity;
        assert_close(scale, cell(&row, "s_local"), 5e-3, &row);
        // The table's moduli are round numbers of bits; ours are the fewest that
        // leave six deviations, and the headroom at the table's is the table's.
        let bits = whole(&row, "b");
        assert_close(mechanism.headroom_of(bits), cell(&row, "headroom_std"), 0.03, &row);
        assert!(mechanism.bits() <= bits, "{row:?}");
        assert!(mechanism.headroom() >= 6.0 && mechanism.headroom_of(mechanism.bits() - 1) < 6.0);
    }
}
