//! Policies: derived parameters, costs, and refusals by clients.

mod cost;

use fedra_protocol::{
    BandedNoise, CentralNoise, Mechanism, ModelSpec, PrivacyPolicy, RoundId, RoundPrivacy, Scores,
    TaskId,
};
use proptest::prelude::*;

use crate::{DerivedPolicy, FloorError, PrivacyError, PrivacyFloors};

/// Parameters of a small model.
const SMALL: usize = 1000;

const BANDED: BandedNoise = BandedNoise { rounds: 40, separation: 5, band: 8, exponent: 66 };

const MECHANISMS: [Mechanism; 5] = [
    Mechanism::Distributed,
    Mechanism::Local,
    Mechanism::Central(CentralNoise::Independent),
    Mechanism::Central(CentralNoise::Tree { rounds: 8 }),
    Mechanism::Central(CentralNoise::Banded(BANDED)),
];

fn policy(mechanism: Mechanism) -> PrivacyPolicy {
    PrivacyPolicy {
        mechanism,
        noise_multiplier: 2.0,
        clipping_norm: 1.0,
        target_quantile: None,
        epsilon: 100.0,
        delta: 1e-5,
        cohort: 100,
        minimum_survivors: 80,
        colluders: 5,
        max_participations: 8,
    }
}

fn privacy(mechanism: Mechanism) -> DerivedPolicy {
    DerivedPolicy::new(policy(mechanism), SMALL).unwrap()
}

mod derivation {
    use super::*;

    #[test]
    fn clients_encode_for_the_honest_survivors_alone() {
        let privacy = privacy(Mechanism::Distributed);
        let encoding = privacy.encoding().unwrap();
        assert_eq!((encoding.parameters(), encoding.len()), (SMALL, 1024));
        assert_eq!((encoding.clients(), encoding.survivors()), (100, 75));
        assert!(privacy.central().is_none());
        assert!(privacy.is_secure_aggregation());
    }

    #[test]
    fn under_local_privacy_each_share_is_enough_by_itself() {
        let privacy = privacy(Mechanism::Local);
        assert_eq!(privacy.encoding().unwrap().survivors(), 1);
        assert!(!privacy.is_secure_aggregation());
    }

    #[test]
    fn under_central_privacy_updates_travel_as_they_are() {
        let privacy = privacy(Mechanism::Central(CentralNoise::Independent));
        assert!(privacy.encoding().is_none());
        assert_eq!(privacy.central().unwrap().len(), SMALL);
    }

    #[test]
    fn adaptive_clipping_adds_a_value() {
        let adaptive =
            |mechanism| PrivacyPolicy { target_quantile: Some(0.5), ..policy(mechanism) };
        let new = |mechanism| DerivedPolicy::new(adaptive(mechanism), SMALL).unwrap();
        assert_eq!(new(Mechanism::Distributed).encoding().unwrap().len(), 1025);
        assert_eq!(new(MECHANISMS[2]).central().unwrap().len(), SMALL + 1);
    }

    #[test]
    fn a_number_out_of_range_is_named() {
        let new = |policy: PrivacyPolicy| DerivedPolicy::new(policy, SMALL).unwrap_err();
        let base = policy(Mechanism::Distributed);
        let error = new(PrivacyPolicy { delta: 1.0, ..base.clone() });
        assert!(error.to_string().contains("delta"), "{error}");
        // Positive, but of no use: the mathematics has narrower ranges.
        let error = new(PrivacyPolicy { noise_multiplier: 1e-9, ..base.clone() });
        assert!(matches!(error, PrivacyError::Quantity(_)), "{error}");
        let error = new(PrivacyPolicy { clipping_norm: 1e-40, ..base });
        assert!(matches!(error, PrivacyError::Quantity(_)), "{error}");
    }

    #[test]
    fn a_model_without_parameters_has_no_encoding() {
        for mechanism in MECHANISMS {
            assert!(DerivedPolicy::new(policy(mechanism), 0).is_err(), "{mechanism:?}");
        }
    }

    #[test]
    fn one_honest_survivor_hides_among_nobody() {
        let lonely = |mechanism| PrivacyPolicy { colluders: 79, ..policy(mechanism) };
        assert_eq!(
            DerivedPolicy::new(lonely(Mechanism::Distributed), SMALL).unwrap_err(),
            PrivacyError::NobodyHidden { survivors: 80, colluders: 79 }
        );
        // Local noise hides a client without the help of others.
        assert!(DerivedPolicy::new(lonely(Mechanism::Local), SMALL).is_ok());
    }
}

