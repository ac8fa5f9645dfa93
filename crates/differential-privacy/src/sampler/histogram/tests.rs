//! The table, the estimate and the exact comparison, each by itself.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::testing::chi_square_p;

fn ratio(numerator: u64, denominator: u64) -> Ratio {
    Ratio::new(numerator, denominator).expect("a fraction")
}

fn scales() -> [Ratio; 12] {
    [
        ratio(1, 10),
        ratio(1, 2),
        ratio(4, 1),
        ratio(31, 2),
        ratio(16, 1),
        ratio(33, 1),
        ratio(46_593, 256),
        ratio(1000, 3),
        ratio(1 << 20, 1),
        ratio((1 << 45) + 1, 1),
        ratio((1 << 53) - 1, 1),
        ratio((1 << 53) - 1, (1 << 40) - 1),
    ]
}

#[test]
fn rectangles_cover_the_curve_and_stay_few() {
    for scale in scales() {
        let gaussian = DiscreteGaussian::new(scale);
        let curve = Curve { scale };
        assert!(gaussian.rectangles.len() as u64 <= MOST_RECTANGLES, "{scale:?}");
        for block in 0..gaussian.heights.len() as u64 {
            let slabs = gaussian
                .rectangles
                .iter()
                .filter(|&&r| r != TAIL && u64::from(r & 0xff) == block)
                .count() as u64;
            let first = curve.bounds(block << gaussian.block_bits).1;
            assert!(slabs << gaussian.slab_bits >= first, "{scale:?} block {block}");
        }
        assert!(1 << gaussian.tail.height_bits >= gaussian.tail.height, "{scale:?} tail");
        // The tail's share of rectangles has the area of its envelope, 2 T H.
        let tail = gaussian.rectangles.iter().filter(|&&r| r == TAIL).count() as u64;
        let widening = gaussian.tail.block_bits - gaussian.block_bits;
        assert_eq!(tail << gaussian.slab_bits, 2 << (widening + gaussian.tail.height_bits));
    }
}

#[test]
fn the_tail_falls_as_fast_as_its_envelope() {
    for scale in scales() {
        let gaussian = DiscreteGaussian::new(scale);
        let curve = Curve { scale };
        let at = |i: u64| gaussian.tail.start + (i << gaussian.tail.block_bits);
        for i in 0..20 {
            // f(at(i + 1)) <= f(at(i)) / 2, as exponents with room for rounding.
            let (here, b) = curve.exponent(at(i));
            let (there, _) = curve.exponent(at(i + 1));
            assert!((there - here) / 6931 >= b / 10_000, "{scale:?} block {i}");
        }
    }
}

#[test]
fn flagged_rectangles_lie_under_the_curve() {
    for scale in scales() {
        let gaussian = DiscreteGaussian::new(scale);
        let curve = Curve { scale };
        let inside = gaussian.rectangles.iter().filter(|&&r| r & INSIDE != 0);
        for &rectangle in inside {
            let block = u64::from(rectangle & 0xff);
            let top = (u64::from((rectangle & !INSIDE) >> SLAB_SHIFT) + 1) << gaussian.slab_bits;
            let last = ((block + 1) << gaussian.block_bits) - 1;
            assert!(top <= curve.bounds(last).0, "{scale:?} block {block}");
        }
    }
}

#[test]
fn estimate_is_as_close_as_proven() {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    for scale in scales() {
        let gaussian = DiscreteGaussian::new(scale);
        let curve = Curve { scale };
        for block in 0..gaussian.heights.len() as u64 {
            let width = 1_u64 << gaussian.block_bits;
            let random = rng.next_u64() % width;
            for offset in [0, width / 2, width - 1, random] {
                let (low, high) = curve.bounds((block << gaussian.block_bits) + offset);
                let estimate = gaussian.estimate(block, offset);
                assert!(
                    estimate + 16 >= high && estimate <= low + 16,
                    "{scale:?} block {block} offset {offset}: {estimate} {low}..{high}"
                );
            }
        }
    }
}

