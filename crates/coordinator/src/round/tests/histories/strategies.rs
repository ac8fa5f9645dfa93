//! Strategies of random histories: the plan of a round, and the moves that are made.

use super::*;

/// Moves of a history. Clients, weights and times are drawn; a move that makes no sense
/// at the moment is passed over.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Join(u64),
    Lose(u64),
    Leave(u64),
    Pause(u64),
    Resume(u64),
    Decline(u64),
    Refuse(u64),
    /// Report for the client's newest invitation.
    Report(u64, u64),
    /// Report for the invitation before that.
    ReportOld(u64),
    ReportNonsense(u64, u64, u32),
    Prepare,
    FailToPrepare,
    Store,
    FailToStore,
    Overflow,
    Wait(u64),
    Operate(Operation),
    RollBack,
    SpendParticipations(u64),
    /// Take part, and rest for so many rounds after the last one that was announced.
    Rest(u64, u64),
    SpendBudget,
}

/// Histories of up to 250 moves; a budget is spent in one of ten.
pub(super) fn moves() -> impl Strategy<Value = Vec<Move>> {
    let id = || 1_u64..9;
    let operation = prop_oneof![
        3 => Just(Operation::Pause),
        6 => Just(Operation::Resume),
        1 => Just(Operation::Stop),
    ];
    let one = prop_oneof![
        16 => id().prop_map(Move::Join),
        6 => id().prop_map(Move::Lose),
        4 => id().prop_map(Move::Leave),
        2 => id().prop_map(Move::Pause),
        3 => id().prop_map(Move::Resume),
        2 => id().prop_map(Move::Decline),
        2 => id().prop_map(Move::Refuse),
        32 => (id(), 0_u64..102).prop_map(|(id, weight)| Move::Report(id, weight)),
        3 => id().prop_map(Move::ReportOld),
        2 => (id(), 0_u64..5, 0_u32..3).prop_map(|(id, r, a)| Move::ReportNonsense(id, r, a)),
        8 => Just(Move::Prepare),
        1 => Just(Move::FailToPrepare),
        8 => Just(Move::Store),
        2 => Just(Move::FailToStore),
        1 => Just(Move::Overflow),
        8 => (0_u64..4_000).prop_map(Move::Wait),
        2 => (0_u64..70_000).prop_map(Move::Wait),
        2 => operation.prop_map(Move::Operate),
        1 => Just(Move::RollBack),
        1 => id().prop_map(Move::SpendParticipations),
        2 => (id(), 0_u64..5).prop_map(|(id, rounds)| Move::Rest(id, rounds)),
    ];
    let last = prop_oneof![9 => Just(None), 1 => Just(Some(Move::SpendBudget))];
    (prop::collection::vec(one, 1..250), last, any::<prop::sample::Index>()).prop_map(
        |(mut moves, extra, at)| {
            if let Some(extra) = extra {
                moves.insert(at.index(moves.len()), extra);
            }
            moves
        },
    )
}

/// Plans with every mode and protection.
pub(super) fn plans() -> impl Strategy<Value = RoundPlan> {
    let ten = Duration::from_secs(10);
    let protection = prop_oneof![
        3 => Just(Protection::None),
        1 => Just(Protection::DebitFirst),
        1 => Just(Protection::DebitLast),
        3 => Just(Protection::Secure { step_deadline: STEP }),
    ];
    let grace = prop_oneof![Just(Duration::ZERO), Just(GRACE)];
    let synchronous = (protection, prop_oneof![Just(Duration::ZERO), Just(ten)]).prop_map(
        |(protection, minimum_duration)| RoundPlan { protection, minimum_duration, ..PLAN },
    );
    let policy = prop_oneof![Just(Protection::None), Just(Protection::DebitLast)];
    let buffered = (0_u32..3, policy).prop_map(|(max_staleness, protection)| RoundPlan {
        mode: Mode::Buffered { max_staleness, staleness_exponent: 0.5 },
        protection,
        ..PLAN
    });
    let room = prop_oneof![Just(None), (0_usize..3).prop_map(Some)];
    let rounds = prop_oneof![Just(None), (1_u64..6).prop_map(Some)];
    (prop_oneof![synchronous, buffered], grace, room, rounds).prop_map(
        |(plan, reconnect_grace, waiting_room, rounds)| RoundPlan {
            reconnect_grace,
            waiting_room,
            rounds,
            ..plan
        },
    )
}
