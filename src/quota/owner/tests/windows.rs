//! Windows under an owner, whatever happens.

use proptest::prelude::*;

use super::*;

/// What may happen to a rolling or fixed bucket.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    Wait(u64),
    TurnBack(u64),
    Write,
    Refund,
    Claim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Ask),
        3 => (1..400u64).prop_map(Step::Wait),
        1 => (1..600u64).prop_map(Step::TurnBack),
        3 => Just(Step::Write),
        1 => Just(Step::Refund),
        1 => Just(Step::Claim),
    ];
    proptest::collection::vec(step, 1..120)
}

fn frames() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (50..1000u64, 0..100u64).prop_map(|(length, offset)| Frame::Fixed { length, offset }),
        (50..1000u64).prop_map(|length| Frame::Rolling { length }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    /// Whatever is asked, however the clock moves and whoever else claims.
    #[test]
    fn no_window_ever_has_more_than_its_limit(
        frame in frames(), limit in prop_oneof![1..6u64, 65..70u64], steps in steps(),
    ) {
        let terms = Terms { frame, limit, unconfirmed: None };
        let mut desk = Desk::owning();
        let mut kept: Vec<Kept> = Vec::new();
        let mut decided: BTreeMap<u32, UnixMillis> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Ask => {
                    // A few at once, or a limit of 65 is never reached.
                    for _ in 0..limit.div_ceil(4) {
                        desk.ask(terms);
                        desk.note_decided(&mut decided);
                    }
                }
                Step::Wait(millis) => desk.now.wall.0 += millis,
                Step::TurnBack(millis) => desk.now.wall.0 -= millis,
                Step::Write => desk.write_all(),
                Step::Refund => if let Some(kept) = kept.pop() {
                    desk.step(Event::Refund(kept.held));
                },
                Step::Claim => {
                    desk.write(foreign_claim());
                    desk.step(Event::Claim { nonce: u128::from(desk.clients) << 32 });
                    desk.write_all();
                }
            }
            desk.note_decided(&mut decided);
            for (client, answer) in std::mem::take(&mut desk.answers) {
                if let Answer::Admitted(held, _) = answer {
                    kept.push(Kept { at: decided[&client].max(held.period.start), held });
                }
            }
            check(&kept, frame, limit)?;
        }
    }
}

/// An admitted use: when it was decided, and how to give it back.
struct Kept {
    at: UnixMillis,
    held: Held,
}

/// The window that ends with each use has no more than the limit, even if the uses of earlier
/// periods were all made at the last moment of those.
fn check(kept: &[Kept], frame: Frame, limit: u64) -> Result<(), TestCaseError> {
    for last in kept {
        let shares_a_window = |other: &&Kept| match frame {
            Frame::Fixed { .. } => other.held.period == last.held.period,
            // One of the same period that was decided later is in a window that ends later.
            Frame::Rolling { .. } => other.at <= last.at && other.held.period.ends > last.at,
        };
        let count = kept.iter().filter(shares_a_window).count() as u64;
        prop_assert!(count <= limit, "{count} of {limit} near {:?}", last.held.period);
    }
    Ok(())
}