mod budget {
    use super::*;

    #[test]
    fn participations_beyond_the_budget_are_refused_with_their_cost() {
        for mechanism in MECHANISMS {
            let cost = privacy(mechanism).epsilon_after(8);
            let exact = PrivacyPolicy { epsilon: cost, ..policy(mechanism) };
            assert!(DerivedPolicy::new(exact.clone(), SMALL).is_ok());
            let budget = cost * 0.999;
            let error = DerivedPolicy::new(PrivacyPolicy { epsilon: budget, ..exact }, SMALL);
            let over = PrivacyError::OverBudget { participations: 8, cost, budget };
            assert_eq!(error.unwrap_err(), over, "{mechanism:?}");
        }
    }

    #[test]
    fn a_budget_pays_for_the_last_round_that_fits_and_no_other() {
        for mechanism in MECHANISMS {
            let wanted = PrivacyPolicy {
                epsilon: privacy(mechanism).epsilon_after(5) * 1.01,
                ..policy(mechanism)
            };
            let within = DerivedPolicy::within_budget(wanted.clone(), SMALL).unwrap();
            assert_eq!(within.policy().max_participations, 5, "{mechanism:?}");
            assert_eq!(within.policy(), &PrivacyPolicy { max_participations: 5, ..wanted });
        }
    }

    #[test]
    fn a_budget_never_pays_for_more_than_the_policy_grants() {
        let within = DerivedPolicy::within_budget(policy(Mechanism::Distributed), SMALL).unwrap();
        assert_eq!(within.policy().max_participations, 8);
        // A tree has no more rounds than it has, whatever the policy grants.
        let central = Mechanism::Central(CentralNoise::Tree { rounds: 8 });
        let many = PrivacyPolicy { max_participations: 1_000_000, ..policy(central) };
        let within = DerivedPolicy::within_budget(many, SMALL).unwrap();
        assert_eq!(within.policy().max_participations, 8);
    }

    #[test]
    fn a_budget_for_not_even_one_round_is_an_error() {
        for mechanism in MECHANISMS {
            let poor = PrivacyPolicy { epsilon: 0.01, ..policy(mechanism) };
            let error = DerivedPolicy::within_budget(poor, SMALL).unwrap_err();
            assert!(
                matches!(error, PrivacyError::OverBudget { participations: 1, .. }),
                "{mechanism:?}: {error}"
            );
        }
    }

    #[test]
    fn noise_that_goes_on_ends_with_its_last_round() {
        let short = policy(Mechanism::Central(CentralNoise::Tree { rounds: 7 }));
        assert_eq!(
            DerivedPolicy::new(short, SMALL).unwrap_err(),
            PrivacyError::TooFewRounds { rounds: 7, separation: 1, participations: 8 }
        );
        // Rounds 1, 6, ..., 36 are eight.
        for (rounds, fits) in [(36, true), (35, false)] {
            let noise = BandedNoise { rounds, ..BANDED };
            let made =
                DerivedPolicy::new(policy(Mechanism::Central(CentralNoise::Banded(noise))), SMALL);
            let error = PrivacyError::TooFewRounds { rounds, separation: 5, participations: 8 };
            assert_eq!(made.err(), (!fits).then_some(error));
        }
    }

    #[test]
    fn the_least_noise_fits_the_budget_and_less_does_not() {
        for mechanism in MECHANISMS {
            for epsilon in [0.5, 2.0, 8.0] {
                let wanted = PrivacyPolicy { epsilon, ..policy(mechanism) };
                let least = DerivedPolicy::with_least_noise(wanted, SMALL).unwrap();
                assert!(least.epsilon_after(8) <= epsilon, "{mechanism:?}");
                let noise_multiplier = least.policy().noise_multiplier * 0.998;
                let less = PrivacyPolicy { noise_multiplier, ..least.policy().clone() };
                let error = DerivedPolicy::new(less, SMALL).unwrap_err();
                assert!(matches!(error, PrivacyError::OverBudget { .. }), "{mechanism:?}: {error}");
            }
        }
    }

