//! Control variates of SCAFFOLD (Karimireddy et al. 2020, algorithm 1, option II): c of the
//! server, c_i of each client.
//!
//! A client takes K steps at the rate eta along the gradient plus c - c_i. Its variate is then
//! c_i+ = c_i - c + (x - y_i) / (K eta), where y_i - x is its update. As K and eta are those of
//! the whole cohort, the change c_i+ - c_i = -c - update / (K eta) has a mean that follows from
//! the mean update alone. So the server makes its variate of that, and no client sends a second
//! vector.
//!
//! Every vector has one value a parameter; an empty one stands for zeros. `reach` is K eta,
//! above 0.

/// Values of a variate that is zero where it has none.
fn padded(variate: &[f32]) -> impl Iterator<Item = f64> {
    variate.iter().map(|&value| f64::from(value)).chain(std::iter::repeat(0.0))
}

/// Correction c - c_i of a client's gradients, which is added to each; empty if both are.
#[must_use]
pub fn correction(server: &[f32], own: &[f32]) -> Vec<f32> {
    let len = server.len().max(own.len());
    padded(server).zip(padded(own)).take(len).map(|(c, own)| (c - own) as f32).collect()
}

/// Variate of a client after its update: c_i+ = -(correction + update / reach). `update` is what
/// the server has of it, in the codec of the round.
#[must_use]
pub fn of_client(correction: &[f32], update: &[f32], reach: f64) -> Vec<f32> {
    let values = padded(correction).zip(update);
    values.map(|(term, &value)| -(term + f64::from(value) / reach) as f32).collect()
}

/// Variate of the server after a round: c + |S| / N * (-c - mean / reach). `mean` is the plain
/// mean of the updates, and `share` is |S| / N, the part of all clients that they come from.
#[must_use]
pub fn of_server(before: &[f32], mean: &[f64], share: f64, reach: f64) -> Vec<f32> {
    let values = padded(before).zip(mean);
    values.map(|(c, mean)| (c - share * (c + mean / reach)) as f32).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The worked example: two clients of three, f_i(x) = a_i (x - b_i)^2 / 2, two steps at a
    /// rate of 0.25, from x = 0.
    #[test]
    fn two_rounds_of_two_clients_by_hand() {
        let (rate, reach, share) = (0.25, 0.5, 2.0 / 3.0);
        let clients = [(1.0, 4.0), (2.0, -1.0)];
        let train = |x: f64, (a, b): (f64, f64), correction: &[f32]| {
            let term = correction.first().map_or(0.0, |&term| f64::from(term));
            (0..2).fold(x, |y, _| y - rate * (a * (y - b) + term))
        };
        // 0 -> 1 -> 1.75 and 0 -> -0.5 -> -0.75.
        let first = clients.map(|client| train(0.0, client, &[]));
        assert_eq!(first, [1.75, -0.75]);
        let own = first.map(|y| of_client(&[], &[y as f32], reach));
        assert_eq!(own, [vec![-3.5], vec![1.5]]);
        let x = (first[0] + first[1]) / 2.0;
        let c = of_server(&[], &[x], share, reach);
        // The mean of -3.5, 1.5 and the zero of the third.
        assert_eq!((x, &c[..]), (0.5, &[-2.0_f32 / 3.0][..]));

        let corrections = [0, 1].map(|i| correction(&c, &own[i]));
        assert_eq!(corrections, [vec![(3.5 - 2.0 / 3.0) as f32], vec![(-1.5 - 2.0 / 3.0) as f32]]);
        // Client 1: 0.5 -> 0.6666.. -> 0.7916.., of gradients -3.5 and -3.3333.. .
        // Client 2: 0.5 -> 0.2916.. -> 0.1875, of gradients 3 and 2.5833.. .
        let second = [0, 1].map(|i| train(x, clients[i], &corrections[i]));
        for (found, by_hand) in second.iter().zip([19.0 / 24.0, 0.1875]) {
            assert!((found - by_hand).abs() < 1e-6, "{found} {by_hand}");
        }
        let updates = second.map(|y| y - x);
        let own = [0, 1].map(|i| of_client(&corrections[i], &[updates[i] as f32], reach)[0]);
        let c = of_server(&c, &[(updates[0] + updates[1]) / 2.0], share, reach)[0];
        // The mean gradients of the steps, and a third of their sum.
        for (found, by_hand) in
            [own[0], own[1], c].into_iter().zip([-41.0 / 12.0, 67.0 / 24.0, -5.0 / 24.0])
        {
            assert!((f64::from(found) - by_hand).abs() < 1e-6, "{found} {by_hand}");
        }
    }

    proptest! {
        /// Paper's recurrence in double precision, with arbitrary updates and cohorts.
        #[test]
        fn variates_are_those_of_the_paper_and_the_servers_is_the_mean_of_all(
            rounds in prop::collection::vec(
                (prop::collection::vec(prop::option::of(-1.0f32..1.0), 5), 0.1f64..2.0), 1..20,
            ),
        ) {
            let (mut server, mut clients) = (Vec::new(), vec![Vec::new(); 5]);
            let (mut c, mut c_i) = (0.0, [0.0_f64; 5]);
            for (updates, reach) in rounds {
                let cohort: Vec<(usize, f32)> = updates
                    .iter()
                    .enumerate()
                    .filter_map(|(client, update)| Some((client, (*update)?)))
                    .collect();
                if cohort.is_empty() {
                    continue;
                }
                let mut change = 0.0;
                for &(client, update) in &cohort {
                    // Line 12 (option II), with x - y_i = -update.
                    let next = c_i[client] - c - f64::from(update) / reach;
                    change += (next - c_i[client]) / cohort.len() as f64;
                    c_i[client] = next;
                    let term = correction(&server, &clients[client]);
                    clients[client] = of_client(&term, &[update], reach);
                }
                // Line 17.
                let share = cohort.len() as f64 / 5.0;
                c += share * change;
                let sum: f64 = cohort.iter().map(|(_, update)| f64::from(*update)).sum();
                server = of_server(&server, &[sum / cohort.len() as f64], share, reach);
                let near = |variate: &[f32], expected: f64| {
                    (padded(variate).next().unwrap() - expected).abs() < 1e-3 * (1.0 + expected.abs())
                };
                prop_assert!(near(&server, c), "{server:?} {c}");
                for (own, expected) in clients.iter().zip(c_i) {
                    prop_assert!(near(own, expected), "{own:?} {expected}");
                }
                let mean = c_i.iter().sum::<f64>() / 5.0;
                prop_assert!(near(&server, mean), "{server:?} {mean}");
            }
        }
    }
}
