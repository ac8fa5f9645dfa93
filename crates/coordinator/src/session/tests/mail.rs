//! The notices that wait for a session, and how its end counts.

use super::*;

fn rest() -> Notice {
    Notice::Order(Order::Rest)
}

#[test]
fn a_participation_comes_before_its_end_its_verdict_and_its_order() {
    let mut mail = Mail::default();
    mail.put(rest());
    mail.put(Notice::Verdict(R1, ACCEPTED));
    mail.put(Notice::Replaced);
    mail.put(Notice::Joined(CLIENT, Box::default()));
    assert!(matches!(mail.take(), Some(Notice::Joined(CLIENT, _))));
    assert!(matches!(mail.take(), Some(Notice::Replaced)));
    assert!(matches!(mail.take(), Some(Notice::Verdict(R1, ACCEPTED))));
    assert!(matches!(mail.take(), Some(Notice::Order(Order::Rest))));
    assert!(mail.take().is_none());
}

#[test]
fn only_the_newest_order_is_kept() {
    let mut mail = Mail::default();
    mail.put(Notice::Order(Order::Away(Duration::from_secs(1))));
    mail.put(rest());
    assert!(matches!(mail.take(), Some(Notice::Order(Order::Rest))));
    assert!(mail.take().is_none());
}

#[test]
fn an_end_can_be_taken_ahead_of_everything_else() {
    let mut mail = Mail::default();
    mail.put(Notice::Joined(CLIENT, Box::default()));
    assert!(mail.take_end().is_none());
    mail.put(Notice::Contested(Duration::from_secs(4)));
    assert!(matches!(mail.take_end(), Some(Notice::Contested(_))));
    assert!(mail.take_end().is_none());
    assert!(matches!(mail.take(), Some(Notice::Joined(..))), "the rest is still there");
}

#[test]
fn a_participation_that_was_not_handled_goes_back() {
    let mut mail = Mail::default();
    assert!(mail.take_participation().is_none());
    let (_, participation) = Script::invited().session.leave().expect("a member");
    mail.put(Notice::Joined(CLIENT, Box::new(participation)));
    let back = mail.take_participation().expect("it was not handled");
    assert!(matches!(back.part, Some((R1, _))));
    assert!(mail.take().is_none());
}

#[test]
fn a_client_that_may_come_back_by_itself_has_lost_its_connection() {
    let departure =
        |code| Departure::after(&Refusal { code, message: String::new(), retry_after: None });
    for code in [RefusalCode::Timeout, RefusalCode::Overloaded, RefusalCode::Replaced] {
        assert_eq!(departure(code), Departure::Lost, "{code:?}");
    }
    for code in [RefusalCode::UnexpectedMessage, RefusalCode::NotSelected] {
        assert_eq!(departure(code), Departure::Closed, "{code:?}");
    }
}