    /// The figures of docs/PRIVACY.md, which a bound over Rényi divergences puts 6 to 9 %
    /// higher.
    #[test]
    fn the_least_noise_is_that_of_the_documentation() {
        let (tree, independent) =
            (Mechanism::Central(CentralNoise::Tree { rounds: 200 }), MECHANISMS[2]);
        for (mechanism, max_participations, epsilon, delta, expected) in [
            (Mechanism::Distributed, 20, 8.0, 1e-5, 2.685),
            (Mechanism::Distributed, 100, 1.0, 1e-6, 42.25),
            (independent, 118, 1.817, 3.48e-5, 21.96),
            (tree, 5, 2.0, 1e-6, 28.22),
        ] {
            let wanted = PrivacyPolicy { max_participations, epsilon, delta, ..policy(mechanism) };
            let least = DerivedPolicy::with_least_noise(wanted, 7_850).unwrap();
            assert_eq!(least.policy().noise_multiplier, expected, "{mechanism:?}");
        }
    }

    /// Large enough that much noise does not fit into 32 bits: the search must not
    /// begin there.
    #[test]
    fn the_least_noise_of_a_large_model_is_found() {
        for cohort in [10, 100, 10_000] {
            let wanted = PrivacyPolicy {
                epsilon: 8.0,
                cohort,
                minimum_survivors: cohort - cohort / 5,
                colluders: 0,
                ..policy(Mechanism::Distributed)
            };
            let least = DerivedPolicy::with_least_noise(wanted, 1_663_370).unwrap();
            assert!((7.9..=8.0).contains(&least.epsilon_after(8)), "{cohort}");
        }
    }

    #[test]
    fn a_policy_that_no_noise_helps_keeps_its_own_error() {
        let lonely = PrivacyPolicy { colluders: 79, ..policy(Mechanism::Distributed) };
        let error = DerivedPolicy::with_least_noise(lonely, SMALL).unwrap_err();
        assert!(matches!(error, PrivacyError::NobodyHidden { .. }), "{error}");
        // So small a budget needs more noise than 32 bits hold.
        let poor = PrivacyPolicy { epsilon: 1e-7, ..policy(Mechanism::Distributed) };
        let error = DerivedPolicy::with_least_noise(poor, 1_663_370).unwrap_err();
        assert!(matches!(error, PrivacyError::Parameters(_)), "{error}");
    }
}

mod floors {
    use super::*;

    fn check(floors: &PrivacyFloors, mechanism: Mechanism) -> Result<(), FloorError> {
        floors.check(Some(&privacy(mechanism)))
    }

    #[test]
    fn without_floors_every_task_is_accepted() {
        let floors = PrivacyFloors::default();
        assert_eq!(floors.check(None), Ok(()));
        for mechanism in MECHANISMS {
            assert_eq!(check(&floors, mechanism), Ok(()));
        }
    }

    #[test]
    fn any_floor_but_that_on_participations_needs_a_policy() {
        let none = PrivacyFloors::default;
        for floors in [
            PrivacyFloors { min_noise_multiplier: Some(0.1), ..none() },
            PrivacyFloors { min_cohort: Some(1), ..none() },
            PrivacyFloors { max_epsilon: Some(1e9), ..none() },
            PrivacyFloors { require_secure_aggregation: true, ..none() },
        ] {
            assert_eq!(floors.check(None), Err(FloorError::NoPolicy), "{floors:?}");
        }
        let few = PrivacyFloors { max_participations: Some(1), ..none() };
        assert_eq!(few.check(None), Ok(()));
    }

    #[test]
    fn noise_at_the_floor_is_enough() {
        let floor =
            |floor| PrivacyFloors { min_noise_multiplier: Some(floor), ..PrivacyFloors::default() };
        for mechanism in MECHANISMS {
            assert_eq!(check(&floor(2.0), mechanism), Ok(()));
            let refused = FloorError::Noise { actual: 2.0, floor: 2.1 };
            assert_eq!(check(&floor(2.1), mechanism), Err(refused));
        }
    }

    #[test]
    fn the_cohort_is_the_honest_survivors() {
        let floor = |floor| PrivacyFloors { min_cohort: Some(floor), ..PrivacyFloors::default() };
        for mechanism in [MECHANISMS[0], MECHANISMS[2], MECHANISMS[3]] {
            assert_eq!(check(&floor(75), mechanism), Ok(()));
            let refused = FloorError::Cohort { actual: 75, floor: 76 };
            assert_eq!(check(&floor(76), mechanism), Err(refused));
        }
        // Local noise does not need the others.
        assert_eq!(check(&floor(1000), Mechanism::Local), Ok(()));
    }

