//! Known answers, properties, and wrong shares.

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::*;

fn scalar(value: u64) -> Scalar {
    Scalar::from(value)
}

fn split(secret: Scalar, threshold: u32, holders: u32, seed: u64) -> Vec<(Index, Share)> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let polynomial = Polynomial::through(&secret, threshold, &mut rng);
    (0..holders).map(|holder| (holder, polynomial.share_for(holder))).collect()
}

fn spoil(share: &mut (Index, Share)) {
    share.1 = Share::new(*share.1.0 + Scalar::ONE);
}

/// 7 + 5 x + 3 x^2 by hand.
#[test]
fn a_share_is_the_polynomials_value() {
    let polynomial = Polynomial(Zeroizing::new([7, 5, 3].map(scalar).to_vec()));
    for (holder, value) in [(0, 15), (1, 29), (2, 49), (9, 357)] {
        assert_eq!(*polynomial.share_for(holder).0, scalar(value));
    }
}

/// Three values of the same polynomial, at scattered places.
#[test]
fn known_shares_give_the_known_secret() {
    let shares = [(9, 357), (0, 15), (2, 49)].map(|(i, y)| (i, Share::new(scalar(y))));
    let recovered = recover(&shares, 3).unwrap();
    assert_eq!((*recovered.secret, recovered.wrong), (scalar(7), vec![]));
}

/// With t - 1 shares every secret is as likely: for any guess there is a share
/// of the missing holder that makes it the secret.
#[test]
fn fewer_than_the_threshold_fit_every_secret() {
    let shares = split(scalar(42), 3, 2, 5);
    for guess in [0, 1, 42, u64::MAX].map(scalar) {
        // The polynomial through the guess and both shares, taken at x = 3.
        let (y1, y2) = (*shares[0].1.0, *shares[1].1.0);
        let y3 = guess - y1 * scalar(3) + y2 * scalar(3);
        let mut all = shares.clone();
        all.push((2, Share::new(y3)));
        assert_eq!(*recover(&all, 3).unwrap().secret, guess);
    }
    assert!(recover(&shares, 3).is_none());
    assert!(recover(&[], 2).is_none());
}

#[test]
fn the_same_secret_is_shared_differently_each_time() {
    let (one, two) = (split(scalar(1), 2, 3, 1), split(scalar(1), 2, 3, 2));
    assert!(one.iter().zip(&two).all(|(a, b)| a.1 != b.1));
}

#[test]
fn wrong_shares_are_named_up_to_half_of_the_spare_ones() {
    // m = 9, t = 4: 2 wrong are corrected, at any positions.
    for a in 0..9 {
        for b in a + 1..9 {
            let mut shares = split(scalar(9), 4, 9, 1);
            spoil(&mut shares[a]);
            spoil(&mut shares[b]);
            // Four right shares stand in a row unless the wrong ones part the
            // circle into shorter arcs.
            let gap = (b - a - 1).max(9 + a - b - 1);
            let recovered = recover(&shares, 4);
            if gap >= 4 {
                let recovered = recovered.unwrap();
                assert_eq!(*recovered.secret, scalar(9));
                assert_eq!(recovered.wrong, vec![a as u32, b as u32]);
            } else {
                assert!(recovered.is_none());
            }
        }
    }
}

#[test]
fn with_one_spare_share_a_wrong_one_is_noticed_but_not_named() {
    let mut shares = split(scalar(9), 4, 5, 1);
    spoil(&mut shares[2]);
    assert!(recover(&shares, 4).is_none());
}

#[test]
fn a_recognisable_secret_takes_only_the_threshold_in_right_shares() {
    let known = |candidate: &Scalar| (*candidate == scalar(9)).then_some(());
    let mut shares = split(scalar(9), 4, 7, 1);
    for wrong in [0, 5, 6] {
        spoil(&mut shares[wrong]);
    }
    assert_eq!(recover_known(&shares, 4, known).unwrap().wrong, vec![0, 5, 6]);
    spoil(&mut shares[2]);
    assert!(recover_known(&shares, 4, known).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_threshold_of_shares_in_any_order_gives_the_secret(
        seed: u64,
        threshold in 2_u32..12,
        spare in 0_u32..8,
        order in Just((0_usize..20).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let secret = random_scalar(&mut ChaCha20Rng::seed_from_u64(!seed));
        let all = split(secret, threshold, 20, seed);
        let some: Vec<_> =
            order.iter().take((threshold + spare) as usize).map(|&i| all[i].clone()).collect();
        let recovered = recover(&some, threshold).unwrap();
        prop_assert_eq!(*recovered.secret, secret);
        prop_assert!(recovered.wrong.is_empty());
        prop_assert!(recover(&some[..threshold as usize - 1], threshold).is_none());
    }
}
