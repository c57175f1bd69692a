//! What clients saw: one entry for each request, and nothing else.

/// Milliseconds since a round began.
pub type Millis = u32;

/// How a request ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200, read to its end.
    Served,
    /// 429 `quota-exceeded`.
    Refused,
    /// No connection: it was never sent.
    Absent,
    /// Another answer.
    Failed(u16),
    /// The connection broke off before the answer's end.
    Broken,
    /// No answer came in the time that a client waits.
    Unanswered,
}

impl Outcome {
    /// An answer of the quota, one way or the other.
    pub fn is_definite(self) -> bool {
        matches!(self, Self::Served | Self::Refused)
    }

    /// Nobody can tell from it whether the use counts.
    pub fn is_doubtful(self) -> bool {
        !self.is_definite() && self != Self::Absent
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub account: u32,
    pub gateway: u8,
    /// A method that must not be sent twice.
    pub unsafe_method: bool,
    pub sent: Millis,
    pub ended: Millis,
    pub outcome: Outcome,
}

/// A time in which an account got no answer of the quota, whichever gateway was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    pub account: u32,
    pub from: Millis,
    pub to: Millis,
}

impl Outage {
    pub fn lasts(self) -> Millis {
        self.to.saturating_sub(self.from)
    }
}

/// Longest pause between requests within which an outage is known to have gone on.
const WATCHED: Millis = 2_000;

/// Outages of one account. One begins when a request is sent that is not answered by the quota, or
/// later than `patience`; it ends with the next answer of the quota to any request, or where nobody
/// asked any more.
pub fn outages(account: u32, requests: &[Seen], patience: Millis) -> Vec<Outage> {
    let mut sorted: Vec<&Seen> =
        requests.iter().filter(|seen| seen.outcome != Outcome::Absent).collect();
    sorted.sort_unstable_by_key(|seen| seen.sent);
    let mut found: Vec<Outage> = Vec::new();
    for failed in sorted.iter().filter(|seen| seen.fails(patience)) {
        if found.last().is_none_or(|outage| failed.sent > outage.to) {
            let (from, to) = (failed.sent, end(failed.sent, &sorted));
            found.push(Outage { account, from, to });
        }
    }
    found
}

impl Seen {
    /// Whether it was served, or nobody can tell.
    pub fn may_count(&self) -> bool {
        self.outcome == Outcome::Served || self.outcome.is_doubtful()
    }

    fn fails(&self, patience: Millis) -> bool {
        !self.outcome.is_definite() || self.ended.saturating_sub(self.sent) > patience
    }
}

fn end(from: Millis, sorted: &[&Seen]) -> Millis {
    let answers = sorted.iter().filter(|seen| seen.outcome.is_definite() && seen.ended > from);
    let answer = answers.min_by_key(|seen| seen.ended);
    let until = answer.map_or(Millis::MAX, |seen| seen.ended);
    let mut known = from;
    for seen in sorted.iter().filter(|seen| seen.sent >= from && seen.sent <= until) {
        if seen.sent > known.saturating_add(WATCHED) {
            return known;
        }
        known = known.max(seen.ended);
    }
    known.min(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(sent: Millis, ended: Millis, outcome: Outcome) -> Seen {
        Seen { account: 1, gateway: 0, unsafe_method: false, sent, ended, outcome }
    }

    fn spans(requests: &[Seen]) -> Vec<(Millis, Millis)> {
        outages(1, requests, 300).iter().map(|outage| (outage.from, outage.to)).collect()
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_next_answer_of_the_quota() {
        let requests = [
            seen(0, 10, Outcome::Served),
            seen(100, 120, Outcome::Failed(503)),
            seen(200, 9_000, Outcome::Unanswered),
            seen(400, 450, Outcome::Failed(502)),
            seen(700, 720, Outcome::Refused),
            seen(800, 820, Outcome::Served),
        ];
        assert_eq!(spans(&requests), [(100, 720)]);
    }

    #[test]
    fn an_outage_that_nobody_watches_ends_where_it_was_last_seen() {
        let requests = [
            seen(100, 120, Outcome::Failed(503)),
            seen(1_000, 1_100, Outcome::Failed(503)),
            seen(60_000, 60_010, Outcome::Served),
        ];
        assert_eq!(spans(&requests), [(100, 1_100)]);
    }

    #[test]
    fn slow_answers_are_outages_unless_another_request_was_answered_meanwhile() {
        assert_eq!(spans(&[seen(0, 900, Outcome::Served)]), [(0, 900)]);
        let both = [seen(0, 900, Outcome::Served), seen(50, 60, Outcome::Served)];
        assert_eq!(spans(&both), [(0, 60)]);
        assert_eq!(spans(&[seen(0, 20, Outcome::Served)]), []);
    }

    #[test]
    fn a_gateway_that_is_not_there_is_the_balancers_business() {
        assert_eq!(spans(&[seen(0, 1, Outcome::Absent), seen(2, 10, Outcome::Served)]), []);
    }
}