    #[test]
    fn the_budget_is_that_of_the_participations_that_both_allow() {
        let most = privacy(Mechanism::Distributed).epsilon_after(8);
        let two = privacy(Mechanism::Distributed).epsilon_after(2);
        let floors = |max_epsilon, max_participations| PrivacyFloors {
            max_epsilon: Some(max_epsilon),
            max_participations,
            ..PrivacyFloors::default()
        };
        assert_eq!(check(&floors(most, None), Mechanism::Distributed), Ok(()));
        let floor = most * 0.99;
        let refused = Err(FloorError::Epsilon { actual: most, floor });
        assert_eq!(check(&floors(floor, None), Mechanism::Distributed), refused);
        assert_eq!(check(&floors(floor, Some(100)), Mechanism::Distributed), refused);
        // Who stops after two rounds pays for two.
        assert_eq!(check(&floors(two, Some(2)), Mechanism::Distributed), Ok(()));
    }

    #[test]
    fn only_distributed_policies_have_secure_aggregation() {
        let floors = PrivacyFloors { require_secure_aggregation: true, ..PrivacyFloors::default() };
        assert_eq!(check(&floors, Mechanism::Distributed), Ok(()));
        for &mechanism in &MECHANISMS[1..] {
            assert_eq!(check(&floors, mechanism), Err(FloorError::NoSecureAggregation));
        }
    }

    #[test]
    fn a_floor_that_is_no_number_is_met_by_nothing() {
        let noise =
            PrivacyFloors { min_noise_multiplier: Some(f64::NAN), ..PrivacyFloors::default() };
        assert!(matches!(check(&noise, Mechanism::Local), Err(FloorError::Noise { .. })));
        let budget = PrivacyFloors { max_epsilon: Some(f64::NAN), ..PrivacyFloors::default() };
        assert!(matches!(check(&budget, Mechanism::Local), Err(FloorError::Epsilon { .. })));
    }

    #[test]
    fn a_client_takes_part_as_often_as_both_allow() {
        let privacy = privacy(Mechanism::Local);
        let own = |max_participations| {
            PrivacyFloors { max_participations, ..PrivacyFloors::default() }
                .participations(&privacy)
        };
        assert_eq!((own(None), own(Some(3)), own(Some(100))), (8, 3, 8));
    }

    #[test]
    fn a_misspelt_floor_is_refused_rather_than_ignored() {
        let read = serde_json::from_str::<PrivacyFloors>;
        let floors = read(
            r#"{"minNoiseMultiplier": 1, "minCohort": 10, "maxParticipations": 3,
                "maxEpsilon": 8, "requireSecureAggregation": true}"#,
        );
        let expected = PrivacyFloors {
            min_noise_multiplier: Some(1.0),
            min_cohort: Some(10),
            max_participations: Some(3),
            max_epsilon: Some(8.0),
            require_secure_aggregation: true,
        };
        assert_eq!(floors.unwrap(), expected);
        assert_eq!(read("{}").unwrap(), PrivacyFloors::default());
        assert!(read(r#"{"minNoise": 1}"#).is_err());
    }
}

mod secure_terms {
    use super::*;

    const ROUND: RoundId = RoundId { round: 3, attempt: 1 };

    fn own() -> RoundPrivacy {
        RoundPrivacy { clipping_norm: 0.5, rotation: [7; 32] }
    }

    fn task(name: &str) -> TaskId {
        TaskId::new(name).unwrap()
    }

    #[test]
    fn they_are_those_of_the_encoding() {
        let privacy = privacy(Mechanism::Distributed);
        let terms = privacy.secure_terms(&task("digits"), ROUND, &own()).unwrap();
        assert_eq!(terms.words(), 1024);
        assert_eq!(terms.bits(), privacy.encoding().unwrap().bits());
        // Colluders survive, too: the sum is over all of them.
        assert_eq!(terms.minimum_survivors(), 80);
    }

