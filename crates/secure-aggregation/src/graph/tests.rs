//! Degrees against published numbers, the tail against counting, and the rules.

use super::*;

/// n, k and t for a semi-honest adversary, k and t for a semi-malicious one:
/// 2^-40 security, 2^-20 failure, a tenth colludes, a tenth drops out.
const TABLE: [[u32; 5]; 3] =
    [[100, 22, 11, 32, 22], [1000, 48, 27, 96, 67], [10_000, 54, 31, 122, 85]];

fn graph(cohort: u32) -> Graph {
    Graph::for_cohort(cohort, Assumptions::default()).unwrap()
}

#[test]
fn degrees_and_thresholds_are_the_known_ones() {
    for [cohort, degree, threshold, malicious_degree, malicious_threshold] in TABLE {
        let honest = graph(cohort);
        assert_eq!((honest.degree(), honest.threshold()), (degree, threshold), "{cohort}");
        let assumptions =
            Assumptions { adversary: Adversary::SemiMalicious, ..Assumptions::default() };
        let malicious = Graph::for_cohort(cohort, assumptions).unwrap();
        assert_eq!(
            (malicious.degree(), malicious.threshold()),
            (malicious_degree, malicious_threshold),
            "{cohort}"
        );
    }
}

#[test]
fn small_cohorts_are_complete_and_need_half_of_the_neighbours() {
    for cohort in MIN_COHORT..COMPLETE_BELOW {
        let graph = graph(cohort);
        assert_eq!(graph.degree(), cohort - 1);
        assert_eq!(graph.threshold(), (cohort - 1).div_ceil(2).max(2));
    }
}

#[test]
fn what_the_server_chooses_passes_the_clients_check() {
    for cohort in (MIN_COHORT..400).chain([1000, 4567, MAX_COHORT]) {
        for dropout_percent in [0, 10, 20, 30] {
            for adversary in [Adversary::SemiHonest, Adversary::SemiMalicious] {
                let assumptions = Assumptions { adversary, dropout_percent };
                let Ok(graph) = Graph::for_cohort(cohort, assumptions) else {
                    assert!(adversary == Adversary::SemiMalicious || dropout_percent > 20);
                    continue;
                };
                let checked = Graph::checked(cohort, graph.degree(), graph.threshold());
                assert_eq!(checked, Ok(graph), "{cohort} {assumptions:?}");
            }
        }
    }
}

#[test]
fn more_dropouts_take_more_neighbours() {
    let mut degree = 0;
    for dropout_percent in [0, 5, 10, 20, 30, 40] {
        let assumptions = Assumptions { dropout_percent, ..Assumptions::default() };
        let graph = Graph::for_cohort(1000, assumptions).unwrap();
        assert!(graph.degree() >= degree);
        degree = graph.degree();
    }
    assert!(degree > 100);
}

/// The hardest assumptions there are still have an answer, soon.
#[test]
fn a_graph_for_many_dropouts_and_lies_is_large() {
    for cohort in [400, 5000, MAX_COHORT] {
        let assumptions = Assumptions { adversary: Adversary::SemiMalicious, dropout_percent: 40 };
        match Graph::for_cohort(cohort, assumptions) {
            Ok(graph) => assert!(graph.degree() > 200, "{graph:?}"),
            Err(error) => assert!(matches!(error, GraphError::Dropout { .. })),
        }
    }
}

#[test]
fn neighbourhood_is_mutual_and_of_the_stated_degree() {
    for cohort in [3, 5, 49, 50, 100, 101] {
        let graph = graph(cohort);
        for client in 0..cohort {
            let neighbours = graph.neighbours(client);
            assert_eq!(neighbours.len(), graph.degree() as usize);
            assert!(neighbours.is_sorted_by(|a, b| a < b));
            assert!(!neighbours.contains(&client));
            for peer in neighbours {
                assert!(graph.neighbours(peer).contains(&client));
            }
        }
        assert!(graph.neighbours(cohort).is_empty());
    }
}

#[test]
fn fewer_missing_clients_than_the_degree_never_cut_the_ring() {
    let graph = Graph { cohort: 12, degree: 4, threshold: 2 };
    for missing in 0_u32..1 << 12 {
        let present = |client: Index| missing & (1 << client) == 0;
        if missing.count_ones() >= 4 {
            continue;
        }
        let start = (0..12).find(|&client| present(client)).unwrap();
        let mut reached = 1_u32 << start;
        let mut open = vec![start];
        while let Some(client) = open.pop() {
            for peer in graph.neighbours(client) {
                if present(peer) && reached & (1 << peer) == 0 {
                    reached |= 1 << peer;
                    open.push(peer);
                }
            }
        }
        assert_eq!(reached.count_ones() + missing.count_ones(), 12, "{missing:b}");
    }
}

#[test]
fn each_rule_has_its_refusal() {
    use GraphError as E;
    let refused = |cohort, degree, threshold| Graph::checked(cohort, degree, threshold).err();
    assert_eq!(refused(2, 1, 1), Some(E::Cohort { cohort: 2 }));
    assert_eq!(refused(MAX_COHORT + 1, 60, 40), Some(E::Cohort { cohort: MAX_COHORT + 1 }));
    assert_eq!(refused(100, 23, 12), Some(E::Degree { cohort: 100, degree: 23 }));
    assert_eq!(refused(100, 100, 60), Some(E::Degree { cohort: 100, degree: 100 }));
    assert_eq!(refused(100, 0, 2), Some(E::Degree { cohort: 100, degree: 0 }));
    assert_eq!(refused(20, 18, 10), Some(E::NotComplete { cohort: 20, degree: 18 }));
    assert_eq!(refused(3, 2, 1), Some(E::Threshold { threshold: 1, degree: 2 }));
    assert_eq!(refused(20, 19, 20), Some(E::Threshold { threshold: 20, degree: 19 }));
    assert_eq!(refused(20, 19, 9), Some(E::LessThanHalf { threshold: 9, degree: 19 }));
    assert_eq!(refused(100, 16, 8), Some(E::Collusion { cohort: 100, degree: 16, threshold: 8 }));
    assert_eq!(refused(100, 16, 14), Some(E::Disconnected { cohort: 100, degree: 16 }));
    assert_eq!(refused(100, 22, 11), None);
    assert_eq!(refused(20, 19, 10), None);
    assert_eq!(
        Graph::for_cohort(100, Assumptions { dropout_percent: 41, ..Assumptions::default() }),
        Err(E::Dropout { cohort: 100, dropout_percent: 41 })
    );
}

#[test]
fn the_tail_is_what_counting_gives() {
    fn choose(n: u32, k: u32) -> f64 {
        if k > n { 0.0 } else { (0..k).map(|i| f64::from(n - i) / f64::from(k - i)).product() }
    }
    for all in 1..14 {
        for marked in 0..=all {
            for drawn in 0..=all {
                for at_least in 0..=drawn + 1 {
                    let counted: f64 = (at_least..=drawn)
                        .map(|x| choose(marked, x) * choose(all - marked, drawn - x))
                        .sum::<f64>()
                        / choose(all, drawn);
                    let tail = upper_tail(all, marked, drawn, at_least);
                    assert!((tail - counted).abs() < 1e-12, "{all} {marked} {drawn} {at_least}");
                }
            }
        }
    }
}