/// The tail by itself, which whole draws reach only once in two million times:
/// the law of what it accepts, and how often it does.
#[test]
fn tail_follows_the_law() {
    let gaussian = DiscreteGaussian::new(ratio(32, 1));
    let tail = &gaussian.tail;
    let weight = |x: u64| libm::exp(-((x * x) as f64) / 2048.0);
    let total: f64 = (tail.start..2000).map(weight).sum();
    let mut rng = ChaCha20Rng::from_seed([6; 32]);
    let mut counts = [0.0; 64];
    let tries = 6_000_000;
    for _ in 0..tries {
        if let Some(x) = gaussian.draw_from_tail(&mut || rng.next_u64()) {
            counts[(x as u64 - tail.start).min(63) as usize] += 1.0;
        }
    }
    let accepted: f64 = counts.iter().sum();
    let proposals = 2.0 * libm::ldexp(1.0, (tail.block_bits + tail.height_bits) as i32);
    let expected = f64::from(tries) * total * PEAK as f64 / proposals;
    assert!((accepted - expected).abs() < 4.5 * libm::sqrt(expected), "{accepted} {expected}");
    assert!(expected > 1000.0, "{expected} are too few to tell");
    let law: Vec<f64> = (0..64).map(|i| weight(tail.start + i) / total).collect();
    let p = chi_square_p(&counts, &law);
    assert!(p > 1e-4, "p = {p}");
}

/// With the exact comparison alone, heads come out as often as f(x) says.
#[test]
fn exact_comparison_has_the_right_odds() {
    let gaussian = DiscreteGaussian::new(ratio(181, 1));
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let throws = 20_000;
    for (magnitude, halvings) in [(90, 0), (200, 0), (300, 2)] {
        let heads = (0..throws)
            .filter(|_| {
                let height = rng.next_u64() >> 60;
                gaussian.is_under_curve(magnitude, height, 4, halvings, &mut || rng.next_u64())
            })
            .count() as f64;
        let x = magnitude as f64 / 181.0;
        let odds = f64::min(libm::exp(-x * x / 2.0) * f64::from(1 << halvings), 1.0);
        let deviation = libm::sqrt(odds * (1.0 - odds) * f64::from(throws)).max(1.0);
        assert!((heads - odds * f64::from(throws)).abs() < 4.5 * deviation, "{magnitude}: {heads}");
    }
}

/// U's first bits equal to those of f(x): only fresh bits and more digits decide,
/// and they follow the digits of f(x) that come next.
#[test]
fn undecided_bits_are_extended() {
    let scale = ratio(181, 1);
    let gaussian = DiscreteGaussian::new(scale);
    let (a, b) = Curve { scale }.exponent(100);
    let digits = exp_neg(a, b, 9);
    let height = digits[8] >> 32;
    // The random words continue U exactly as f(x) goes on, and then fall short
    // of it, or pass it.
    for (last, below) in [(0, true), (u64::MAX, false)] {
        let mut words = [digits[8], digits[7], digits[6], digits[5], digits[4], last]
            .into_iter()
            .enumerate()
            .map(|(i, word)| if i == 0 { word << 32 } else { word })
            .chain(core::iter::repeat(last));
        let mut asked = 0;
        let found = gaussian.is_under_curve(100, height, 32, 0, &mut || {
            asked += 1;
            words.next().unwrap_or(0)
        });
        assert_eq!(found, below);
        assert!(asked > 3, "three words cannot tell, {asked} were asked for");
    }
}

#[test]
fn limbs_hold_the_known_bits_in_place() {
    // 0.000 1011 ... in binary: three zeros, then four bits.
    assert_eq!(limb_of(0b1011, 4, 3, 0), 0b0001_0110 << 56);
    assert_eq!(limb_of(0b1011, 4, 62, 0), 0b10);
    assert_eq!(limb_of(0b1011, 4, 62, 64), 0b11 << 62);
    assert_eq!(limb_of(0b1011, 4, 3, 64), 0);
    assert_eq!(limb_of(0b1011, 4, 300, 64), 0);
    assert_eq!(limb_of(0b1011, 4, 300, 256), 0b1011 << 16);
}