    #[test]
    fn they_differ_when_anything_differs_and_only_then() {
        let base = privacy(Mechanism::Distributed);
        let terms = |privacy: &DerivedPolicy, task: &TaskId, round, own| {
            *privacy.secure_terms(task, round, &own).unwrap().context()
        };
        let changed = |change: fn(&mut PrivacyPolicy)| {
            let mut policy = policy(Mechanism::Distributed);
            change(&mut policy);
            DerivedPolicy::new(policy, SMALL).unwrap()
        };
        let digits = task("digits");
        let mut all = vec![
            terms(&base, &digits, ROUND, own()),
            terms(&base, &task("digit"), ROUND, own()),
            terms(&base, &digits, RoundId { round: 4, ..ROUND }, own()),
            terms(&base, &digits, RoundId { attempt: 2, ..ROUND }, own()),
            terms(&base, &digits, ROUND, RoundPrivacy { clipping_norm: 0.25, ..own() }),
            terms(&base, &digits, ROUND, RoundPrivacy { rotation: [8; 32], ..own() }),
        ];
        let policies: [fn(&mut PrivacyPolicy); 9] = [
            |policy| policy.noise_multiplier = 2.5,
            |policy| policy.clipping_norm = 2.0,
            |policy| policy.target_quantile = Some(0.5),
            |policy| policy.epsilon = 99.0,
            |policy| policy.delta = 1e-6,
            |policy| policy.cohort = 99,
            |policy| policy.minimum_survivors = 81,
            |policy| policy.colluders = 4,
            |policy| policy.max_participations = 7,
        ];
        all.extend(policies.map(|change| terms(&changed(change), &digits, ROUND, own())));
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "context {index} is one of those before it");
        }
        assert_eq!(terms(&base.clone(), &digits, ROUND, own()), all[0]);
    }

    #[test]
    fn what_has_no_secure_aggregation_has_no_terms() {
        for &mechanism in &MECHANISMS[1..] {
            let terms = privacy(mechanism).secure_terms(&task("digits"), ROUND, &own());
            assert!(matches!(terms, Err(PrivacyError::Terms(_))), "{mechanism:?}");
        }
    }
}

mod evaluation {
    use super::*;

    #[test]
    fn a_round_of_evaluation_costs_no_more_than_one_of_training() {
        let model = ModelSpec::softmax_regression();
        for mechanism in MECHANISMS.into_iter().take(3) {
            for noise_multiplier in [0.3, 1.0, 2.0, 20.0] {
                for cohort in [3, 100] {
                    let policy = PrivacyPolicy {
                        noise_multiplier,
                        cohort,
                        minimum_survivors: cohort * 4 / 5,
                        colluders: 0,
                        epsilon: 1e9,
                        target_quantile: Some(0.5),
                        ..policy(mechanism)
                    };
                    let training = DerivedPolicy::new(policy, model.parameters()).unwrap();
                    let evaluation = training.for_evaluation(&model).unwrap();
                    assert!(evaluation.cost(1) <= training.cost(1), "{:?}", training.policy());
                    // The noise is that of the policy, or hardly more.
                    let raised = evaluation.policy().noise_multiplier / noise_multiplier;
                    assert!((1.0..1.1).contains(&raised), "{mechanism:?}: {raised}");
                    assert_eq!(evaluation.policy().clipping_norm, Scores::norm(&model));
                    assert_eq!(evaluation.policy().target_quantile, None);
                    assert_eq!(
                        evaluation.encoding().map_or(2, |encoding| encoding.parameters()),
                        2
                    );
                }
            }
        }
    }

    #[test]
    fn noise_that_goes_on_from_round_to_round_has_no_place_for_it() {
        for mechanism in [MECHANISMS[3], MECHANISMS[4]] {
            let error = privacy(mechanism).for_evaluation(&ModelSpec::softmax_regression());
            assert!(matches!(error, Err(PrivacyError::RoundsAndEvaluation)), "{error:?}");
        }
    }

    #[test]
    fn clients_that_expect_training_share_no_key_with_those_that_expect_evaluation() {
        let training = privacy(Mechanism::Distributed);
        let evaluation = training.for_evaluation(&ModelSpec::softmax_regression()).unwrap();
        let numbers = RoundPrivacy { clipping_norm: 1.0, rotation: [7; 32] };
        let (task, round) = (TaskId::new("digits").unwrap(), RoundId { round: 3, attempt: 0 });
        let terms = |privacy: &DerivedPolicy| privacy.secure_terms(&task, round, &numbers).unwrap();
        assert_ne!(terms(&training).context(), terms(&evaluation).context());
    }
}
